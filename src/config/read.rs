//! From the tree to typed sections, gathering every problem on the way instead of stopping at one.
//!
//! The macro [`sections!`] turns one list of keys into the struct, its JSON Schema and its reader, so
//! that none of the three can know a key that another does not.

use std::borrow::Cow;
use std::collections::HashMap;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;

use crate::config::nearest;
use crate::config::place::Places;
use crate::config::tree::Key;
use crate::config::tree::Node;
use crate::config::tree::Value;
use crate::model::problem::Problem;

/// What a key led to. `Bad` has been reported already: whoever meets it says nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// Its value cannot be used.
    Bad,
    /// Its value.
    Good(T),
}

impl<T> Field<T> {
    /// The value, if there is a good one.
    pub(crate) fn good(&self) -> Option<&T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// Whether the key is not there at all.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Self::Bad, Self::Good)
    }
}

/// Where a walk through the tree is, and what it has found wrong.
pub(crate) struct Reader<'a> {
    places: &'a Places,
    problems: Vec<Problem>,
    path: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(places: &'a Places) -> Self {
        Self { places, problems: Vec::new(), path: String::new() }
    }

    /// Reports what stands at a key path.
    pub(crate) fn problem(
        &mut self,
        key_path: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems
            .push(self.places.problem(key_path, what, hint));
    }

    /// Reports what stands where the walk is.
    pub(crate) fn here(&mut self, what: impl Into<String>, hint: Option<String>) {
        self.problems
            .push(self.places.problem(&self.path, what, hint));
    }

    /// Reports a value of the wrong kind where the walk is.
    pub(crate) fn unexpected(&mut self, expected: &str, node: &Node) {
        let hint = matches!(node.value, Value::Null).then(|| {
            if self.path.is_empty() {
                "the file is empty: it needs listeners, routes and upstreams".to_owned()
            } else {
                "remove the key, or comment it out, to take its default".to_owned()
            }
        });
        self.here(format!("expected {expected}, found {}", node.value), hint);
    }

    /// How much was found wrong so far.
    pub(crate) fn count(&self) -> usize {
        self.problems.len()
    }

    /// Everything found wrong.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn inside<R>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    fn key_problem(&mut self, key: &Key, what: &str, hint: Option<String>) {
        let path = crate::config::place::below(&self.path, &key.name);
        self.problems
            .push(self.places.problem_at(key.at, &path, what, hint));
    }

    fn duplicate(&mut self, key: &Key, first: &Key) {
        let hint = format!("the first stands in line {}", first.at.line);
        self.key_problem(key, "the key stands twice", Some(hint));
    }
}

/// What can be read from a value of the tree.
pub(crate) trait Read: Sized {
    /// Reads it; `None` after having reported why that is impossible.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A key that a section knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// As it is written.
    pub(crate) name: &'static str,
    /// Whether a section without it is refused.
    pub(crate) required: bool,
}

/// The entries of a section, unknown and repeated keys reported and left out.
pub(crate) fn entries<'n>(
    node: &'n Node,
    known: &'static [Known],
    reader: &mut Reader<'_>,
) -> Option<Vec<(&'n Key, &'n Node)>> {
    let Value::Map(all) = &node.value else {
        let names = known.iter().map(|key| key.name).take(3).collect::<Vec<_>>();
        reader.unexpected(&format!("a mapping with keys such as {}", names.join(", ")), node);
        return None;
    };
    let mut kept: Vec<(&Key, &Node)> = Vec::new();
    for (key, value) in all {
        if !known.iter().any(|one| one.name == key.name) {
            let hint = nearest::key(&key.name, known);
            reader.key_problem(key, "unknown key", hint);
        } else if let Some((first, _)) = kept.iter().find(|(one, _)| one.name == key.name) {
            reader.duplicate(key, first);
        } else {
            kept.push((key, value));
        }
    }
    Some(kept)
}

/// The value of one key of a section.
pub(crate) fn field<T: Read>(
    entries: &[(&Key, &Node)],
    name: &str,
    required: bool,
    reader: &mut Reader<'_>,
) -> Field<T> {
    match entries.iter().find(|(key, _)| key.name == name) {
        Some((_, node)) => reader.inside(name, |reader| T::read(node, reader)).into(),
        None if required => {
            reader.inside(name, |reader| reader.here("is missing", None));
            Field::Bad
        }
        None => Field::Absent,
    }
}

/// Declares sections of the file: for each its struct of [`Field`]s, its schema and its reader. Keys
/// under `must` have to be there. A default written here is what the schema shows; a test compares
/// it with the model's.
macro_rules! sections {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            must { $( $(#[$must_doc:meta])* $must:ident : $must_type:ty, )* }
            may { $( $(#[$may_doc:meta])* $may:ident : $may_type:ty $(= $default:tt)?, )* }
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $( $(#[$must_doc])* pub(crate) $must: crate::config::read::Field<$must_type>, )*
            $(
                $(#[$may_doc])*
                #[schemars(default $(, extend("default" = $default))?)]
                pub(crate) $may: crate::config::read::Field<$may_type>,
            )*
        }

        impl $name {
            /// Every key of this section.
            pub(crate) const KEYS: &'static [crate::config::read::Known] = &[
                $( crate::config::read::Known { name: stringify!($must), required: true }, )*
                $( crate::config::read::Known { name: stringify!($may), required: false }, )*
            ];
        }

        impl crate::config::read::Read for $name {
            fn read(
                node: &crate::config::tree::Node,
                reader: &mut crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let entries = crate::config::read::entries(node, Self::KEYS, reader)?;
                Some(Self {
                    $( $must: crate::config::read::field(&entries, stringify!($must), true, reader), )*
                    $( $may: crate::config::read::field(&entries, stringify!($may), false, reader), )*
                })
            }
        }
    )*};
}
pub(crate) use sections;

/// A list; empty ones are refused where `MIN` says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T, const MIN: usize>(pub(crate) Vec<Field<T>>);

impl<T: Read, const MIN: usize> Read for List<T, MIN> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.unexpected("a list", node);
            return None;
        };
        if items.len() < MIN {
            reader.here("is empty", None);
            return None;
        }
        let read = |(index, item): (usize, &Node)| {
            let step = format!("[{index}]");
            reader.inside(&step, |reader| T::read(item, reader)).into()
        };
        Some(Self(items.iter().enumerate().map(read).collect()))
    }
}

/// A mapping whose keys are names that the operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, Field<T>)>);

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.unexpected("a mapping of names", node);
            return None;
        };
        if entries.is_empty() {
            reader.here("is empty", None);
            return None;
        }
        let mut first_of: HashMap<&str, &Key> = HashMap::new();
        let mut read = Vec::new();
        for (key, value) in entries {
            if let Some(first) = first_of.insert(&key.name, key) {
                reader.duplicate(key, first);
                continue;
            }
            if !is_name(&key.name) {
                let hint = "use 1 to 63 letters, digits, and . _ -".to_owned();
                reader.key_problem(key, "not a name", Some(hint));
            }
            let field = reader.inside(&key.name, |reader| T::read(value, reader));
            read.push((key.name.clone(), field.into()));
        }
        Some(Self(read))
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<Field<T>>);

impl<T: Read> Read for OneOrMore<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::List(_) = &node.value {
            return List::<T, 1>::read(node, reader).map(|list| Self(list.0));
        }
        Some(Self(vec![T::read(node, reader).into()]))
    }
}

/// A short form, or a mapping where more is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShortOr<S, L> {
    /// One word.
    Short(S),
    /// A mapping.
    Long(L),
}

impl<S: Read, L: Read> Read for ShortOr<S, L> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return L::read(node, reader).map(Self::Long);
        }
        S::read(node, reader).map(Self::Short)
    }
}

impl Read for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        reader.unexpected("true or false", node);
        None
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A schema that stands where it is used, without a name of its own.
macro_rules! inline_schema {
    ([$($generics:tt)*] $type:ty, $generator:ident => $schema:expr) => {
        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}
pub(crate) use inline_schema;

inline_schema!([T: JsonSchema, const MIN: usize] List<T, MIN>, generator => json_schema!({
    "type": "array", "items": generator.subschema_for::<T>(), "minItems": MIN,
}));
inline_schema!([T: JsonSchema] Named<T>, generator => json_schema!({
    "type": "object", "additionalProperties": generator.subschema_for::<T>(), "minProperties": 1,
    "propertyNames": { "pattern": "^[A-Za-z0-9_.-]{1,63}$" },
}));
inline_schema!([T: JsonSchema] OneOrMore<T>, generator => json_schema!({
    "anyOf": [
        generator.subschema_for::<T>(),
        { "type": "array", "items": generator.subschema_for::<T>(), "minItems": 1 },
    ],
}));
inline_schema!([S: JsonSchema, L: JsonSchema] ShortOr<S, L>, generator => json_schema!({
    "anyOf": [generator.subschema_for::<S>(), generator.subschema_for::<L>()],
}));

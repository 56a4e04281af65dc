//! The file as written: from bytes on disk to a tree with places. The only door to the YAML library.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_yaml::Location;
use serde_yaml::MessageFormatter as _;
use serde_yaml::Spanned;
use serde_yaml::budget::BudgetBreach;
use sha2::Digest;
use sha2::Sha256;

use crate::config::check;
use crate::config::place::Places;
use crate::config::tree::Key;
use crate::config::tree::Node;
use crate::config::tree::Place;
use crate::config::tree::Value;
use crate::model::problem::Problem;
use crate::model::settings::Settings;

/// The longest file accepted, in bytes: some 5,000 targets.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// How deep collections may nest; the format itself needs six levels.
const DEPTH_MAX: usize = 32;
/// How many values a file may have, those that aliases repeat included.
const NODES_MAX: usize = 50_000;

/// A file that was read and is valid.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// Where it was read from, as it was named.
    pub path: PathBuf,
    /// Where each key stands, for problems that are found later.
    pub places: Places,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
}

impl Loaded {
    /// The files whose change should lead to a reload: the file itself, every certificate and key.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let mut files = BTreeSet::new();
        files.insert(std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()));
        for files_of_one in self
            .settings
            .listeners
            .iter()
            .filter_map(|l| l.tls.as_ref())
            .flatten()
        {
            files.insert(files_of_one.cert.clone());
            files.insert(files_of_one.key.clone());
        }
        files.into_iter().collect()
    }
}

/// The file to use when none is named: `./proxy.yaml`, else `/etc/proxyd/proxy.yaml`.
#[must_use]
pub fn find() -> Option<PathBuf> {
    ["proxy.yaml", "/etc/proxyd/proxy.yaml"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
}

/// Reads and checks a file. Blocks on the disk.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the file. A file that cannot be read is one
/// problem without a line.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let text = read_text(path).map_err(|problem| vec![problem])?;
    parse(&text, path)
}

/// Checks the text of a file; `path` names it in messages and is what relative paths in it are
/// relative to.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Loaded, Vec<Problem>> {
    let root = tree(text, path).map_err(|problem| vec![problem])?;
    let places = Places::new(path, &root);
    let settings = check::settings(&root, &places, &folder_of(path))?;
    let digest = Sha256::digest(text.as_bytes()).into();
    Ok(Loaded { settings, path: path.to_owned(), places, digest })
}

fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let unreadable = |why: &io::Error| {
        let hints = [
            (io::ErrorKind::NotFound, "name the file with --config FILE"),
            (
                io::ErrorKind::PermissionDenied,
                "the account that runs proxyd must be able to read it",
            ),
        ];
        let hint = hints.iter().find(|(kind, _)| *kind == why.kind());
        let hint = hint.map(|(_, hint)| (*hint).to_owned());
        nowhere(path, format!("cannot be read: {}", reason(why)), hint)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|why| unreadable(&why))?;
    String::from_utf8(bytes).map_err(|why| {
        let valid = why
            .as_bytes()
            .get(..why.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count() as u64;
        let hint = Some("save the file as UTF-8".to_owned());
        Problem { line, column: 1, ..nowhere(path, "is not UTF-8 text".to_owned(), hint) }
    })
}

/// The system's words without the ` (os error 2)`.
fn reason(why: &io::Error) -> String {
    let text = why.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

fn nowhere(path: &Path, what: String, hint: Option<String>) -> Problem {
    Problem { file: path.to_owned(), line: 0, column: 0, what, hint }
}

/// Parses the text; a tree is all this file hands out.
fn tree(text: &str, path: &Path) -> Result<Node, Problem> {
    if text.len() as u64 > FILE_BYTES_MAX {
        let what = format!("is larger than {} KiB", FILE_BYTES_MAX / 1024);
        return Err(nowhere(path, what, None));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::from_str_with_options::<Node>(text, options()).map_err(|why| {
        let at = why.location().map_or(Place { line: 1, column: 1 }, place);
        let line = usize::try_from(at.line).unwrap_or(0).saturating_sub(1);
        let hint = hint_for(text.lines().nth(line).unwrap_or_default());
        let what = format!("not valid YAML: {}", words_for(why.without_snippet()));
        Problem { file: path.to_owned(), line: at.line, column: at.column, what, hint }
    })
}

/// The library's words for what it met, in our own where it speaks of its budget.
fn words_for(why: &serde_yaml::Error) -> String {
    if let serde_yaml::Error::Budget { breach, .. } = why {
        if matches!(breach, BudgetBreach::Documents { .. }) {
            return "a second document begins here".to_owned();
        }
        if matches!(breach, BudgetBreach::Depth { .. }) {
            return format!("nested deeper than {DEPTH_MAX} levels");
        }
        return "it unfolds to more than a configuration can hold".to_owned();
    }
    let text = serde_yaml::DefaultMessageFormatter.format_message(why);
    // One line, and nothing in it that steers a terminal.
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The way out of the mistakes that YAML reports least clearly.
fn hint_for(line: &str) -> Option<String> {
    if line.trim_start_matches(' ').starts_with('\t') {
        return Some("indent with spaces: YAML forbids tabs there".to_owned());
    }
    if line.contains("]:") {
        return Some("an IPv6 address needs quotes: \"[::]:443\"".to_owned());
    }
    None
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_documents: 1,
            max_aliases: 1000,
            max_anchors: 1000,
            max_recorded_anchor_events: NODES_MAX,
            max_merge_keys: 1000,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
            max_alias_expansions_per_anchor: 1000,
        },
        // Both reach the reader, which reports the second with everything else that is wrong.
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        // A mode such as 0660 must not turn into the number 660.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, at: place(spanned.referenced) })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let key = Key { name: key.value, at: place(key.referenced) };
            let value = access.next_value::<Node>()?;
            entries.push((key, value));
        }
        Ok(Value::Map(entries))
    }
}

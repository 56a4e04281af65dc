//! Where each key path of a file stands, so that a problem found long after reading still names its
//! line.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use crate::config::tree::Node;
use crate::config::tree::Place;
use crate::config::tree::Value;
use crate::model::problem::Problem;

/// A message longer than this many characters is shortened: it quotes the file.
const MESSAGE_MAX: usize = 400;

/// The places of one file, by key path: `listeners[1].tls.certificates[0].key`.
#[derive(Debug, Clone)]
pub struct Places {
    file: PathBuf,
    by_path: HashMap<String, Place>,
}

impl Places {
    pub(crate) fn new(file: &Path, root: &Node) -> Self {
        let mut by_path = HashMap::new();
        collect(root, "", &mut by_path);
        Self { file: file.to_owned(), by_path }
    }

    /// A problem with what stands at `key_path`: its message begins with that path, its place is
    /// that of the value, or of the nearest parent that the file has (a key that was left out).
    #[must_use]
    pub fn problem(
        &self,
        key_path: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        self.problem_at(self.find(key_path), key_path, what, hint)
    }

    /// As [`problem`](Self::problem), for what stands elsewhere: a key rather than its value.
    pub(crate) fn problem_at(
        &self,
        at: Place,
        key_path: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        let what = what.into();
        let what = if key_path.is_empty() { what } else { format!("{key_path}: {what}") };
        Problem {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            what: printable(&what),
            hint: hint.map(|hint| printable(&hint)),
        }
    }

    /// The place of a key path's value, or of the nearest parent that has one.
    fn find(&self, key_path: &str) -> Place {
        let mut path = key_path;
        loop {
            if let Some(place) = self.by_path.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None if path.is_empty() => return Place { line: 1, column: 1 },
                None => path = "",
            }
        }
    }
}

/// `parent.key`, or `key` at the top.
pub(crate) fn below(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

fn collect(node: &Node, path: &str, by_path: &mut HashMap<String, Place>) {
    by_path.entry(path.to_owned()).or_insert(node.at);
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), by_path);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                collect(item, &below(path, &key.name), by_path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

/// What a message quotes from the file must not steer the terminal it is shown on, nor fill it.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (count, character) in text.chars().enumerate() {
        if count == MESSAGE_MAX {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let text =
            |line, column| Node { value: Value::Text(String::new()), at: Place { line, column } };
        let list = Node { value: Value::List(vec![text(2, 5)]), at: Place { line: 2, column: 3 } };
        let key = crate::config::tree::Key { name: "a".into(), at: Place { line: 1, column: 1 } };
        let at = Place { line: 1, column: 1 };
        Places::new(Path::new("f.yaml"), &Node { value: Value::Map(vec![(key, list)]), at })
    }

    #[test]
    fn a_problem_stands_at_the_value_or_at_its_nearest_parent() {
        let at = |path: &str| {
            let problem = places().problem(path, "bad", None);
            (problem.line, problem.column)
        };
        assert_eq!(at("a[0]"), (2, 5));
        assert_eq!(at("a[0].key.deeper[3]"), (2, 5));
        assert_eq!(at("a.b"), (2, 3));
        assert_eq!(at("z"), (1, 1));
        assert_eq!(places().problem("a[0]", "bad", None).what, "a[0]: bad");
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        let problem = places().problem("a", "\u{1b}[2J\nx", None);
        assert_eq!(problem.what, "a: \\u{1b}[2J\\nx");
        assert!(places().problem("a", "x".repeat(9999), None).what.len() < 500);
    }
}

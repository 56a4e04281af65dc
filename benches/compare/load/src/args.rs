//! `--name value` and `--name` on a command line.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Failure;

/// What was given.
pub(crate) struct Args(HashMap<String, String>);

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut given = HashMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(format!("\"{word}\" is not an option").into());
            };
            let value = words.next_if(|next| !next.starts_with("--"));
            given.insert(name.to_owned(), value.unwrap_or_default());
        }
        Ok(Self(given))
    }

    /// Whether the option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its text, if it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Its value, else the default.
    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse()
            .map_err(|_| format!("--{name}: \"{text}\" is not a number").into())
    }

    /// The port, which every mode needs.
    pub(crate) fn port(&self) -> Result<u16, Failure> {
        match self.number("port", 0)? {
            0 => Err("--port is missing".into()),
            port => Ok(port),
        }
    }
}

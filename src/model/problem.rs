//! One thing that is wrong with a configuration file: where, what, and the way out.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// A problem, as `proxyd check`, `proxyctl reload` and the control socket report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// Line, from 1; 0 where the problem has no place in the text (a missing file).
    pub line: u64,
    /// Column in characters, from 1; 0 as above.
    pub column: u64,
    /// What and why, beginning with the key's path where there is one:
    /// `upstreams.app.green[1]: "10.0.0.5" has no port`.
    pub what: String,
    /// The way out, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_place_and_the_way_out() {
        let problem = Problem {
            file: "proxy.yaml".into(),
            line: 14,
            column: 7,
            what: "upstreams.app.green[1]: \"10.0.0.5\" has no port".to_owned(),
            hint: Some("write \"10.0.0.5:8080\"".to_owned()),
        };
        assert_eq!(
            problem.to_string(),
            "proxy.yaml:14:7: upstreams.app.green[1]: \"10.0.0.5\" has no port\n  hint: write \"10.0.0.5:8080\""
        );
    }
}

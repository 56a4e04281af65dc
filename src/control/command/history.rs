//! `GET /v1/history`: who changed what, when, and what came of it; one line of JSON a change.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::control::command::Code;
use crate::model::colour::Colour;

/// One change, or one that was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended: RFC 3339, UTC, in milliseconds.
    pub at: String,
    /// Who asked for it.
    pub who: Who,
    /// Why proxyd did it by itself: `SIGHUP`, `changed on the disk` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What was asked for: `promote`, `rollback`, `reload`, `guard`, `maintenance` …
    pub what: String,
    /// The promotion, as logs and events name it. It has a line when it switches, and one at its end. So
    /// has whatever else goes on after its first answer (a guard, a drain of a target), by a name of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The upstreams it is about; empty where it is about the whole proxy, or about the only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// The colour it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// What came of it: `done`, `switched`, `drained`, `cut`, `reopened`, `refused` … ; `begun` for
    /// what goes on after its first answer, then how that ended; `unanswered` if the caller went away.
    pub outcome: String,
    /// Why it was refused, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Why it was refused, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// From the request to this line.
    pub seconds: f64,
    /// The generation in service before, and after. Beside other changes at the same time, a change
    /// that is no switch and no reload may count theirs as well.
    pub generation: Generations,
    /// What was asked, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// The event that ended it, with its receipts, reasons or verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
}

/// Who changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Who {
    /// Somebody on the control socket: the kernel says who.
    Peer {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Process id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// The command line that the caller says it is. Nothing vouches for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    },
    /// `proxyd`: nobody asked at that moment.
    Itself(String),
}

/// Generations around a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// In service before.
    pub before: u64,
    /// In service after.
    pub after: u64,
}

impl Who {
    /// proxyd, by itself.
    #[must_use]
    pub fn proxyd() -> Self {
        Self::Itself("proxyd".to_owned())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, pid, command) = match self {
            Self::Itself(name) => return f.write_str(name),
            Self::Peer { uid, pid, command, .. } => (uid, pid, command),
        };
        write!(f, "uid {uid}")?;
        if let Some(pid) = pid {
            write!(f, " pid {pid}")?;
        }
        match command {
            Some(command) => write!(f, " ({command})"),
            None => Ok(()),
        }
    }
}

/// The header in which a client says its own command line.
pub const COMMAND_HEADER: &str = "x-proxyctl-command";

/// How much of it is kept, in characters.
const COMMAND_MAX: usize = 512;

/// A command line as one line of printable ASCII, cut where it is too long.
#[must_use]
pub fn said(words: &str) -> String {
    let printable = |char: char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' };
    words.chars().take(COMMAND_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_stays_one_line_whatever_it_holds() {
        assert_eq!(said("proxyctl promote green\n\x1b[31m\u{7f}"), "proxyctl promote green??[31m?");
        assert_eq!(said(&"x".repeat(9999)).len(), COMMAND_MAX);
    }

    #[test]
    fn who_is_a_peer_or_proxyd_itself() {
        let peer = Who::Peer { uid: 0, gid: 0, pid: None, command: None };
        for (who, json) in [(peer, r#"{"uid":0,"gid":0}"#), (Who::proxyd(), r#""proxyd""#)] {
            assert_eq!(serde_json::to_string(&who).unwrap(), json);
            assert_eq!(serde_json::from_str::<Who>(json).unwrap(), who);
        }
    }
}

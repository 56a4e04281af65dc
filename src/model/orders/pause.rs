//! The order to hold requests for a moment: a database that is being migrated, say. What is held has no
//! colour; let go, it gets the one that is live then.

use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::model::orders::moment;

/// Requests are held, up to a moment; then they are let go one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it was ordered.
    #[serde(with = "moment")]
    pub since: SystemTime,
    /// Until when requests are held: they are let go from here on. Somebody who resumes sets it.
    #[serde(with = "moment")]
    pub until: SystemTime,
    /// Only requests whose method is not safe are held.
    #[serde(default)]
    pub writes_only: bool,
    /// How long each is held at the most.
    pub max: Duration,
    /// Over which time they are let go.
    pub over: Duration,
}

impl Pause {
    /// Whether it holds a request at `now`; `safe`: of a [safe method](is_safe).
    #[must_use]
    pub fn holds(&self, safe: bool, now: SystemTime) -> bool {
        now < self.until && !(self.writes_only && safe)
    }

    /// When the last that it held has been let go: the order is over.
    #[must_use]
    pub fn end(&self) -> SystemTime {
        self.until + self.over
    }
}

/// Whether a method only reads (RFC 9110 §9.2.1).
#[must_use]
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_up_to_its_moment_and_only_what_it_is_to() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (max, over) = (Duration::from_secs(20), Duration::from_secs(2));
        let pause = Pause { since: at(0), until: at(10), writes_only: true, max, over };
        assert!(pause.holds(is_safe("POST"), at(9)) && pause.holds(is_safe("PURGE"), at(9)));
        assert!(!pause.holds(is_safe("GET"), at(9)));
        assert!(!pause.holds(is_safe("POST"), at(10)));
        assert_eq!(pause.end(), at(12));
        assert!(Pause { writes_only: false, ..pause }.holds(is_safe("GET"), at(9)));
    }
}

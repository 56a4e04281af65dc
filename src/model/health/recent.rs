//! The last probes of a target, oldest first: what people look at when a gate does not open.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::model::health::ProbeRecord;

/// How many are kept: at one a second, the time that a person needs to come and look.
pub const KEPT: usize = 20;

/// How much is kept of the body of an answer that was not good, in bytes of text.
pub const BODY_KEPT: usize = 200;

/// A probe that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// It.
    pub record: ProbeRecord,
    /// How the body of a bad answer begins, as text that is safe to print; `None`: there was none, or
    /// the probe was good.
    pub body: Option<String>,
}

/// The last [`KEPT`] probes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: VecDeque<Kept>,
    /// The first probe of the row of good or bad ones that still goes on.
    turned: Option<SystemTime>,
}

impl Recent {
    pub(super) fn add(&mut self, kept: Kept) {
        let good = |kept: &Kept| kept.record.outcome.is_good();
        if self.ring.back().map(good) != Some(good(&kept)) {
            self.turned = Some(kept.record.at);
        }
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(kept);
    }

    pub(super) fn last(&self) -> Option<&ProbeRecord> {
        self.ring.back().map(|kept| &kept.record)
    }

    pub(super) fn turned(&self) -> Option<SystemTime> {
        self.turned
    }

    pub(super) fn all(&self) -> Vec<Kept> {
        self.ring.iter().cloned().collect()
    }
}

/// The beginning of a peer's body as one line of text that is safe on a terminal and in a log;
/// `None` if nothing of it can be read.
#[must_use]
pub fn printable(body: &[u8]) -> Option<String> {
    let mut text = String::new();
    for char in String::from_utf8_lossy(body).chars() {
        let char = if char.is_control() { ' ' } else { char };
        // One space stands for any number: a body is often laid out over many lines.
        if char.is_whitespace() && text.chars().next_back().is_none_or(char::is_whitespace) {
            continue;
        }
        if text.len() + char.len_utf8() > BODY_KEPT {
            break;
        }
        text.push(char);
    }
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::ProbeOutcome;
    use proptest::prelude::*;
    use std::time::Duration;

    fn kept(second: u64, outcome: ProbeOutcome) -> Kept {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Kept { record: ProbeRecord { at, outcome, latency: Duration::ZERO }, body: None }
    }

    #[test]
    fn the_last_twenty_are_kept_the_oldest_first() {
        let mut recent = Recent::default();
        for second in 0..50 {
            recent.add(kept(second, ProbeOutcome::Good(200)));
        }
        let all = recent.all();
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0], kept(30, ProbeOutcome::Good(200)));
        assert_eq!(recent.last(), Some(&kept(49, ProbeOutcome::Good(200)).record));
    }

    #[test]
    fn a_row_began_with_its_first_probe_even_when_that_is_kept_no_more() {
        let mut recent = Recent::default();
        recent.add(kept(1, ProbeOutcome::Good(200)));
        for second in 2..100 {
            recent.add(kept(second, ProbeOutcome::Status(500)));
        }
        let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(recent.turned(), Some(second(2)));
        recent.add(kept(100, ProbeOutcome::Good(200)));
        assert_eq!(recent.turned(), Some(second(100)));
    }

    #[test]
    fn a_body_becomes_one_short_line() {
        let page = b"{\n  \"status\": \"DOWN\",\r\n\t\"db\":\x1b[31m \"gone\"\n}\n";
        assert_eq!(
            printable(page).as_deref(),
            Some("{ \"status\": \"DOWN\", \"db\": [31m \"gone\" }")
        );
        assert_eq!(printable(b""), None);
        assert_eq!(printable(b"\r\n\0"), None);
        assert_eq!(printable(&[b'x'; 500]).map(|text| text.len()), Some(BODY_KEPT));
    }

    proptest! {
        #[test]
        fn no_body_steers_a_terminal_or_grows(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let text = printable(&body).unwrap_or_default();
            prop_assert!(text.len() <= BODY_KEPT && !text.contains(char::is_control));
        }
    }
}

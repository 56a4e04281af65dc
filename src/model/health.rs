//! A target's verdict: good and bad probes in a row against `rise` and `fall`.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use crate::model::settings::HealthSettings;

/// What is known about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Never probed: usable, because refusing it would turn a restart into an outage.
    Unknown = 0,
    /// `rise` good probes in a row.
    Healthy = 1,
    /// `fall` bad ones in a row.
    Unhealthy = 2,
}

/// How one probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// An expected status.
    Good(u16),
    /// Another status.
    Status(u16),
    /// A redirect: never followed, so that it cannot vouch for another place.
    Redirect(u16),
    /// The connection was refused.
    Refused,
    /// Connecting failed otherwise, or the connection broke: why, in a few words.
    Broken(String),
    /// No whole answer within `health.timeout`.
    Timeout,
    /// The name does not resolve.
    Unresolved,
    /// What came back is not HTTP.
    NotHttp,
    /// Another build than the promotion asked for answered.
    WrongBuild {
        /// The build it named; `None`: it named none.
        found: Option<String>,
        /// The build that was asked for.
        wanted: String,
    },
}

/// One probe, for status and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRecord {
    /// When it ended.
    pub at: SystemTime,
    /// How it ended.
    pub outcome: ProbeOutcome,
    /// How long it took.
    pub latency: Duration,
}

/// The cell in which a target's health lives, shared by every snapshot it stands in. Workers read
/// [`verdict`](Self::verdict), one atomic load; the control plane writes.
#[derive(Debug, Default)]
pub struct Health {
    verdict: AtomicU8,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    good_in_a_row: u32,
    bad_in_a_row: u32,
    last: Option<ProbeRecord>,
}

impl ProbeOutcome {
    /// Whether the probe counts as good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good(_))
    }

    /// The way out, where the outcome suggests one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Redirect(_) => Some(
                "the probe carries X-Forwarded-Proto: https and follows no redirect: point health.path at a page that answers itself",
            ),
            Self::WrongBuild { .. } => Some("an older process may still hold the port"),
            Self::Good(_)
            | Self::Status(_)
            | Self::Refused
            | Self::Broken(_)
            | Self::Timeout
            | Self::Unresolved
            | Self::NotHttp => None,
        }
    }
}

/// As in `last_probe.outcome` and the gate's events: `200`, `503`, `refused`, `timeout` …
impl fmt::Display for ProbeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(status) | Self::Status(status) => write!(f, "{status}"),
            Self::Redirect(status) => write!(f, "redirect {status}"),
            Self::Refused => f.write_str("refused"),
            Self::Broken(why) => f.write_str(why),
            Self::Timeout => f.write_str("timeout"),
            Self::Unresolved => f.write_str("unresolved"),
            Self::NotHttp => f.write_str("not http"),
            Self::WrongBuild { found: Some(build), .. } => write!(f, "build {build}"),
            Self::WrongBuild { found: None, .. } => f.write_str("no build header"),
        }
    }
}

impl Health {
    /// What is known now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            1 => Verdict::Healthy,
            2 => Verdict::Unhealthy,
            _ => Verdict::Unknown,
        }
    }

    /// Whether requests may be sent there.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.verdict() != Verdict::Unhealthy
    }

    /// The last probe.
    #[must_use]
    pub fn last(&self) -> Option<ProbeRecord> {
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last
            .clone()
    }

    /// Takes in one probe; returns the new verdict if it changed.
    pub fn record(&self, probe: ProbeRecord, settings: &HealthSettings) -> Option<Verdict> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let good = probe.outcome.is_good();
        history.good_in_a_row = if good { history.good_in_a_row.saturating_add(1) } else { 0 };
        history.bad_in_a_row = if good { 0 } else { history.bad_in_a_row.saturating_add(1) };
        history.last = Some(probe);
        let before = self.verdict();
        let after = match before {
            // The first probe of all decides alone: there is nothing yet that it could contradict.
            Verdict::Unknown if good => Verdict::Healthy,
            Verdict::Unknown => Verdict::Unhealthy,
            Verdict::Healthy if history.bad_in_a_row >= settings.fall => Verdict::Unhealthy,
            Verdict::Unhealthy if history.good_in_a_row >= settings.rise => Verdict::Healthy,
            Verdict::Healthy | Verdict::Unhealthy => before,
        };
        self.verdict.store(after as u8, Ordering::Relaxed);
        (after != before).then_some(after)
    }

    /// A gate has just vouched for this target: it is healthy whatever `rise` still asks for.
    /// Returns whether that is news.
    pub fn vouch(&self) -> bool {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.bad_in_a_row = 0;
        self.verdict.swap(Verdict::Healthy as u8, Ordering::Relaxed) != Verdict::Healthy as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(outcome: ProbeOutcome) -> ProbeRecord {
        ProbeRecord { at: SystemTime::UNIX_EPOCH, outcome, latency: Duration::from_millis(1) }
    }

    #[test]
    fn falls_after_fall_bad_probes_in_a_row_and_rises_after_rise_good_ones() {
        let settings = HealthSettings { rise: 2, fall: 3, ..HealthSettings::default() };
        let health = Health::default();
        assert!(health.is_usable());
        assert_eq!(
            health.record(probe(ProbeOutcome::Good(200)), &settings),
            Some(Verdict::Healthy)
        );
        assert_eq!(health.record(probe(ProbeOutcome::Timeout), &settings), None);
        assert_eq!(health.record(probe(ProbeOutcome::Timeout), &settings), None);
        assert_eq!(health.record(probe(ProbeOutcome::Good(200)), &settings), None);
        for _ in 0..2 {
            assert_eq!(health.record(probe(ProbeOutcome::Status(503)), &settings), None);
        }
        let third = health.record(probe(ProbeOutcome::Refused), &settings);
        assert_eq!(third, Some(Verdict::Unhealthy));
        assert_eq!(health.record(probe(ProbeOutcome::Good(200)), &settings), None);
        assert!(!health.is_usable());
        assert_eq!(
            health.record(probe(ProbeOutcome::Good(200)), &settings),
            Some(Verdict::Healthy)
        );
    }

    #[test]
    fn the_first_probe_decides_alone() {
        let health = Health::default();
        let settings = HealthSettings::default();
        assert_eq!(
            health.record(probe(ProbeOutcome::Refused), &settings),
            Some(Verdict::Unhealthy)
        );
        assert!(health.vouch());
        assert!(!health.vouch());
        assert_eq!(health.verdict(), Verdict::Healthy);
    }
}

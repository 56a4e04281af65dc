//! A target's verdict: good and bad probes in a row against `rise` and `fall`; and whether it rests
//! because requests failed on it one after the other.

mod ejection;
mod recent;

use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use crate::model::health::ejection::Ejection;
use crate::model::health::recent::Recent;
use crate::model::settings::HealthSettings;

pub use crate::model::health::recent::BODY_KEPT;
pub use crate::model::health::recent::KEPT;
pub use crate::model::health::recent::Kept;
pub use crate::model::health::recent::printable;

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

/// Beside the verdict: the target rests.
const EJECTED: u8 = 0x80;

/// The cell in which a target's health lives, shared by every snapshot it stands in. Workers read
/// [`is_usable`](Self::is_usable), one atomic load. The control plane writes the verdict, workers what
/// came of their requests.
#[derive(Debug, Default)]
pub struct Health {
    /// The verdict, and [`EJECTED`].
    standing: AtomicU8,
    history: Mutex<History>,
    ejection: Ejection,
}

#[derive(Debug, Default)]
struct History {
    good_in_a_row: u32,
    bad_in_a_row: u32,
    recent: Recent,
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
    /// What its probes say.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.standing.load(Ordering::Relaxed) & !EJECTED {
            1 => Verdict::Healthy,
            2 => Verdict::Unhealthy,
            _ => Verdict::Unknown,
        }
    }

    /// Whether requests may be sent there: its probes say nothing against it, and it does not rest.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.standing.load(Ordering::Relaxed) < Verdict::Unhealthy as u8
    }

    /// The last probe.
    #[must_use]
    pub fn last(&self) -> Option<ProbeRecord> {
        self.history().recent.last().cloned()
    }

    /// The last probes, at most [`KEPT`], the oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Kept> {
        self.history().recent.all()
    }

    /// Since when its probes have all been good, or all been bad; `None` before the first one.
    #[must_use]
    pub fn turned(&self) -> Option<SystemTime> {
        self.history().recent.turned()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one probe; returns the new verdict if it changed.
    pub fn record(&self, probe: ProbeRecord, settings: &HealthSettings) -> Option<Verdict> {
        self.keep(Kept { record: probe, body: None }, settings)
    }

    /// As [`record`](Self::record), with what a bad answer said.
    pub fn keep(&self, kept: Kept, settings: &HealthSettings) -> Option<Verdict> {
        let mut history = self.history();
        let probe = &kept.record;
        let good = probe.outcome.is_good();
        history.good_in_a_row = if good { history.good_in_a_row.saturating_add(1) } else { 0 };
        history.bad_in_a_row = if good { 0 } else { history.bad_in_a_row.saturating_add(1) };
        let at = probe.at;
        history.recent.add(kept);
        let before = self.verdict();
        let after = match before {
            // The first probe of all decides alone: there is nothing yet that it could contradict.
            Verdict::Unknown if good => Verdict::Healthy,
            Verdict::Unknown => Verdict::Unhealthy,
            Verdict::Healthy if history.bad_in_a_row >= settings.fall => Verdict::Unhealthy,
            Verdict::Unhealthy if history.good_in_a_row >= settings.rise => Verdict::Healthy,
            Verdict::Healthy | Verdict::Unhealthy => before,
        };
        // Probes that saw it fall and come back have seen why it was ejected, and that this is over.
        let recovered = before == Verdict::Unhealthy && after == Verdict::Healthy;
        if good && self.is_ejected() && (recovered || self.ejection.is_over(at)) {
            self.ejection.end(at);
            self.standing.fetch_and(!EJECTED, Ordering::SeqCst);
        }
        self.set_verdict(after);
        (after != before).then_some(after)
    }

    /// A gate has just vouched for this target: it is healthy whatever `rise` still asks for, and
    /// what failed on it before is forgotten. Returns whether that is news.
    pub fn vouch(&self) -> bool {
        let mut history = self.history();
        history.bad_in_a_row = 0;
        self.readmit();
        let before = self.verdict();
        self.set_verdict(Verdict::Healthy);
        before != Verdict::Healthy
    }

    /// Only while the history is held: a worker may change the other bit at the same time.
    fn set_verdict(&self, verdict: Verdict) {
        let with = |standing: u8| Some(standing & EJECTED | verdict as u8);
        let (order, fetched) = (Ordering::SeqCst, Ordering::Relaxed);
        // It is never refused.
        self.standing.fetch_update(order, fetched, with).ok();
    }

    /// A request was answered whole.
    pub fn served(&self) {
        self.ejection.served();
    }

    /// A request failed; whether there were too many in a row.
    pub fn failed(&self) -> bool {
        self.ejection.failed()
    }

    /// Whether it rests.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.standing.load(Ordering::SeqCst) & EJECTED != 0
    }

    /// Until when it rests, at least: then the next good probe brings it back.
    #[must_use]
    pub fn ejected_until(&self) -> Option<SystemTime> {
        self.is_ejected().then(|| self.ejection.until())
    }

    /// Lets it rest. Until when; `None` if it rests already.
    pub(super) fn eject(&self, now: SystemTime) -> Option<SystemTime> {
        if self.is_ejected() {
            return None;
        }
        let until = self.ejection.begin(now)?;
        self.standing.fetch_or(EJECTED, Ordering::SeqCst);
        Some(until)
    }

    /// Ends its rest as if there had been none.
    pub(super) fn readmit(&self) {
        self.ejection.forget();
        self.standing.fetch_and(!EJECTED, Ordering::SeqCst);
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

    #[test]
    fn a_rest_ends_with_the_first_good_probe_after_its_time() {
        let (health, settings) = (Health::default(), HealthSettings::default());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let record = |seconds, outcome| {
            let probe = ProbeRecord { at: at(seconds), ..probe(outcome) };
            health.record(probe, &settings);
        };
        record(1000, ProbeOutcome::Good(200));
        assert_eq!(health.eject(at(1000)), Some(at(1010)));
        assert_eq!(health.eject(at(1001)), None);
        record(1009, ProbeOutcome::Good(200));
        assert_eq!((health.is_usable(), health.ejected_until()), (false, Some(at(1010))));
        assert_eq!(health.verdict(), Verdict::Healthy);
        record(1010, ProbeOutcome::Status(503));
        assert!(health.is_ejected());
        record(1011, ProbeOutcome::Good(200));
        assert_eq!((health.is_usable(), health.ejected_until()), (true, None));
        assert_eq!(health.eject(at(1012)), Some(at(1032)));
        health.vouch();
        assert_eq!((health.is_usable(), health.eject(at(1013))), (true, Some(at(1023))));
    }

    #[test]
    fn a_rest_ends_with_the_outage_if_the_probes_saw_that() {
        let (health, settings) = (Health::default(), HealthSettings::default());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let record = |outcome| health.record(ProbeRecord { at: now, ..probe(outcome) }, &settings);
        record(ProbeOutcome::Good(200));
        assert!(health.eject(now).is_some());
        for _ in 1..settings.fall {
            record(ProbeOutcome::Refused);
            record(ProbeOutcome::Good(200));
            assert!(health.is_ejected(), "the probes had nothing against it");
        }
        for _ in 0..settings.fall {
            record(ProbeOutcome::Refused);
        }
        assert!(health.is_ejected());
        assert_eq!(record(ProbeOutcome::Good(200)), Some(Verdict::Healthy));
        assert!(health.is_usable());
    }
}

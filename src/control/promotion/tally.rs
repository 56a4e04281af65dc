//! Who failed how often while a gate was open, in words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::control::command::event::Reason;
use crate::control::promotion::Answer;
use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;

/// The counts of every target of one gate.
#[derive(Debug, Default)]
pub(super) struct Tally {
    targets: BTreeMap<(Arc<str>, Arc<str>), Count>,
    rounds: u32,
    last_round_good: bool,
}

#[derive(Debug)]
struct Count {
    colour: Colour,
    probes: u32,
    failed: u32,
    failed_last: bool,
    last_failure: Option<ProbeOutcome>,
}

impl Tally {
    /// Counts one round; returns whether every target passed. A round that asked nobody is not good.
    pub(super) fn add(&mut self, answers: &[Answer]) -> bool {
        for answer in answers {
            let key = (Arc::clone(&answer.upstream), Arc::clone(&answer.target));
            let count = self.targets.entry(key).or_insert(Count {
                colour: answer.colour,
                probes: 0,
                failed: 0,
                failed_last: false,
                last_failure: None,
            });
            count.probes = count.probes.saturating_add(1);
            count.failed_last = !answer.outcome.is_good();
            if count.failed_last {
                count.failed = count.failed.saturating_add(1);
                count.last_failure = Some(answer.outcome.clone());
            }
        }
        self.rounds = self.rounds.saturating_add(1);
        self.last_round_good =
            !answers.is_empty() && answers.iter().all(|answer| answer.outcome.is_good());
        self.last_round_good
    }

    /// The targets that failed in the last round; if none did, those that failed before; if none
    /// ever did, that there was not time enough.
    pub(super) fn reasons(&self, needed: u32, gate_timeout: Duration) -> Vec<Reason> {
        let blamed = |last_only: bool| -> Vec<Reason> {
            self.targets
                .iter()
                .filter(|(_, count)| count.failed_last || (!last_only && count.failed > 0))
                .map(|((upstream, target), count)| count.reason(upstream, target))
                .collect()
        };
        let reasons = blamed(!self.last_round_good);
        if !reasons.is_empty() {
            return reasons;
        }
        let (upstream, colour) = self
            .targets
            .iter()
            .next()
            .map_or((String::new(), Colour::Blue), |((upstream, _), count)| {
                (upstream.to_string(), count.colour)
            });
        let timeout = humantime::format_duration(gate_timeout);
        vec![Reason {
            upstream,
            colour,
            target: None,
            what: format!(
                "{} of {needed} rounds of probes were complete within the gate timeout of {timeout}",
                self.rounds
            ),
            hint: Some(
                "allow a longer gate timeout: the rounds are one health.interval apart".to_owned(),
            ),
        }]
    }
}

impl Count {
    fn reason(&self, upstream: &str, target: &str) -> Reason {
        let failure = self.last_failure.as_ref();
        let what = failure.map_or_else(|| "failed".to_owned(), in_words);
        Reason {
            upstream: upstream.to_owned(),
            colour: self.colour,
            target: Some(target.to_owned()),
            what: format!("{target} {what} ({} of {} probes)", self.failed, self.probes),
            hint: failure.and_then(ProbeOutcome::hint).map(str::to_owned),
        }
    }
}

/// What a target did, as a verb: `answered 503`.
pub(crate) fn in_words(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Good(status) | ProbeOutcome::Status(status) => format!("answered {status}"),
        ProbeOutcome::Redirect(status) => format!("answered {status}, a redirect"),
        ProbeOutcome::Refused => "refused the connection".to_owned(),
        ProbeOutcome::Broken(why) => format!("failed: {why}"),
        ProbeOutcome::Timeout => "did not answer within health.timeout".to_owned(),
        ProbeOutcome::Unresolved => "does not resolve".to_owned(),
        ProbeOutcome::NotHttp => "does not answer in HTTP".to_owned(),
        ProbeOutcome::WrongBuild { found: Some(found), wanted } => {
            format!("answered as build {found}, not {wanted}")
        }
        ProbeOutcome::WrongBuild { found: None, wanted } => {
            format!("answered without naming its build, not as {wanted}")
        }
    }
}

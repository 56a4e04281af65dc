//! What happens while a command runs, one JSON object a line; the last line is the verdict.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::Code;
use crate::control::command::target::TargetEvent;
use crate::control::command::verdict::Baking;
use crate::control::command::verdict::Verdict;
use crate::model::colour::Colour;
use crate::model::orders::Order;
use crate::model::problem::Problem;
use crate::model::split::Share;

/// One event of a promotion, or of the daemon (`GET /v1/events`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The new colour is being warmed up; its gate comes afterwards.
    Warming {
        /// One an upstream that is.
        upstreams: Vec<Warmth>,
    },
    /// One round of the gate's probes is complete.
    Gating {
        /// One entry a target.
        targets: Vec<TargetReport>,
    },
    /// New requests get the new colour from here.
    Switched {
        /// The generation now in service.
        generation: u64,
    },
    /// The retired colour still has work.
    Draining {
        /// Requests in flight on it, tunnels included.
        in_flight: usize,
    },
    /// Nothing is left on the retired colour, and nothing had to be ended by force. Last.
    Drained {
        /// One an upstream.
        receipts: Vec<Receipt>,
    },
    /// The deadline came, and not all that was left could be ended well. Last.
    Cut {
        /// One an upstream.
        receipts: Vec<Receipt>,
    },
    /// The colour that drained was made live again: nothing is safe to kill. Last.
    Reopened {
        /// One an upstream, `safe_to_kill` being null.
        receipts: Vec<Receipt>,
    },
    /// A step of a promotion in steps begins: this part of the users gets the new colour.
    Step {
        /// The new colour.
        colour: Colour,
        /// The part, in percent.
        weight: Share,
        /// Which step it is, from 1.
        step: usize,
        /// Of how many.
        steps: usize,
        /// How long it is judged, at least.
        pause_seconds: f64,
        /// The generation in service.
        generation: u64,
    },
    /// The new colour is being judged.
    Baking {
        /// One an upstream.
        colours: Vec<Baking>,
        /// Until the verdict, at the latest.
        left_seconds: f64,
    },
    /// What the bake of one upstream has come to.
    Verdict(Verdict),
    /// The new colour was judged bad, and the old one was made live again: nothing is safe to kill.
    /// Last.
    Reverted {
        /// One an upstream; `colour` is the one that is live again.
        receipts: Vec<Receipt>,
    },
    /// The new colour was judged bad, and traffic stays: nothing is safe to kill. Last.
    Frozen {
        /// One an upstream.
        receipts: Vec<Receipt>,
    },
    /// Nothing has changed. Last.
    Refused {
        /// `gate` or `not_durable`; `taken_back` for a promotion that was cancelled.
        code: Code,
        /// Every reason, at least one.
        reasons: Vec<Reason>,
    },
    /// `--dry-run`: the gate would have passed. Last.
    WouldSwitch {
        /// The targets of the last round.
        targets: Vec<TargetReport>,
        /// Requests in flight on the colour that would be retired, tunnels included.
        in_flight: usize,
        /// The part of them that are tunnels.
        tunnels: usize,
    },
    /// A part of the users gets a colour: from here on, or another part than before. Last for whoever
    /// asked. With `weight` 0, told to all who follow: the canary is over.
    Canary {
        /// The colour.
        colour: Colour,
        /// Percent of the users.
        weight: Share,
        /// The generation now in service.
        generation: u64,
    },
    /// A guard holds. The command may run while the connection stays open.
    Guarded {
        /// The upstream.
        upstream: String,
        /// The colour that cannot be promoted meanwhile.
        colour: Colour,
    },
    /// A target's verdict changed.
    Probe {
        /// The upstream.
        upstream: String,
        /// The pool; absent for a plain one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        colour: Option<Colour>,
        /// The target's address.
        target: String,
        /// The new verdict.
        healthy: bool,
        /// What the deciding probe saw.
        outcome: String,
    },
    /// A target was ejected because requests failed on it one after the other, or is back.
    Ejection {
        /// The upstream.
        upstream: String,
        /// The pool; absent for a plain one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        colour: Option<Colour>,
        /// The target's address.
        target: String,
        /// Whether it rests from here on.
        ejected: bool,
        /// Until when, at least: RFC 3339, UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
    /// Something was ordered for an upstream, taken back, or is over by itself.
    Ordered {
        /// The upstream.
        upstream: String,
        /// What.
        order: Order,
        /// Whether it stands from here on.
        stands: bool,
        /// When it is over by itself: RFC 3339, UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// The generation in service.
        generation: u64,
    },
    /// A target drains, or is ready again: an order of `POST /v1/target`.
    Target(TargetEvent),
    /// A roll holds the upstream. It goes on while the connection stays open.
    Rolling {
        /// The upstream that cannot be promoted meanwhile.
        upstream: String,
    },
    /// The configuration file was applied or refused.
    Reload {
        /// Whether it was applied.
        applied: bool,
        /// The generation in service.
        generation: u64,
        /// What was wrong with the file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Problem>,
    },
}

/// A line of `GET /v1/events`: an event, when it was, and whose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// RFC 3339, UTC.
    pub at: String,
    /// The promotion it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The upstreams of that promotion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// The colour that it makes live. (A probe's own colour stands in its event.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoting: Option<Colour>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// One target's answer in one round of probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// The upstream.
    pub upstream: String,
    /// The target's address.
    pub address: String,
    /// `200`, `503`, `refused`, `timeout` …
    pub outcome: String,
    /// Whether that is what was expected.
    pub passed: bool,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
}

/// Why a promotion was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The upstream; empty where the reason concerns none.
    pub upstream: String,
    /// The colour that was refused.
    pub colour: Colour,
    /// The target, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why: `10.0.0.12:8081 answered 503 (3 of 3 probes)`.
    pub what: String,
    /// The way out, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a promotion reports at its end, for one upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The upstream.
    pub upstream: String,
    /// The colour that is live now.
    pub colour: Colour,
    /// The generation that made it live.
    pub generation: u64,
    /// How long the gate took.
    pub gate_seconds: f64,
    /// How long the drain took.
    pub drained_seconds: f64,
    /// What is still in flight on the retired colour: 0 unless it was reopened.
    pub in_flight: usize,
    /// What had to be ended at the deadline: by force, and well.
    pub cut: Cut,
    /// The colour whose processes may be stopped now.
    pub safe_to_kill: Option<Colour>,
    /// The colour was live before the command came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub already: bool,
    /// How the new colour was warmed up, if it was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmth>,
    /// What the bake has come to, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Until when the retired colour is not to be stopped: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<String>,
}

/// How warm a new colour is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warmth {
    /// The upstream.
    pub upstream: String,
    /// It answers about as quickly as the live colour, at the full rate.
    pub warm: bool,
    /// Requests that were repeated.
    pub requests: usize,
    /// Those that got no answer, or a 5xx.
    pub failed: usize,
    /// How fast they come, in requests a second.
    pub rate: f64,
    /// How long it takes so far.
    pub seconds: f64,
    /// The 95th percentile of the latest answers of its slowest target, in milliseconds; absent while
    /// there is none, or too many failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The live colour's, on the same paths; absent if nothing was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_p95_ms: Option<f64>,
}

/// What had to be ended at the drain's deadline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Requests that were not tunnels.
    pub requests: usize,
    /// WebSockets and other upgraded connections.
    pub tunnels: usize,
    /// Beside them: WebSockets that were closed well, by a Close 1012 between two frames.
    #[serde(default, skip_serializing_if = "is_none")]
    pub websockets_closed: usize,
    /// Beside them: streams of events that were ended well, after an event.
    #[serde(default, skip_serializing_if = "is_none")]
    pub events_ended: usize,
    /// Of the requests: HTTP/2 streams whose answer had begun, and that were reset.
    #[serde(default, skip_serializing_if = "is_none")]
    pub streams_reset: usize,
}

impl Cut {
    /// How many were ended by force.
    #[must_use]
    pub fn forced(&self) -> usize {
        self.requests + self.tunnels
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Event {
    /// Whether the history keeps it: a change, or how something ended.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.exit_code().is_some() || matches!(self, Self::Switched { .. })
    }

    /// The exit code of `proxyctl` if this event is the last one; `None` if more must follow
    /// (`Switched` is the last one only of a promotion that was asked not to wait).
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Drained { .. } | Self::WouldSwitch { .. } | Self::Canary { .. } => Some(0),
            Self::Cut { .. } => Some(3),
            Self::Reopened { .. } | Self::Reverted { .. } | Self::Frozen { .. } => Some(6),
            Self::Refused { code, .. } => Some(code.exit_code()),
            Self::Target(target) => target.exit_code(),
            Self::Warming { .. }
            | Self::Gating { .. }
            | Self::Switched { .. }
            | Self::Draining { .. }
            | Self::Baking { .. }
            | Self::Step { .. }
            | Self::Verdict(_)
            | Self::Guarded { .. }
            | Self::Probe { .. }
            | Self::Ejection { .. }
            | Self::Ordered { .. }
            | Self::Rolling { .. }
            | Self::Reload { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_written_to_the_letter() {
        let receipt = Receipt {
            upstream: "app".to_owned(),
            colour: Colour::Green,
            generation: 8,
            gate_seconds: 1.5,
            drained_seconds: 0.25,
            in_flight: 0,
            cut: Cut::default(),
            safe_to_kill: Some(Colour::Blue),
            already: false,
            warmup: None,
            verdict: None,
            held_until: None,
        };
        let line = serde_json::to_string(&Event::Drained { receipts: vec![receipt] }).unwrap();
        assert_eq!(
            line,
            r#"{"event":"drained","receipts":[{"upstream":"app","colour":"green","generation":8,"gate_seconds":1.5,"drained_seconds":0.25,"in_flight":0,"cut":{"requests":0,"tunnels":0},"safe_to_kill":"blue"}]}"#
        );
    }

    #[test]
    fn a_receipt_that_is_printed_reads_back_as_the_same_however_long_its_numbers_are() {
        let seconds = format!("0.2{}5", "4".repeat(99)); // what fuzzing has found
        let before = r#"{"upstream":"app","colour":"green","generation":8,"gate_seconds":1.5,"#;
        let after = r#""in_flight":5,"cut":{"requests":0,"tunnels":0},"safe_to_kill":"blue"}"#;
        let text = format!("{before}\"drained_seconds\":{seconds},{after}");
        let read: Receipt = serde_json::from_str(&text).unwrap();
        let printed = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&printed).unwrap(), read);
    }
}

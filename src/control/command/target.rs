//! `POST /v1/target`, `/v1/roll` and `/v1/pool`: what is ordered about targets, and what comes of it.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::event::Cut;
use crate::control::command::event::TargetReport;
use crate::control::command::is_false;
use crate::model::colour::Colour;
use crate::model::target::Admin;

/// `POST /v1/target`: drains a target, or makes it ready again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTarget {
    /// The upstream, with colours or without; absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The target's address, as `status` shows it.
    pub target: String,
    /// What is ordered for it.
    pub state: Admin,
    /// Whether the answer ends with the drain, or already once no new request goes there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,
    /// How long its requests may take before they are cut; absent: `promotion.drain_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How long to wait for its probes; absent: `promotion.gate_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_timeout: Option<String>,
    /// Drain it although nothing else of its pool can serve; make it ready without a probe.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// `POST /v1/roll`: holds promotions and other rolls off as long as the connection stays open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// The upstream, with colours or without; absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// `POST /v1/pool`: gives a colour other targets than the file does, or the file's again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPool {
    /// The upstream; absent: the only promotable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The colour.
    pub colour: String,
    /// Its targets' addresses; absent: those of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Although the colour is live.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// The answer to [`SetPool`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSet {
    /// The upstream.
    pub upstream: String,
    /// The colour.
    pub colour: Colour,
    /// The generation now in service.
    pub generation: u64,
    /// Its targets now.
    pub targets: Vec<String>,
    /// Whether they are not those of the file.
    pub overridden: bool,
}

/// What happened to one target, by an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetEvent {
    /// The upstream.
    pub upstream: String,
    /// The pool; absent for a plain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// The target's address.
    pub target: String,
    /// What.
    pub phase: TargetPhase,
    /// Requests in flight on it, tunnels included.
    pub in_flight: usize,
    /// What it answered to the last fresh probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<TargetReport>,
    /// Why it was refused: at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Once its drain is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<TargetReceipt>,
}

/// How far an order about a target has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetPhase {
    /// It gets no new requests. The last word for who does not wait.
    Draining,
    /// Nothing is left on it. Last.
    Drained,
    /// The deadline came: what was left has been ended. Last.
    Cut,
    /// Somebody made it ready while it drained. Last.
    TakenBack,
    /// One fresh probe is complete.
    Gating,
    /// It gets requests again. Last.
    Ready,
    /// It goes on draining. Last.
    Refused,
    /// Its new state could not be made durable: it goes on draining. Last.
    NotDurable,
}

/// What the drain of a target reports at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReceipt {
    /// The target's address.
    pub target: String,
    /// The generation that drained it.
    pub generation: u64,
    /// How long the drain took.
    pub seconds: f64,
    /// What is still in flight on it.
    pub in_flight: usize,
    /// What had to be ended at the deadline.
    pub cut: Cut,
    /// Whether its process may be stopped: nothing is in flight, and nothing comes.
    pub safe_to_restart: bool,
}

impl TargetEvent {
    /// The exit code of `proxyctl` if this event is the last one for who waits.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self.phase {
            TargetPhase::Drained | TargetPhase::Ready => Some(0),
            TargetPhase::Refused => Some(1),
            TargetPhase::Cut => Some(3),
            TargetPhase::TakenBack => Some(6),
            TargetPhase::NotDurable => Some(8),
            TargetPhase::Draining | TargetPhase::Gating => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::control::command::event::Event;

    use super::*;

    #[test]
    fn an_event_of_a_target_is_written_to_the_letter() {
        let receipt = TargetReceipt {
            target: "10.0.0.1:80".to_owned(),
            generation: 8,
            seconds: 0.25,
            in_flight: 0,
            cut: Cut { requests: 1, tunnels: 2, ..Cut::default() },
            safe_to_restart: true,
        };
        let event = TargetEvent {
            upstream: "app".to_owned(),
            colour: Some(Colour::Blue),
            target: "10.0.0.1:80".to_owned(),
            phase: TargetPhase::Cut,
            in_flight: 0,
            probe: None,
            reasons: Vec::new(),
            receipt: Some(receipt),
        };
        let line = serde_json::to_string(&Event::Target(event.clone())).unwrap();
        assert_eq!(
            line,
            r#"{"event":"target","upstream":"app","colour":"blue","target":"10.0.0.1:80","phase":"cut","in_flight":0,"receipt":{"target":"10.0.0.1:80","generation":8,"seconds":0.25,"in_flight":0,"cut":{"requests":1,"tunnels":2},"safe_to_restart":true}}"#
        );
        let read: Event = serde_json::from_str(&line).unwrap();
        assert_eq!((read.exit_code(), read), (Some(3), Event::Target(event)));
    }
}

//! What may be asked of the supervisor, as it stands on the wire of the control socket. Shared with
//! `cli`; changes only by growing.

pub mod canary;
pub mod event;
pub mod explain;
pub mod history;
pub mod maintenance;
pub mod pause;
pub mod status;
pub mod target;
pub mod verdict;
pub mod why;

use serde::Deserialize;
use serde::Serialize;

use crate::model::split::Share;

/// `POST /v1/promote`. Words that come from outside stay words here, so that the supervisor can
/// refuse an unknown one by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// The colour to make live.
    pub colour: String,
    /// Which upstreams; absent: the only promotable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Every promotable upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// How long to wait for every target; absent: `promotion.gate_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_timeout: Option<String>,
    /// How long the retired colour may finish; absent: `promotion.drain_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// Whether the answer ends with the drain, or already with the switch.
    #[serde(default = "yes")]
    pub wait: bool,
    /// Refuse unless this colour is live now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_live: Option<String>,
    /// The build every target must present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Run the gate, change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Skip the gate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// How long the new colour is judged after the switch; absent: `promotion.bake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<String>,
    /// What becomes of it if it is judged bad; absent: `promotion.on_fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<String>,
    /// Percent of the users, step by step, from a canary to everybody; each step is judged. Absent: all
    /// at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Share>,
    /// How long each step is judged; absent: a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Give the colour these targets first. If it is not promoted, it gets its former ones again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
}

/// `POST /v1/rollback`: promote the colour that was live before, with a gate of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// See [`Promote::upstreams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// See [`Promote::all`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Skip the gate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// See [`Promote::gate_timeout`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_timeout: Option<String>,
    /// See [`Promote::drain_timeout`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// See [`Promote::wait`].
    #[serde(default = "yes")]
    pub wait: bool,
}

/// `POST /v1/probe`: one fresh probe of every target of a colour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The colour to probe.
    pub colour: String,
    /// See [`Promote::upstreams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// See [`Promote::all`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

/// `POST /v1/guard`: held as long as the connection stays open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The colour that must be neither live nor in use.
    pub colour: String,
    /// The upstream; absent: the only promotable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Although the colour is held for a way back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_hold: bool,
}

/// The answer to [`Probe`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Whether every target answered as expected.
    pub passed: bool,
    /// One entry a target.
    pub targets: Vec<event::TargetReport>,
}

/// The answer to `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Always true; a refused reload is a [`Refusal`].
    pub applied: bool,
    /// The generation now in service.
    pub generation: u64,
    /// Sections that change at a restart only.
    pub pending_restart: Vec<String>,
}

/// An error on the control socket: `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The HTTP status, repeated.
    pub status: u16,
    /// What was refused, in a few words.
    pub title: String,
    /// What, which, why: one line.
    pub detail: String,
    /// For programs.
    pub code: Code,
    /// The way out, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the file, for a refused reload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<crate::model::problem::Problem>,
}

/// Why a command was refused. Each has one exit code of `proxyctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The gate did not pass (exit 1).
    Gate,
    /// The file is not valid, or what it asks for cannot be had (exit 1).
    Config,
    /// No such colour, upstream, path or field; or several upstreams and none named (exit 2).
    Unknown,
    /// Another promotion, or a guard, holds this upstream (exit 4).
    Busy,
    /// Another colour is live than the caller expects (exit 5).
    ExpectLive,
    /// Cancelled, or taken back, before it was done (exit 6).
    TakenBack,
    /// The state could not be made durable; nothing changed (exit 8).
    NotDurable,
    /// A guard: the colour is live, or something is in flight on it (`proxyctl guard`: exit 125).
    InUse,
}

impl Code {
    /// The exit code that `proxyctl` ends with.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Gate | Self::Config | Self::InUse => 1,
            Self::Unknown => 2,
            Self::Busy => 4,
            Self::ExpectLive => 5,
            Self::TakenBack => 6,
            Self::NotDurable => 8,
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

//! `GET /v1/status`: the whole state.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::history::Who;
use crate::control::command::is_false;
use crate::model::colour::Colour;
use crate::model::problem::Problem;
use crate::model::split::Share;
use crate::model::target::Admin;

/// Everything an operator may want to know now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The generation in service.
    pub generation: u64,
    /// By name.
    pub upstreams: BTreeMap<String, UpstreamStatus>,
    /// In the order of the file.
    pub listeners: Vec<ListenerStatus>,
    /// The configuration file.
    pub config: ConfigStatus,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The live colour; absent for a plain upstream, which cannot be promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Colour>,
    /// The other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Colour>,
    /// Since when the live colour is live: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The running promotion.
    pub promotion: Option<PromotionStatus>,
    /// Clients are told that it is being maintained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceStatus>,
    /// The canary that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// The preview that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewStatus>,
    /// The way back, while the old colour is held for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
    /// Its requests are held, or are being let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStatus>,
    /// The promotion in steps that drives the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepsStatus>,
    /// Somebody takes its targets one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<RollStatus>,
    /// `blue` and `green`, or `targets` for a plain upstream.
    pub pools: BTreeMap<String, PoolStatus>,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStatus {
    /// The colour that was live before.
    pub colour: Colour,
    /// Until when nobody stops it: RFC 3339, UTC.
    pub instant_until: String,
}

/// An upstream that is being maintained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceStatus {
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// When it is over by itself: RFC 3339, UTC.
    pub until: String,
    /// Networks whose clients are served all the same.
    pub allow: Vec<String>,
}

/// A canary that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The colour that a part of the users gets.
    pub colour: Colour,
    /// Percent of the users.
    pub weight: Share,
    /// When it began: RFC 3339, UTC.
    pub since: String,
}

/// A promotion in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepsStatus {
    /// Its name in logs and events.
    pub id: String,
    /// The colour that it makes live.
    pub colour: Colour,
    /// Percent of the users that the colour has at this step, or gets behind the gate of it.
    pub weight: Share,
    /// Which step this is, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// How long each is judged, at least, in seconds.
    pub pause_seconds: f64,
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// Who began it.
    pub by: Who,
}

/// A roll that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollStatus {
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// Who rolls.
    pub by: Who,
}

/// A preview that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewStatus {
    /// The colour that it shows.
    pub colour: Colour,
    /// When it was ordered: RFC 3339, UTC.
    pub since: String,
    /// When it is over: RFC 3339, UTC.
    pub until: String,
}

/// An upstream whose requests are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// Until when: RFC 3339, UTC. In the past: what was held is being let go.
    pub until: String,
    /// Whether only requests are held whose method is not safe.
    pub writes_only: bool,
    /// How long each is held at the most, in seconds.
    pub max_seconds: f64,
}

/// A running promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionStatus {
    /// Its name in logs and events.
    pub id: String,
    /// The colour that it makes live.
    pub colour: Colour,
    /// How far it has come.
    pub phase: Phase,
    /// When this phase began: RFC 3339, UTC.
    pub since: String,
}

/// How far a promotion has come, as status and refusals say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing has changed yet.
    Gating,
    /// The switch is done.
    Draining,
    /// The drain is over, and the new colour is still being judged.
    Baking,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Requests in flight, tunnels included.
    pub in_flight: usize,
    /// The part of them that are tunnels.
    pub tunnels: usize,
    /// In the order of the file.
    pub targets: Vec<TargetStatus>,
    /// Whether they are not those of the file, but were set at run time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub overridden: bool,
    /// Those of the file, where that is so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<String>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its address.
    pub address: String,
    /// What people have ordered for it: one that drains gets no new requests, however healthy it is.
    #[serde(default)]
    pub admin: Admin,
    /// Whether its probes let it be sent requests; `null` while it has never been probed.
    pub healthy: Option<bool>,
    /// Whether it rests because requests failed on it one after the other.
    #[serde(default)]
    pub ejected: bool,
    /// Until when it rests, at least: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_until: Option<String>,
    /// Requests in flight on it, tunnels included.
    pub in_flight: usize,
    /// The last probe.
    pub last_probe: Option<ProbeStatus>,
    /// The last probes, the oldest first, where they are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// When it ended: RFC 3339, UTC.
    pub at: String,
    /// `200`, `503`, `refused`, `timeout` …
    pub outcome: String,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// How the body of a bad answer begins, as one line of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// As in the file.
    pub bind: String,
    /// What the kernel gave: differs where the file says port 0.
    pub address: String,
}

/// The configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Its path.
    pub path: PathBuf,
    /// Sections of it that change at a restart only.
    pub pending_restart: Vec<String>,
    /// The last attempt to apply it.
    pub last_reload: ReloadStatus,
}

/// One attempt to apply the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// When: RFC 3339, UTC.
    pub at: String,
    /// Whether it was applied.
    pub ok: bool,
    /// What was wrong with it.
    pub problems: Vec<Problem>,
}

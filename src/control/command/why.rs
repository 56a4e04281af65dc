//! `GET /v1/why?colour=green`: what stands in the way of a promotion, now.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::status::ProbeStatus;
use crate::model::colour::Colour;

/// What would become of a promote of this colour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Whys {
    /// Whether nothing stands in its way.
    pub passes: bool,
    /// One an upstream.
    pub upstreams: Vec<WhyUpstream>,
}

/// What stands in the way for one upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyUpstream {
    /// Its name.
    pub upstream: String,
    /// The colour that is asked about.
    pub colour: Colour,
    /// The colour that is live.
    pub live: Colour,
    /// What a promote would be refused for.
    pub blocks: Vec<Finding>,
    /// What it would not be refused for, and is better known.
    pub notes: Vec<Finding>,
    /// In the order of the file.
    pub targets: Vec<WhyTarget>,
}

/// One thing that stands in the way, or is better known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is: one line.
    pub what: String,
    /// The target, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The way out, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One target, as a gate would find it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyTarget {
    /// Its address.
    pub address: String,
    /// Whether the probe that was sent for this answer passed.
    pub passed: bool,
    /// What that probe saw: `200`, `503`, `refused`, `timeout` …
    pub outcome: String,
    /// Since when its probes have all been good, or all been bad: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether it may be sent requests, by `rise` and `fall`.
    pub healthy: Option<bool>,
    /// Whether it rests because requests failed on it one after the other.
    pub ejected: bool,
    /// The last probes, the oldest first, the one for this answer included.
    pub probes: Vec<ProbeStatus>,
}

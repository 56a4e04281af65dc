//! `POST /v1/pause` and `POST /v1/resume`.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::is_false;

/// Holds the requests of upstreams for a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Which upstreams, with colours or without; absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Every upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Hold only requests whose method is not safe (RFC 9110 §9.2.1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub writes_only: bool,
    /// How long each is held at the most; absent: 20 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// When the pause is over by itself; absent: after 5 minutes.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// Lets what is held go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// See [`Pause::upstreams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// See [`Pause::all`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Over which time they are let go; absent: 2 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

/// The answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The generation now in service.
    pub generation: u64,
    /// The upstreams it is about.
    pub upstreams: Vec<String>,
    /// When it is over by itself: RFC 3339, UTC; absent if requests are being let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

//! `POST /v1/maintenance`.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::is_false;

/// Tells clients that upstreams are being maintained, or lets them in again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintain {
    /// Whether it begins or is over.
    pub on: bool,
    /// Which upstreams, with colours or without; absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Every upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// When it is over by itself; absent: after four hours.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// Networks and addresses whose clients are served all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// When clients are told to come back; absent: in two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// HTML to show instead of the proxy's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The answer to [`Maintain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    /// The generation now in service.
    pub generation: u64,
    /// The upstreams it is about.
    pub upstreams: Vec<String>,
    /// When it is over by itself: RFC 3339, UTC; absent if it is over now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

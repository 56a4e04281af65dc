//! `POST /v1/canary` and `POST /v1/preview`.

use serde::Deserialize;
use serde::Serialize;

use crate::control::command::is_false;
use crate::control::command::yes;
use crate::model::colour::Colour;
use crate::model::split::Share;

/// Gives a part of the users the standby colour; changes how large the part is; or ends that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The standby colour.
    pub colour: String,
    /// Percent of the users, in steps of 0.1; 0 ends the canary.
    pub weight: Share,
    /// Which upstreams; absent: the only promotable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Every promotable upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// As for a promote; a canary that runs already has no gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_timeout: Option<String>,
    /// As for a promote, at the end of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// Whether the end of a canary waits for its drain.
    #[serde(default = "yes")]
    pub wait: bool,
    /// The build every target must present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Skip the gate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// Shows the standby colour to whoever has a token, or ends that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The standby colour.
    pub colour: String,
    /// End it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub off: bool,
    /// Which upstreams; absent: the only promotable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Every promotable upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// When it is over by itself; absent: after an hour.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// The answer to [`Preview`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previewed {
    /// The generation now in service.
    pub generation: u64,
    /// One an upstream that is previewed now.
    pub previews: Vec<Invitation>,
    /// Upstreams of which none is any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
}

/// How one upstream's standby colour can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The upstream.
    pub upstream: String,
    /// The colour that is shown.
    pub colour: Colour,
    /// When it is over: RFC 3339, UTC.
    pub until: String,
    /// What the header `X-Proxy-Preview` must say.
    pub token: String,
    /// Where the application is, as its clients know it.
    pub url: String,
    /// For a browser: leaves the token as a cookie. Absent where that path leads to another upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// `preview.host` of the file: shows the colour to everybody who knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

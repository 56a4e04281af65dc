//! `POST /v1/explain`: what would become of a request that came now.

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;

/// A request that somebody might send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// `https://host[:port]/path?query`.
    pub url: String,
    /// Absent: GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `Name: value`, in order. A `Host` takes the place of the URL's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The address it comes from; absent: `127.0.0.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The generation that this is told of.
    pub generation: u64,
    /// Whose rules it meets first; absent: no listener would take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<ExplainedListener>,
    /// Where the client is, as far as anybody is believed.
    pub client: String,
    /// What happens.
    pub outcome: Ends,
    /// What the proxy answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where the proxy sends the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Why this happens: why this colour, or why no target gets it.
    pub why: String,
    /// The route that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<ExplainedRoute>,
    /// Routes that nearly took it, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearly: Vec<ExplainedRoute>,
    /// The colour that it gets; absent for a plain pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// The targets of its pool, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<ExplainedTarget>,
    /// The fields that the target gets, as a client's over HTTP/1.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ExplainedField>,
    /// The fields that it does not get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedField>,
    /// The fields that the proxy adds to the answer. Of a user who is new to a canary they name one that
    /// was drawn for this answer: the next draw may be of another colour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<AnswerField>,
    /// The patience that holds on its route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ExplainedTimeouts>,
    /// What it may not exceed.
    pub limits: ExplainedLimits,
}

/// What a request may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedLimits {
    /// Bytes of its head.
    pub request_header: usize,
    /// Fields of its head.
    pub request_headers: usize,
    /// Bytes of its body; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<u64>,
    /// Requests of its client's address at once.
    pub requests_per_address: usize,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// A target gets it.
    Forward,
    /// The client is sent to https.
    Redirect,
    /// The client is told that the application is being maintained.
    Maintain,
    /// It is held until a pause is over, and then decided about anew.
    Hold,
    /// The proxy refuses it, or knows no route.
    Refuse,
    /// No listener would take it.
    Unreachable,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedListener {
    /// Where it listens.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether it only sends clients to https.
    pub redirects: bool,
    /// Why this one.
    pub why: String,
}

/// A route, and why it takes a request or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// Its host: `app.example.com`, `*.example.com`, or `*` for any.
    pub host: String,
    /// Its path prefix.
    pub path: String,
    /// Where it leads.
    pub upstream: String,
    /// Why it takes the request, or does not.
    pub why: String,
}

/// A target that may get a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedTarget {
    /// Its address.
    pub address: String,
    /// `usable`, `backup`, `ejected`, `unhealthy` or `draining`.
    pub state: String,
    /// Its share beside the other candidates.
    pub weight: u32,
    /// Requests in flight on it: of two candidates drawn at random the less busy one is taken.
    pub in_flight: usize,
    /// Whether the first try may go there.
    pub candidate: bool,
}

/// A field that a target gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedField {
    /// Its name.
    pub name: String,
    /// Its value; for an `X-Request-ID` that the proxy makes, what kind of value.
    pub value: String,
    /// `sent` by the client, `added`, `replaced`, `extended` or `joined` by the proxy.
    pub how: How,
}

/// Where a field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// As the client sent it.
    Sent,
    /// The client did not send it.
    Added,
    /// The client's own value is not believed.
    Replaced,
    /// The chain of a trusted proxy, with one more link.
    Extended,
    /// Several lines as one.
    Joined,
}

/// A field that is added to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A field that a target does not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedField {
    /// Its name, as it was sent.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Timeouts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExplainedTimeouts {
    /// Connecting to a target.
    pub connect: f64,
    /// To the target's head, and between its bytes.
    pub response: f64,
    /// Between bytes of the request's body.
    pub request_body: f64,
    /// Between bytes that the client takes.
    pub send: f64,
    /// A tunnel in which nothing moves.
    pub tunnel: f64,
}

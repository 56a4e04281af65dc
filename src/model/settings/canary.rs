//! How a canary chooses its users, and where the standby colour can be seen before anybody gets it.

use std::sync::Arc;

use crate::model::colour::Colour;

/// How a canary of an upstream chooses its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanarySettings {
    /// By what a user is known from one request to the next.
    pub sticky: Sticky,
    /// The name of the cookie, for [`Sticky::Cookie`].
    pub cookie: Arc<str>,
    /// Requests that get a colour whoever sends them; the first that fits counts.
    pub pins: Vec<Pin>,
}

/// By what a user is known from one request to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sticky {
    /// A signed cookie that the proxy gives; the address for those who bring none.
    Cookie,
    /// The client's address, of IPv6 its /64.
    Address,
}

/// Requests that get a colour while a canary runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Where the value stands.
    pub by: PinnedBy,
    /// What the value must be, to the letter.
    pub value: String,
    /// The colour; `None`: the standby one.
    pub colour: Option<Colour>,
}

/// Where the value of a pin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinnedBy {
    /// In this header; its name is in lower case.
    Header(String),
    /// In this cookie.
    Cookie(String),
}

/// The name of the cookie that says who somebody is to a canary, unless the file says another.
pub const USER_COOKIE: &str = "proxyd_user";

impl Default for CanarySettings {
    fn default() -> Self {
        Self { sticky: Sticky::Address, cookie: USER_COOKIE.into(), pins: Vec::new() }
    }
}

/// Where the standby colour of an upstream can be seen while a preview is ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewSettings {
    /// A host on which the routes of the upstream lead to the standby colour.
    pub host: Option<Arc<str>>,
}

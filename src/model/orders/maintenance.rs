//! The order that an application is being maintained: clients get a 503 that says so.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::Deserialize;
use serde::Serialize;

use crate::model::orders::moment;

/// An application that is being maintained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// When it was ordered.
    #[serde(with = "moment")]
    pub since: SystemTime,
    /// When it is over by itself.
    #[serde(with = "moment")]
    pub until: SystemTime,
    /// Clients of these networks are served all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// When clients are told to come back.
    pub retry_after: Duration,
    /// The page to show instead of the proxy's own: HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl Maintenance {
    /// Whether this client is served all the same.
    #[must_use]
    pub fn lets_through(&self, client: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(&client))
    }
}

//! One address that serves requests, with everything about it that outlives a snapshot.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::Serialize;

use crate::model::health::Health;
use crate::model::settings::TargetSettings;
use crate::sync::published::Publisher;
use crate::sync::uses::Uses;

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A TCP port of an address that needs no resolving.
    Ip(SocketAddr),
    /// A TCP port of a DNS name.
    Name {
        /// The name, as written.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket, written `unix:/path`.
    Unix(PathBuf),
}

/// Why a target's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Nothing after the host says which port.
    #[error("\"{0}\" has no port")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("\"{0}\": the port is not a number from 1 to 65535")]
    BadPort(String),
    /// The host is neither an IP address nor a DNS name.
    #[error("\"{0}\" is neither an address, a host name nor unix:/path")]
    BadHost(String),
    /// `unix:` without an absolute or relative path.
    #[error("\"{0}\" names no socket path")]
    NoPath(String),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let named = !path.is_empty();
            return named
                .then(|| Self::Unix(PathBuf::from(path)))
                .ok_or_else(|| BadAddress::NoPath(text.to_owned()));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let usable = address.port() != 0;
            return usable
                .then_some(Self::Ip(address))
                .ok_or_else(|| BadAddress::BadPort(text.to_owned()));
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(BadAddress::NoPort(text.to_owned()));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(if is_host_name(text) {
                BadAddress::NoPort(text.to_owned())
            } else {
                BadAddress::BadHost(text.to_owned())
            });
        };
        let port = port.parse().ok().filter(|port| *port != 0);
        let Some(port) = port else { return Err(BadAddress::BadPort(text.to_owned())) };
        if !is_host_name(host) {
            return Err(BadAddress::BadHost(text.to_owned()));
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Address {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// Letters, digits, hyphens and underscores in labels of at most 63 bytes (RFC 1123 §2.1; container
/// networks use underscores), and not something that only looks like an IPv4 address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let trimmed = text.strip_suffix('.').unwrap_or(text);
    let numeric = trimmed
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && !numeric && trimmed.split('.').all(label)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What people have ordered for a target. Whether it answers its probes is another matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It gets requests, as far as its health allows.
    #[default]
    Ready,
    /// It gets no new requests; those that it has may finish.
    Draining,
}

/// A target in service. Shared by every snapshot in which it stands unchanged, so that its health,
/// its counts and its idle connections survive a promotion and a reload.
#[derive(Debug)]
pub struct Target {
    /// Unique in this process, never reused.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// The address as text: its name in status, metrics and logs.
    pub name: Arc<str>,
    /// Its share relative to its neighbours.
    pub weight: u32,
    /// Used only while no other target of the pool is healthy.
    pub backup: bool,
    /// What the probes say.
    pub health: Health,
    /// Requests in flight, tunnels included, a cell for each worker; and whether it takes more.
    pub in_flight: Uses,
    resolved: Publisher<Vec<SocketAddr>>,
    /// See [`filed_under`](Self::filed_under).
    filed_under: AtomicU64,
}

/// Of everything that is counted up: targets, and what their connections are filed under.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Target {
    /// A target that has not been probed yet.
    #[must_use]
    pub fn new(settings: &TargetSettings, workers: usize) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let resolved = match &settings.address {
            Address::Ip(address) => vec![*address],
            Address::Name { .. } | Address::Unix(_) => Vec::new(),
        };
        Self {
            id,
            address: settings.address.clone(),
            name: settings.address.to_string().into(),
            weight: settings.weight,
            backup: settings.backup,
            health: Health::default(),
            in_flight: Uses::new(workers),
            resolved: Publisher::new(Arc::new(resolved)),
            filed_under: AtomicU64::new(id),
        }
    }

    /// Whether the file still describes this very target.
    #[must_use]
    pub fn matches(&self, settings: &TargetSettings) -> bool {
        self.address == settings.address
            && self.weight == settings.weight
            && self.backup == settings.backup
    }

    /// What people have ordered for it.
    #[must_use]
    pub fn admin(&self) -> Admin {
        if self.is_draining() { Admin::Draining } else { Admin::Ready }
    }

    /// Whether it gets no new requests because somebody drains it.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.in_flight.is_draining()
    }

    /// Whether it may be sent requests: nobody drains it, and its probes and its requests are well.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.is_draining() && self.health.is_usable()
    }

    /// The socket addresses to dial, in the resolver's order; empty for a Unix socket and for a name
    /// that has never resolved.
    #[must_use]
    pub fn resolved(&self) -> Arc<Vec<SocketAddr>> {
        self.resolved.load()
    }

    /// Remembers what the name resolves to now. An empty answer keeps the last good one.
    pub fn set_resolved(&self, addresses: Vec<SocketAddr>) {
        let known = self.resolved.load();
        if addresses.is_empty() || *known == addresses {
            return;
        }
        let is_gone = |address| !addresses.contains(address);
        let moved = known.iter().any(is_gone);
        self.resolved.publish(Arc::new(addresses));
        if moved {
            let other = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            self.filed_under.store(other, Ordering::Release);
        }
    }

    /// What idle connections are filed under: another number, never used before, once one of the
    /// addresses is gone, so that no request goes there any more.
    #[must_use]
    pub fn filed_under(&self) -> u64 {
        self.filed_under.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in
            ["10.0.0.11:8080", "[::1]:80", "app.internal:8080", "my_app:80", "unix:/run/app.sock"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn connections_are_filed_anew_once_an_address_is_gone() {
        let (address, weight) = ("app.internal:80".parse().unwrap(), 1);
        let target = Target::new(&TargetSettings { address, weight, backup: false }, 1);
        let addresses = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace()
                .map(|one| one.parse().unwrap())
                .collect()
        };
        let resolves = |to: &str| {
            target.set_resolved(addresses(to));
            target.filed_under()
        };
        let first = resolves("10.0.0.1:80");
        assert_eq!(resolves("10.0.0.2:80 10.0.0.1:80"), first, "one more harms nobody");
        assert_eq!(resolves("10.0.0.1:80 10.0.0.2:80"), first, "nor does another order");
        assert_eq!(resolves(""), first, "no answer keeps the last");
        assert_eq!(*target.resolved(), addresses("10.0.0.1:80 10.0.0.2:80"));
        assert_ne!(resolves("10.0.0.2:80"), first);
    }

    #[test]
    fn a_bad_address_says_what_is_wrong() {
        let wrong = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(wrong("10.0.0.5"), BadAddress::NoPort("10.0.0.5".into()));
        assert_eq!(wrong("10.0.0.5:0"), BadAddress::BadPort("10.0.0.5:0".into()));
        assert_eq!(wrong("app"), BadAddress::NoPort("app".into()));
        assert_eq!(wrong("app:0"), BadAddress::BadPort("app:0".into()));
        assert_eq!(wrong("app:http"), BadAddress::BadPort("app:http".into()));
        assert_eq!(wrong("http://app:80"), BadAddress::BadHost("http://app:80".into()));
        assert_eq!(wrong("10.0.0.256:80"), BadAddress::BadHost("10.0.0.256:80".into()));
        assert_eq!(wrong("unix:"), BadAddress::NoPath("unix:".into()));
    }
}

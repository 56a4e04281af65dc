//! What the proxy knows about a client, worked out once a connection.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::http1::rewrite::ClientFacts;

/// What the proxy knows about a client connection.
pub(crate) struct Client {
    /// Its address.
    pub(crate) address: IpAddr,
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
    /// What targets are told of it.
    pub(crate) facts: ClientFacts,
}

impl Client {
    /// A client at `address`, connected to `port` of this machine.
    pub(crate) fn new(address: IpAddr, port: u16, tls: bool, trusted: &[IpNet]) -> Self {
        // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d; targets know them as a.b.c.d.
        let address = address.to_canonical();
        let trusted = trusted.iter().any(|network| network.contains(&address));
        Self {
            address,
            scheme: if tls { "https" } else { "http" },
            facts: ClientFacts::new(address, port, tls, trusted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::new(address.parse().unwrap(), 443, true, &["192.0.2.0/24".parse().unwrap()])
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_one_and_trusted_as_such() {
        let mapped = client("::ffff:192.0.2.7");
        assert_eq!(mapped.address.to_string(), "192.0.2.7");
        assert!(mapped.facts.trusted);
        assert!(!client("198.51.100.1").facts.trusted);
        assert_eq!(mapped.scheme, "https");
    }
}

//! A request as `model::choice` looks at it: its head, its connection, and the time.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::model::choice::Asked;
use crate::model::choice::client;
use crate::proxy::connection::Connection;
use crate::proxy::head::Head;

/// A request that has found its upstream.
pub(crate) struct Request<'a, H> {
    /// Its head.
    pub(crate) head: &'a H,
    /// What it came over.
    pub(crate) connection: &'a Connection,
    /// The host asked for, as routes name it.
    pub(crate) host: &'a str,
    /// Networks whose `X-Forwarded-For` is believed.
    pub(crate) trusted: &'a [ipnet::IpNet],
}

impl<H: Head> Asked for Request<'_, H> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn target(&self) -> &str {
        self.head.target()
    }

    fn host(&self) -> &str {
        self.host
    }

    fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }

    fn client(&self) -> IpAddr {
        let peer = self.connection.client.address;
        client::address(peer, self.trusted, self.field("x-forwarded-for"))
    }

    fn is_secure(&self) -> bool {
        let client = &self.connection.client;
        let said = || self.field("x-forwarded-proto").last();
        client.scheme == "https"
            || (client.facts.trusted
                && said().is_some_and(|scheme| scheme.trim_ascii().eq_ignore_ascii_case(b"https")))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn draw(&self) -> u64 {
        fastrand::u64(..)
    }
}

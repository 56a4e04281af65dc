//! What the proxy knows about a client connection, as lines made once a connection.

use std::net::IpAddr;

/// A client connection.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// Its address; IPv4 where a dual-stack socket shows it as `::ffff:a.b.c.d`.
    pub address: IpAddr,
    /// Whether its own claims are believed.
    pub trusted: bool,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The address as text.
    pub(super) text: Box<str>,
    /// The port it came to, as text.
    pub(super) port: Box<str>,
    /// All `X-` lines that do not depend on the request, and the name of the one that does.
    pub(super) lines: Box<str>,
    /// The start of an element of `Forwarded`, up to the host.
    pub(super) element: Box<str>,
    /// The end of a line, and the start of a line `Forwarded`, up to the host.
    pub(super) forwarded: Box<str>,
}

impl ClientFacts {
    /// The address as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A client at `address`, connected to `port` of this machine.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, tls: bool, trusted: bool) -> Self {
        let address = address.to_canonical();
        let scheme = if tls { "https" } else { "http" };
        let text = address.to_string();
        let lines = format!(
            "X-Forwarded-For: {text}\r\nX-Real-IP: {text}\r\nX-Forwarded-Proto: {scheme}\r\n\
             X-Forwarded-Port: {port}\r\nX-Forwarded-Host: "
        );
        // Values that are not plain tokens must be quoted (RFC 7239 §4, §6).
        let element = match address {
            IpAddr::V4(_) => format!("for={text}"),
            IpAddr::V6(_) => format!("for=\"[{text}]\""),
        };
        Self {
            address,
            trusted,
            scheme,
            text: text.into(),
            port: port.to_string().into(),
            lines: lines.into(),
            forwarded: format!("\r\nForwarded: {element}").into(),
            element: element.into(),
        }
    }
}

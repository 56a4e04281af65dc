//! What the proxy knows about a client connection, as lines made once a connection.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;

/// How the lines begin; the address follows.
const BEGIN: &str = "X-Forwarded-For: ";

/// How an element of `Forwarded` that ends one line and begins another is begun.
const FORWARDED: &str = "\r\nForwarded: ";

/// More than this is not kept of what was said about it: an idle connection owes nobody more. Enough for
/// every name that there can be (RFC 1035 §2.3.4), which is said twice.
const SAID_MAX: usize = 1024;

/// A client connection.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// Its address; IPv4 where a dual-stack socket shows it as `::ffff:a.b.c.d`.
    pub address: IpAddr,
    /// Whether its own claims are believed.
    pub trusted: bool,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The port it came to.
    pub(super) port: u16,
    /// All `X-` lines that do not depend on the request, and the name of the one that does.
    pub(super) lines: Box<str>,
    /// How long the address is as text.
    length: usize,
    /// The end of a line, and the start of a line `Forwarded`, up to the host.
    pub(super) forwarded: Box<str>,
    /// What was written about it, with the host that was asked last.
    said: RefCell<Box<[u8]>>,
    /// Something was written about it before. Most connections that ask twice ask one host.
    asks_again: Cell<bool>,
}

impl ClientFacts {
    /// A client at `address`, connected to `port` of this machine.
    // Put together by hand: with `format!` this was a fifth of all that a new connection costs.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, tls: bool, trusted: bool) -> Self {
        let address = address.to_canonical();
        let scheme = if tls { "https" } else { "http" };
        let text = address_text(address);
        let mut port_text = String::with_capacity(5);
        push_number(&mut port_text, port);
        let lines = [
            BEGIN,
            &text,
            "\r\nX-Real-IP: ",
            &text,
            "\r\nX-Forwarded-Proto: ",
            scheme,
            "\r\nX-Forwarded-Port: ",
            &port_text,
            "\r\nX-Forwarded-Host: ",
        ];
        // Values that are not plain tokens must be quoted (RFC 7239 §4, §6).
        let (before, after) = match address {
            IpAddr::V4(_) => ("for=", ""),
            IpAddr::V6(_) => ("for=\"[", "]\""),
        };
        Self {
            address,
            trusted,
            scheme,
            port,
            length: text.len(),
            lines: lines.concat().into(),
            forwarded: [FORWARDED, before, &text, after].concat().into(),
            said: RefCell::default(),
            asks_again: Cell::new(false),
        }
    }

    /// The address as text.
    #[inline]
    #[must_use]
    pub fn text(&self) -> &str {
        let range = BEGIN.len()..BEGIN.len() + self.length;
        self.lines.get(range).unwrap_or_default()
    }

    /// Writes once more what [was said](Self::has_said) with this host, if it was the last one; whether
    /// it was.
    #[inline]
    pub(super) fn say_again(&self, out: &mut Vec<u8>, host: &[u8]) -> bool {
        let said = self.said.borrow();
        let after = said.get(self.lines.len()..).unwrap_or_default();
        // No host holds the end of a line.
        let same =
            matches!(after.split_at_checked(host.len()), Some((own, [b'\r', ..])) if own == host);
        if same {
            out.extend_from_slice(&said);
        }
        same
    }

    /// Keeps what was written about it, from the second time on: a connection that asks once owes
    /// nobody that room.
    pub(super) fn has_said(&self, lines: &[u8]) {
        if lines.len() <= SAID_MAX && self.asks_again.replace(true) {
            self.said.replace(lines.into());
        }
    }

    /// The start of an element of `Forwarded`, up to the host.
    pub(super) fn element(&self) -> &str {
        self.forwarded.strip_prefix(FORWARDED).unwrap_or_default()
    }
}

fn address_text(address: IpAddr) -> String {
    // As long as an address of either kind can be.
    let mut text = String::with_capacity(39);
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                push_number(&mut text, octet.into());
            }
        }
        // A String takes everything.
        IpAddr::V6(address) => drop(write!(text, "{address}")),
    }
    text
}

fn push_number(text: &mut String, number: u16) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.extend(char::from_digit(u32::from(number % 10), 10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_no_name_is_not_kept_and_that_of_one_request_neither() {
        let said_twice = |length: usize| {
            let client = ClientFacts::new([192, 0, 2, 7].into(), 443, true, false);
            let host = vec![b'a'; length];
            let lines =
                [client.lines.as_bytes(), &host, client.forwarded.as_bytes(), &host].concat();
            let mut out = Vec::new();
            client.has_said(&lines);
            assert!(!client.say_again(&mut out, &host));
            client.has_said(&lines);
            client.say_again(&mut out, &host)
        };
        assert_eq!([0, 1, 253, 60_000].map(said_twice), [true, true, true, false]);
    }

    #[test]
    fn addresses_and_ports_are_written_as_everybody_writes_them() {
        for (address, port) in [
            ("192.0.2.7", 80),
            ("0.0.0.0", 0),
            ("255.255.255.255", 65_535),
            ("10.100.9.99", 8443),
            ("2001:db8::1:0:0:1", 443),
            ("::", 1000),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 10),
        ] {
            let facts = ClientFacts::new(address.parse().unwrap(), port, true, false);
            assert_eq!(facts.text(), address);
            let expected = format!(
                "X-Forwarded-For: {address}\r\nX-Real-IP: {address}\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Port: {port}\r\nX-Forwarded-Host: "
            );
            assert_eq!(&*facts.lines, expected);
            let element = if address.contains(':') {
                format!("for=\"[{address}]\"")
            } else {
                format!("for={address}")
            };
            assert_eq!(facts.element(), element);
        }
    }

    #[test]
    fn an_address_that_a_dual_stack_socket_shows_is_an_ipv4_one() {
        let facts = ClientFacts::new("::ffff:192.0.2.7".parse().unwrap(), 80, false, false);
        assert_eq!((facts.text(), facts.element()), ("192.0.2.7", "for=192.0.2.7"));
    }
}

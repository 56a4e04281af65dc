//! `X-Forwarded-*`, `X-Real-IP` and `Forwarded` (RFC 7239). What the client claims is dropped,
//! unless it is trusted: then its `X-Forwarded-For` and `Forwarded` are extended and the rest is
//! kept.

use crate::http1::names::Known;
use crate::http1::rewrite::ClientFacts;
use crate::http1::rewrite::Line;
use crate::http1::rewrite::Lines;
use crate::http1::rewrite::Nominated;
use crate::http1::rewrite::line;

/// Which claims of a trusted client have been passed on.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) host: bool,
    pub(super) port: bool,
    pub(super) proto: bool,
    pub(super) real_ip: bool,
}

/// Writes what the proxy knows about a client whose claims have been dropped.
#[inline]
pub(super) fn set(out: &mut Vec<u8>, client: &ClientFacts, host: &[u8]) {
    if !client.say_again(out, host) {
        let start = out.len();
        set_anew(out, client, host);
        client.has_said(out.get(start..).unwrap_or_default());
    }
}

fn set_anew(out: &mut Vec<u8>, client: &ClientFacts, host: &[u8]) {
    out.extend_from_slice(client.lines.as_bytes());
    out.extend_from_slice(host);
    out.extend_from_slice(client.forwarded.as_bytes());
    name_host(out, host);
    if client.scheme == "https" {
        out.extend_from_slice(b";proto=https\r\n");
    } else {
        out.extend_from_slice(b";proto=http\r\n");
    }
}

/// Extends the chains of a trusted client, and says what it has not said.
pub(super) fn extend<'f>(
    out: &mut Vec<u8>,
    client: &ClientFacts,
    host: &[u8],
    claimed: &Claimed,
    nominated: &Nominated<'f>,
    fields: &impl Lines<'f>,
) {
    let passing = fields
        .each()
        .filter(|line| is_readable(line.value()) && !nominated.has(line.name()));
    out.extend_from_slice(b"X-Forwarded-For: ");
    let start = out.len();
    chain(out, Known::XForwardedFor, passing.clone());
    out.extend_from_slice(client.text().as_bytes());
    let end = out.len();
    out.extend_from_slice(b"\r\n");
    if !claimed.real_ip {
        let addresses = out.get(start..end).unwrap_or_default();
        let length = addresses
            .split(|b| *b == b',')
            .next()
            .map_or(0, |first| first.trim_ascii_end().len());
        out.extend_from_slice(b"X-Real-IP: ");
        out.extend_from_within(start..start + length);
        out.extend_from_slice(b"\r\n");
    }
    let port = client.port.to_string();
    for (is_claimed, name, value) in [
        (claimed.proto, "X-Forwarded-Proto", client.scheme.as_bytes()),
        (claimed.port, "X-Forwarded-Port", port.as_bytes()),
        (claimed.host, "X-Forwarded-Host", host),
    ] {
        if !is_claimed {
            line(out, name.as_bytes(), value);
        }
    }
    out.extend_from_slice(b"Forwarded: ");
    chain(out, Known::Forwarded, passing);
    element(out, client, host);
    out.extend_from_slice(b"\r\n");
}

/// Writes all lines of one field as one list that goes on.
fn chain<'f>(out: &mut Vec<u8>, field: Known, fields: impl Iterator<Item = impl Line<'f>>) {
    for line in fields.filter(|line| line.known() == field && !line.value().is_empty()) {
        out.extend_from_slice(line.value());
        out.extend_from_slice(b", ");
    }
}

/// A list element that is not plain text could be read in several ways.
fn is_readable(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| b.is_ascii_graphic() || *b == b' ' || *b == b'\t')
}

/// Writes one element of `Forwarded`. Values that are not plain tokens must be quoted
/// (RFC 7239 §4).
fn element(out: &mut Vec<u8>, client: &ClientFacts, host: &[u8]) {
    out.extend_from_slice(client.element().as_bytes());
    name_host(out, host);
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(client.scheme.as_bytes());
}

/// Writes which host was asked, if that can be said.
#[inline]
fn name_host(out: &mut Vec<u8>, host: &[u8]) {
    match host_class(host) {
        HostClass::Token => {
            out.extend_from_slice(b";host=");
            out.extend_from_slice(host);
        }
        HostClass::Text => {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        HostClass::Other => {}
    }
}

/// How a host can be written.
enum HostClass {
    /// As it is.
    Token,
    /// In quotes.
    Text,
    /// Not at all.
    Other,
}

#[inline]
fn host_class(host: &[u8]) -> HostClass {
    let seen = host
        .iter()
        .map(|b| class(*b))
        .fold(0, |seen, class| seen | class);
    match seen {
        0 if !host.is_empty() => HostClass::Token,
        0 | 1 => HostClass::Text,
        _ => HostClass::Other,
    }
}

/// 0 for a byte that may stand in a token, 1 for one that may stand between quotes, 2 for any other.
#[inline]
fn class(b: u8) -> u8 {
    #[expect(clippy::indexing_slicing, reason = "done when the program is compiled")]
    const CLASSES: [u8; 256] = {
        let mut classes = [2; 256];
        let mut b = 0_u8;
        while b < 0x7f {
            let is_token = b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            let is_text = b >= b' ' && b != b'"' && b != b'\\' || b == b'\t';
            classes[b as usize] = if is_token {
                0
            } else if is_text {
                1
            } else {
                2
            };
            b += 1;
        }
        classes
    };
    CLASSES.get(usize::from(b)).copied().unwrap_or(2)
}

//! Who sees the standby colour because a preview is ordered: by the host, a header, or the cookie that
//! a link has left.

use std::time::SystemTime;

use crate::model::choice::Asked;
use crate::model::choice::Choice;
use crate::model::choice::Why;
use crate::model::choice::canary::cookie;
use crate::model::choice::cookies;
use crate::model::colour::Colour;
use crate::model::extras::Extras;
use crate::model::orders::preview::Preview;
use crate::model::signed::Purpose;
use crate::model::upstream::Upstream;

/// The path of the link: answered by the proxy itself, on every host of the upstream.
pub const LINK: &str = "/.well-known/proxyd/preview";

/// The header in which a token may stand. It ends at the proxy.
pub const HEADER: &str = "x-proxy-preview";

/// The cookie that the link leaves.
const COOKIE: &str = "proxyd_preview";

/// Decides about a request that has to do with a preview; `None`: it has not.
pub(super) fn choose(upstream: &Upstream, asked: &impl Asked) -> Option<Choice> {
    let by_host = upstream
        .preview_host
        .as_deref()
        .is_some_and(|host| host == asked.host());
    let now = asked.now();
    let standby = upstream.live().map(Colour::other);
    let order = upstream.orders.preview.as_ref();
    let order = order.filter(|order| standby.is_some_and(|standby| order.shows(standby, now)));
    let Some(order) = order else {
        // That host is for previews alone.
        return by_host.then_some(Choice::Hide);
    };
    let purpose = Purpose::Preview { upstream: &upstream.name, salt: order.salt };
    let is_valid = |token: &[u8]| {
        upstream
            .key
            .read(purpose, token)
            .is_some_and(|until| is_left(until, now))
    };
    let (path, query) = asked
        .target()
        .split_once('?')
        .unwrap_or((asked.target(), ""));
    if path == LINK {
        let token = parameter(query, "token").filter(|token| is_valid(token.as_bytes()));
        return Some(token.map_or(Choice::Hide, |token| open(&token, query, order, asked)));
    }
    if let Some(token) = asked.field(HEADER).next() {
        // Somebody who means to see one colour must not take the other for it.
        return Some(if is_valid(token.trim_ascii()) { show(order) } else { Choice::Hide });
    }
    let shows = by_host
        || cookies::values(asked, COOKIE)
            .take(cookies::MANY)
            .any(is_valid);
    shows.then(|| show(order))
}

fn is_left(until: u64, now: SystemTime) -> bool {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    until > now.as_secs()
}

fn show(order: &Preview) -> Choice {
    let extras = private()
        .with_only("X-Proxy-Colour", order.colour.as_str())
        // Caches that look there first (RFC 9213).
        .without("CDN-Cache-Control")
        .without("Surrogate-Control");
    Choice::Send { colour: Some(order.colour), why: Why::Preview, extras: Some(Box::new(extras)) }
}

/// No cache keeps it, and no search engine.
fn private() -> Extras {
    Extras::default()
        .with_only("Cache-Control", "no-store")
        .with_only("X-Robots-Tag", "noindex, nofollow")
}

/// The link was followed: leaves the cookie and leads on.
fn open(token: &str, query: &str, order: &Preview, asked: &impl Asked) -> Choice {
    let left = order.until.duration_since(asked.now()).unwrap_or_default();
    let cookie = cookie(COOKIE, token, left.as_secs(), asked);
    let to = parameter(query, "to").filter(|to| is_local(to));
    Choice::Lead {
        to: to.unwrap_or_else(|| "/".to_owned()),
        extras: Box::new(private().with("Set-Cookie", cookie)),
    }
}

/// Whether this leads to a path of the same host, however a browser reads it: `//` and `/\` would
/// begin another host, and browsers leave out what is no visible character (WHATWG URL §4.4).
fn is_local(to: &str) -> bool {
    let mut bytes = to.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && to
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The first parameter of that name, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs
        .filter(|(own, _)| *own == name)
        .map(|(_, value)| value);
    decoded(values.next()?)
}

/// Percent-decoded; `None` where that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

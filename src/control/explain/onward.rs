//! The fields that a target would get. What decides in earnest is `http1::rewrite`, which writes bytes;
//! this tells it in words, and `tests/it/explain.rs` holds the two together.

use crate::control::command::explain::DroppedField;
use crate::control::command::explain::ExplainedField;
use crate::control::command::explain::How;
use crate::control::explain::asking::Asking;
use crate::model::choice::preview::HEADER;

/// Fields that end at each hop and say nothing to this one.
const HOP: [&str; 7] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
];

/// A client cannot have these removed by naming them in `Connection`.
const MUST_STAY: [&str; 3] = ["host", "content-length", "content-type"];

/// What the target gets, and what it does not.
#[derive(Debug, Default)]
pub(super) struct Onward {
    pub(super) sent: Vec<ExplainedField>,
    pub(super) dropped: Vec<DroppedField>,
}

/// Works it out for a request that came to this port for this `Host`, and is shown a preview or not.
pub(super) fn onward(asking: &Asking<'_>, host: &str, port: u16, is_preview: bool) -> Onward {
    let mut onward = Onward::default();
    onward.push("Host", host, How::Sent);
    let nominated = nominated(asking);
    let mut cookies: Vec<&str> = Vec::new();
    let cookie = |name: &str| name.eq_ignore_ascii_case("cookie");
    for (name, value) in &asking.fields {
        let ends_here = is_preview && name.eq_ignore_ascii_case(HEADER);
        let fate = if ends_here {
            Fate::Drop("the token of a preview ends at this proxy")
        } else {
            fate(asking, name, &nominated)
        };
        match fate {
            Fate::Pass if cookie(name) => cookies.push(value),
            Fate::Pass => onward.push(name, value, How::Sent),
            Fate::Elsewhere => {}
            Fate::Drop(why) => {
                let (name, why) = ((*name).to_owned(), why.to_owned());
                onward.dropped.push(DroppedField { name, why });
            }
        }
    }
    if let Some(first) = cookies.first() {
        let how = if cookies.len() == 1 { How::Sent } else { How::Joined };
        let joined = if cookies.len() == 1 { (*first).to_owned() } else { cookies.join("; ") };
        onward.push("Cookie", &joined, how);
    }
    onward.request_id(asking, &nominated);
    if asking.is_trusted() {
        onward.extend(asking, host, port, &nominated);
    } else {
        onward.set(asking, host, port);
    }
    if let Some(upgrade) = upgrade(asking) {
        onward.push("Connection", "upgrade", How::Replaced);
        onward.push("Upgrade", upgrade, How::Sent);
    }
    onward
}

/// What becomes of a field.
enum Fate {
    /// The target gets it.
    Pass,
    /// It is said by another line.
    Elsewhere,
    /// The target does not get it.
    Drop(&'static str),
}

fn fate(asking: &Asking<'_>, name: &str, nominated: &[&str]) -> Fate {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let claims = ["x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"];
    if nominated.iter().any(|other| is(other)) {
        return Fate::Drop("the client names it in Connection");
    }
    if name.contains('_') {
        return Fate::Drop("many applications read _ as -: nobody can tell what it means");
    }
    if is("upgrade") {
        let passes = upgrade(asking).is_some();
        return if passes {
            Fate::Elsewhere
        } else {
            Fate::Drop("no upgrade that can be passed on")
        };
    }
    if HOP.iter().any(|hop| is(hop)) {
        return Fate::Drop("it ends at this hop");
    }
    if is("x-request-id") {
        return Fate::Elsewhere;
    }
    let is_claim = claims.iter().any(|claim| is(claim))
        || is("forwarded")
        || name
            .get(..12)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"));
    match (is_claim, asking.is_trusted()) {
        (false, _) => Fate::Pass,
        (true, false) => Fate::Drop("a claim of a client that trusted_proxies does not name"),
        // Their chains go on in lines of their own.
        (true, true) if is("x-forwarded-for") || is("forwarded") => Fate::Elsewhere,
        (true, true) => Fate::Pass,
    }
}

fn nominated<'a>(asking: &Asking<'a>) -> Vec<&'a str> {
    let known = |word: &&str| {
        let stays = ["close", "upgrade", "keep-alive"]
            .into_iter()
            .chain(MUST_STAY);
        !stays
            .into_iter()
            .any(|other| word.eq_ignore_ascii_case(other))
    };
    words(asking.values("connection")).filter(known).collect()
}

fn words<'a>(values: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let words = values.flat_map(|value| value.split(','));
    words
        .map(|word| word.trim_matches([' ', '\t']))
        .filter(|word| !word.is_empty())
}

/// What may be upgraded to (RFC 9110 §7.8).
fn upgrade<'a>(asking: &Asking<'a>) -> Option<&'a str> {
    let mut values = asking.values("upgrade");
    let (only, None) = (values.next()?, values.next()) else { return None };
    let asked = words(asking.values("connection")).any(|word| word.eq_ignore_ascii_case("upgrade"));
    let h2c = |word: &str| {
        word.get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("h2c"))
    };
    let protocols = || words(std::iter::once(only));
    (asked && only.is_ascii() && protocols().next().is_some() && !protocols().any(h2c))
        .then_some(only)
}

impl Onward {
    fn push(&mut self, name: &str, value: &str, how: How) {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.sent.push(ExplainedField { name, value, how });
    }

    /// Added, or in the place of what the client said.
    fn put(&mut self, asking: &Asking<'_>, name: &str, value: &str) {
        let said = asking.values(name).next().is_some();
        self.push(name, value, if said { How::Replaced } else { How::Added });
    }

    fn request_id(&mut self, asking: &Asking<'_>, nominated: &[&str]) {
        let mut own = asking.values("x-request-id");
        let only = match (own.next(), own.next()) {
            (Some(id), None) if is_sane_id(id) => Some(id),
            (Some(_) | None, _) => None,
        };
        // Named in `Connection`, the line goes and the id stays.
        let named = nominated
            .iter()
            .any(|name| name.eq_ignore_ascii_case("x-request-id"));
        match only {
            Some(id) if named => self.push("X-Request-ID", id, How::Replaced),
            Some(id) => self.push("X-Request-ID", id, How::Sent),
            None => self.put(asking, "X-Request-ID", "32 digits that no other request has"),
        }
    }

    /// What the proxy knows, in the place of what nobody vouches for.
    fn set(&mut self, asking: &Asking<'_>, host: &str, port: u16) {
        let client = asking.peer.to_string();
        let scheme = if asking.tls { "https" } else { "http" };
        for (name, value) in [
            ("X-Forwarded-For", client.as_str()),
            ("X-Real-IP", &client),
            ("X-Forwarded-Proto", scheme),
            ("X-Forwarded-Port", &port.to_string()),
            ("X-Forwarded-Host", host),
            ("Forwarded", &element(asking, host)),
        ] {
            self.put(asking, name, value);
        }
    }

    /// The chains of a trusted proxy go on, and what it has not said is said.
    fn extend(&mut self, asking: &Asking<'_>, host: &str, port: u16, nominated: &[&str]) {
        let client = asking.peer.to_string();
        let passes = |name: &str| {
            !nominated
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
        };
        let chain = |name: &str, last: &str| {
            let links = asking
                .values(name)
                .filter(|link| passes(name) && !link.is_empty());
            links
                .filter(|link| is_readable(link))
                .chain([last])
                .collect::<Vec<_>>()
                .join(", ")
        };
        let how = |name: &str| match asking.values(name).next() {
            Some(_) => How::Extended,
            None => How::Added,
        };
        let forwarded_for = chain("X-Forwarded-For", &client);
        self.push("X-Forwarded-For", &forwarded_for, how("X-Forwarded-For"));
        let first = forwarded_for
            .split(',')
            .next()
            .unwrap_or_default()
            .trim_end();
        for (name, value) in [
            ("X-Real-IP", first),
            ("X-Forwarded-Proto", if asking.tls { "https" } else { "http" }),
            ("X-Forwarded-Port", &port.to_string()),
            ("X-Forwarded-Host", host),
        ] {
            if asking.values(name).next().is_none() || !passes(name) {
                self.push(name, value, How::Added);
            }
        }
        let forwarded = chain("Forwarded", &element(asking, host));
        self.push("Forwarded", &forwarded, how("Forwarded"));
    }
}

/// One element of `Forwarded` (RFC 7239 §4): what is no plain token is quoted.
fn element(asking: &Asking<'_>, host: &str) -> String {
    let peer = asking.peer;
    let client = if peer.is_ipv4() { format!("for={peer}") } else { format!("for=\"[{peer}]\"") };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let is_text = |byte: u8| matches!(byte, b' '..=b'~' | b'\t') && byte != b'"' && byte != b'\\';
    let named = if !host.is_empty() && host.bytes().all(is_token) {
        format!(";host={host}")
    } else if host.bytes().all(is_text) {
        format!(";host=\"{host}\"")
    } else {
        String::new()
    };
    let scheme = if asking.tls { "https" } else { "http" };
    format!("{client}{named};proto={scheme}")
}

fn is_readable(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
}

/// As logs and targets take it over.
fn is_sane_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=128).contains(&id.len()) && id.bytes().all(is_plain)
}

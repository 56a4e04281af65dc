//! Reads the head of a request.

use std::borrow::Cow;

use crate::http1::framing::Claims;
use crate::http1::framing::Framing;
use crate::http1::head::FieldLines;
use crate::http1::head::Fields;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::head::Version;
use crate::http1::head::connection::Connection;
use crate::http1::head::host::LastHost;
use crate::http1::head::lines::Unread;
use crate::http1::head::target;
use crate::http1::names::Known;
use crate::http1::names::is_token_byte;
use crate::http1::names::passes_onward;
use crate::http1::names::words;
use crate::http1::scan;
use crate::model::fault::Fault;
use crate::model::route::host_of;

/// The host and port asked for (RFC 9112 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority<'a> {
    /// One, and every place that names it agrees.
    One(&'a str),
    /// HTTP/1.0 needs none.
    None,
    /// Missing, repeated, no host at all, or contradictory.
    Bad,
}

/// The head of a request, and what its fields ask of a proxy.
#[derive(Debug, Clone)]
pub struct RequestHead<'h, 'b> {
    /// Bytes that it took, an empty line before it and the blank line after it included.
    pub length: usize,
    /// The method, as sent.
    pub method: &'b str,
    /// The request target, as sent.
    pub target: &'b str,
    /// The version, as sent.
    pub version: Version,
    /// All field lines, in order.
    pub fields: FieldLines<'h, 'b>,
    /// Which host is asked, with its port.
    pub authority: Authority<'h>,
    /// The same as routes name it ([`host_of`]); empty where there is none or no good one.
    pub host: Cow<'h, str>,
    /// How its content ends; never with the connection.
    pub body: Framing,
    /// Whether the client would send another request over this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its content
    /// (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The protocols to upgrade to, if the upgrade can be tunnelled: anything but `h2c`, which would
    /// be HTTP in another framing past every check (RFC 9113 §3.1 withdrew it).
    pub upgrade: Option<&'b [u8]>,
    /// Whether `Connection` names fields that end here, beside the ones that always do.
    pub nominates: bool,
    /// The first `Accept`.
    pub accept: Option<&'b [u8]>,
    /// The first `User-Agent`.
    pub user_agent: Option<&'b [u8]>,
    /// The first `Referer`.
    pub referer: Option<&'b [u8]>,
    /// The client's own `X-Request-ID`, if it is exactly one sane word.
    pub request_id: Option<&'b [u8]>,
}

/// What the fields of one head say, line by line.
#[derive(Default)]
struct Seen<'b> {
    host: Once<'b>,
    upgrade: Once<'b>,
    request_id: Once<'b>,
    claims: Claims<'b>,
    connection: Connection,
    expects_continue: bool,
    expects_other: bool,
    accept: Option<&'b [u8]>,
    user_agent: Option<&'b [u8]>,
    referer: Option<&'b [u8]>,
}

/// A field that means something only when there is one line of it.
#[derive(Default, Clone, Copy)]
struct Once<'b> {
    first: Option<&'b [u8]>,
    repeated: bool,
}

impl<'b> RequestHead<'_, 'b> {
    /// The raw path without the query; `*` for the asterisk form.
    #[must_use]
    pub fn path(&self) -> &'b str {
        let onward = self.path_and_query();
        match scan::byte(b'?', onward.as_bytes()) {
            0 => "/",
            end => onward.get(..end).unwrap_or(onward),
        }
    }

    /// The raw path and query, without scheme and authority; `*` for the asterisk form. Begins with
    /// `?` where an absolute form has a query and no path: the rewrite puts `/` before it.
    #[must_use]
    pub fn path_and_query(&self) -> &'b str {
        match target::absolute(self.target) {
            // The last proxy on the way turns it into the asterisk form (RFC 9112 §3.2.4).
            Some(parts) if parts.onward.is_empty() && self.method == "OPTIONS" => "*",
            Some(parts) if parts.onward.is_empty() => "/",
            Some(parts) => parts.onward,
            None => self.target,
        }
    }

    /// The field lines as pairs of name and value, for the rewrite.
    pub fn pairs(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone + use<'_, 'b> {
        self.fields.clone().map(|line| (line.name, line.value))
    }
}

/// Reads the head of a request at the start of `bytes`.
///
/// # Errors
///
/// The [`Fault`] to answer with. The connection cannot be used any longer: where the next request
/// begins is not known.
#[inline(always)]
pub fn request<'h, 'b: 'h>(
    bytes: &'b [u8],
    room: &'h mut Fields,
    limits: &HeadLimits,
) -> Result<Parsed<RequestHead<'h, 'b>>, Fault> {
    // One empty line before a request is forgiven (RFC 9112 §2.2).
    let (before, head) = match bytes {
        [b'\r'] => return Ok(Parsed::Partial),
        [b'\r', b'\n', head @ ..] => (2, head),
        head => (0, head),
    };
    let Some(line) = Line::read(head)? else {
        return wait_for_more(before, head, limits);
    };
    if line.end - b"\r\n".len() > limits.target {
        return Err(Fault::TargetTooLong);
    }
    let mut seen = Seen::default();
    let see = |name, value| {
        seen.add(name, value);
        passes_onward(name)
    };
    let Fields { spots, last_host } = room;
    match FieldLines::read(head, line.end, spots, limits.fields, see) {
        Ok(fields) if before + fields.head.len() > limits.bytes => Err(Fault::HeadTooLarge),
        Ok(fields) => judge(before, &line, &seen, fields, last_host).map(Parsed::Whole),
        Err(Unread::Partial) => wait_for_more(before, head, limits),
        Err(Unread::TooMany) => Err(Fault::HeadTooLarge),
        Err(Unread::Bad) => Err(Fault::Malformed),
    }
}

/// Decides about a head that is complete; `before` bytes stand before it.
#[inline]
fn judge<'h, 'b: 'h>(
    before: usize,
    line: &Line<'b>,
    seen: &Seen<'b>,
    fields: FieldLines<'h, 'b>,
    last_host: &'h mut LastHost,
) -> Result<RequestHead<'h, 'b>, Fault> {
    let Line { method, target, version, .. } = *line;
    target::check(method, target)?;
    if seen.expects_other {
        return Err(Fault::ExpectationFailed);
    }
    if seen.connection.is_excessive() {
        return Err(Fault::HeadTooLarge);
    }
    let body = seen.claims.of_request(version)?;
    if version == Version::Http10 && body == Framing::None && must_have_content(method) {
        return Err(Fault::LengthRequired);
    }
    let (authority, host) = seen.authority(method, target, version, last_host);
    Ok(RequestHead {
        length: before + fields.head.len(),
        method,
        target,
        version,
        fields,
        authority,
        host,
        body,
        keep_alive: seen.connection.goes_on(version == Version::Http11),
        // HTTP/1.0 has no interim answers (RFC 9110 §10.1.1).
        expects_continue: seen.expects_continue && version == Version::Http11,
        upgrade: seen.upgrade(version),
        nominates: seen.connection.nominates,
        accept: seen.accept,
        user_agent: seen.user_agent,
        referer: seen.referer,
        request_id: seen.request_id.only().filter(|id| is_sane_id(id)),
    })
}

/// Whether HTTP/1.0 wants a length with this method (RFC 1945 §8.3): a client of its time may send
/// content all the same, up to its end of the connection, and we would take that for another request.
/// HTTP/1.1 says that there is none (RFC 9112 §6.3).
#[cold]
fn must_have_content(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// A request line.
#[derive(Debug, Clone, Copy)]
struct Line<'b> {
    method: &'b str,
    target: &'b str,
    version: Version,
    /// The first byte after its CRLF.
    end: usize,
}

impl<'b> Line<'b> {
    /// Reads the request line at the start of `head`: three words with one space between two of
    /// them (RFC 9112 §3). `None`: it is not all there, and not wrong yet.
    #[inline]
    fn read(head: &'b [u8]) -> Result<Option<Self>, Fault> {
        const HTTP_1_1: &[u8; 11] = b" HTTP/1.1\r\n";
        const HTTP_1_0: &[u8; 11] = b" HTTP/1.0\r\n";
        let Some(method) = method(head)? else { return Ok(None) };
        let start = method.len() + 1;
        let after_method = head.get(start..).unwrap_or_default();
        let length = scan::target_end(after_method).min(after_method.len());
        let (target, rest) = after_method.split_at_checked(length).unwrap_or_default();
        let version = match rest.first_chunk() {
            Some(version) if version == HTTP_1_1 => Version::Http11,
            Some(version) if version == HTTP_1_0 => Version::Http10,
            _ if target.is_empty() && !rest.is_empty() => return Err(Fault::Malformed),
            _ => return no_version(rest).map(|()| None),
        };
        match std::str::from_utf8(target) {
            Ok(target) if !target.is_empty() => {
                Ok(Some(Self { method, target, version, end: start + length + HTTP_1_1.len() }))
            }
            _ => Err(Fault::Malformed),
        }
    }
}

/// The method that `head` begins with; `None`: it is not all there, and not wrong yet.
#[inline]
fn method(head: &[u8]) -> Result<Option<&str>, Fault> {
    if head.first_chunk() == Some(b"GET ") { Ok(Some("GET")) } else { other_method(head) }
}

fn other_method(head: &[u8]) -> Result<Option<&str>, Fault> {
    for frequent in ["POST", "HEAD"] {
        if head.starts_with(frequent.as_bytes()) && head.get(4) == Some(&b' ') {
            return Ok(Some(frequent));
        }
    }
    let Some(end) = head.iter().position(|b| !is_token_byte(*b)) else { return Ok(None) };
    match (head.split_at_checked(end), head.get(end)) {
        (Some((method @ [_, ..], _)), Some(b' ')) => std::str::from_utf8(method)
            .map(Some)
            .map_err(|_no_token| Fault::Malformed),
        _ => Err(Fault::Malformed),
    }
}

impl<'b> Seen<'b> {
    #[inline]
    fn add(&mut self, name: Known, value: &'b [u8]) {
        match name {
            Known::Host => self.host.add(value),
            Known::Accept => self.accept = self.accept.or(Some(value)),
            Known::UserAgent => self.user_agent = self.user_agent.or(Some(value)),
            Known::Referer => self.referer = self.referer.or(Some(value)),
            Known::Connection => self.connection.add(value),
            Known::ContentLength => self.claims.add_length(value),
            Known::TransferEncoding => self.claims.add_coding(value),
            Known::Upgrade => self.upgrade.add(value),
            Known::XRequestId => self.request_id.add(value),
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects_continue = true;
            }
            Known::Expect => self.expects_other = true,
            Known::Cookie
            | Known::Forwarded
            | Known::Hop
            | Known::Underscored
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XForwardedProto
            | Known::XForwardedOther
            | Known::XRealIp
            | Known::Other => {}
        }
    }

    fn authority<'h>(
        &self,
        method: &str,
        named: &'b str,
        version: Version,
        last_host: &'h mut LastHost,
    ) -> (Authority<'h>, Cow<'h, str>)
    where
        'b: 'h,
    {
        const BAD: (Authority<'_>, Cow<'_, str>) = (Authority::Bad, Cow::Borrowed(""));
        let host = match self.host.first.map(|value| last_host.read(value)) {
            _ if self.host.repeated => return BAD,
            Some(None) => return BAD,
            Some(host) => host,
            None if version == Version::Http10 => None,
            None => return BAD,
        };
        let named = if method == "CONNECT" { None } else { target::absolute(named) };
        match (named, host) {
            (None, Some((text, host))) => (Authority::One(text), host),
            (None, None) => (Authority::None, Cow::Borrowed("")),
            (Some(named), host) if !named.agrees_with(host.as_ref().map(|(text, _)| *text)) => BAD,
            (Some(named), _) => {
                (Authority::One(named.authority), host_of(named.authority).unwrap_or_default())
            }
        }
    }

    fn upgrade(&self, version: Version) -> Option<&'b [u8]> {
        let value = self.upgrade.only()?;
        let is_h2c = |word: &[u8]| {
            word.get(..3)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
        };
        let clean = value.is_ascii() && words(value).next().is_some() && !words(value).any(is_h2c);
        // HTTP/1.0 has no upgrades (RFC 9110 §7.8).
        (clean && self.connection.upgrade && version == Version::Http11).then_some(value)
    }
}

impl<'b> Once<'b> {
    fn add(&mut self, value: &'b [u8]) {
        self.repeated = self.first.is_some();
        self.first = self.first.or(Some(value));
    }

    fn only(self) -> Option<&'b [u8]> {
        self.first.filter(|_| !self.repeated)
    }
}

/// Whether a head that is not complete can still become one within the limits.
fn wait_for_more<T>(before: usize, head: &[u8], limits: &HeadLimits) -> Result<Parsed<T>, Fault> {
    let line_max = limits.target.saturating_add(b"\r\n".len());
    let line = head.get(..line_max);
    if line.is_some_and(|line| !line.contains(&b'\n')) {
        return Err(Fault::TargetTooLong);
    }
    if before + head.len() >= limits.bytes {
        return Err(Fault::HeadTooLarge);
    }
    Ok(Parsed::Partial)
}

/// What stands where a version and the end of the line should: the beginning of them, a version that
/// others speak, or nonsense.
#[cold]
fn no_version(rest: &[u8]) -> Result<(), Fault> {
    let fits = |(b, pattern): (&u8, &u8)| match pattern {
        b'0' => b.is_ascii_digit(),
        _ => b == pattern,
    };
    if !rest.iter().zip(b" HTTP/0.0").all(fits) {
        return Err(Fault::Malformed);
    }
    match rest.get(b" HTTP/".len()..) {
        Some([b'1', b'.', b'0' | b'1'] | [b'1', b'.', b'0' | b'1', b'\r']) => Ok(()),
        Some([b'1', b'.', b'0' | b'1', ..]) => Err(Fault::Malformed),
        Some([_, _, _, ..]) => Err(Fault::VersionNotSupported),
        Some(_) | None => Ok(()),
    }
}

/// One word that no log and no header can misread.
#[must_use]
pub fn is_sane_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_graphic() && *b != b'"' && *b != b'\\')
}

#[cfg(test)]
mod tests;

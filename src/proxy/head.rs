//! A view of a request head: all that `handler` may know about a request, whichever protocol and
//! whichever engine it came through.

use std::borrow::Cow;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Uri;

use crate::http1::framing::Framing;
use crate::http1::head::Authority;
use crate::http1::head::RequestHead;
use crate::http1::head::Version;
use crate::http1::head::is_sane_id;
use crate::http1::rewrite::Lines;
use crate::model::fault::Fault;
use crate::model::route::host_of;

/// What decisions are made on, and what is sent on.
pub(crate) trait Head {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The raw path, without the query; `*` for the asterisk form.
    fn path(&self) -> &str;
    /// The raw path and query.
    fn target(&self) -> &str;
    /// Length of the request target, in bytes.
    fn target_len(&self) -> usize;
    /// How many header fields there are.
    fn fields(&self) -> usize;
    /// The host and port asked for.
    fn authority(&self) -> Authority<'_>;
    /// The host asked for as routes name it, where there is one and a good one.
    fn host(&self) -> Option<Cow<'_, str>>;
    /// The version, as the log names it.
    fn protocol(&self) -> &'static str;
    /// How the body is framed for the target; [`Framing::None`] if there is none.
    fn body(&self) -> Framing;
    /// Whether the client waits to be told to send its body (RFC 9110 §10.1.1).
    fn expects_continue(&self) -> bool;
    /// The protocol that it asks to change to, where it may (RFC 9110 §7.8).
    fn upgrade(&self) -> Option<&[u8]>;
    /// Whether it names fields of its own that end here.
    fn nominates(&self) -> bool;
    /// `X-Request-ID`, where it is one sane word.
    fn request_id(&self) -> Option<&[u8]>;
    /// The values of one field, in order; `name` is in lower case.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
    /// Every field, in order.
    fn lines(&self) -> impl Lines<'_>;
}

impl Head for RequestHead<'_, '_> {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        self.path()
    }

    fn target(&self) -> &str {
        self.path_and_query()
    }

    fn target_len(&self) -> usize {
        self.target.len()
    }

    fn fields(&self) -> usize {
        self.fields.len()
    }

    fn authority(&self) -> Authority<'_> {
        self.authority
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        Some(match &self.host {
            // As nearly always: a glance, and no copy of a text.
            Cow::Borrowed(host) => Cow::Borrowed(*host),
            Cow::Owned(host) => Cow::Borrowed(host),
        })
    }

    fn protocol(&self) -> &'static str {
        match self.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }

    fn body(&self) -> Framing {
        self.body
    }

    fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade
    }

    fn nominates(&self) -> bool {
        self.nominates
    }

    fn request_id(&self) -> Option<&[u8]> {
        self.request_id
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.pairs()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    fn lines(&self) -> impl Lines<'_> {
        self
    }
}

/// Head of a request in the types of the `http` crate (HTTP/2).
pub(crate) struct HttpHead<'a> {
    /// The method.
    method: &'a Method,
    /// The request target.
    uri: &'a Uri,
    /// The fields, as a map.
    headers: &'a HeaderMap,
    /// The same, as bytes.
    lines: Vec<(&'a [u8], &'a [u8])>,
    /// The value of `host`, where there is one field of it and not more.
    host: Once<'a>,
    request_id: Once<'a>,
    content_length: Once<'a>,
    expects_continue: bool,
    expects_other: bool,
    /// Whether a body follows.
    has_body: bool,
}

/// What was found of a field of which there should be one at most.
#[derive(Clone, Copy)]
enum Once<'a> {
    None,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Once<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

impl<'a> HttpHead<'a> {
    /// A head, and whether a body follows.
    pub(crate) fn new(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        has_body: bool,
    ) -> Self {
        let mut lines = Vec::with_capacity(headers.len());
        let [mut host, mut request_id, mut content_length] = [Once::None; 3];
        let [mut expects_continue, mut expects_other] = [false; 2];
        // One way through all of them: each look into the map would hash a name.
        for (name, value) in headers {
            let name = name.as_str();
            match name {
                "host" => host.add(value),
                "x-request-id" => request_id.add(value),
                "content-length" => content_length.add(value),
                "expect" if is_100_continue(value.as_bytes()) => expects_continue = true,
                "expect" => expects_other = true,
                _ => {}
            }
            lines.push((name.as_bytes(), value.as_bytes()));
        }
        Self {
            method,
            uri,
            headers,
            lines,
            host,
            request_id,
            content_length,
            expects_continue,
            expects_other,
            has_body,
        }
    }

    /// What is wrong with it before anybody decides about it.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if self.is_malformed() {
            return Some(Fault::Malformed);
        }
        self.expects_other.then_some(Fault::ExpectationFailed)
    }

    /// Whether a value begins or ends with white space (RFC 9113 §8.2.1), the path is none (§8.3.1), or
    /// a length is no number or said twice (RFC 9110 §8.6). All else that may not be said was refused where it was read.
    fn is_malformed(&self) -> bool {
        let is_path = match self.target() {
            "*" => *self.method == Method::OPTIONS,
            target => target.starts_with('/'),
        };
        let is_length = match self.content_length {
            Once::None => true,
            Once::One(_) => self.content_length().is_some(),
            Once::Several => false,
        };
        !is_path || !is_length || self.lines.iter().any(|(_, value)| is_blank_ended(value))
    }

    fn content_length(&self) -> Option<u64> {
        let Once::One(length) = self.content_length else { return None };
        let digits = length.to_str().ok()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number)
    }
}

fn is_100_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// Whether white space is around a value, where HTTP/2 has none (RFC 9113 §8.2.1).
#[inline]
pub(crate) fn is_blank_ended(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

impl Head for HttpHead<'_> {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn target(&self) -> &str {
        self.uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
    }

    fn target_len(&self) -> usize {
        let named = self.uri.authority().map_or("", |a| a.as_str());
        self.uri.path_and_query().map_or(0, |t| t.as_str().len()) + named.len()
    }

    fn fields(&self) -> usize {
        self.headers.len()
    }

    fn authority(&self) -> Authority<'_> {
        let host = match self.host {
            Once::None => None,
            Once::One(host) => Some(host.to_str()),
            Once::Several => return Authority::Bad,
        };
        match (self.uri.authority(), host) {
            (_, Some(Err(_))) | (None, None) => Authority::Bad,
            // Where a Host comes with `:authority`, it must say the same (RFC 9113 §8.3.1).
            (Some(named), Some(Ok(host))) if !named.as_str().eq_ignore_ascii_case(host) => {
                Authority::Bad
            }
            (Some(named), _) => Authority::One(named.as_str()),
            (None, Some(Ok(host))) => Authority::One(host),
        }
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        match self.authority() {
            Authority::One(authority) => host_of(authority),
            Authority::None | Authority::Bad => None,
        }
    }

    fn protocol(&self) -> &'static str {
        "HTTP/2.0"
    }

    fn body(&self) -> Framing {
        match (self.has_body, self.content_length()) {
            (false, _) => Framing::None,
            (true, Some(length)) => Framing::Length(length),
            (true, None) => Framing::Chunked,
        }
    }

    fn expects_continue(&self) -> bool {
        // Who has no content to send waits for nothing.
        self.expects_continue && self.has_body
    }

    fn upgrade(&self) -> Option<&[u8]> {
        None
    }

    fn nominates(&self) -> bool {
        // `Connection` is malformed in HTTP/2 (RFC 9113 §8.2.2), and refused before this.
        false
    }

    fn request_id(&self) -> Option<&[u8]> {
        match self.request_id {
            Once::One(id) => Some(id.as_bytes()).filter(|id| is_sane_id(id)),
            Once::None | Once::Several => None,
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = move |(field, _): &&(&[u8], &[u8])| *field == name.as_bytes();
        self.lines.iter().filter(of_name).map(|(_, value)| *value)
    }

    fn lines(&self) -> impl Lines<'_> {
        self.lines.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    fn authority(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        let head = HttpHead::new(&Method::GET, &uri, &headers, false);
        match head.authority() {
            Authority::One(authority) => Some(authority.to_owned()),
            Authority::None | Authority::Bad => None,
        }
    }

    #[test]
    fn a_value_has_no_white_space_around_it() {
        let is_malformed = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-a", HeaderValue::from_bytes(value).unwrap());
            HttpHead::new(&Method::GET, &Uri::from_static("/"), &headers, false).is_malformed()
        };
        assert!(
            [b" a", b"a ", b"\ta", b"a\t"]
                .iter()
                .all(|value| is_malformed(*value))
        );
        assert!(is_malformed(b" "));
        assert!(!is_malformed(b"") && !is_malformed(b"a b\tc"));
    }

    #[test]
    fn every_place_that_names_the_host_must_agree() {
        assert_eq!(authority("/", &["a.test"]).as_deref(), Some("a.test"));
        assert_eq!(authority("/", &["a.test", "a.test"]), None);
        assert_eq!(authority("/", &[]), None);
        assert_eq!(authority("https://a.test/", &["b.test"]), None);
        assert_eq!(authority("https://a.test/", &["A.test"]).as_deref(), Some("a.test"));
        assert_eq!(authority("https://a.test/", &[]).as_deref(), Some("a.test"));
    }
}

//! A view of a request head: all that `handler` may know about a request, whichever protocol and
//! whichever engine it came through.

use http::HeaderMap;
use http::Method;
use http::Uri;
use http::Version;
use http::header;

/// What decisions are made on.
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
    /// `Content-Length`, where it is one number.
    fn content_length(&self) -> Option<u64>;
    /// The host and port asked for.
    fn authority(&self) -> Authority<'_>;
}

/// The host and port asked for (RFC 9112 §3.2, RFC 9113 §8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority<'a> {
    /// One, and every place that names it agrees.
    One(&'a str),
    /// HTTP/1.0 needs none.
    None,
    /// Missing, repeated, unreadable or contradictory.
    Bad,
}

/// Head of a request in the types of the `http` crate (hyper).
pub(crate) struct HttpHead<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The request target.
    pub(crate) uri: &'a Uri,
    /// The protocol version.
    pub(crate) version: Version,
    /// The fields.
    pub(crate) headers: &'a HeaderMap,
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
        self.uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len())
            + self
                .uri
                .authority()
                .map_or(0, |authority| authority.as_str().len())
    }

    fn fields(&self) -> usize {
        self.headers.len()
    }

    fn content_length(&self) -> Option<u64> {
        self.headers
            .get(header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn authority(&self) -> Authority<'_> {
        let mut hosts = self.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Authority::Bad;
        }
        let host = match host.map(|host| host.to_str()) {
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Authority::Bad,
            None => None,
        };
        match (self.uri.authority(), host) {
            // An absolute form, or `:authority`: where a Host comes with it, it must say the same.
            (Some(named), Some(host)) if !named.as_str().eq_ignore_ascii_case(host) => {
                Authority::Bad
            }
            (Some(named), _) => Authority::One(named.as_str()),
            (None, Some(host)) => Authority::One(host),
            (None, None) if self.version == Version::HTTP_10 => Authority::None,
            (None, None) => Authority::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(uri: &str, version: Version, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        let head = HttpHead { method: &Method::GET, uri: &uri, version, headers: &headers };
        match head.authority() {
            Authority::One(authority) => Some(authority.to_owned()),
            Authority::None => Some(String::new()),
            Authority::Bad => None,
        }
    }

    #[test]
    fn every_place_that_names_the_host_must_agree() {
        let http1 = Version::HTTP_11;
        assert_eq!(authority("/", http1, &["a.test"]).as_deref(), Some("a.test"));
        assert_eq!(authority("/", http1, &["a.test", "a.test"]), None);
        assert_eq!(authority("/", http1, &[]), None);
        assert_eq!(authority("/", Version::HTTP_10, &[]).as_deref(), Some(""));
        assert_eq!(authority("http://a.test/", http1, &["b.test"]), None);
        assert_eq!(authority("http://a.test/", http1, &["A.test"]).as_deref(), Some("a.test"));
        assert_eq!(authority("https://a.test/", Version::HTTP_2, &[]).as_deref(), Some("a.test"));
    }
}

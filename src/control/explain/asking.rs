//! A request that somebody asks about, as `model::choice` looks at it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::control::command::Refusal;
use crate::control::command::explain::Explain;
use crate::control::supervisor::refusal;
use crate::model::choice::Asked;
use crate::model::choice::client;
use crate::model::route::host_of;

/// A request as it would come.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) method: &'a str,
    /// Whether it comes by TLS.
    pub(super) tls: bool,
    /// The URL's host and port: whom the client connects to.
    pub(super) named: &'a str,
    /// The path and query.
    pub(super) target: &'a str,
    /// Names and values, in order; `Host` is not among them.
    pub(super) fields: Vec<(&'a str, &'a str)>,
    /// The values of `Host`: one, unless somebody says it twice.
    pub(super) hosts: Vec<&'a str>,
    /// The host in it, as routes name it; empty where there is none.
    asked_for: Cow<'a, str>,
    /// The other end of the connection.
    pub(super) peer: IpAddr,
    pub(super) trusted: &'a [IpNet],
    pub(super) now: SystemTime,
}

impl<'a> Asking<'a> {
    /// Reads the request.
    ///
    /// # Errors
    ///
    /// It is none that a client could send.
    pub(super) fn read(
        explain: &'a Explain,
        trusted: &'a [IpNet],
        now: SystemTime,
    ) -> Result<Self, Refusal> {
        let (tls, named, target) = url(&explain.url)?;
        let method = explain.method.as_deref().unwrap_or("GET");
        if !is_token(method) {
            return Err(wrong("method", method, "write it as GET, HEAD or POST"));
        }
        let mut fields = Vec::new();
        let mut hosts = Vec::new();
        for line in &explain.headers {
            let (name, value) = field(line)?;
            if name.eq_ignore_ascii_case("host") {
                hosts.push(value);
            } else {
                fields.push((name, value));
            }
        }
        if hosts.is_empty() {
            hosts.push(named);
        }
        let peer = match &explain.from {
            Some(text) => text.parse::<IpAddr>().map_err(|_no_address| {
                wrong("from", text, "write it as 192.0.2.7 or 2001:db8::7")
            })?,
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let peer = peer.to_canonical();
        let asked_for = host_of(hosts.first().unwrap_or(&named)).unwrap_or_default();
        Ok(Self { method, tls, named, target, fields, hosts, asked_for, peer, trusted, now })
    }

    /// The path without its query.
    pub(super) fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or(self.target)
    }

    /// The value of `Host`, and the host in it; `None`: there are two, or it is none.
    pub(super) fn host(&self) -> Option<(&'a str, Cow<'a, str>)> {
        let [only] = self.hosts.as_slice() else { return None };
        Some((*only, host_of(only)?))
    }

    /// The name that the client's TLS asks for; `None` for an address (RFC 6066 §3).
    pub(super) fn sni(&self) -> Option<Cow<'a, str>> {
        let host = host_of(self.named).filter(|_| self.tls)?;
        let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        (!is_address).then_some(host)
    }

    /// The port that the client connects to.
    pub(super) fn port(&self) -> u16 {
        port_of(self.named).unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// The values of a field, in order.
    pub(super) fn values<'s>(
        &'s self,
        name: &'s str,
    ) -> impl Iterator<Item = &'a str> + use<'s, 'a> {
        let of_name = move |(theirs, _): &&(&str, &str)| theirs.eq_ignore_ascii_case(name);
        self.fields.iter().filter(of_name).map(|(_, value)| *value)
    }

    /// Whether the peer's own word about its client is believed.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&self.peer))
    }
}

impl Asked for Asking<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn target(&self) -> &str {
        self.target
    }

    fn field<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.values(name).map(str::as_bytes)
    }

    fn host(&self) -> &str {
        &self.asked_for
    }

    fn is_secure(&self) -> bool {
        let said = || self.values("x-forwarded-proto").last();
        let is_https = |scheme: &str| scheme.trim_ascii().eq_ignore_ascii_case("https");
        self.tls || (self.is_trusted() && said().is_some_and(is_https))
    }

    fn draw(&self) -> u64 {
        fastrand::u64(..)
    }

    fn client(&self) -> IpAddr {
        client::address(self.peer, self.trusted, self.field("x-forwarded-for"))
    }

    fn now(&self) -> SystemTime {
        self.now
    }
}

/// The port that an authority names.
pub(super) fn port_of(authority: &str) -> Option<u16> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

/// Whether by TLS, the authority, the path and query.
fn url(text: &str) -> Result<(bool, &str, &str), Refusal> {
    let bad = || wrong("url", text, "write it as https://host/path");
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => true,
        "http" | "ws" => false,
        _ => return Err(bad()),
    };
    // What stands behind # never leaves the browser.
    let rest = rest.split('#').next().unwrap_or(rest);
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (named, target) = rest.split_at_checked(at).ok_or_else(bad)?;
    let target = if target.is_empty() { "/" } else { target };
    if !target.starts_with('/') {
        return Err(wrong("url", text, "a path begins with /"));
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("url", text, "write other characters than ASCII as %C3%BC"));
    }
    if named.is_empty() || !named.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad());
    }
    Ok((tls, named, target))
}

/// `Name: value`.
fn field(line: &str) -> Result<(&str, &str), Refusal> {
    let bad = || wrong("headers", line, "write it as 'Name: value'");
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let value = value.trim_matches([' ', '\t']);
    let is_text = value
        .bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if !is_token(name) || !is_text {
        return Err(bad());
    }
    if name.eq_ignore_ascii_case("transfer-encoding") {
        return Err(wrong("headers", line, "a body is not asked about: leave it out"));
    }
    Ok((name, value))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

fn wrong(key: &str, text: &str, hint: &str) -> Refusal {
    let text: String = text.chars().take(100).collect();
    let wrong = refusal::malformed(format!("{key}: \"{text}\" is not what a client can send"));
    refusal::hinted(wrong, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn explain(url: &str, headers: &[&str]) -> Explain {
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        Explain { url: url.to_owned(), headers, ..Explain::default() }
    }

    #[test]
    fn a_url_names_the_way_in_the_host_and_the_path() {
        for (url, tls, port, host, target) in [
            ("https://App.test/a?b=c#d", true, 443, "app.test", "/a?b=c"),
            ("http://app.test:8080", false, 8080, "app.test", "/"),
            ("wss://[::1]:9/x", true, 9, "[::1]", "/x"),
        ] {
            let explain = explain(url, &[]);
            let asking = Asking::read(&explain, &[], NOW).unwrap();
            assert_eq!((asking.tls, asking.port(), asking.target), (tls, port, target), "{url}");
            assert_eq!(asking.host().unwrap().1, host);
        }
        for bad in [
            "app.test/",
            "ftp://app.test/",
            "https:///x",
            "https://a b/",
            "https://a/ b",
            "https://a?b",
        ] {
            assert!(Asking::read(&explain(bad, &[]), &[], NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_field_takes_the_place_of_the_urls_and_two_are_none() {
        let one = explain("https://app.test/", &["Host: api.test:1"]);
        let asking = Asking::read(&one, &[], NOW).unwrap();
        assert_eq!(asking.host(), Some(("api.test:1", "api.test".into())));
        assert_eq!(asking.sni().as_deref(), Some("app.test"));
        let two = explain("https://127.0.0.1/", &["Host: a.test", "host: a.test"]);
        let asking = Asking::read(&two, &[], NOW).unwrap();
        assert_eq!((asking.host(), asking.sni()), (None, None));
    }

    #[test]
    fn a_field_is_a_name_and_a_value() {
        for bad in
            ["Cookie", "a b: c", ": x", "X: a\u{7f}", "X: a\r\nY: b", "Transfer-Encoding: chunked"]
        {
            assert!(Asking::read(&explain("https://a/", &[bad]), &[], NOW).is_err(), "{bad}");
        }
        let two = explain("https://a/", &["X: 1", "x:2 "]);
        let asking = Asking::read(&two, &[], NOW).unwrap();
        assert_eq!(asking.values("x").collect::<Vec<_>>(), ["1", "2"]);
    }

    proptest! {
        #[test]
        fn no_request_panics(url in "(https?://)?.*", header in ".*", from in ".*") {
            let explain = Explain { url, headers: vec![header], from: Some(from), method: None };
            if let Ok(asking) = Asking::read(&explain, &[], NOW) {
                let _all = (asking.host(), asking.sni(), asking.port(), asking.path(), asking.client());
            }
        }
    }
}

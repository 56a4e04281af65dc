//! What happens to header fields on their way through: hop-by-hop fields end here, and the
//! forwarding fields tell the target what only the proxy knows.

use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The header that ties a request to its line in the logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that concern one connection only, whether `Connection` nominates them or not
/// (RFC 9110 §7.6.1, and RFC 2616 §13.5.1 for the two of authentication between hops).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What the proxy knows about a client connection, as header values made once a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether its own claims are believed.
    pub trusted: bool,
    /// `https` or `http`.
    pub scheme: &'static str,
    address_value: HeaderValue,
    scheme_value: HeaderValue,
    port_value: HeaderValue,
}

impl Client {
    /// A client at `address`, connected to `port` of this machine.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, tls: bool, trusted: &[IpNet]) -> Self {
        // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d; targets know them as a.b.c.d.
        let address = address.to_canonical();
        let scheme = if tls { "https" } else { "http" };
        let text = address.to_string();
        Self {
            address,
            trusted: trusted.iter().any(|network| network.contains(&address)),
            scheme,
            address_value: HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")),
            scheme_value: HeaderValue::from_static(scheme),
            port_value: HeaderValue::from(port),
        }
    }
}

/// Removes what concerns the connection it came over, nominated fields included.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // It frames the message on this connection, and the length beside it says nothing
    // (RFC 9112 §6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if headers.contains_key(header::CONNECTION) {
        let nominated: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !must_stay(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Fields that a client could otherwise delete by nominating them: the ones that frame the message
/// or say where it goes.
fn must_stay(name: &HeaderName) -> bool {
    *name == header::HOST || *name == header::CONTENT_LENGTH || *name == header::CONTENT_TYPE
}

/// Whether this is a request to upgrade to something that can be tunnelled: anything but `h2c`,
/// which would be HTTP in another framing past every check (RFC 9113 §3.1 withdrew it).
#[must_use]
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = tokens(headers, &header::CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
    let mut values = headers.get_all(header::UPGRADE).iter();
    let value = values.next()?;
    let clean = values.next().is_none()
        && value.to_str().is_ok_and(|v| {
            v.split(',')
                .all(|p| !p.trim().to_ascii_lowercase().starts_with("h2c"))
        });
    (wanted && clean).then(|| value.clone())
}

/// The comma-separated words of a field, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// HTTP/2 may split `Cookie` into several lines; HTTP/1.1 knows only one (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(second)) = (lines.next(), lines.next()) {
        let all: Vec<&[u8]> = [first, second]
            .into_iter()
            .chain(lines)
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

/// Sets `Host`, `X-Forwarded-*`, `X-Real-IP` and `Forwarded` (RFC 7239). What the client claims is
/// dropped, unless it is trusted: then its `X-Forwarded-For` and `Forwarded` are extended and the
/// rest is kept.
pub fn set_forwarding(headers: &mut HeaderMap, host: &HeaderValue, client: &Client) {
    if client.trusted {
        extend_forwarding(headers, host, client);
        return;
    }
    remove_claims(headers);
    headers.insert(X_FORWARDED_FOR, client.address_value.clone());
    headers.insert(X_REAL_IP, client.address_value.clone());
    headers.insert(X_FORWARDED_PROTO, client.scheme_value.clone());
    headers.insert(X_FORWARDED_PORT, client.port_value.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
    insert_text(headers, header::FORWARDED, &forwarded(client, host));
    headers.insert(header::HOST, host.clone());
}

/// Removes every forwarding field there may be, also those that this proxy does not set: frameworks
/// believe `X-Forwarded-Prefix` too, and some read `_` as `-`.
fn remove_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        let like = |known: &[u8]| {
            name.get(..known.len()).is_some_and(|start| {
                let same = |(a, b): (&u8, &u8)| a == b || (*a == b'_' && *b == b'-');
                start.iter().zip(known).all(same)
            })
        };
        like(b"x-forwarded-") || (like(b"x-real-ip") && name.len() == b"x-real-ip".len())
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|n| is_claim(n)).cloned().collect();
    for claim in claims {
        headers.remove(claim);
    }
}

fn extend_forwarding(headers: &mut HeaderMap, host: &HeaderValue, client: &Client) {
    let own = client.address.to_string();
    let chain = extended(headers, &X_FORWARDED_FOR, &own);
    if !headers.contains_key(X_REAL_IP) {
        let first = chain.split(',').next().map_or(own.as_str(), str::trim);
        insert_text(headers, X_REAL_IP, first);
    }
    insert_text(headers, X_FORWARDED_FOR, &chain);
    let element = extended(headers, &header::FORWARDED, &forwarded(client, host));
    insert_text(headers, header::FORWARDED, &element);
    for (name, value) in [
        (X_FORWARDED_PROTO, &client.scheme_value),
        (X_FORWARDED_PORT, &client.port_value),
        (X_FORWARDED_HOST, host),
    ] {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    headers.insert(header::HOST, host.clone());
}

/// The field's lines as one list with `own` at its end.
fn extended(headers: &HeaderMap, name: &HeaderName, own: &str) -> String {
    let mut list = String::new();
    for value in headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        list.push_str(value.trim());
        list.push_str(", ");
    }
    list.push_str(own);
    list
}

/// One element of `Forwarded`. Values that are not plain tokens must be quoted (RFC 7239 §4, §6).
fn forwarded(client: &Client, host: &HeaderValue) -> String {
    let host = host.to_str().unwrap_or_default();
    let mut element = String::with_capacity(64);
    element.push_str("for=");
    match client.address {
        IpAddr::V4(_) => element.push_str(client.address_value.to_str().unwrap_or_default()),
        IpAddr::V6(address) => {
            element.push_str("\"[");
            element.push_str(&address.to_string());
            element.push_str("]\"");
        }
    }
    let token = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if token && !host.is_empty() {
        element.push_str(";host=");
        element.push_str(host);
    } else if !host.contains(['"', '\\']) {
        element.push_str(";host=\"");
        element.push_str(host);
        element.push('"');
    }
    element.push_str(";proto=");
    element.push_str(client.scheme);
    element
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Keeps a request's own `X-Request-ID` if it is one sane word, else makes one.
pub fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let mut own = headers.get_all(X_REQUEST_ID).iter();
    if let (Some(value), None) = (own.next(), own.next()) {
        let sane = (1..=128).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|b| b.is_ascii_graphic() && *b != b'"' && *b != b'\\');
        if sane {
            return value.clone();
        }
    }
    let mut text = [0_u8; 32];
    let random = fastrand::u128(..);
    for (at, byte) in text.iter_mut().enumerate() {
        let digit = (random >> (at * 4)) & 0xf;
        *byte = char::from_digit(u32::try_from(digit).unwrap_or(0), 16).map_or(b'0', |c| c as u8);
    }
    let made = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"));
    headers.insert(X_REQUEST_ID, made.clone());
    made
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    fn client(trusted: &[IpNet]) -> Client {
        Client::new("192.0.2.7".parse().unwrap(), 443, true, trusted)
    }

    #[test]
    fn hop_by_hop_fields_end_here_also_the_nominated_ones() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other, host"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMA"),
            ("transfer-encoding", "chunked"),
            ("host", "a.test"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn a_clients_own_claims_are_replaced() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-proto", "ftp"),
            ("forwarded", "for=6.6.6.6"),
        ]);
        set_forwarding(&mut headers, &HeaderValue::from_static("a.test:8443"), &client(&[]));
        assert_eq!(text(&headers, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(text(&headers, "x-real-ip"), ["192.0.2.7"]);
        assert_eq!(text(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(text(&headers, "x-forwarded-host"), ["a.test:8443"]);
        assert_eq!(text(&headers, "x-forwarded-port"), ["443"]);
        assert_eq!(text(&headers, "host"), ["a.test:8443"]);
        assert_eq!(text(&headers, "forwarded"), ["for=192.0.2.7;host=\"a.test:8443\";proto=https"]);
    }

    #[test]
    fn a_trusted_proxys_claims_are_extended() {
        let mut headers = map(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=203.0.113.9"),
        ]);
        let trusted = ["192.0.2.0/24".parse().unwrap()];
        set_forwarding(&mut headers, &HeaderValue::from_static("a.test"), &client(&trusted));
        assert_eq!(text(&headers, "x-forwarded-for"), ["203.0.113.9, 192.0.2.7"]);
        assert_eq!(text(&headers, "x-real-ip"), ["203.0.113.9"]);
        assert_eq!(text(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(
            text(&headers, "forwarded"),
            ["for=203.0.113.9, for=192.0.2.7;host=a.test;proto=https"]
        );
    }

    #[test]
    fn an_ipv6_client_is_quoted_and_a_mapped_one_is_ipv4() {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_static("a.test");
        let six = Client::new("2001:db8::1".parse().unwrap(), 80, false, &[]);
        set_forwarding(&mut headers, &host, &six);
        assert_eq!(text(&headers, "forwarded"), ["for=\"[2001:db8::1]\";host=a.test;proto=http"]);
        let mapped = Client::new("::ffff:192.0.2.7".parse().unwrap(), 80, false, &[]);
        set_forwarding(&mut headers, &host, &mapped);
        assert_eq!(text(&headers, "x-forwarded-for"), ["192.0.2.7"]);
    }

    #[test]
    fn a_split_cookie_is_joined() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut headers);
        assert_eq!(text(&headers, "cookie"), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn any_upgrade_but_h2c_is_one() {
        let upgrade = |fields: &[(&'static str, &str)]| upgrade_of(&map(fields)).is_some();
        assert!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(upgrade(&[("connection", "upgrade"), ("upgrade", "foo/1")]));
        assert!(!upgrade(&[("upgrade", "websocket")]));
        assert!(!upgrade(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!upgrade(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")]));
    }

    #[test]
    fn a_request_id_is_kept_or_made() {
        let mut headers = map(&[("x-request-id", "abc-1")]);
        assert_eq!(request_id(&mut headers), "abc-1");
        let mut headers = map(&[("x-request-id", "two words")]);
        let made = request_id(&mut headers);
        assert_eq!(made.len(), 32);
        assert_eq!(headers.get(X_REQUEST_ID), Some(&made));
    }
}

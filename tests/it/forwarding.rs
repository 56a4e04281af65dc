//! What the target is told, and what the client gets back: fields, path, identity.

use std::io::Write;

use serde_json::json;

use crate::harness::Client;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::http::find;

#[test]
fn host_is_preserved_as_the_client_wrote_it() {
    let (blue, _green, proxy) = app();
    proxy
        .http()
        .request("GET", "/", &[("Host", "app.test:8080")], b"")
        .expect(200);
    assert_eq!(blue.last().headers("host"), ["app.test:8080"]);
}

#[test]
fn path_and_query_pass_byte_for_byte() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    let targets = [
        "/headers?a=%2F&b=%2f&c=//&d=..%5C",
        "/headers?",
        "/headers?q=a+b%20c&&=&empty=",
        "/headers?x='|^`{}[]\\",
    ];
    for target in targets {
        let raw = client.get(target).expect(200).text();
        assert_eq!(raw.lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
    }
    for path in ["//a//b/", "/a/../b", "/%2e%2e/x", "/a;p=1/b", "/ä", "/a%00b"] {
        let mut client = proxy.http();
        client.send_raw(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        client.answer().expect(200);
        assert_eq!(blue.last().target(), path);
    }
}

#[test]
fn the_absolute_form_names_the_host() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw("GET http://app.test/x?y=1 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.answer().expect(200);
    assert_eq!(blue.last().target(), "/x?y=1");
    assert_eq!(blue.last().header("host"), Some("app.test"));
}

#[test]
fn options_for_the_whole_server_passes() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.answer().expect(200);
    assert_eq!(blue.last().target(), "*");
}

#[test]
fn the_target_learns_who_asked_and_how() {
    let (blue, _green, proxy) = app();
    proxy
        .https()
        .request("GET", "/", &[("Host", "app.test:8443")], b"")
        .expect(200);
    let head = blue.last();
    assert_eq!(head.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(head.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(head.headers("x-forwarded-host"), ["app.test:8443"]);
    assert_eq!(head.headers("x-forwarded-port"), ["8443"]);
    let forwarded = head.header("forwarded").unwrap().to_lowercase();
    for part in ["for=127.0.0.1", "proto=https", "host=\"app.test:8443\""] {
        assert!(forwarded.contains(part), "{forwarded}");
    }
    proxy.http().get("/").expect(200);
    assert_eq!(blue.last().headers("x-forwarded-proto"), ["http"]);
    assert_eq!(blue.last().headers("x-forwarded-port"), ["8080"]);
}

const CLAIMS: [(&str, &str); 8] = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "666"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;proto=https;host=evil.test"),
    ("X-Forwarded-For", "7.7.7.7"),
    ("X-Forwarded-Server", "evil.test"),
];

#[test]
fn a_clients_own_claims_are_dropped() {
    let (blue, _green, proxy) = app();
    proxy.http().request("GET", "/", &CLAIMS, b"").expect(200);
    let head = blue.last();
    assert_eq!(head.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(head.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(head.headers("x-forwarded-host"), [HOST]);
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    assert!(!text.contains("6.6.6.6") && !text.contains("7.7.7.7"), "{text}");
}

#[test]
fn a_trusted_proxys_claims_are_believed_and_extended() {
    let (blue, _green, proxy) = app_with(&json!({ "trusted_proxies": ["127.0.0.0/8"] }));
    proxy
        .http()
        .request("GET", "/", &CLAIMS[..6], b"")
        .expect(200);
    let head = blue.last();
    let chain = head.headers("x-forwarded-for").join(", ");
    assert_eq!(chain, "6.6.6.6, 127.0.0.1");
    assert_eq!(head.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(head.headers("x-forwarded-host"), ["evil.test"]);
    assert_eq!(head.headers("x-real-ip"), ["6.6.6.6"]);
}

#[test]
fn fields_of_the_clients_connection_do_not_reach_the_target() {
    let (blue, _green, proxy) = app();
    let fields = [
        ("Connection", "keep-alive, X-Nominated, close"),
        ("X-Nominated", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "gzip;q=1, trailers"),
        ("X-Kept", "1"),
    ];
    proxy.http().request("GET", "/", &fields, b"").expect(200);
    let head = blue.last();
    for gone in ["x-nominated", "keep-alive", "proxy-connection", "proxy-authorization"] {
        assert_eq!(head.header(gone), None, "{gone}");
    }
    assert!(!head.has_token("connection", "x-nominated"));
    assert!(!head.has_token("connection", "close"), "the target's connection is kept");
    assert!(!head.header("te").unwrap_or("").contains("gzip"));
    assert_eq!(head.header("x-kept"), Some("1"));
}

#[test]
fn connection_cannot_nominate_what_the_proxy_says() {
    let (blue, _green, proxy) = app();
    let fields = [("Connection", "X-Forwarded-For, X-Real-IP, Host, X-Request-ID")];
    proxy.http().request("GET", "/", &fields, b"").expect(200);
    let head = blue.last();
    assert_eq!(head.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.headers("host"), [HOST]);
    assert!(head.header("x-request-id").is_some());
}

#[test]
fn fields_of_the_targets_connection_do_not_reach_the_client() {
    let (_blue, _green, proxy) = app();
    let with = "Connection: X-Nominated|X-Nominated: 1|Keep-Alive: timeout=5|\
                Proxy-Connection: x|Upgrade: h2c|X-Kept: 1";
    let answer = proxy
        .http()
        .request("GET", "/with", &[("X-With", with)], b"")
        .expect(200);
    for gone in ["x-nominated", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
}

#[test]
fn everything_else_passes_in_order_and_unchanged() {
    let (blue, _green, proxy) = app();
    let with = "Set-Cookie: a=1; Path=/|Set-Cookie: b=2|Location: http://elsewhere/|\
                Server: theirs|X-Empty:|Strict-Transport-Security: max-age=1";
    let fields = [("X-With", with), ("X-Multi", "1"), ("X-Multi", "2"), ("X-Underscore_", "1")];
    let answer = proxy
        .http()
        .request("GET", "/with", &fields, b"")
        .expect(200);
    assert_eq!(answer.headers("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(answer.header("location"), Some("http://elsewhere/"));
    assert_eq!(answer.header("server"), Some("theirs"));
    assert_eq!(answer.header("x-empty"), Some(""));
    assert_eq!(blue.last().headers("x-multi"), ["1", "2"]);
    let ambiguous = "a CGI reads `_` and `-` as one: as nginx, such a name is dropped";
    assert_eq!(blue.last().header("x-underscore_"), None, "{ambiguous}");
}

#[test]
fn bytes_beyond_ascii_in_a_value_pass() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client
        .wire
        .write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\nX-Odd: \xff\xe9caf\xc3\xa9\r\n")
        .unwrap();
    client.send_raw("\r\n");
    client.answer().expect(200);
    assert!(find(&blue.last().raw, b"\xff\xe9caf\xc3\xa9\r\n").is_some());
}

#[test]
fn a_request_gets_an_id_and_keeps_the_one_it_has() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.get("/").expect(200);
    let first = blue.last().header("x-request-id").unwrap().to_owned();
    client.get("/").expect(200);
    let second = blue.last().header("x-request-id").unwrap().to_owned();
    assert!(first.len() >= 16 && first != second, "{first} {second}");
    client
        .request("GET", "/", &[("X-Request-ID", "abc-123")], b"")
        .expect(200);
    assert_eq!(blue.last().headers("x-request-id"), ["abc-123"]);
}

#[test]
fn h2c_is_never_offered_to_the_target() {
    let (blue, _green, proxy) = app();
    let fields = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    proxy
        .http()
        .request("GET", "/upgrade", &fields, b"")
        .expect(200);
    assert_eq!(blue.last().header("upgrade"), None);
    assert_eq!(blue.last().header("http2-settings"), None);
}

#[test]
fn any_client_address_is_told_as_it_is() {
    let (blue, _green, proxy) = app();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: std::net::SocketAddr = "127.7.7.7:0".parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&proxy.plain_address().into()).unwrap();
    let wire = crate::harness::wire::Wire::Plain(socket.into());
    Client::over(wire, HOST).get("/").expect(200);
    assert_eq!(blue.last().headers("x-forwarded-for"), ["127.7.7.7"]);
}

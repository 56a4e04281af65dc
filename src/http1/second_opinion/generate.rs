//! Messages to form an opinion on: good ones, and good ones with a few bytes changed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::sample::select;

fn line() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "Host: a.test",
        "host:a.test",
        "Content-Length: 3",
        "content-length: 5",
        "Transfer-Encoding: chunked",
        "transfer-encoding: \tCHUNKED ",
        "Transfer-Encoding: identity",
        "Connection: close, X-A",
        "Connection: keep-alive, Content-Length, Host",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Cookie: a=1",
        "User-Agent: u",
        "Referer: r",
        "Referer:  r",
        "X-Request-ID: 0123456789abcdef0123456789abcdef",
        "Cookie: b=2",
        "X-Forwarded-For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X_Forwarded_For: 7.7.7.7",
        "Content_Length: 9",
        "X-A: 1",
        "TE: trailers",
        " folded: 1",
        "X-B :1",
    ]);
    prop_oneof![
        6 => known.prop_map(|line| line.as_bytes().to_vec()),
        1 => "[ -~]{0,12}:[ -~\t]{0,24}".prop_map(String::into_bytes),
    ]
}

fn content() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "abc",
        "abcde",
        "3\r\nabc\r\n0\r\n\r\n",
        "5;a=b\r\nabcde\r\n1\r\nf\r\n0\r\nX-T: 1\r\n\r\n",
        "0\r\n\r\n",
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ])
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "/",
            "*",
            "/a/../b?c=d",
            "http://a.test",
            "http://a.test?x",
            "HTTPS://a.test:443/y",
            "http://b.test/",
            "//a//b",
            "/%00%zz",
        ])
        .prop_map(str::to_owned),
        "/[!-~]{0,12}",
    ]
}

/// Requests, good ones and nearly good ones: up to three bytes are changed.
pub(super) fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "OPTIONS", "HEAD", "PATCH"]);
    let version = select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]);
    let head = (method, target(), version, vec(line(), 0..5), any::<bool>());
    let changes = vec((any::<Index>(), 0_u8..3, byte()), 0..3);
    (head, content(), changes).prop_map(|(head, content, changes)| {
        let (method, target, version, lines, has_host) = head;
        let mut bytes = format!("{method} {target} {version}\r\n").into_bytes();
        if has_host {
            bytes.extend_from_slice(b"Host: a.test\r\n");
        }
        for line in lines {
            bytes.extend_from_slice(&line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(content.as_bytes());
        changed(bytes, &changes)
    })
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![select(b"\r\n: \t,;\0a0/_#".to_vec()), any::<u8>()]
}

fn changed(mut bytes: Vec<u8>, changes: &[(Index, u8, u8)]) -> Vec<u8> {
    for (place, how, byte) in changes {
        let at = place.index(bytes.len());
        match how {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// Answers, good ones and nearly good ones.
pub(super) fn answer() -> impl Strategy<Value = Vec<u8>> {
    let first = select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 404 ",
    ]);
    let changes = vec((any::<Index>(), 0_u8..3, byte()), 0..3);
    (first, vec(line(), 0..5), content(), changes).prop_map(|(first, lines, content, changes)| {
        let lines: Vec<Vec<u8>> = lines
            .into_iter()
            .map(|line| [&line[..], b"\r\n"].concat())
            .collect();
        let bytes = [first.as_bytes(), b"\r\n", &lines.concat(), b"\r\n", content.as_bytes()];
        changed(bytes.concat(), &changes)
    })
}

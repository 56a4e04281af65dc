//! Where a request is for (RFC 9113 §8.3.1): one host and one path, or it is refused.

use crate::h2_conformance::Case;
use crate::h2_conformance::PROTOCOL_ERROR;
use crate::h2_conformance::Then;
use crate::h2_conformance::Then::Ends;
use crate::h2_conformance::Then::Resets;
use crate::h2_conformance::Then::Says;
use crate::h2_conformance::check;
use crate::h2_conformance::send;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
use crate::harness::h2::SETTINGS;
use crate::harness::hpack;
use crate::harness::hpack::Field;

const GET: Field<'_> = (b":method", b"GET");
const HTTPS: Field<'_> = (b":scheme", b"https");
const APP: Field<'_> = (b":authority", b"app.test");
const NEVER: Field<'_> = (b":path", b"/never");
const MALFORMED: Then = Resets(1, PROTOCOL_ERROR);

/// Asks for one path.
macro_rules! path {
    ($path:literal, $then:expr) => {
        Case {
            what: concat!("§8.3.1 :path ", stringify!($path)),
            act: |f| send(f, &[GET, HTTPS, APP, (b":path", $path)]),
            then: $then,
        }
    };
}

/// Asks one host.
macro_rules! authority {
    ($authority:literal, $then:expr) => {
        Case {
            what: concat!("§8.3.1 :authority ", stringify!($authority)),
            act: |f| send(f, &[GET, HTTPS, (b":authority", $authority), NEVER]),
            then: $then,
        }
    };
}

#[test]
fn a_path_that_is_none_is_refused() {
    check(&[
        path!(b"/never /other", MALFORMED),
        path!(b"/never HTTP/1.1\r\nx-a: 1", MALFORMED),
        path!(b"/never\r\n\r\nGET /never", MALFORMED),
        path!(b"/never\tx", MALFORMED),
        path!(b"/never\0", MALFORMED),
        path!(b"/never\x7f", MALFORMED),
        path!(b"/never\xff", Ends(PROTOCOL_ERROR)),
        path!(b"never", MALFORMED),
        path!(b"https://app.test/never", MALFORMED),
        path!(b"*", Says(400)),
        path!(b"?never", Says(400)),
        path!(b"app.test:443", MALFORMED),
    ]);
}

#[test]
fn a_host_that_is_none_or_two_is_refused() {
    check(&[
        authority!(b"", MALFORMED),
        authority!(b"app.test app.test", MALFORMED),
        authority!(b"app.test\r\nx-a: 1", MALFORMED),
        authority!(b"app.test/never", MALFORMED),
        authority!(b"user@app.test", Says(400)),
        authority!(b"app.test:port", Says(400)),
        Case {
            what: "§8.3.1 neither :authority nor host",
            act: |f| send(f, &[GET, HTTPS, NEVER]),
            then: Says(400),
        },
        Case {
            what: "§8.3.1 another host",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, (b"host", b"other.test")]),
            then: Says(400),
        },
        Case {
            what: "§8.3.1 another port",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, (b"host", b"app.test:8443")]),
            then: Says(400),
        },
        Case {
            what: "§8.3.1 two hosts",
            act: |f| send(f, &[GET, HTTPS, NEVER, (b"host", b"app.test"), (b"host", b"app.test")]),
            then: Says(400),
        },
        Case {
            what: "§8.3.1 an empty host beside :authority",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, (b"host", b"")]),
            then: Says(400),
        },
    ]);
}

#[test]
fn a_method_or_a_scheme_that_is_none_is_refused() {
    check(&[
        Case {
            what: "§8.3.1 a method with a space",
            act: |f| send(f, &[(b":method", b"GET /never"), HTTPS, APP, NEVER]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.3.1 a method with a line end",
            act: |f| send(f, &[(b":method", b"GET\r\n"), HTTPS, APP, NEVER]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.3.1 a method without a character",
            act: |f| send(f, &[(b":method", b""), HTTPS, APP, NEVER]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.3.1 a scheme that goes on",
            act: |f| send(f, &[GET, (b":scheme", b"https://app.test/never?"), APP, NEVER]),
            then: MALFORMED,
        },
    ]);
}

#[test]
fn an_extended_connect_is_not_offered() {
    let (_blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let settings = frames.next().unwrap();
    assert_eq!(settings.kind, SETTINGS);
    let enable_connect_protocol = [0, 8];
    assert!(
        settings
            .payload
            .chunks(6)
            .all(|pair| pair[..2] != enable_connect_protocol)
    );
}

/// What reaches the target of one request, `fields` after its own; content and trailers follow.
fn arrives(fields: &[Field<'_>]) -> String {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let block = hpack::block(&[&[GET, HTTPS][..], fields].concat());
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &block)
        .unwrap();
    let answer = std::iter::from_fn(|| frames.next().ok()).find(|frame| frame.kind == HEADERS);
    assert_eq!(hpack::status(&answer.expect("an answer").payload), Some(200));
    assert_eq!(blue.requests().len(), 1, "one request is one request");
    let head = String::from_utf8(blue.last().raw).unwrap();
    assert_eq!(head.matches("\r\n\r\n").count(), 1);
    assert_eq!(head.to_lowercase().matches("\r\nhost:").count(), 1);
    head
}

#[test]
fn what_may_pass_arrives_as_one_request_that_says_one_thing() {
    let head = arrives(&[APP, (b":path", b"/a?b=%20")]);
    assert!(head.starts_with("GET /a?b=%20 HTTP/1.1\r\nHost: app.test\r\n"), "{head}");
    let head = arrives(&[APP, (b":path", b"/a#part")]);
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    let head = arrives(&[APP, (b":path", b"/"), (b"host", b"app.test")]);
    assert!(head.contains("\r\nHost: app.test\r\n"), "{head}");
    let head = arrives(&[(b":path", b"/"), (b"host", b"app.test")]);
    assert!(head.contains("\r\nHost: app.test\r\n"), "{head}");
    let head =
        arrives(&[APP, (b":path", b"/"), (b"te", b"trailers"), (b"expect", b"100-continue")]);
    assert!(!head.contains("expect") && !head.contains("\r\nte:"), "{head}");
    let head = arrives(&[APP, (b":path", b"/"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]);
    assert!(head.contains("\r\ncookie: a=1; b=2\r\n"), "{head}");
    let head = arrives(&[APP, (b":path", b"/"), (b"x-a", b"a: b; \"c\"\t\xc3\xa9")]);
    assert!(head.contains("\r\nx-a: a: b; \"c\"\t\u{e9}\r\n"), "{head}");
}

//! Heads that were made to be read in two ways: each is refused, and for the reason that it should
//! be. After the literature on request smuggling, and the lists that other servers test with.

use super::*;
use crate::model::fault::Fault;

const LIMITS: HeadLimits = HeadLimits { bytes: 8192, fields: 100, target: 4096 };

/// What stands after `POST / HTTP/1.1\r\nHost: a\r\n`, up to the blank line.
const FRAMING: &[(&str, Fault)] = &[
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Fault::BadFraming),
    ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", Fault::BadFraming),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", Fault::BadFraming),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::BadFraming),
    ("Content-Length: 5\r\ncontent-length: 0\r\n", Fault::BadFraming),
    ("Content-Length: 5, 5\r\n", Fault::BadFraming),
    ("Content-Length: 5,6\r\n", Fault::BadFraming),
    ("Content-Length: +5\r\n", Fault::BadFraming),
    ("Content-Length: -0\r\n", Fault::BadFraming),
    ("Content-Length: 0x5\r\n", Fault::BadFraming),
    ("Content-Length: 5 0\r\n", Fault::BadFraming),
    ("Content-Length: 5;a\r\n", Fault::BadFraming),
    ("Content-Length: \"5\"\r\n", Fault::BadFraming),
    ("Content-Length: 5\u{a0}\r\n", Fault::BadFraming),
    ("Content-Length:\r\n", Fault::BadFraming),
    ("Content-Length: 99999999999999999999\r\n", Fault::BadFraming),
    ("Content-Length: 18446744073709551617\r\n", Fault::BadFraming),
    ("Content-Length: 5\r\n 6\r\n", Fault::Malformed),
    ("Content-Length : 5\r\n", Fault::Malformed),
    ("Content-Length\t: 5\r\n", Fault::Malformed),
    ("Content-Length\u{b}: 5\r\n", Fault::Malformed),
    ("Content-Length:\u{b}5\r\n", Fault::Malformed),
    ("Content-Length: 5\0\r\n", Fault::Malformed),
    ("Content\rLength: 5\r\n", Fault::Malformed),
    ("Content Length: 5\r\n", Fault::Malformed),
    ("X: y\nContent-Length: 5\r\n", Fault::Malformed),
    ("X: y\rContent-Length: 5\r\n", Fault::Malformed),
    ("X: y\r\r\nContent-Length: 5\r\n", Fault::Malformed),
    ("X: y\n\rContent-Length: 5\r\n", Fault::Malformed),
    (": y\r\n", Fault::Malformed),
    ("X\r\n", Fault::Malformed),
    ("X\r\nContent-Length: 5\r\n", Fault::Malformed),
    ("X: y\0z\r\n", Fault::Malformed),
    ("X\0: y\r\n", Fault::Malformed),
    ("X: y\u{7f}\r\n", Fault::Malformed),
    ("X: y\u{1}\r\n", Fault::Malformed),
    ("(X): y\r\n", Fault::Malformed),
    ("X/Y: y\r\n", Fault::Malformed),
    ("X: y\r\n z: a\r\n", Fault::Malformed),
    ("X: y\r\n\tz\r\n", Fault::Malformed),
    (" X: y\r\n", Fault::Malformed),
    ("\tX: y\r\n", Fault::Malformed),
    ("\"X\": y\r\n", Fault::Malformed),
    ("Transfer\u{e9}Encoding: chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding: xchunked\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: chunked, identity\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: identity, chunked\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: gzip, chunked\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: chunked, gzip\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: cow\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: chunkedchunked\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: 'chunked'\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", Fault::TransferCoding),
    ("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked, chunked\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked,\r\n", Fault::BadFraming),
    ("Transfer-Encoding: ,chunked\r\n", Fault::BadFraming),
    ("Transfer-Encoding: \"chunked\"\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked;q=1\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunk ed\r\n", Fault::BadFraming),
    ("Transfer-Encoding:\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked\u{a0}\r\n", Fault::BadFraming),
    ("Transfer-Encoding: chunked\u{c}\r\n", Fault::Malformed),
    ("Transfer-Encoding:\u{b}chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding : chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding\r\n: chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding:\r\n chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding: chunked\r\n \r\n", Fault::Malformed),
    ("X: y\nTransfer-Encoding: chunked\r\n", Fault::Malformed),
    ("X: y\rTransfer-Encoding: chunked\r\n", Fault::Malformed),
    ("Transfer-Encoding: chunked\nContent-Length: 5\r\n", Fault::Malformed),
    ("Expect: 100-continue, x\r\n", Fault::ExpectationFailed),
    ("Expect: 200\r\n", Fault::ExpectationFailed),
];

/// Whole first lines, before a good Host.
const LINES: &[(&str, Fault)] = &[
    ("GET / HTTP/1.1\n", Fault::Malformed),
    ("GET / HTTP/1.1\r", Fault::Malformed),
    ("GET / HTTP/1.1 \r\n", Fault::Malformed),
    ("GET / HTTP/1.1\t\r\n", Fault::Malformed),
    ("GET / HTTP/1.1\0\r\n", Fault::Malformed),
    ("GET  / HTTP/1.1\r\n", Fault::Malformed),
    ("GET /  HTTP/1.1\r\n", Fault::Malformed),
    ("GET\t/\tHTTP/1.1\r\n", Fault::Malformed),
    ("GET /\u{b}HTTP/1.1\r\n", Fault::Malformed),
    ("GET / HTTP/1.1 GET /admin HTTP/1.1\r\n", Fault::Malformed),
    ("GET /a b HTTP/1.1\r\n", Fault::Malformed),
    ("GET /a\0b HTTP/1.1\r\n", Fault::Malformed),
    ("GET /a#b HTTP/1.1\r\n", Fault::Malformed),
    ("GET /\r HTTP/1.1\r\n", Fault::Malformed),
    ("GET\r\n", Fault::Malformed),
    ("GET /\r\n", Fault::Malformed),
    (" GET / HTTP/1.1\r\n", Fault::Malformed),
    ("GE(T / HTTP/1.1\r\n", Fault::Malformed),
    (": / HTTP/1.1\r\n", Fault::Malformed),
    ("GET admin HTTP/1.1\r\n", Fault::Malformed),
    ("GET a.test:80 HTTP/1.1\r\n", Fault::Malformed),
    ("GET * HTTP/1.1\r\n", Fault::Malformed),
    ("GET ftp://a/ HTTP/1.1\r\n", Fault::Malformed),
    ("GET file:///etc/passwd HTTP/1.1\r\n", Fault::Malformed),
    ("GET / HTTP/01.1\r\n", Fault::Malformed),
    ("GET / HTTP/1.01\r\n", Fault::Malformed),
    ("GET / HTTP/1\r\n", Fault::Malformed),
    ("GET / HTTP /1.1\r\n", Fault::Malformed),
    ("GET / http/1.1\r\n", Fault::Malformed),
    ("GET / HTTPS/1.1\r\n", Fault::Malformed),
    ("GET / XTTP/1.1\r\n", Fault::Malformed),
    ("GET / HTTP/1.2\r\n", Fault::VersionNotSupported),
    ("GET / HTTP/3.0\r\n", Fault::VersionNotSupported),
    ("GET / HTTP/0.9\r\n", Fault::VersionNotSupported),
    ("PRI * HTTP/2.0\r\n", Fault::VersionNotSupported),
    ("\r\n\r\nGET / HTTP/1.1\r\n", Fault::Malformed),
    ("\nGET / HTTP/1.1\r\n", Fault::Malformed),
    ("\rGET / HTTP/1.1\r\n", Fault::Malformed),
    ("\u{16}\u{3}\u{1}\u{2}\0", Fault::Malformed),
    ("\u{feff}GET / HTTP/1.1\r\n", Fault::Malformed),
];

/// What stands after the first line, and names no host or two.
const HOSTS: &[(&str, &str)] = &[
    ("/", ""),
    ("/", "Host:\r\n"),
    ("/", "Host: a\r\nHost: a\r\n"),
    ("/", "Host: a\r\nhost: b\r\n"),
    ("/", "Host: a b\r\n"),
    ("/", "Host: a, b\r\n"),
    ("/", "Host: a/b\r\n"),
    ("/", "Host: a@b\r\n"),
    ("/", "Host: a:b\r\n"),
    ("/", "Host: a:80:90\r\n"),
    ("/", "Host: http://a\r\n"),
    ("/", "Host: [::1\r\n"),
    ("/", "Host: a\u{e9}\r\n"),
    ("/", "Host: a#b\r\n"),
    ("/", "Host: a?b\r\n"),
    ("http://a/", "Host: b\r\n"),
    ("http://a/", "Host: a:8080\r\n"),
    ("https://a/", "Host: a:80\r\n"),
    ("http://b@a/", "Host: b@a\r\n"),
    ("http:///a", "Host: a\r\n"),
    ("http://a:b/", "Host: a\r\n"),
    ("http://a/", ""),
];

fn judged(head: &str) -> Result<bool, Fault> {
    let mut room = Fields::new();
    let bytes: Vec<u8> = head
        .chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect();
    match request(&bytes, &mut room, &LIMITS) {
        Ok(Parsed::Whole(head)) => Ok(head.authority != Authority::Bad),
        Ok(Parsed::Partial) => panic!("{head:?} is not complete"),
        Err(fault) => Err(fault),
    }
}

#[test]
fn framing_that_could_be_read_in_two_ways_is_refused() {
    for (lines, fault) in FRAMING {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(judged(&head), Err(*fault), "{lines:?}");
        // Wherever it stands, and with fields after it.
        let head = format!("POST / HTTP/1.1\r\n{lines}Host: a\r\nX: y\r\n\r\n");
        assert_eq!(judged(&head), Err(*fault), "{lines:?}");
    }
}

#[test]
fn a_coding_is_not_for_http_1_0() {
    for lines in ["", "Connection: keep-alive\r\n", "Host: a\r\n"] {
        let head = format!("POST / HTTP/1.0\r\n{lines}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(judged(&head), Err(Fault::BadFraming));
    }
}

#[test]
fn http_1_0_must_say_how_long_the_content_of_a_post_is() {
    for lines in ["", "Connection: keep-alive\r\n", "Host: a\r\n"] {
        for method in ["POST", "PUT", "PATCH"] {
            let head = format!("{method} / HTTP/1.0\r\n{lines}\r\n");
            assert_eq!(judged(&head), Err(Fault::LengthRequired));
            let head = format!("{method} / HTTP/1.0\r\n{lines}Content-Length: 0\r\n\r\n");
            assert_eq!(judged(&head), Ok(true));
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(judged(&head), Ok(true), "RFC 9112 §6.3");
        }
        let head = format!("GET / HTTP/1.0\r\n{lines}\r\n");
        assert_eq!(judged(&head), Ok(true));
    }
}

#[test]
fn first_lines_that_could_be_read_in_two_ways_are_refused() {
    for (line, fault) in LINES {
        assert_eq!(judged(&format!("{line}Host: a\r\n\r\n")), Err(*fault), "{line:?}");
    }
}

#[test]
fn hosts_that_could_be_read_in_two_ways_are_bad() {
    for (target, lines) in HOSTS {
        let head = format!("GET {target} HTTP/1.1\r\n{lines}X: y\r\n\r\n");
        assert_eq!(judged(&head), Ok(false), "{target} {lines:?}");
    }
}

#[test]
fn what_is_odd_and_clear_passes() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED \t\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \"\t\u{e9}\"\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nX: \r\n\r\n",
        "M-SEARCH!#$%&'*+.^_`|~ //x?\"<>\\^`{|} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://a/ HTTP/1.1\r\nHost: A:80\r\n\r\n",
    ] {
        assert_eq!(judged(head), Ok(true), "{head:?}");
    }
}

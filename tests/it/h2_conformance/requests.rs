//! Requests that are malformed (RFC 9113 §8): each is refused before anything of it is sent on in
//! HTTP/1.1, where it might be taken for two.

use crate::h2_conformance::Case;
use crate::h2_conformance::NO_ERROR;
use crate::h2_conformance::PROTOCOL_ERROR;
use crate::h2_conformance::Then::Ends;
use crate::h2_conformance::Then::Resets;
use crate::h2_conformance::Then::Says;
use crate::h2_conformance::Then::SaysAndResets;
use crate::h2_conformance::check;
use crate::h2_conformance::send;
use crate::h2_conformance::send_with;
use crate::harness::config::HOST;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
use crate::harness::h2::frame;
use crate::harness::hpack;
use crate::harness::hpack::Field;

const GET: Field<'_> = (b":method", b"GET");
const HTTPS: Field<'_> = (b":scheme", b"https");
const APP: Field<'_> = (b":authority", b"app.test");
const NEVER: Field<'_> = (b":path", b"/never");
const MALFORMED: crate::h2_conformance::Then = Resets(1, PROTOCOL_ERROR);

/// The head of an upload that says that it has so much.
fn upload_head(path: Field<'_>, length: &[u8]) -> Vec<u8> {
    hpack::block(&[(b":method", b"POST"), HTTPS, APP, path, (b"content-length", length)])
}

/// That head, good in itself, then content in these pieces.
fn upload(frames: &mut Frames, length: &[u8], pieces: &[&[u8]]) -> std::io::Result<()> {
    let block = upload_head((b":path", b"/hold"), length);
    frames.send(HEADERS, END_HEADERS, 1, &block)?;
    let Some((last, others)) = pieces.split_last() else { return Ok(()) };
    for piece in others {
        frames.send(DATA, 0, 1, piece)?;
    }
    frames.send(DATA, END_STREAM, 1, last)
}

#[test]
fn what_a_name_or_a_value_cannot_hold_is_refused() {
    // `h2` takes some of them for an error of the whole connection, as RFC 9113 §5.4.1 lets it.
    check(&[
        Case {
            what: "§8.2.1 a CR in a value",
            act: |f| send_with(f, &[(b"x-a", b"1\rx-b: 2")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 an LF in a value",
            act: |f| send_with(f, &[(b"x-a", b"1\nx-b: 2")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a request in a value",
            act: |f| {
                let smuggled = b"1\r\n\r\nGET /never HTTP/1.1\r\nHost: app.test\r\n\r\n";
                send_with(f, &[(b"x-a", smuggled)])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a NUL in a value",
            act: |f| send_with(f, &[(b"x-a", b"1\x002")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a value that begins with a space",
            act: |f| send_with(f, &[(b"x-a", b" 1")]),
            then: Says(400),
        },
        Case {
            what: "§8.2.1 a value that ends with a tab",
            act: |f| send_with(f, &[(b"x-a", b"1\t")]),
            then: Says(400),
        },
        Case {
            what: "§8.2.1 an upper-case name",
            act: |f| send_with(f, &[(b"X-A", b"1")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a colon in a name",
            act: |f| send_with(f, &[(b"x-a: 1\r\nx-b", b"1")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a colon at the end of a name",
            act: |f| send_with(f, &[(b"transfer-encoding:", b"chunked")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a space in a name",
            act: |f| send_with(f, &[(b"transfer-encoding ", b"chunked")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a name without a character",
            act: |f| send_with(f, &[(b"", b"1")]),
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn fields_of_a_connection_are_malformed() {
    check(&[
        Case {
            what: "§8.2.2 connection",
            act: |f| send_with(f, &[(b"connection", b"x-a"), (b"x-a", b"1")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 keep-alive",
            act: |f| send_with(f, &[(b"keep-alive", b"timeout=5")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 proxy-connection",
            act: |f| send_with(f, &[(b"proxy-connection", b"keep-alive")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 transfer-encoding",
            act: |f| send_with(f, &[(b"transfer-encoding", b"chunked")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 upgrade",
            act: |f| send_with(f, &[(b"upgrade", b"websocket")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 te: gzip",
            act: |f| send_with(f, &[(b"te", b"gzip")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 te: trailers, gzip",
            act: |f| send_with(f, &[(b"te", b"trailers, gzip")]),
            then: MALFORMED,
        },
    ]);
}

#[test]
fn pseudo_fields_must_be_there_once_and_first() {
    check(&[
        Case { what: "§8.3.1 no method", act: |f| send(f, &[HTTPS, APP, NEVER]), then: MALFORMED },
        Case { what: "§8.3.1 no scheme", act: |f| send(f, &[GET, APP, NEVER]), then: MALFORMED },
        Case { what: "§8.3.1 no path", act: |f| send(f, &[GET, HTTPS, APP]), then: MALFORMED },
        Case {
            what: "§8.3.1 an empty path",
            act: |f| send(f, &[GET, HTTPS, APP, (b":path", b"")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3.1 two methods",
            act: |f| send(f, &[GET, GET, HTTPS, APP, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3.1 two schemes",
            act: |f| send(f, &[GET, HTTPS, HTTPS, APP, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3.1 two authorities",
            act: |f| send(f, &[GET, HTTPS, APP, APP, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3.1 two paths",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3 a pseudo field after another field",
            act: |f| send(f, &[GET, HTTPS, APP, (b"x-a", b"1"), NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.3 a pseudo field that is not defined",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, (b":what", b"1")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.3 a pseudo field of answers",
            act: |f| send(f, &[GET, HTTPS, APP, NEVER, (b":status", b"200")]),
            then: MALFORMED,
        },
    ]);
}

#[test]
fn a_length_that_lies_is_refused() {
    check(&[
        Case {
            what: "§8.1.1 a length, and no content",
            act: |f| send_with(f, &[(b"content-length", b"5")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 less content than the length",
            act: |f| upload(f, b"5", &[b"abc"]),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 more content than the length",
            act: |f| upload(f, b"3", &[b"abcde"]),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a request behind the content",
            act: |f| upload(f, b"3", &[b"abc", b"GET /never HTTP/1.1\r\nHost: app.test\r\n\r\n"]),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 trailers before the length is reached",
            act: |f| {
                upload(f, b"5", &[])?;
                f.send(DATA, 0, 1, b"abc")?;
                let trailers = hpack::block(&[(b"x-sum", b"1")]);
                f.send(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)
            },
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 two lengths",
            act: |f| {
                let two: [Field<'_>; 2] = [(b"content-length", b"0"), (b"content-length", b"5")];
                send_with(f, &two)
            },
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 the same length twice",
            act: |f| {
                let two: [Field<'_>; 2] = [(b"content-length", b"0"), (b"content-length", b"0")];
                send_with(f, &two)
            },
            then: Says(400),
        },
    ]);
}

/// A head whose length is none, which must not arrive, alone or with five bytes in one piece with it.
fn bad_upload(frames: &mut Frames, length: &[u8], is_alone: bool) -> std::io::Result<()> {
    let head = frame(HEADERS, END_HEADERS, 1, &upload_head(NEVER, length));
    let content = frame(DATA, END_STREAM, 1, b"abcde");
    frames.raw(&if is_alone { head } else { [head, content].concat() })
}

#[test]
fn a_length_that_is_none_is_refused_before_its_content_comes_and_with_it() {
    // `h2` refuses those that it cannot read itself, and takes one without a digit for 0: it ends the
    // stream if content is at hand that is more. If not, the answer is ours, and RFC 9113 §8.1.1 lets
    // it come first; then the client is told to send no more, without an error (§8.1).
    check(&[
        Case {
            what: "§8.1.1 two lengths in one",
            act: |f| bad_upload(f, b"5, 5", true),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 two lengths in one, with its content",
            act: |f| bad_upload(f, b"5, 5", false),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a signed length",
            act: |f| bad_upload(f, b"+5", true),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a signed length, with its content",
            act: |f| bad_upload(f, b"+5", false),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a length beyond every number",
            act: |f| bad_upload(f, b"99999999999999999999", true),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a length beyond every number, with its content",
            act: |f| bad_upload(f, b"99999999999999999999", false),
            then: MALFORMED,
        },
        Case {
            what: "§8.1.1 a length without a digit",
            act: |f| bad_upload(f, b"", true),
            then: SaysAndResets(400, NO_ERROR),
        },
        Case {
            what: "§8.1.1 a length without a digit, with its content",
            act: |f| bad_upload(f, b"", false),
            then: MALFORMED,
        },
    ]);
}

/// An upload that ends with these trailers.
fn trailers(frames: &mut Frames, flags: u8, fields: &[Field<'_>]) -> std::io::Result<()> {
    frames.post(1, HOST, "/hold")?;
    frames.send(DATA, 0, 1, b"abc")?;
    frames.send(HEADERS, END_HEADERS | flags, 1, &hpack::block(fields))
}

#[test]
fn trailers_that_are_none_are_malformed() {
    check(&[
        Case {
            what: "§8.1 trailers that do not end the stream",
            act: |f| trailers(f, 0, &[(b"x-sum", b"1")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.2 transfer-encoding among trailers",
            act: |f| trailers(f, END_STREAM, &[(b"transfer-encoding", b"chunked")]),
            then: MALFORMED,
        },
        Case {
            what: "§8.2.1 a line end in a trailer",
            act: |f| trailers(f, END_STREAM, &[(b"x-sum", b"1\r\n\r\nGET / HTTP/1.1")]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§8.2.1 a space before the value of a trailer",
            act: |f| trailers(f, END_STREAM, &[(b"x-sum", b" 1")]),
            then: Says(400),
        },
    ]);
}

#[test]
fn a_request_for_a_tunnel_is_refused() {
    check(&[
        Case {
            what: "§8.5 CONNECT",
            act: |f| send(f, &[(b":method", b"CONNECT"), (b":authority", b"app.test:443")]),
            then: Says(405),
        },
        Case {
            what: "§8.5 CONNECT with a path",
            act: |f| send(f, &[(b":method", b"CONNECT"), APP, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "§8.5 CONNECT with a scheme",
            act: |f| send(f, &[(b":method", b"CONNECT"), HTTPS, APP]),
            then: MALFORMED,
        },
        Case {
            what: "RFC 8441 §4 an extended CONNECT, which was not offered",
            act: |f| {
                let websocket = (&b":protocol"[..], &b"websocket"[..]);
                send(f, &[(b":method", b"CONNECT"), websocket, HTTPS, APP, NEVER])
            },
            then: MALFORMED,
        },
        Case {
            what: "RFC 8441 §4 :protocol without CONNECT",
            act: |f| send(f, &[GET, (b":protocol", b"websocket"), HTTPS, APP, NEVER]),
            then: MALFORMED,
        },
        Case {
            what: "RFC 9110 §9.3.8 TRACE",
            act: |f| send(f, &[(b":method", b"TRACE"), HTTPS, APP, NEVER]),
            then: Says(405),
        },
    ]);
}

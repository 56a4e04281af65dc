//! What is rare and well: it passes, and arrives as one request in HTTP/1.1.

use serde_json::json;

use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::CONTINUATION;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frame;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::HEADERS;
use crate::harness::h2::RST_STREAM;
use crate::harness::hpack;
use crate::harness::script::Script;

const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;
const REFUSED_STREAM: u32 = 7;

/// Everything up to the end of one stream.
fn until_end(frames: &mut Frames, stream: u32) -> Vec<Frame> {
    let mut all = Vec::new();
    while let Ok(frame) = frames.next() {
        let ends = frame.kind == RST_STREAM
            || (frame.kind <= HEADERS && frame.flags & END_STREAM != 0)
            || frame.kind == GOAWAY;
        let last = ends && (frame.stream == stream || frame.kind == GOAWAY);
        all.push(frame);
        if last {
            break;
        }
    }
    all
}

#[track_caller]
fn answered(frames: &mut Frames, stream: u32) {
    let all = until_end(frames, stream);
    let head = all
        .iter()
        .find(|frame| frame.kind == HEADERS && frame.stream == stream);
    assert!(head.is_some(), "{all:?}");
}

#[test]
fn padding_priorities_and_blocks_in_pieces_change_nothing() {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let block = hpack::request("POST", HOST, "/echo");
    let (first, second) = block.split_at(20);
    let padded = [&[3, 0, 0, 0, 0, 15], first, &[0; 3]].concat();
    frames
        .send(HEADERS, PADDED | WITH_PRIORITY, 1, &padded)
        .unwrap();
    frames.send(CONTINUATION, 0, 1, &[]).unwrap();
    frames.send(CONTINUATION, END_HEADERS, 1, second).unwrap();
    frames
        .send(DATA, PADDED, 1, &[&[2][..], b"hello", &[0; 2]].concat())
        .unwrap();
    frames.send(DATA, PADDED | END_STREAM, 1, &[1, 0]).unwrap();
    answered(&mut frames, 1);
    // The size of the table is said anew, a field goes to it, and is named by its place there.
    let mut field = hpack::block(&[(b"x-own", b"1")]);
    field[0] = 0x40;
    let sizes = [0x20, 0x3f, 0xe1, 0x1f];
    let get = hpack::request("GET", HOST, "/");
    let all = END_HEADERS | END_STREAM;
    frames
        .send(HEADERS, all, 3, &[&sizes[..], &get, &field].concat())
        .unwrap();
    answered(&mut frames, 3);
    frames
        .send(HEADERS, all, 5, &[&get[..], &[0x80 | 62]].concat())
        .unwrap();
    answered(&mut frames, 5);
    let requests = blue.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1].head.header("x-own"), Some("1"));
    assert_eq!(requests[2].head.header("x-own"), Some("1"));
}

#[test]
fn trailers_arrive_without_what_may_not_be_among_them() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.post(1, HOST, "/").unwrap();
    frames.send(DATA, 0, 1, b"hello").unwrap();
    let trailers = hpack::block(&[
        (b"x-sum", b"7"),
        (b"content-length", b"5"),
        (b"host", b"other.test"),
        (b"authorization", b"none"),
        (b"x-last", b"1"),
    ]);
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)
        .unwrap();
    let mut asked = script.asked();
    let came = asked.read_until("x-last: 1\r\n\r\n");
    let body = came.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 7\r\nx-last: 1\r\n\r\n");
    asked.say("HTTP/1.1 204 No Content\r\n\r\n");
    answered(&mut frames, 1);
}

#[test]
fn content_that_does_not_fit_its_length_never_looks_whole_to_the_target() {
    for (content, length) in [(&b"abc"[..], "5"), (b"abcdef", "4")] {
        let script = Script::start();
        let (_green, proxy) = script.behind(&json!({}));
        let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
        let mut block = hpack::request("POST", HOST, "/");
        hpack::literal(&mut block, b"content-length", length.as_bytes());
        frames.send(HEADERS, END_HEADERS, 1, &block).unwrap();
        let mut asked = script.asked();
        frames.send(DATA, END_STREAM, 1, content).unwrap();
        let end = until_end(&mut frames, 1).pop().unwrap();
        assert_eq!(end.kind, RST_STREAM);
        assert!(asked.is_closed(), "the target's connection goes with it");
        let came = String::from_utf8_lossy(&asked.bytes).into_owned();
        let body = came.split_once("\r\n\r\n").unwrap().1;
        assert!(body.len() < length.parse().unwrap(), "{came}");
    }
}

#[test]
fn what_comes_for_a_stream_that_was_answered_early_is_ignored() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.post(1, HOST, "/").unwrap();
    script
        .asked()
        .say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    answered(&mut frames, 1);
    frames.send(DATA, 0, 1, b"more").unwrap();
    frames.send(DATA, 0, 1, b"and more").unwrap();
    let trailers = hpack::block(&[(b"x-sum", b"7")]);
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)
        .unwrap();
    frames.get(3, HOST, "/next").unwrap();
    script.asked().say("HTTP/1.1 204 No Content\r\n\r\n");
    answered(&mut frames, 3);
}

#[test]
fn a_stream_beyond_the_limit_is_refused_and_may_be_tried_again() {
    let (blue, _green, proxy) = app_with(&json!({ "limits": { "http2_streams": 3 } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    for n in 0..4 {
        frames.get(2 * n + 1, HOST, "/hold").unwrap();
    }
    let refused = until_end(&mut frames, 7).pop().unwrap();
    assert_eq!((refused.kind, refused.error()), (RST_STREAM, REFUSED_STREAM));
    blue.wait_until_held(3);
    blue.release();
    answered(&mut frames, 5);
    eventually("the streams are over", || proxy.in_flight("blue") == 0);
    frames.get(9, HOST, "/").unwrap();
    answered(&mut frames, 9);
}

#[test]
fn a_client_that_says_goodbye_gets_what_it_still_waits_for() {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/hold").unwrap();
    blue.wait_until_held(1);
    frames.send(GOAWAY, 0, 0, &[0; 8]).unwrap();
    blue.release();
    answered(&mut frames, 1);
}

//! Clients of HTTP/2 that mean harm, or are merely slow: a stream is theirs to stall, not what it holds.

use std::time::Duration;

use serde_json::json;

use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
use crate::harness::h2::PING;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::SETTINGS;
use crate::harness::h2::WINDOW_UPDATE;
use crate::harness::hpack;
use crate::harness::script::Script;
use crate::harness::wait::pause;

/// RFC 9113 §7.
const CANCEL: u32 = 8;

const DONE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";

#[test]
fn an_h2_upload_that_goes_on_after_the_whole_answer_holds_nothing() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.post(1, HOST, "/").unwrap();
    script.asked().say(DONE);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn a_stream_whose_window_stays_closed_is_ended() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "300ms" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    frames.get(1, HOST, "/endless").unwrap();
    let ended = std::iter::from_fn(|| frames.next().ok()).any(|frame| frame.kind == RST_STREAM);
    assert!(ended, "the stream is reset");
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    frames.get(3, HOST, "/status?code=204").unwrap();
    let answered = std::iter::from_fn(|| frames.next().ok()).any(|frame| frame.kind == HEADERS);
    assert!(answered, "the connection goes on");
}

#[test]
fn a_cut_reaches_a_stream_whose_window_is_closed() {
    let (_blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    frames.get(1, HOST, "/endless").unwrap();
    eventually("it is in flight", || proxy.in_flight("blue") == 1);
    proxy
        .ctl(["promote", "green", "--drain-timeout", "200ms"])
        .expect(3);
    let ended = std::iter::from_fn(|| frames.next().ok()).any(|frame| frame.kind == RST_STREAM);
    assert!(ended, "the stream is reset");
}

#[test]
fn an_h2_connection_that_pings_is_idle_and_not_about_to_ask() {
    let times = json!({ "timeouts": { "request_header": "300ms", "idle": "10s" } });
    let (_blue, _green, proxy) = app_with(&times);
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/status?code=204").unwrap();
    while frames.next().unwrap().kind != HEADERS {}
    frames.send(PING, 0, 0, &[7; 8]).unwrap();
    pause(Duration::from_millis(700));
    frames.get(3, HOST, "/status?code=204").unwrap();
    let answered = std::iter::from_fn(|| frames.next().ok())
        .any(|frame| frame.kind == HEADERS && frame.stream == 3);
    assert!(answered, "the connection was closed under a request");
}

#[test]
fn streams_of_a_connection_that_is_gone_or_not_read_hold_nothing() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "300ms" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    for stream in 0..20 {
        frames.get(2 * stream + 1, HOST, "/hold").unwrap();
    }
    blue.wait_until_held(20);
    drop(frames);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    // Its windows wide open, and nobody reads from the socket.
    let mut unread = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let wide = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    unread.send(SETTINGS, 0, 0, &wide).unwrap();
    unread
        .send(WINDOW_UPDATE, 0, 0, &0x7f00_0000_u32.to_be_bytes())
        .unwrap();
    unread.get(1, HOST, "/endless").unwrap();
    eventually("it is in flight", || proxy.in_flight("blue") == 1);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn a_window_that_closes_in_the_middle_holds_nothing() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "300ms" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_20000 = [0, 4, 0, 0, 0x4e, 0x20];
    frames
        .send(SETTINGS, 0, 0, &initial_window_size_20000)
        .unwrap();
    frames.get(1, HOST, "/endless").unwrap();
    eventually("it is in flight", || proxy.in_flight("blue") == 1);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn an_h2_client_that_takes_little_at_a_time_is_not_cut() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "1s" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames
        .get(1, HOST, "/slow?bytes=200000&chunk=200000&every_ms=0")
        .unwrap();
    let mut sum = 0;
    while sum < 200_000 {
        let frame = frames.next().unwrap();
        assert_ne!(frame.kind, RST_STREAM, "cut after {sum} bytes");
        if frame.kind == DATA && !frame.payload.is_empty() {
            sum += frame.payload.len();
            pause(Duration::from_millis(100));
            let taken = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            frames.send(WINDOW_UPDATE, 0, 0, &taken).unwrap();
            frames.send(WINDOW_UPDATE, 0, 1, &taken).unwrap();
        }
    }
}

#[test]
fn an_answer_of_our_own_that_is_not_taken_holds_nothing() {
    let (_blue, _green, proxy) = app_with(&json!({ "limits": { "request_body": "1KiB" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    for stream in [1, 3, 5] {
        frames.post(stream, HOST, "/echo").unwrap();
        frames.send(DATA, 0, stream, &[b'x'; 2000]).unwrap();
    }
    let answered = std::iter::from_fn(|| frames.next().ok())
        .filter(|frame| frame.kind == HEADERS)
        .take(3);
    assert_eq!(answered.count(), 3);
    eventually("no lease is held", || proxy.in_flight("blue") == 0);
    let refused = || {
        proxy
            .metrics()
            .value("proxy_requests_outcome_total", &[("outcome", "refused")])
    };
    eventually("they have ended", || refused() == 3.0);
    proxy.ctl(["promote", "green"]).expect(0);
}

#[test]
fn the_end_of_an_answer_that_its_client_does_not_take_is_reset() {
    let change = json!({ "timeouts": { "send": "300ms" }, "limits": { "request_body": "1KiB" } });
    let (_blue, _green, proxy) = app_with(&change);
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    // A target's, whole at once; ours, to a whole request; ours, to one that is not.
    frames.get(1, HOST, "/").unwrap();
    let trace = hpack::request("TRACE", HOST, "/");
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 3, &trace)
        .unwrap();
    frames.post(5, HOST, "/echo").unwrap();
    frames.send(DATA, 0, 5, &[b'x'; 2000]).unwrap();
    let mut reset: Vec<u32> = std::iter::from_fn(|| frames.next().ok())
        .filter(|frame| frame.kind == RST_STREAM)
        .inspect(|frame| assert_eq!(frame.error(), CANCEL))
        .map(|frame| frame.stream)
        .take(3)
        .collect();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3, 5]);
    frames.get(7, HOST, "/status?code=204").unwrap();
    let answered = std::iter::from_fn(|| frames.next().ok()).any(|frame| frame.kind == HEADERS);
    assert!(answered, "the connection goes on");
}

#[test]
fn who_goes_on_sending_has_no_more_time_to_take_its_answer_and_blames_no_target() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({ "timeouts": { "send": "500ms" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    frames.post(1, HOST, "/").unwrap();
    let mut asked = script.asked();
    asked.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(40_000)));
    frames.patience(Duration::from_millis(50));
    let mut drip = || {
        frames.send(DATA, 0, 1, b"x").is_err()
            || frames.next().is_ok_and(|frame| frame.kind == RST_STREAM)
    };
    assert!((0..200).any(|_| drip()), "it was reset within ten seconds");
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    let blamed = proxy
        .metrics()
        .sum("proxy_upstream_errors_total", &[("colour", "blue")]);
    assert_eq!(blamed, 0.0);
}

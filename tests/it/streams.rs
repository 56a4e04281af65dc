//! What outlives its colour is ended well at the drain's deadline, where it can be: WebSockets,
//! streams of events, streams of HTTP/2.

mod thousand;

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::ctl::Running;
use crate::harness::eventually;
use crate::harness::h2::DATA;
use crate::harness::h2::Frames;
use crate::harness::h2::RST_STREAM;
use crate::harness::pages::EVENTS;
use crate::harness::wait::pause;

/// RFC 9113 §7: the stream is no longer needed.
const CANCEL: u32 = 8;

fn promote(proxy: &Proxy) -> Running {
    proxy.ctl_start(["promote", "green", "--drain-timeout", "300ms", "--json"])
}

#[track_caller]
fn cut(event: &Value) -> &Value {
    &event["receipts"][0]["cut"]
}

#[test]
fn a_stream_of_events_ends_between_two_of_them_and_its_connection_goes_on() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/events", &[], b"");
    blue.wait_until_held(1);
    let mut promote = promote(&proxy);
    let answer = client.answer().expect(200);
    assert_eq!(answer.text(), EVENTS[0], "the last chunk has come: it is whole");
    let (_, drained) = promote.event("drained");
    assert_eq!(cut(&drained), &json!({ "requests": 0, "tunnels": 0, "events_ended": 1 }));
    promote.finish().expect(0);
    assert_eq!(client.get("/").expect(200).colour(), "green", "over the same connection");
    let ended = [("colour", "blue"), ("outcome", "events_ended")];
    assert_eq!(proxy.metrics().value("proxy_streams_closed_total", &ended), 1.0);
}

#[test]
fn a_stream_of_events_is_ended_behind_the_event_at_hand_over_any_protocol() {
    let [one, two, _] = EVENTS;
    let (blue, _green, proxy) = app();
    let mut plain = proxy.http();
    let mut tls = proxy.https();
    let old = "GET /events?half=1 HTTP/1.0\r\nHost: app.test\r\n\r\n";
    let mut http10 = proxy.http();
    http10.send_raw(old);
    plain.send("GET", "/events?half=1", &[], b"");
    tls.send("GET", "/events?half=1", &[], b"");
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/events?half=1").unwrap();
    blue.wait_until_held(4);
    let mut promote = proxy.ctl_start(["promote", "green", "--drain-timeout", "1ms", "--json"]);
    promote.event("draining");
    // A few ticks behind the deadline, and long before patience ends.
    pause(Duration::from_millis(400));
    blue.release();
    let whole = format!("{one}{two}");
    assert_eq!(plain.answer().expect(200).text(), whole);
    assert_eq!(tls.answer().expect(200).text(), whole);
    assert_eq!(http10.answer().expect(200).text(), whole);
    let (content, last) = frames.content(1);
    assert_eq!((content, last.kind), (whole.into_bytes(), DATA));
    let (_, drained) = promote.event("drained");
    assert_eq!(cut(&drained), &json!({ "requests": 0, "tunnels": 0, "events_ended": 4 }));
    promote.finish().expect(0);
    blue.wait_until_held(0);
    frames.get(3, HOST, "/").unwrap();
    assert_eq!(frames.content(3).0, b"hello from green-1\n", "the connection lives on");
}

#[test]
fn an_event_that_does_not_come_to_its_end_is_cut() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/events?half=1", &[], b"");
    blue.wait_until_held(1);
    let mut promote = promote(&proxy);
    let (_, event) = promote.event("cut");
    assert_eq!(cut(&event), &json!({ "requests": 1, "tunnels": 0 }));
    promote.finish().expect(3);
    assert!(client.try_answer().is_err(), "no end that could be taken for one");
    blue.wait_until_held(0);
}

#[test]
fn a_stream_of_http2_is_reset_and_its_connection_and_the_others_live_on() {
    let (blue, green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/stall-within").unwrap();
    blue.wait_until_held(1);
    let mut promote = promote(&proxy);
    promote.event("switched");
    frames.get(3, HOST, "/hold").unwrap();
    let (content, last) = frames.content(1);
    assert_eq!((content.len(), last.kind, last.error()), (5000, RST_STREAM, CANCEL));
    let (_, event) = promote.event("cut");
    assert_eq!(cut(&event), &json!({ "requests": 1, "tunnels": 0, "streams_reset": 1 }));
    promote.finish().expect(3);
    // The other one went to green, and is answered.
    green.wait_until_held(1);
    green.release();
    assert_eq!(frames.content(3).0, b"hello from green-1\n");
    let reset = [("colour", "blue"), ("outcome", "stream_reset")];
    assert_eq!(proxy.metrics().value("proxy_streams_closed_total", &reset), 1.0);
}

#[test]
fn a_request_of_http2_that_has_no_answer_yet_gets_one() {
    let (blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let asked = thread::spawn({
        let h2 = h2.clone();
        move || h2.get("/hold")
    });
    blue.wait_until_held(1);
    let mut promote = promote(&proxy);
    let (_, event) = promote.event("cut");
    assert_eq!(cut(&event), &json!({ "requests": 1, "tunnels": 0 }));
    asked.join().unwrap().expect(503);
    assert_eq!(h2.get("/").expect(200).colour(), "green");
}

#[test]
fn a_colour_that_is_made_live_again_before_its_turn_loses_no_websocket() {
    let jitter = json!({ "upstreams": { "app": { "promotion": { "close_jitter": "10m" } } } });
    let (_blue, _green, proxy) = app_with(&jitter);
    let mut socket = proxy.websocket();
    socket.echo("before").unwrap();
    let mut promote = proxy.ctl_start(["promote", "green", "--drain-timeout", "1ms", "--json"]);
    promote.event("draining");
    proxy.ctl(["rollback"]).expect(0);
    promote.event("reopened");
    for _ in 0..5 {
        pause(Duration::from_millis(50));
        socket.echo("still here").unwrap();
    }
    socket.close().unwrap();
}

#[test]
fn a_stream_of_events_whose_colour_is_live_again_goes_on_although_its_turn_had_come() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/events?half=1", &[], b"");
    blue.wait_until_held(1);
    let mut promote = proxy.ctl_start(["promote", "green", "--drain-timeout", "1ms", "--json"]);
    promote.event("draining");
    // A few ticks behind the deadline, and long before its patience ends: it waits for the event's end.
    pause(Duration::from_millis(400));
    proxy.ctl(["rollback"]).expect(0);
    promote.event("reopened");
    // A tick of its worker sees it.
    pause(Duration::from_millis(300));
    let answer = thread::spawn(move || client.answer());
    eventually("it comes to its end", || {
        blue.release();
        answer.is_finished()
    });
    assert_eq!(answer.join().unwrap().expect(200).text(), EVENTS.concat());
}

#[test]
fn the_end_of_the_proxy_waits_for_no_turn_of_a_drain() {
    let jitter = json!({ "upstreams": { "app": { "promotion": { "close_jitter": "10m" } } } });
    let (_blue, _green, mut proxy) = app_with(&jitter);
    let mut socket = proxy.websocket();
    socket.echo("before").unwrap();
    let mut promote = proxy.ctl_start(["promote", "green", "--drain-timeout", "1ms", "--json"]);
    promote.event("draining");
    // Its turn is drawn, and is minutes away.
    pause(Duration::from_millis(400));
    proxy.skip_audit();
    proxy.signal(Signal::TERM);
    assert_eq!(socket.close_code(), Ok(1012), "it is told, not dropped");
    assert_eq!(proxy.exit_code(), 0);
    promote.finish();
}

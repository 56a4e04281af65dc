//! The end of the daemon: gracefully on SIGTERM, at once on SIGINT.

use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Client;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::DATA;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;

#[test]
fn sigterm_and_sigquit_stop_accepting_and_finish_what_is_in_flight() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let (blue, _green, mut proxy) = app_with(&json!({ "timeouts": { "shutdown": "20s" } }));
        let (mut held, mut tls) = (proxy.http(), proxy.https());
        held.send("GET", "/hold", &[], b"");
        tls.send("GET", "/hold", &[], b"");
        let mut idle = proxy.http();
        idle.get("/").expect(200);
        blue.wait_until_held(2);
        proxy.skip_audit();
        proxy.signal(signal);
        let refuses = || TcpStream::connect(proxy.plain_address()).is_err();
        eventually("new connections are refused", refuses);
        assert!(idle.is_closed(), "an idle connection has nothing to wait for");
        assert!(proxy.exited().is_none(), "two requests are in flight");
        blue.release();
        for client in [&mut held, &mut tls] {
            assert!(client.answer().expect(200).closes(), "Connection: close is announced");
            assert!(client.is_closed());
        }
        assert_eq!(proxy.exit_code(), 0);
    }
}

#[test]
fn http2_is_told_to_go_away_in_two_steps_and_its_streams_finish() {
    let (blue, _green, mut proxy) = app_with(&json!({ "timeouts": { "shutdown": "20s" } }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/hold").unwrap();
    blue.wait_until_held(1);
    proxy.skip_audit();
    proxy.signal(Signal::TERM);
    let mut goaways = Vec::new();
    while goaways.len() < 2 {
        let frame = frames.next().expect("two GOAWAYs");
        if frame.kind == GOAWAY {
            goaways.push((frame.last_stream(), frame.error()));
        }
    }
    assert_eq!(goaways, [(0x7fff_ffff, 0), (1, 0)], "RFC 9113 §6.8");
    blue.release();
    let rest = frames.rest();
    let finished = |f: &&crate::harness::h2::Frame| {
        f.stream == 1 && f.kind == DATA && f.flags & END_STREAM != 0
    };
    assert!(rest.iter().any(|frame| finished(&frame)), "{rest:?}");
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn the_deadline_of_a_shutdown_cuts_requests_and_closes_websockets() {
    let (blue, _green, mut proxy) = app_with(&json!({ "timeouts": { "shutdown": "300ms" } }));
    let mut held = proxy.http();
    held.send("GET", "/hold", &[], b"");
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    blue.wait_until_held(1);
    proxy.skip_audit();
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    assert!(
        held.try_answer()
            .map_or(true, |answer| answer.status >= 500)
    );
    assert_eq!(socket.close_code(), Ok(1012));
}

#[test]
fn sigint_or_a_second_signal_stops_at_once() {
    for signals in [&[Signal::INT] as &[Signal], &[Signal::TERM, Signal::TERM]] {
        let (blue, _green, mut proxy) = app_with(&json!({ "timeouts": { "shutdown": "60s" } }));
        let mut held = proxy.http();
        held.send("GET", "/hold", &[], b"");
        blue.wait_until_held(1);
        proxy.skip_audit();
        for (nth, signal) in signals.iter().enumerate() {
            proxy.signal(*signal);
            if nth + 1 < signals.len() {
                let refuses = || TcpStream::connect(proxy.plain_address()).is_err();
                eventually("the first was heard", refuses);
            }
        }
        eventually("it ends while a request is held", || proxy.exited().is_some());
        assert_eq!(blue.executions("nothing"), 0);
    }
}

#[test]
fn connections_that_were_accepted_by_the_kernel_are_served_before_the_end() {
    // Time enough on a machine that is busy with others; it ends with the last of them.
    let patient = json!({ "timeouts": { "shutdown": "1m" } });
    for _ in 0..5 {
        let (_blue, _green, mut proxy) = app_with(&patient);
        let mut clients: Vec<_> = (0..20).map(|_| proxy.http()).collect();
        for client in &mut clients {
            client.send("GET", "/", &[], b"");
        }
        proxy.skip_audit();
        proxy.signal(Signal::TERM);
        for (nth, client) in clients.iter_mut().enumerate() {
            let answer = client.try_answer();
            assert!(answer.as_ref().is_ok_and(|a| a.status == 200), "client {nth}: {answer:?}");
        }
        assert_eq!(proxy.exit_code(), 0);
    }
}

#[test]
fn the_socket_is_gone_after_a_clean_stop() {
    let (_blue, _green, mut proxy) = app();
    proxy.stop();
    assert!(!proxy.socket().exists());
}

#[test]
fn a_shutdown_under_a_running_promote_ends_it_too() {
    let (_blue, green, mut proxy) = app();
    green.health(crate::harness::Health::Status(503));
    let promote = proxy.ctl_start(["promote", "green", "--gate-timeout", "60s"]);
    eventually("it is gating", || proxy.app()["promotion"]["phase"] == "gating");
    proxy.signal(Signal::TERM);
    proxy.skip_audit();
    assert_eq!(proxy.exit_code(), 0);
    assert_ne!(promote.finish().code, 0);
    green.health(crate::harness::Health::Status(200));
    proxy.start_again();
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn the_control_socket_keeps_nothing_of_those_who_have_asked() {
    let (_blue, _green, proxy) = app();
    let ask = |times| {
        for _ in 0..times {
            let mut client = Client::unix(&proxy.socket()).unwrap();
            client.get("/v1/nothing").expect(404);
        }
    };
    ask(1000);
    let before = proxy.resident_kib();
    ask(8000);
    let more = proxy.resident_kib().saturating_sub(before);
    assert!(more < 3 * 1024, "{more} KiB more after 8000 questions");
}

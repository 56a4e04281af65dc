//! Clients that are slow, or that only look slow: whoever makes the others wait is the one to blame.

use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::DATA;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
use crate::harness::script::Script;
use crate::harness::wait::pause;
use crate::harness::wire::Wire;

const PACE: Duration = Duration::from_millis(20);

fn blamed(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metrics()
        .sum("proxy_client_errors_total", &[("outcome", outcome)])
}

/// Sends a little at a time until it is told to stop; what it is told.
#[track_caller]
fn drips(client: &mut Client, part: &[u8]) -> u16 {
    let begun = Instant::now();
    client.send("POST", "/echo", &[("Content-Length", "1000000")], b"");
    client.wire.patience(PACE);
    while client.wire.write_all(part).is_ok() && client.wire.flush().is_ok() {
        if let Ok(answer) = client.try_answer() {
            return answer.status;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it drips for ever");
    }
    panic!("closed without an answer");
}

#[test]
fn a_body_that_drips_is_given_up_though_it_never_stands_still() {
    let limits = json!({ "request_body_rate": "100KiB", "request_body_grace": "300ms" });
    let (_blue, _green, proxy) = app_with(&json!({ "limits": limits }));
    for (mut client, times) in [(proxy.http(), 1.0), (proxy.https(), 2.0)] {
        assert_eq!(drips(&mut client, b"x"), 408);
        eventually("it is counted", || blamed(&proxy, "body_too_slow") == times);
    }
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    let log = || proxy.access_log().join("\n");
    eventually("the log says why", || log().contains("\"body_too_slow\""));
    let outcomes = proxy.metrics();
    assert_eq!(outcomes.sum("proxy_requests_outcome_total", &[("outcome", "client_gone")]), 2.0);
}

#[test]
fn an_http2_body_that_drips_costs_its_stream_and_no_other() {
    let limits = json!({ "request_body_rate": "100KiB", "request_body_grace": "300ms" });
    let (_blue, _green, proxy) = app_with(&json!({ "limits": limits }));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.post(1, HOST, "/echo").unwrap();
    while blamed(&proxy, "body_too_slow") == 0.0 {
        frames.send(DATA, 0, 1, b"x").unwrap();
        pause(PACE);
    }
    let answered = |frames: &mut Frames, stream| {
        std::iter::from_fn(|| frames.next().ok())
            .any(|frame| frame.kind == HEADERS && frame.stream == stream)
    };
    assert!(answered(&mut frames, 1), "408 on the stream");
    frames.get(3, HOST, "/").unwrap();
    assert!(answered(&mut frames, 3), "the connection goes on");
}

#[test]
fn a_slow_body_above_the_rate_is_taken() {
    let limits = json!({ "request_body_rate": "10B", "request_body_grace": "100ms" });
    let (_blue, _green, proxy) = app_with(&json!({ "limits": limits }));
    let mut client = proxy.http();
    client.send("POST", "/echo", &[("Content-Length", "5000")], b"");
    for _ in 0..50 {
        client.wire.write_all(&[b'x'; 100]).unwrap();
        pause(PACE);
    }
    assert_eq!(client.answer().expect(200).json()["length"], 5000);
}

#[test]
fn a_rate_of_nothing_is_none() {
    for off in ["off", "0B"] {
        let limits = json!({ "request_body_rate": off, "request_body_grace": "100ms" });
        let (_blue, _green, proxy) = app_with(&json!({ "limits": limits }));
        let mut client = proxy.http();
        client.send("POST", "/echo", &[("Content-Length", "20")], b"");
        for _ in 0..20 {
            client.wire.write_all(b"x").unwrap();
            pause(PACE);
        }
        client.answer().expect(200);
    }
}

#[test]
fn a_body_that_the_target_does_not_take_is_not_its_clients_fault() {
    let change = json!({
        "limits": { "request_body_rate": "1GiB", "request_body_grace": "300ms" },
        "timeouts": { "response": "1500ms" },
    });
    let script = Script::narrow();
    let (_green, proxy) = script.behind(&change);
    let mut client = proxy.http();
    let patience = Some(Duration::from_millis(500));
    client.wire.tcp().set_write_timeout(patience).unwrap();
    client.send("POST", "/", &[("Content-Length", "200000000")], b"");
    let _unread = script.asked();
    let part = vec![0; 100_000];
    while client.wire.write_all(&part).is_ok() {}
    // It has stood still for longer than the grace already, and does until the target's time is up.
    assert_eq!(client.answer().status, 504);
    assert_eq!(blamed(&proxy, "body_too_slow"), 0.0);
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_given_the_time_between_bytes() {
    let change = json!({
        "limits": { "request_body_rate": "1GiB", "request_body_grace": "100ms" },
        "timeouts": { "request_body": "1s" },
    });
    let (_blue, _green, proxy) = app_with(&change);
    let mut client = proxy.http();
    let begun = Instant::now();
    client.send("POST", "/echo", &[("Content-Length", "100")], b"");
    client.answer().expect(408);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    eventually("it is counted", || blamed(&proxy, "body_timeout") == 1.0);
    assert_eq!(blamed(&proxy, "body_too_slow"), 0.0);
}

/// A kilobyte a second, four times as fast: the time the client may take nothing is two seconds here,
/// and many would pass before the kernel told of room in a buffer of megabytes.
#[track_caller]
fn is_served_while_it_reads(proxy: &Proxy, mut client: Client) {
    let before = proxy.resident_kib();
    client.send("GET", "/large?bytes=1000000000", &[], b"");
    client.head();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        // As they come: over TLS a whole record would be waited for.
        client.wire.tcp().read_exact(&mut [0; 1000]).unwrap();
        pause(Duration::from_millis(250));
        assert_eq!(proxy.in_flight("blue"), 1, "cut after {:?}", begun.elapsed());
    }
    let after = proxy.resident_kib();
    assert!(after < before + 4096, "{before} KiB before, {after} after");
    let stopped = Instant::now();
    eventually("one that stops is cut", || proxy.in_flight("blue") == 0);
    assert!(stopped.elapsed() < Duration::from_secs(8), "{:?}", stopped.elapsed());
    eventually("it is counted", || blamed(proxy, "send_timeout") == 1.0);
}

#[test]
fn a_slow_reader_is_served_while_it_reads_and_cut_when_it_stops() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "2s" } }));
    let wire = Wire::narrow(proxy.plain_address(), None).unwrap();
    is_served_while_it_reads(&proxy, Client::over(wire, HOST));
}

#[test]
fn a_slow_reader_over_tls_is_served_while_it_reads_and_cut_when_it_stops() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "2s" } }));
    let wire = Wire::narrow(proxy.tls_address(), Some(HOST)).unwrap();
    is_served_while_it_reads(&proxy, Client::over(wire, HOST));
}

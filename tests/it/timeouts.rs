//! Nobody may make the proxy wait for ever: each wait has its own timeout.

use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::deaf::Deaf;
use crate::harness::eventually;
use crate::harness::pages;
use crate::harness::wait::pause;

/// What came before the proxy closed: nothing, or an answer that says why.
fn closed_with(client: &mut crate::harness::Client) -> String {
    let rest = client.rest();
    String::from_utf8_lossy(&rest)
        .lines()
        .next()
        .unwrap_or("")
        .to_owned()
}

#[test]
fn a_head_that_never_ends_is_ended() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "request_header": "300ms" } }));
    let begun = Instant::now();
    for start in ["", "GE", "GET / HTTP/1.1\r\nHost: app.test\r\nX: "] {
        for mut client in [proxy.http(), proxy.https()] {
            client.send_raw(start);
            let last = closed_with(&mut client);
            assert!(last.is_empty() || last.starts_with("HTTP/1.1 408"), "{last}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(blue.requests().len(), 0);
}

#[test]
fn a_head_that_drips_is_ended_too() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "request_header": "300ms" } }));
    let mut client = proxy.http();
    let begun = Instant::now();
    client.send_raw("GET / HTTP/1.1\r\nX: ");
    while client.wire.write_all(b"x").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it drips for ever");
        pause(Duration::from_millis(20));
    }
}

#[test]
fn a_kept_connection_gets_its_head_time_from_its_first_byte() {
    let times = json!({ "timeouts": { "request_header": "300ms", "idle": "10s" } });
    let (_blue, _green, proxy) = app_with(&times);
    let mut client = proxy.http();
    client.get("/").expect(200);
    pause(Duration::from_millis(500)); // idle for longer than a head may take
    client.get("/").expect(200);
    client.send_raw("GET / HT");
    let last = closed_with(&mut client);
    assert!(last.is_empty() || last.starts_with("HTTP/1.1 408"), "{last}");
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "idle": "300ms" } }));
    for mut client in [proxy.http(), proxy.https()] {
        client.get("/").expect(200);
        assert_eq!(closed_with(&mut client), "");
    }
    let h2 = proxy.h2();
    h2.get("/").expect(200);
    eventually("an idle h2 connection is closed", || h2.is_closed());
}

#[test]
fn idle_does_not_run_while_something_is_in_flight() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "idle": "200ms" } }));
    let mut client = proxy.http();
    client.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    pause(Duration::from_millis(500));
    blue.release();
    client.answer().expect(200);
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "request_body": "300ms" } }));
    let mut client = proxy.http();
    client.send("POST", "/echo", &[("Content-Length", "100")], b"half");
    let last = closed_with(&mut client);
    assert!(last.is_empty() || last.starts_with("HTTP/1.1 408"), "{last}");
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn a_body_that_keeps_coming_slowly_is_not() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "request_body": "400ms" } }));
    let mut client = proxy.http();
    client.send("POST", "/echo", &[("Content-Length", "10")], b"");
    for byte in *b"0123456789" {
        client.wire.write_all(&[byte]).unwrap();
        pause(Duration::from_millis(80));
    }
    assert_eq!(client.answer().expect(200).json()["length"], 10);
}

#[test]
fn a_target_that_does_not_answer_in_time_gets_504() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "response": "300ms" } }));
    proxy.http().get("/hold").expect(504);
    blue.wait_until_held(0);
    let errors = || {
        proxy
            .metrics()
            .sum("proxy_upstream_errors_total", &[("outcome", "timeout")])
    };
    eventually("it is counted", || errors() == 1.0);
}

#[test]
fn the_time_for_the_answer_runs_from_the_last_byte_of_the_request() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "response": "400ms" } }));
    let mut client = proxy.http();
    client.send("POST", "/echo", &[("Content-Length", "10")], b"");
    for byte in *b"0123456789" {
        client.wire.write_all(&[byte]).unwrap();
        pause(Duration::from_millis(80));
    }
    client.answer().expect(200);
}

#[test]
fn a_target_that_stops_within_its_answer_is_given_up() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "response": "300ms" } }));
    let mut client = proxy.http();
    assert!(client.try_get("/stall-within").is_err());
    blue.wait_until_held(0);
}

#[test]
fn a_download_may_take_longer_than_the_timeout_while_it_moves() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "response": "300ms" } }));
    let answer = proxy
        .http()
        .get("/slow?bytes=10000&chunk=1000&every_ms=80")
        .expect(200);
    assert!(answer.body == pages::patterned(10_000));
}

#[test]
fn the_route_wins_over_the_upstream_over_the_rest() {
    let timeouts = json!({
        "timeouts": { "response": "30s" },
        "upstreams": { "app": { "timeouts": { "response": "300ms" } } },
        "routes": [
            { "upstream": "app" },
            { "path": "/hold", "upstream": "app", "timeouts": { "response": "30s" } },
        ],
    });
    let (blue, _green, proxy) = app_with(&timeouts);
    let mut patient = proxy.http();
    patient.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    let mut other = proxy.http();
    assert!(other.try_get("/stall-within").is_err(), "the upstream's own 300 ms");
    assert!(patient.is_open(), "the route's own 30 s");
    blue.release();
    patient.answer().expect(200);
}

#[test]
fn a_connect_that_hangs_moves_on_to_the_next_target() {
    let deaf = Deaf::listen();
    let (alive, green) = (Origin::start("blue-2"), Origin::start("green-1"));
    let change = json!({
        "timeouts": { "connect": "200ms" },
        "upstreams": { "app": {
            "blue": [deaf.address.to_string(), alive.address.to_string()],
            "health": { "interval": "60s", "timeout": "100ms" },
            "promotion": { "gate_timeout": "100s" },
        } },
    });
    let proxy = Proxy::setup().green(&[&green]).with(&change).start();
    for _ in 0..5 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
}

#[test]
fn a_connect_that_hangs_on_the_only_target_gets_504() {
    let deaf = Deaf::listen();
    let green = Origin::start("green-1");
    let change = json!({
        "timeouts": { "connect": "200ms" },
        "upstreams": { "app": { "blue": [deaf.address.to_string()] } },
    });
    let proxy = Proxy::setup().green(&[&green]).with(&change).start();
    let status = proxy.http().get("/").status;
    assert!(matches!(status, 503 | 504), "{status}");
}

#[test]
fn a_client_that_does_not_take_its_answer_is_given_up() {
    let (blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "300ms" } }));
    let mut client = proxy.http();
    client.send("GET", "/endless", &[], b"");
    client.head();
    eventually("the target is let go", || {
        let told = blue.state.told();
        told.endless_running == 0 && proxy.in_flight("blue") == 0
    });
}

#[test]
fn silence_costs_others_nothing() {
    let (_blue, _green, proxy) = app();
    let _silent: Vec<_> = (0..50).map(|_| proxy.http()).collect();
    proxy.https().get("/").expect(200);
}

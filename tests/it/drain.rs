//! The drain: the old colour finishes what it has, up to a deadline, and the receipt says the truth.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;

/// `count` clients that wait for an answer of `origin`.
fn waiting(proxy: &Proxy, origin: &Origin, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| proxy.http()).collect();
    for client in &mut clients {
        client.send("GET", "/hold", &[], b"");
    }
    origin.wait_until_held(count);
    clients
}

#[test]
fn a_promote_ends_when_the_last_request_has() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 3);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    let (_, draining) = promote.event("draining");
    assert_eq!(draining["in_flight"], 3);
    assert_eq!(proxy.app()["promotion"]["phase"], "draining");
    assert_eq!(proxy.colour(), "green");
    assert!(promote.is_running());
    blue.release();
    let (_, drained) = promote.event("drained");
    assert_eq!(drained["receipts"][0]["safe_to_kill"], "blue");
    assert_eq!(drained["receipts"][0]["in_flight"], 0);
    promote.finish().expect(0);
    for mut client in clients {
        assert_eq!(client.answer().expect(200).colour(), "blue");
    }
    assert!(proxy.app()["promotion"].is_null());
}

#[test]
fn a_body_that_still_flows_counts_as_in_flight() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/stall-within", &[], b"");
    client.head();
    client.bytes(5000).unwrap();
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    assert_eq!(promote.event("draining").1["in_flight"], 1);
    blue.release();
    client.bytes(5000).unwrap();
    promote.finish().expect(0);
}

#[test]
fn at_the_deadline_what_is_left_is_cut_and_counted() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 2);
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    let mut other = proxy.http();
    other.send("GET", "/upgrade", &[("Upgrade", "foo"), ("Connection", "Upgrade")], b"");
    assert_eq!(other.head().status().unwrap(), 101);
    let output = proxy
        .ctl(["promote", "green", "--drain-timeout", "300ms", "--json"])
        .expect(3);
    let last = output.last_event();
    assert_eq!(last["event"], "cut");
    let receipt = output.receipt();
    let cut = json!({ "requests": 2, "tunnels": 1, "websockets_closed": 1 });
    assert_eq!(receipt["cut"], cut);
    assert_eq!(receipt["in_flight"], 0);
    assert_eq!(receipt["safe_to_kill"], "blue");
    assert!(receipt["drained_seconds"].as_f64().unwrap() >= 0.3);
    for mut client in clients {
        let answer = client.try_answer();
        assert!(answer.as_ref().is_ok_and(|a| a.status >= 500) || answer.is_err(), "{answer:?}");
    }
    assert_eq!(socket.close_code(), Ok(1012));
    assert_eq!(other.rest(), b"", "what is no WebSocket is cut");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("proxy_requests_cut_total", &[("colour", "blue")]), 3.0);
    assert_eq!(metrics.value("proxy_requests_outcome_total", &[("outcome", "cut")]), 3.0);
    let closed = [("colour", "blue"), ("outcome", "websocket_closed")];
    assert_eq!(metrics.value("proxy_streams_closed_total", &closed), 1.0);
    assert_eq!(metrics.value("proxy_requests_outcome_total", &[("outcome", "closed")]), 1.0);
    blue.wait_until_held(0);
    assert_eq!(proxy.colour(), "green");
}

#[test]
fn the_process_of_the_old_colour_may_be_killed_the_moment_the_receipt_says_so() {
    let (blue, _green, proxy) = app();
    let load = Load::mixed(&proxy, 150);
    eventually("it flows", || load.requests() > 50);
    proxy.promote("green");
    blue.kill();
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 50);
    load.stop().expect_flawless();
}

#[test]
fn no_wait_returns_once_switched() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 1);
    let last = proxy
        .ctl(["promote", "green", "--no-wait", "--json"])
        .expect(0)
        .last_event();
    assert_eq!(last["event"], "switched");
    assert_eq!(proxy.colour(), "green");
    assert_eq!(proxy.in_flight("blue"), 1);
    assert_eq!(proxy.app()["promotion"]["phase"], "draining");
    blue.release();
    for mut client in clients {
        client.answer().expect(200);
    }
    eventually("the drain ends", || proxy.app()["promotion"].is_null());
}

#[test]
fn a_rollback_reopens_the_colour_that_drains() {
    for back in [&["rollback"] as &[&str], &["promote", "blue"]] {
        let (blue, _green, proxy) = app();
        let clients = waiting(&proxy, &blue, 1);
        let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
        promote.event("draining");
        proxy.ctl(back).expect(0);
        assert_eq!(proxy.colour(), "blue");
        let (_, reopened) = promote.event("reopened");
        assert!(reopened["receipts"][0]["safe_to_kill"].is_null(), "{reopened}");
        promote.finish().expect(6);
        blue.release();
        for mut client in clients {
            assert_eq!(client.answer().expect(200).colour(), "blue");
        }
    }
}

#[test]
fn promoting_the_live_colour_waits_for_a_drain_that_runs() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 1);
    proxy.ctl(["promote", "green", "--no-wait"]).expect(0);
    let mut again = proxy.ctl_start(["promote", "green", "--json"]);
    proxy
        .ctl(["promote", "green", "--expect-live", "blue"])
        .expect(5);
    assert!(again.is_running());
    blue.release();
    let (_, drained) = again.event("drained");
    assert_eq!(drained["receipts"][0]["already"], true);
    assert_eq!(drained["receipts"][0]["safe_to_kill"], "blue");
    again.finish().expect(0);
    for mut client in clients {
        client.answer().expect(200);
    }
}

#[test]
fn once_switched_it_runs_on_without_proxyctl() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 1);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    promote.event("draining");
    promote.signal(Signal::KILL);
    promote.finish();
    assert_eq!(proxy.app()["promotion"]["phase"], "draining");
    assert_eq!(proxy.colour(), "green");
    blue.release();
    eventually("the drain ends", || proxy.app()["promotion"].is_null());
    for mut client in clients {
        client.answer().expect(200);
    }
}

#[test]
fn a_colour_that_was_cut_serves_again_when_it_is_promoted() {
    let (blue, _green, proxy) = app();
    let clients = waiting(&proxy, &blue, 1);
    proxy
        .ctl(["promote", "green", "--drain-timeout", "100ms"])
        .expect(3);
    drop(clients);
    proxy.promote("blue");
    let mut client = proxy.http();
    for _ in 0..5 {
        assert_eq!(client.get("/").expect(200).colour(), "blue");
    }
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    socket.close().unwrap();
}

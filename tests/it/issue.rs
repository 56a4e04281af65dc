//! The promises of the switch that no other file holds to account: what stays open across it, what
//! moves together in it, and what waits for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use rustls::ClientConfig;
use rustls::HandshakeKind;
use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Health;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::pages;
use crate::harness::wire::Wire;

/// Rounds of a gate as close together as may be.
fn quick_gate() -> Value {
    json!({ "upstreams": { "app": {
        "health": { "interval": "10ms" }, "promotion": { "gate_timeout": "10s" },
    } } })
}

/// Promotes over the control socket, without the cost of a process.
#[track_caller]
fn promote(proxy: &Proxy, colour: &str) {
    let answer = proxy
        .control_post("/v1/promote", &json!({ "colour": colour }))
        .expect(200);
    assert!(answer.text().contains("\"drained\""), "{}", answer.text());
}

#[test]
fn a_hundred_switches_cost_no_open_connection_and_no_handshake() {
    let (_blue, _green, proxy) = app_with(&quick_gate());
    let (mut plain, mut tls, mut idle, h2) =
        (proxy.http(), proxy.https(), proxy.https(), proxy.h2());
    idle.get("/").expect(200);
    let counted = |name| proxy.metrics().sum(name, &[]);
    let [handshakes, connections] =
        ["proxy_tls_handshakes_total", "proxy_connections_total"].map(counted);
    for nth in 0..100 {
        let colour = if nth % 2 == 0 { "green" } else { "blue" };
        promote(&proxy, colour);
        assert_eq!(plain.get("/").expect(200).colour(), colour);
        assert_eq!(tls.get("/").expect(200).colour(), colour);
        assert_eq!(h2.get("/").expect(200).colour(), colour);
    }
    assert!(plain.is_open() && tls.is_open() && idle.is_open() && !h2.is_closed());
    assert_eq!(counted("proxy_tls_handshakes_total"), handshakes);
    assert_eq!(counted("proxy_connections_total"), connections);
    assert_eq!(idle.get("/").expect(200).colour(), "blue");
}

#[test]
fn a_websocket_stays_with_the_old_colour_to_the_deadline_and_is_then_closed() {
    let (_blue, _green, proxy) = app();
    let mut socket = proxy.websocket();
    socket.echo("before").unwrap();
    let mut promote = proxy.ctl_start(["promote", "green", "--drain-timeout", "2s", "--json"]);
    promote.event("switched");
    for _ in 0..5 {
        assert_eq!(socket.echo("still here").unwrap(), "still here");
    }
    assert_eq!(socket.origin, "blue-1");
    let newer = proxy.websocket();
    assert_eq!(newer.origin, "green-1");
    assert_eq!(socket.close_code(), Ok(1012), "service restart: come back");
    let (_, drained) = promote.event("drained");
    let closed = json!({ "requests": 0, "tunnels": 0, "websockets_closed": 1 });
    assert_eq!(drained["receipts"][0]["cut"], closed);
    assert_eq!(drained["receipts"][0]["safe_to_kill"], "blue");
    promote.finish().expect(0);
    newer.close().unwrap();
}

#[test]
fn a_stream_of_events_flows_on_across_the_switch() {
    let (blue, _green, proxy) = app();
    let mut stream = proxy.https();
    stream.send("GET", "/slow?bytes=20000&chunk=200&every_ms=30", &[], b"");
    stream.head();
    let mut body = stream.bytes(1000).unwrap();
    proxy.ctl(["promote", "green", "--no-wait"]).expect(0);
    assert_eq!(proxy.colour(), "green");
    assert_eq!(proxy.in_flight("blue"), 1, "the rest comes from blue, piece by piece");
    body.extend(stream.bytes(19_000).unwrap());
    assert!(body == pages::patterned(20_000));
    assert_eq!(blue.requests().len(), 1);
    assert_eq!(stream.get("/").expect(200).colour(), "green");
}

#[test]
fn with_two_workers_no_request_reaches_the_old_colour_after_its_receipt() {
    let (blue, green, proxy) = app_with(&json!({ "workers": 2, "upstreams": { "app": {
        "health": { "interval": "10ms" }, "promotion": { "gate_timeout": "10s" },
    } } }));
    let load = Load::mixed(&proxy, 200);
    for nth in 0..20 {
        let (colour, old) = if nth % 2 == 0 { ("green", &blue) } else { ("blue", &green) };
        promote(&proxy, colour);
        let (drained, before) = (std::time::Instant::now(), load.requests());
        eventually("it flows on", || load.requests() > before + 10);
        let late = old.requests_begun_after(drained);
        assert!(late.is_empty(), "{late:?}");
    }
    load.stop().expect_flawless();
}

/// Asks for `/` and then `/api` on one connection, over and over, counting; the pairs of colours.
fn pairs(
    proxy: &Proxy,
    count: &Arc<AtomicUsize>,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Vec<[String; 2]>> {
    let (mut client, count, stop) = (proxy.https(), Arc::clone(count), Arc::clone(stop));
    thread::spawn(move || {
        let mut pairs = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let pair = ["/", "/api"].map(|path| client.get(path).expect(200).colour());
            pairs.push(pair);
            count.fetch_add(1, Ordering::Relaxed);
        }
        pairs
    })
}

#[test]
fn several_upstreams_switch_as_one_for_every_client_under_load() {
    let names = ["blue-1", "green-1", "blue-2", "green-2"];
    let [blue_1, green_1, blue_2, green_2] = names.map(Origin::start);
    let setup = Proxy::setup().blue(&[&blue_1]).green(&[&green_1]);
    let setup = setup
        .with(&quick_gate())
        .upstream("api", &[&blue_2], &[&green_2]);
    let routes = json!([{ "upstream": "app" }, { "path": "/api", "upstream": "api" }]);
    let proxy = setup
        .with(&json!({ "routes": routes, "workers": 2 }))
        .start();
    let load = Load::mixed(&proxy, 100);
    let (count, stop) = (Arc::default(), Arc::default());
    let clients: Vec<_> = (0..4).map(|_| pairs(&proxy, &count, &stop)).collect();
    let some_more = || {
        let before = count.load(Ordering::Relaxed);
        eventually("they ask on", || count.load(Ordering::Relaxed) > before + 20);
    };
    some_more();
    let generation = proxy.generation();
    proxy.ctl(["promote", "green", "--all"]).expect(0);
    some_more();
    assert_eq!(proxy.generation(), generation + 1);
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<_> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    for colours in [["blue", "blue"], ["green", "green"]] {
        assert!(seen.iter().any(|pair| *pair == colours), "{colours:?} was never seen");
    }
    let torn = seen.iter().filter(|pair| **pair == ["green", "blue"]);
    assert_eq!(torn.count(), 0, "one upstream switched before the other");
    load.stop().expect_flawless();
}

#[test]
fn a_target_that_dies_after_its_first_200_costs_no_client_anything() {
    let blue = Origin::start("blue-1");
    let (good, bad) = (Origin::start("green-1"), Origin::start("green-2"));
    let slow = json!({ "upstreams": { "app": { "health": { "interval": "300ms" } } } });
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&good, &bad])
        .with(&slow)
        .start();
    let load = Load::mixed(&proxy, 100);
    let generation = proxy.generation();
    bad.health(Health::DieAfter(1));
    let output = proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains(&bad.address.to_string()), "{}", output.stderr);
    assert_eq!(proxy.generation(), generation);
    let report = load.stop();
    report.expect_flawless();
    assert!(
        report
            .answers
            .iter()
            .all(|answer| answer.origin == "blue-1"),
        "traffic moved"
    );
}

#[test]
fn a_reload_while_a_gate_is_open_waits_and_is_then_applied() {
    let (_blue, green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    green.health(Health::Status(503));
    let mut gate = proxy.ctl_start(["promote", "green", "--gate-timeout", "30s", "--json"]);
    gate.event("gating");
    let generation = proxy.generation();
    let change = json!({ "upstreams": { "app": { "blue": [newer.address.to_string()] } } });
    proxy.rewrite_config(&change);
    let mut reload = proxy.ctl_start(["reload"]);
    let rounds = green.probes();
    eventually("the gate goes on", || green.probes() > rounds + 3);
    assert!(reload.is_running(), "it waits for the gate");
    assert_eq!(proxy.generation(), generation);
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-1");
    green.health(Health::Status(200));
    gate.finish().expect(0);
    reload.finish().expect(0);
    assert_eq!(proxy.colour(), "green");
    promote(&proxy, "blue");
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
}

#[test]
fn a_reload_that_removes_a_target_of_the_live_colour_lets_it_finish() {
    let (stays, leaves) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let mut proxy = Proxy::between(&[&stays, &leaves], &[&green]);
    let load = Load::mixed(&proxy, 100);
    let mut held = proxy.https();
    eventually("the one that leaves has work", || {
        held = proxy.https();
        held.send("GET", "/hold", &[], b"");
        eventually("one of them holds it", || stays.held() + leaves.held() > 0);
        if leaves.held() == 0 {
            stays.release();
            held.answer().expect(200);
        }
        leaves.held() == 1
    });
    let change = json!({ "upstreams": { "app": { "blue": [stays.address.to_string()] } } });
    proxy.rewrite_config(&change);
    proxy.ctl(["reload"]).expect(0);
    let some_more = || {
        let before = load.requests();
        eventually("it flows on", || load.requests() > before + 50);
    };
    some_more(); // whatever had been decided before has arrived
    let had = leaves.requests().len();
    some_more();
    assert_eq!(leaves.requests().len(), had, "new requests on a target that has left");
    leaves.release();
    assert_eq!(held.answer().expect(200).origin(), "blue-2");
    load.stop().expect_flawless();
}

#[test]
fn the_receipt_counts_what_a_reload_left_behind_of_the_old_colour() {
    let (blue, _green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    let mut held = proxy.http();
    held.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    let change = json!({ "upstreams": { "app": { "blue": [newer.address.to_string()] } } });
    proxy.rewrite_config(&change);
    proxy.ctl(["reload"]).expect(0);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    let (_, draining) = promote.event("draining");
    assert_eq!(draining["in_flight"], 1, "blue-1 left the file, and still works");
    proxy.ctl(["guard", "blue", "--", "true"]).expect(125);
    blue.release();
    assert_eq!(held.answer().expect(200).origin(), "blue-1");
    promote.finish().expect(0);
    proxy.ctl(["guard", "blue", "--", "true"]).expect(0);
}

#[test]
fn there_and_back_and_there_again_while_both_colours_drain() {
    let (blue, green, proxy) = app();
    let held = |origin: &Origin, count| {
        let mut client = proxy.http();
        client.send("GET", "/hold", &[], b"");
        origin.wait_until_held(count);
        client
    };
    let mut on_blue = held(&blue, 1);
    let mut first = proxy.ctl_start(["promote", "green", "--json"]);
    first.event("draining");
    let mut on_green = held(&green, 1);
    let mut second = proxy.ctl_start(["promote", "blue", "--json"]);
    second.event("draining");
    first.finish().expect(6);
    let mut third = proxy.ctl_start(["promote", "green", "--json"]);
    third.event("draining");
    second.finish().expect(6);
    assert_eq!(proxy.colour(), "green");
    assert!(third.is_running(), "blue still works");
    blue.release();
    assert_eq!(on_blue.answer().expect(200).colour(), "blue");
    assert_eq!(third.event("drained").1["receipts"][0]["safe_to_kill"], "blue");
    third.finish().expect(0);
    assert_eq!(proxy.in_flight("green"), 1);
    green.release();
    assert_eq!(on_green.answer().expect(200).colour(), "green");
}

/// How a connection with these tickets is secured.
fn handshake(proxy: &Proxy, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let wire = Wire::tls_with(proxy.tls_address(), HOST, Arc::clone(config)).unwrap();
    let mut client = Client::over(wire, HOST);
    client.get("/").expect(200); // a ticket comes after the handshake
    let Wire::Tls(stream) = &client.wire else { return None };
    stream.conn.handshake_kind()
}

#[test]
fn a_session_is_resumed_after_its_certificate_was_renewed() {
    let (_blue, _green, proxy) = app();
    let config = certs::client_config(&["http/1.1"]);
    assert_ne!(handshake(&proxy, &config), Some(HandshakeKind::Resumed));
    let presented = || {
        let wire = Wire::tls(proxy.tls_address(), HOST, &[]).unwrap();
        wire.certificate().unwrap()
    };
    let before = presented();
    let pair = &proxy.config["listeners"][1]["tls"]["certificates"][0];
    let path = |key: &str| pair[key].as_str().unwrap().into();
    certs::write(&certs::Files { cert: path("cert"), key: path("key") }, &[HOST]);
    eventually("the new one is presented", || presented() != before);
    assert_eq!(handshake(&proxy, &config), Some(HandshakeKind::Resumed));
}

#[test]
fn a_target_that_has_passed_the_gate_serves_whatever_rise_says() {
    let blue = Origin::start("blue-1");
    let (one, two) = (Origin::start("green-1"), Origin::start("green-2"));
    let slow = json!({ "upstreams": { "app": { "health": { "rise": 1000, "fall": 1 } } } });
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&one, &two])
        .with(&slow)
        .start();
    two.health(Health::Status(503));
    let second = || proxy.app()["pools"]["green"]["targets"][1]["healthy"].clone();
    eventually("it is known to be sick", || second() == json!(false));
    two.health(Health::Status(200));
    proxy.promote("green");
    assert_eq!(second(), json!(true));
    eventually("it serves", || proxy.http().get("/").expect(200).origin() == "green-2");
}

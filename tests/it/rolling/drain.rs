//! `target drain`: no new request goes there, and a receipt says when nothing is left.

use rustix::process::Signal;
use serde_json::json;

use super::fleet;
use super::target;
use super::waiting;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::eventually;

#[test]
fn a_target_that_drains_gets_no_new_request_and_the_receipt_comes_with_its_last() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 3);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);

    let mut drain = proxy.ctl_start(["target", "drain", "app", &one, "--wait", "--json"]);
    let (begun, draining) = drain.event("target");
    assert_eq!((&draining["phase"], &draining["in_flight"]), (&json!("draining"), &json!(3)));
    let status = target(&proxy, &blue[0]);
    assert_eq!((&status["admin"], &status["healthy"]), (&json!("draining"), &json!(true)));
    for _ in 0..40 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
    assert!(drain.is_running());
    blue[0].release();
    let (_, drained) = drain.event("target");
    assert_eq!(drained["phase"], "drained");
    let receipt = &drained["receipt"];
    assert_eq!((&receipt["target"], &receipt["in_flight"]), (&json!(one), &json!(0)));
    assert_eq!(receipt["safe_to_restart"], true);
    drain.finish().expect(0);
    for mut client in clients {
        assert_eq!(client.answer().expect(200).origin(), "blue-1");
    }
    assert!(blue[0].requests_begun_after(begun).is_empty());
}

#[test]
fn under_load_no_request_begins_on_a_target_that_drains_and_none_fails() {
    let (blue, _green, proxy) = fleet();
    let one = blue[0].address.to_string();
    let load = Load::mixed(&proxy, 200);
    eventually("it flows", || load.requests() > 100);
    for _ in 0..3 {
        let mut drain = proxy.ctl_start(["target", "drain", "app", &one, "--wait", "--json"]);
        let mut at = None;
        while let Some((when, line)) = drain.line() {
            at = Some((when, line));
        }
        let (drained, last) = at.expect("a verdict");
        assert!(last.contains("\"phase\":\"drained\""), "{last}");
        drain.finish().expect(0);
        let before = load.requests();
        eventually("it flows on", || load.requests() > before + 50);
        assert!(blue[0].requests_begun_after(drained).is_empty());
        proxy.ctl(["target", "ready", "app", &one]).expect(0);
        let seen = blue[0].requests().len();
        eventually("it serves again", || blue[0].requests().len() > seen);
    }
    load.stop().expect_flawless();
}

#[test]
fn at_the_deadline_what_is_left_on_that_target_alone_is_cut_and_counted() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &one]).expect(0);
    let others = waiting(&proxy, &blue[1], 1);
    proxy.ctl(["target", "ready", "app", &one]).expect(0);
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 2);
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    assert_eq!(target(&proxy, &blue[0])["in_flight"], 3);

    let arguments = ["target", "drain", "app", &one, "--wait", "--timeout", "300ms", "--json"];
    let last = proxy.ctl(arguments).expect(3).last_event();
    assert_eq!(last["phase"], "cut");
    assert_eq!(last["receipt"]["cut"], json!({ "requests": 2, "tunnels": 1 }));
    assert_eq!(last["receipt"]["safe_to_restart"], true);
    assert!(last["receipt"]["seconds"].as_f64().unwrap() >= 0.3);
    for mut client in clients {
        let answer = client.try_answer();
        assert!(answer.as_ref().is_ok_and(|a| a.status >= 500) || answer.is_err(), "{answer:?}");
    }
    assert!(socket.receive().is_err());
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("proxy_requests_cut_total", &[("colour", "blue")]), 3.0);
    blue[1].release();
    for mut client in others {
        assert_eq!(client.answer().expect(200).origin(), "blue-2", "what is elsewhere goes on");
    }
}

#[test]
fn idle_connections_to_a_target_that_drains_are_closed() {
    let (blue, _green, proxy) = fleet();
    let one = blue[0].address.to_string();
    let mut clients: Vec<_> = (0..8).map(|_| proxy.http()).collect();
    let is_kept = |origin: &Origin| origin.connections() > 0;
    eventually("both keep connections", || {
        clients.iter_mut().for_each(|client| drop(client.get("/")));
        is_kept(&blue[0]) && is_kept(&blue[1])
    });
    // Probes come over connections of their own, and go.
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
    eventually("none is kept there", || !is_kept(&blue[0]));
    assert!(is_kept(&blue[1]));
}

#[test]
fn a_restart_and_a_reload_in_the_middle_leave_it_draining() {
    let (blue, _green, mut proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 2);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    proxy.ctl(["target", "drain", "app", &one]).expect(0);
    assert_eq!(target(&proxy, &blue[0])["in_flight"], 2);
    proxy.rewrite_config(&json!({ "timeouts": { "connect": "2s" } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    let weighted = json!([{ "address": one, "weight": 3 }, blue[1].address.to_string()]);
    proxy.rewrite_config(&json!({ "upstreams": { "app": { "blue": weighted } } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining", "a target made anew, too");
    proxy.kill9();
    drop(clients);
    proxy.start_again();
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    proxy.restart();
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    let labels = [("target", one.as_str())];
    assert_eq!(proxy.metrics().value("proxy_target_draining", &labels), 1.0);
    for _ in 0..20 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
    proxy.ctl(["target", "ready", "app", &one]).expect(0);
    assert_eq!(proxy.metrics().value("proxy_target_draining", &labels), 0.0);
    eventually("it serves again", || proxy.http().get("/").expect(200).origin() == "blue-1");
}

#[test]
fn the_last_target_that_serves_is_drained_only_by_force_and_then_clients_get_a_503() {
    let (blue, green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &one]).expect(0);
    let refused = proxy.ctl(["target", "drain", "app", &two]).expect(1);
    assert!(
        refused
            .stderr
            .contains("no other target is ready and healthy"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(proxy.colour(), "blue");
    proxy
        .ctl(["target", "drain", "app", &two, "--force"])
        .expect(0);
    let answer = proxy.http().get("/").expect(503);
    assert!(answer.header("retry-after").is_some());
    // Nobody is sent to the standby colour: all of it may drain.
    for origin in &green {
        let address = origin.address.to_string();
        proxy
            .ctl(["target", "drain", "app", &address, "--wait"])
            .expect(0);
    }
}

#[test]
fn a_target_that_is_made_ready_while_it_drains_is_not_safe_to_restart() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 1);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    let mut drain = proxy.ctl_start(["target", "drain", "app", &one, "--wait", "--json"]);
    drain.event("target");
    proxy.ctl(["target", "ready", "app", &one]).expect(0);
    let last = drain.finish().expect(6).last_event();
    assert_eq!(
        (&last["phase"], &last["receipt"]["safe_to_restart"]),
        (&json!("taken_back"), &json!(false))
    );
    blue[0].release();
    for mut client in clients {
        client.answer().expect(200);
    }
}

#[test]
fn the_drain_runs_on_without_proxyctl() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 1);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    let mut drain = proxy.ctl_start(["target", "drain", "app", &one, "--wait", "--json"]);
    drain.event("target");
    drain.signal(Signal::KILL);
    drain.finish();
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    blue[0].release();
    for mut client in clients {
        client.answer().expect(200);
    }
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
}

#[test]
fn an_unknown_target_is_wrong_usage_with_the_nearest_known() {
    let (blue, _green, proxy) = fleet();
    let one = blue[0].address.to_string();
    let typo = one.replace(":8000", ":8001");
    let refused = proxy.ctl(["target", "drain", "app", &typo]).expect(2);
    assert!(
        refused
            .stderr
            .contains(&format!("there is no target \"{typo}\"")),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("did you mean "), "{refused:?}");
    proxy.ctl(["target", "drain", "nope", &one]).expect(2);
    proxy
        .ctl(["target", "drain", "app", &one, "--timeout", "soon"])
        .expect(2);
}

#[test]
fn a_plain_pool_drains_target_by_target_too() {
    let [one, two] = [Origin::start("plain-1"), Origin::start("plain-2")];
    let list = json!([one.address.to_string(), two.address.to_string()]);
    let setup = Proxy::setup().with(&json!({ "upstreams": { "app": { "promotion": null } } }));
    let proxy = setup
        .with(&json!({ "upstreams": { "app": { "targets": list } } }))
        .start();
    let address = one.address.to_string();
    let receipt = proxy
        .ctl(["target", "drain", "app", &address, "--wait"])
        .expect(0);
    assert!(receipt.stdout.contains("\"safe_to_restart\":true"), "{receipt:?}");
    for _ in 0..20 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "plain-2");
    }
    proxy.ctl(["target", "ready", "app", &address]).expect(0);
}

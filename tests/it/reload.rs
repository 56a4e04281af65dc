//! A changed file is applied without touching a connection; a bad one changes nothing and is seen.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Health;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::wire::Wire;

fn last_reload(proxy: &Proxy) -> Value {
    proxy.status()["config"]["last_reload"].clone()
}

/// A change of the blue pool.
fn blue_is(origin: &Origin) -> Value {
    json!({ "upstreams": { "app": { "blue": [origin.address.to_string()] } } })
}

#[test]
fn a_changed_file_is_applied_by_itself() {
    let (_blue, _green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    let generation = proxy.generation();
    let mut kept = proxy.https();
    kept.get("/").expect(200);
    proxy.rewrite_config(&blue_is(&newer));
    eventually("the new pool serves", || kept.get("/").expect(200).origin() == "blue-2");
    assert!(proxy.generation() > generation);
    assert_eq!(last_reload(&proxy)["ok"], true);
}

#[test]
fn sighup_and_proxyctl_apply_it_too() {
    let (blue, _green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    proxy.rewrite_config(&blue_is(&newer));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(proxy.http().get("/").origin(), "blue-2");
    proxy.rewrite_config(&blue_is(&blue));
    proxy.signal(Signal::HUP);
    eventually("it is applied", || proxy.http().get("/").origin() == "blue-1");
}

#[test]
fn what_is_in_flight_on_a_pool_that_changes_goes_on() {
    let (blue, _green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    let mut waiting = proxy.http();
    waiting.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    proxy.rewrite_config(&blue_is(&newer));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(proxy.http().get("/").origin(), "blue-2");
    blue.release();
    assert_eq!(waiting.answer().expect(200).origin(), "blue-1");
}

#[test]
fn a_bad_file_changes_nothing_and_says_every_problem_with_its_place() {
    let (_blue, _green, proxy) = app();
    let generation = proxy.generation();
    let bad = "listeners:\n  - bind: 127.0.0.1:1\nroutes:\n  - upstream: nobody\nupstreams:\n  \
               app:\n    blue: [10.0.0.5]\n    green: [127.0.0.1:2]\n    heatlh: {}\n";
    proxy.write_config_text(bad);
    eventually("it is refused", || last_reload(&proxy)["ok"] == false);
    let output = proxy.ctl(["reload"]).expect(1);
    for place in ["proxy.yaml:4:", "proxy.yaml:7:", "proxy.yaml:9:"] {
        assert!(output.stderr.contains(place), "{place} in {}", output.stderr);
    }
    for word in ["nobody", "10.0.0.5", "heatlh", "hint:", "health"] {
        assert!(output.stderr.contains(word), "{word} in {}", output.stderr);
    }
    let problems = last_reload(&proxy)["problems"].clone();
    assert!(problems.as_array().unwrap().len() >= 3, "{problems}");
    for part in ["file", "line", "column", "what"] {
        assert!(!problems[0][part].is_null(), "{part} in {problems}");
    }
    assert_eq!(proxy.generation(), generation);
    proxy.http().get("/").expect(200);
    let metrics = proxy.metrics();
    assert_eq!(metrics.value("proxy_config_last_reload_successful", &[]), 0.0);
    assert!(proxy.stderr().contains("nobody"), "it is logged");
}

#[test]
fn the_control_socket_answers_422_with_the_problems() {
    let (_blue, _green, proxy) = app();
    proxy.write_config_text("listeners: 7\n");
    let answer = proxy.control_post("/v1/reload", &json!({})).expect(422);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(!answer.json()["problems"].as_array().unwrap().is_empty());
}

#[test]
fn a_good_file_after_a_bad_one_is_applied() {
    let (_blue, _green, mut proxy) = app();
    proxy.write_config_text("nonsense: [");
    eventually("it is refused", || last_reload(&proxy)["ok"] == false);
    let newer = Origin::start("blue-2");
    proxy.rewrite_config(&blue_is(&newer));
    eventually("it is applied", || proxy.http().get("/").origin() == "blue-2");
    assert_eq!(
        proxy
            .metrics()
            .value("proxy_config_last_reload_successful", &[]),
        1.0
    );
}

/// The files of the certificate that the proxy was started with.
fn certificate_files(proxy: &Proxy) -> certs::Files {
    let pair = &proxy.config["listeners"][1]["tls"]["certificates"][0];
    let path = |key: &str| pair[key].as_str().unwrap().into();
    certs::Files { cert: path("cert"), key: path("key") }
}

fn presented(proxy: &Proxy) -> Vec<u8> {
    Wire::tls(proxy.tls_address(), HOST, &[])
        .unwrap()
        .certificate()
        .unwrap()
}

#[test]
fn a_renewed_certificate_is_presented_and_open_connections_live_on() {
    let (_blue, _green, proxy) = app();
    let before = presented(&proxy);
    let mut kept = proxy.https();
    kept.get("/").expect(200);
    certs::write(&certificate_files(&proxy), &[HOST]);
    eventually("the new one is presented", || presented(&proxy) != before);
    kept.get("/").expect(200);
    assert!(kept.is_open());
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_refused_and_the_old_one_kept() {
    let (_blue, _green, proxy) = app();
    let before = presented(&proxy);
    let files = certificate_files(&proxy);
    let stranger = certs::issue(proxy.folder(), "stranger", &[HOST]);
    std::fs::copy(&stranger.key, &files.key).unwrap();
    let output = proxy.ctl(["reload"]).expect(1);
    assert!(output.stderr.contains("app.key") || output.stderr.contains("app.pem"), "{output:?}");
    assert_eq!(presented(&proxy), before);
    proxy.https().get("/").expect(200);
    std::fs::copy(&stranger.cert, &files.cert).unwrap();
    eventually("the whole pair is presented", || presented(&proxy) != before);
}

#[test]
fn a_listener_is_added_and_removed_and_the_others_are_not_touched() {
    let (_blue, _green, mut proxy) = app();
    let (mut plain, mut tls) = (proxy.http(), proxy.https());
    plain.get("/").expect(200);
    tls.get("/").expect(200);
    let extra = format!("{}:8081", proxy.own_address());
    let before = proxy.config["listeners"].clone();
    let mut more = before.clone();
    more.as_array_mut().unwrap().push(json!({ "bind": extra }));
    proxy.rewrite_config(&json!({ "listeners": more }));
    let address = extra.parse().unwrap();
    eventually("it listens", || TcpStream::connect(address).is_ok());
    let mut on_extra = Client::plain(address, HOST).unwrap();
    on_extra.get("/").expect(200);

    on_extra.send("GET", "/slow?bytes=10000&chunk=500&every_ms=20", &[], b"");
    on_extra.head();
    proxy.rewrite_config(&json!({ "listeners": before }));
    eventually("it no longer listens", || TcpStream::connect(address).is_err());
    on_extra.bytes(10_000).unwrap();
    for client in [&mut plain, &mut tls] {
        client.get("/").expect(200);
        assert!(client.is_open());
    }
}

#[test]
fn what_needs_a_restart_is_listed_and_the_rest_applied() {
    let (_blue, _green, mut proxy) = app();
    let newer = Origin::start("blue-2");
    proxy.rewrite_config(&json!({ "workers": 2 }));
    proxy.rewrite_config(&blue_is(&newer));
    let output = proxy.ctl(["reload"]).expect(0);
    assert!(output.said().contains("workers"), "{output:?}");
    assert_eq!(proxy.status()["config"]["pending_restart"], json!(["workers"]));
    assert_eq!(proxy.http().get("/").origin(), "blue-2");
}

#[test]
fn the_live_colour_and_health_survive_a_reload() {
    let (blue, _green, mut proxy) = app();
    proxy.promote("green");
    blue.health(Health::Status(503));
    let healthy = || proxy.app()["pools"]["blue"]["targets"][0]["healthy"].clone();
    eventually("blue is sick", || healthy() == json!(false));
    proxy.rewrite_config(&json!({ "timeouts": { "response": "7s" } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(proxy.colour(), "green");
    let blue = &proxy.app()["pools"]["blue"]["targets"][0];
    assert_eq!(blue["healthy"], false);
}

#[test]
fn a_reload_under_load_costs_no_request_and_no_connection() {
    let (_blue, _green, mut proxy) = app();
    let load = crate::harness::Load::mixed(&proxy, 150);
    for nth in 0..10 {
        let before = load.requests();
        eventually("it flows", || load.requests() > before + 15);
        proxy.rewrite_config(&json!({ "timeouts": { "response": format!("{}s", 10 + nth) } }));
        proxy.ctl(["reload"]).expect(0);
    }
    load.stop().expect_flawless();
}

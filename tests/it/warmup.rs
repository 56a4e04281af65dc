//! A new colour is warmed up before its gate, with what the live one has just been asked
//! (`promotion.warmup`).

use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::eventually;

/// How long a cold target takes for each of its first 200 requests.
const COLD: Duration = Duration::from_millis(80);

fn warmup(change: &Value) -> Value {
    let mut warmup = json!({ "paths": ["/shop/*"], "rate": 200, "timeout": "30s" });
    crate::harness::config::merge(&mut warmup, change);
    json!({ "upstreams": { "app": { "promotion": { "warmup": warmup } } } })
}

/// Requests of the live colour, 30 distinct ones.
fn traffic(proxy: &Proxy) {
    let mut client = proxy.http();
    for nth in 0..90 {
        client
            .get(&format!("/shop/{}?page={}", nth % 10, nth % 3))
            .expect(200);
    }
}

fn p95(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 95 / 100]
}

/// How long the first so many requests after the switch took, by the 95th percentile.
fn first(proxy: &Proxy, requests: usize) -> Duration {
    let mut client = proxy.http();
    let ask = |nth: usize| {
        let began = Instant::now();
        assert_eq!(client.get(&format!("/shop/{nth}")).expect(200).colour(), "green");
        began.elapsed()
    };
    p95((0..requests).map(ask).collect())
}

fn cold_switch(change: &Value) -> (Origin, Origin, Proxy, Value) {
    let (blue, green, proxy) = app_with(change);
    green.tell(|told| told.cold = Some((200, COLD)));
    traffic(&proxy);
    let receipt = proxy.promote("green");
    (blue, green, proxy, receipt)
}

#[test]
fn a_target_that_is_slow_for_its_first_200_requests_is_warm_at_the_switch() {
    let (_blue, _green, proxy, receipt) = cold_switch(&json!({}));
    assert!(receipt["warmup"].is_null());
    let without = first(&proxy, 100);

    let (_blue, green, proxy, receipt) = cold_switch(&warmup(&json!({})));
    let told = &receipt["warmup"];
    assert_eq!(told["warm"], true, "{receipt}");
    let repeated = green.requests().len();
    assert!(repeated >= 240, "{repeated}");
    let with = first(&proxy, 100);
    eprintln!("p95 after the switch: {without:?} without, {with:?} with a warm-up of {told}");
    assert!(without >= COLD && with < COLD / 2, "{without:?} {with:?}");
}

#[test]
fn what_is_repeated_was_asked_of_a_path_that_was_named_and_carries_nothing_of_the_client() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({})));
    let mut client = proxy.http();
    let cookie = [("Cookie", "session=1"), ("X-Mine", "yes")];
    for _ in 0..3 {
        client
            .request("GET", "/shop/good?page=1", &cookie, b"")
            .expect(200);
        client
            .request("GET", "/shop/mine", &[("Authorization", "Basic eA==")], b"")
            .expect(200);
        client.request("POST", "/shop/order", &[], b"x").expect(200);
        for target in ["/other", "/shop/reset?token=abc", "/shop/a?signature=1"] {
            client.get(target).expect(200);
        }
    }
    assert_eq!(proxy.promote("green")["warmup"]["warm"], true);
    let warm = green.requests();
    assert!(!warm.is_empty());
    for seen in &warm {
        assert_eq!((seen.head.method(), seen.head.target()), ("GET", "/shop/good?page=1"));
        assert_eq!(seen.head.header("x-warmup"), Some("1"));
        assert_eq!(seen.head.header("host"), Some("app.test"));
        for gone in ["cookie", "authorization", "x-mine"] {
            assert_eq!(seen.head.header(gone), None);
        }
    }
    // None of them was a client's.
    let requests = proxy
        .metrics()
        .sum("proxy_requests_total", &[("colour", "green")]);
    assert_eq!(requests, 0.0);
}

#[test]
fn one_that_does_not_get_warm_in_time_is_promoted_all_the_same_and_the_receipt_says_so() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({ "timeout": "2s" })));
    green.tell(|told| told.cold = Some((usize::MAX, COLD)));
    traffic(&proxy);
    let output = proxy.ctl(["promote", "green", "--json"]).expect(0);
    let events = output.events();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    let gating = kinds.iter().position(|kind| *kind == "gating").unwrap();
    assert!(kinds[..gating].iter().all(|kind| *kind == "warming"), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "gating").count(), 2, "{kinds:?}");
    let told = &output.receipt()["warmup"];
    assert_eq!((&told["warm"], &told["failed"]), (&json!(false), &json!(0)), "{told}");
    assert!(told["p95_ms"].as_f64().unwrap() >= 80.0, "{told}");
    assert_eq!(proxy.live(), "green");
}

#[test]
fn where_nothing_has_been_seen_there_is_nothing_to_repeat() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({})));
    let told = proxy.promote("green")["warmup"].clone();
    assert_eq!((&told["warm"], &told["requests"]), (&json!(false), &json!(0)));
    assert!(green.requests().is_empty());
}

#[test]
fn a_rollback_and_a_forced_promote_warm_nothing_up() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({ "timeout": "2s" })));
    traffic(&proxy);
    let forced = proxy
        .ctl(["promote", "green", "--force", "--json"])
        .expect(0);
    assert!(forced.receipt()["warmup"].is_null());
    let back = proxy.ctl(["rollback", "--json"]).expect(0);
    assert!(back.receipt()["warmup"].is_null());
    assert!(green.requests().is_empty());
}

#[test]
fn whoever_asked_may_go_away_and_the_pool_is_shut_again() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({})));
    green.tell(|told| told.cold = Some((usize::MAX, COLD)));
    traffic(&proxy);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    promote.event("warming");
    let busy = proxy.ctl(["guard", "green", "--", "true"]);
    assert_ne!(busy.code, 0, "{busy:?}");
    promote.signal(Signal::INT);
    promote.finish();
    eventually("nothing is in flight on green", || proxy.in_flight("green") == 0);
    eventually("the guard is granted", || proxy.ctl(["guard", "green", "--", "true"]).code == 0);
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn a_target_that_is_not_up_yet_is_waited_for_before_it_is_warmed_up() {
    let change = json!({ "upstreams": { "app": { "promotion": { "gate_timeout": "20s" } } } });
    let mut both = warmup(&json!({}));
    crate::harness::config::merge(&mut both, &change);
    let (_blue, green, proxy) = app_with(&both);
    green.kill();
    traffic(&proxy);
    let promote = proxy.ctl_start(["promote", "green", "--json"]);
    eventually("it gates", || proxy.app()["promotion"]["phase"] == "gating");
    green.revive();
    assert_eq!(promote.finish().expect(0).receipt()["warmup"]["warm"], true);
}

#[test]
fn connections_to_the_new_colour_are_open_before_its_first_request() {
    let (_blue, green, proxy) = app_with(&warmup(&json!({ "connections": 3 })));
    traffic(&proxy);
    proxy.promote("green");
    eventually("three connections, and none but they", || green.connections() == 3);
    let before = green.requests().len();
    let with = first(&proxy, 200);
    assert_eq!(green.requests().len(), before + 200);
    assert!(green.connections() <= 3, "no other was needed");

    let (_blue, _green, proxy) = app_with(&warmup(&json!({ "connections": 0 })));
    traffic(&proxy);
    proxy.promote("green");
    let without = first(&proxy, 200);
    eprintln!("p95 of the first 200: {with:?} with connections open, {without:?} without");
}

#[test]
fn it_follows_no_redirect_and_brings_back_no_cookie_that_it_was_given() {
    // It is enough that it has been asked: how quick it is does not matter here.
    let (blue, green, proxy) = app_with(&warmup(&json!({ "timeout": "2s" })));
    traffic(&proxy);
    green.tell(|told| told.page = Some("/elsewhere"));
    let told = proxy.promote("green")["warmup"].clone();
    assert!(told["requests"].as_u64().unwrap() >= 30, "{told}");
    let before = blue.requests().len();
    let warm = green.requests();
    assert!(!warm.is_empty());
    for seen in &warm {
        assert!(seen.head.target().starts_with("/shop/"), "{}", seen.head.target());
        assert_eq!((seen.head.header("cookie"), seen.nth), (None, 1));
    }
    assert_eq!(blue.requests().len(), before, "nor was it followed to anybody else");
}

#[test]
fn a_reload_that_changes_the_warm_up_leaves_connections_open_at_the_next_switch() {
    let (_blue, green, mut proxy) =
        app_with(&warmup(&json!({ "connections": 0, "timeout": "1s" })));
    traffic(&proxy);
    proxy.promote("green");
    proxy.ctl(["rollback"]).expect(0);
    eventually("what probes and the warm-up had opened is closed", || green.connections() == 0);
    proxy.rewrite_config(&warmup(&json!({ "connections": 3 })));
    proxy.ctl(["reload"]).expect(0);
    traffic(&proxy);
    proxy.promote("green");
    eventually("three connections to the new colour", || green.connections() == 3);
}

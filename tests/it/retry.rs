//! When a target fails: the next one, a fresh connection, or a clear answer; nothing ever twice
//! that must not be.

use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;

/// Probes so seldom that only the requests themselves find out.
fn unprobed() -> serde_json::Value {
    json!({ "upstreams": { "app": {
        "health": { "interval": "60s" }, "promotion": { "gate_timeout": "100s" },
    } } })
}

#[test]
fn a_target_that_refuses_is_passed_over() {
    let (dead, alive) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let proxy = Proxy::setup()
        .blue(&[&dead, &alive])
        .green(&[&green])
        .with(&unprobed())
        .start();
    dead.kill();
    for n in 0..30 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
        let id = format!("/?id={n}");
        assert_eq!(proxy.http().post(&id, b"x").expect(200).origin(), "blue-2");
        assert_eq!(alive.executions(&n.to_string()), 1);
    }
    let errors = proxy
        .metrics()
        .sum("proxy_upstream_errors_total", &[("outcome", "connect")]);
    assert!(errors >= 1.0, "{errors}");
    assert!(
        proxy
            .metrics()
            .sum("proxy_retries_total", &[("colour", "blue")])
            >= 1.0
    );
}

#[test]
fn a_sick_target_gets_no_requests_until_it_is_well() {
    let (sick, well) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let proxy = Proxy::between(&[&sick, &well], &[&green]);
    let healthy = |nth: usize| proxy.app()["pools"]["blue"]["targets"][nth]["healthy"].clone();
    sick.health(crate::harness::Health::Status(503));
    eventually("the verdict changes", || healthy(0) == json!(false));
    let before = sick.requests().len();
    for _ in 0..20 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
    assert_eq!(sick.requests().len(), before);
    sick.health(crate::harness::Health::Status(200));
    eventually("the verdict changes back", || healthy(0) == json!(true));
    eventually("it serves again", || proxy.http().get("/").expect(200).origin() == "blue-1");
}

#[test]
fn when_no_target_is_healthy_those_there_are_still_tried() {
    let (blue, _green, proxy) = app();
    blue.health(crate::harness::Health::Status(503));
    let healthy = || proxy.app()["pools"]["blue"]["targets"][0]["healthy"].clone();
    eventually("the verdict changes", || healthy() == json!(false));
    proxy.http().get("/").expect(200);
}

#[test]
fn a_get_on_a_reused_connection_that_dies_is_retried_on_a_fresh_one() {
    let (blue, _green, proxy) = app_with(&unprobed());
    blue.tell(|told| told.die_on_reuse = true);
    let mut client = proxy.http();
    for _ in 0..10 {
        client.get("/").expect(200);
    }
    assert!(proxy.metrics().sum("proxy_retries_total", &[]) >= 1.0);
}

#[test]
fn a_post_that_may_have_been_read_is_never_sent_twice() {
    let (blue, _green, proxy) = app_with(&unprobed());
    blue.tell(|told| told.die_on_reuse = true);
    let mut client = proxy.http();
    for n in 0..20 {
        client.get("/").expect(200); // leaves an idle connection behind
        let answer = client.post(&format!("/?id={n}"), b"pay");
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
        let executed = blue.executions(&n.to_string());
        assert_eq!(executed, 1, "post {n} ended with {}", answer.status);
    }
}

#[test]
fn connections_that_the_target_closes_between_requests_cost_no_request() {
    let (blue, _green, proxy) = app_with(&unprobed());
    blue.tell(|told| told.close_after = Some(1));
    let mut client = proxy.http();
    for n in 0..50 {
        client.get("/").expect(200);
        let status = client.post(&format!("/?id={n}"), b"x").status;
        assert!(matches!(status, 200 | 502), "{status}");
        assert!(blue.executions(&n.to_string()) <= 1);
    }
}

#[test]
fn a_post_whose_target_dies_under_it_gets_502_and_is_not_repeated() {
    let (blue, _green, proxy) = app_with(&unprobed());
    for path in ["/reset", "/close", "/garbage"] {
        let id = path.trim_start_matches('/');
        let answer = proxy
            .http()
            .post(&format!("{path}?id={id}"), b"pay")
            .expect(502);
        assert_eq!(blue.executions(id), 1);
        assert!(answer.header("x-request-id").is_some());
    }
}

#[test]
fn a_get_that_always_fails_ends_in_502_after_few_tries() {
    let (blue, _green, proxy) = app_with(&unprobed());
    for path in ["/reset", "/close", "/garbage"] {
        let id = path.trim_start_matches('/');
        proxy.http().get(&format!("{path}?id={id}")).expect(502);
        assert!(blue.executions(id) <= 2, "{path}: {}", blue.executions(id));
    }
    proxy.http().get("/").expect(200);
}

#[test]
fn a_request_that_kills_connections_does_not_cost_the_target_its_place() {
    let (blue, _green, proxy) = app_with(&unprobed());
    for _ in 0..20 {
        proxy.http().get("/reset").expect(502);
    }
    proxy.http().get("/").expect(200);
    assert_eq!(blue.last().target(), "/");
}

#[test]
fn the_answer_of_a_failure_fits_who_asked() {
    let (blue, _green, mut proxy) = app_with(&unprobed());
    blue.kill();
    let mut client = proxy.http();
    let json = client.request("GET", "/", &[("Accept", "application/json")], b"");
    assert!(matches!(json.status, 502 | 503), "{}", json.status);
    assert!(json.json().is_object());
    let id = json.header("x-request-id").unwrap();
    assert!(json.text().contains(id), "the body says the id, for a ticket: {}", json.text());
    let html = client.request("GET", "/", &[("Accept", "text/html,*/*;q=0.8")], b"");
    assert!(
        html.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(html.body.len() < 2000);
    let head = client.request("HEAD", "/", &[], b"");
    assert_eq!(head.body, b"");
    proxy.stop();
}

#[test]
fn a_post_is_not_lost_when_the_first_target_never_took_it() {
    let (dead, alive) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let proxy = Proxy::setup()
        .blue(&[&dead, &alive])
        .green(&[&green])
        .with(&unprobed())
        .start();
    dead.refuse();
    let body = crate::harness::pages::patterned(500_000);
    for _ in 0..10 {
        let said = proxy.http().post("/echo", &body).expect(200).json();
        assert_eq!(said["sha256"], crate::harness::pages::sha256(&body));
    }
}

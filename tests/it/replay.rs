//! What is sent again and what never is, and what an answer that breaks off costs.

use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::pages;

/// Targets that read the second request of each connection and then reset it; no probe is in the
/// way.
fn dies_on_reuse() -> (Origin, Origin, Proxy) {
    let unprobed = json!({ "upstreams": { "app": { "health": { "interval": "60s" } } } });
    let (blue, green, proxy) = app_with(&unprobed);
    blue.tell(|told| told.die_on_reuse = true);
    (blue, green, proxy)
}

/// Whether a request of this method met its end on a connection that had been used before.
fn was_reused(origin: &Origin, method: &str) -> bool {
    let requests = origin.requests();
    requests
        .iter()
        .any(|seen| seen.nth > 1 && seen.head.method() == method)
}

#[test]
fn a_post_without_a_body_is_not_sent_twice_either() {
    let (blue, _green, proxy) = dies_on_reuse();
    let mut client = proxy.http();
    for n in 0..50 {
        client.get("/").expect(200); // leaves an idle connection behind
        let answer = client.post(&format!("/?id={n}"), b"");
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
        assert_eq!(blue.executions(&n.to_string()), 1, "post {n}: {}", answer.status);
    }
    assert!(was_reused(&blue, "POST"), "the case was never met");
}

#[test]
fn a_put_whose_body_has_begun_is_never_sent_again_without_it() {
    let (blue, _green, proxy) = dies_on_reuse();
    let mut client = proxy.http();
    let body = pages::patterned(3000);
    for _ in 0..50 {
        client.get("/").expect(200);
        let answer = client.request("PUT", "/echo", &[], &body);
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
        if answer.status == 200 {
            assert_eq!(answer.json()["sha256"], pages::sha256(&body));
        }
    }
    assert!(was_reused(&blue, "PUT"), "the case was never met");
}

#[test]
fn a_post_is_never_sent_over_a_connection_that_has_been_idle_for_long() {
    let (blue, _green, proxy) = app_with(&json!({}));
    let mut client = proxy.http();
    client.post("/echo", b"one").expect(200);
    let probes = blue.probes();
    eventually("some time passes", || blue.probes() > probes + 4);
    client.post("/echo", b"two").expect(200);
    let nth: Vec<_> = blue.requests().iter().map(|seen| seen.nth).collect();
    assert_eq!(nth, [1, 1], "the target could be closing it at this very moment");
}

#[test]
fn an_answer_that_breaks_off_is_counted_on_its_target_once() {
    let (_blue, _green, proxy) = app_with(&json!({}));
    for path in ["/truncate", "/truncate-chunked"] {
        let count = || {
            let labels = [("colour", "blue"), ("outcome", "reset")];
            proxy.metrics().sum("proxy_upstream_errors_total", &labels)
        };
        let before = count();
        assert!(proxy.http().try_get(path).is_err(), "{path}: taken for whole");
        eventually("it is counted", || count() > before);
        assert_eq!(count(), before + 1.0, "{path}");
    }
}

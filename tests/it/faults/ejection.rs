//! A target whose health page is good and whose answers are not.

use serde_json::Value;
use serde_json::json;

use super::count;
use super::unprobed;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::eventually;

/// Two blue targets that are probed twenty times a second, well as far as that shows.
fn probed() -> (Origin, Origin, Origin, Proxy) {
    let (one, two, green) =
        (Origin::start("blue-1"), Origin::start("blue-2"), Origin::start("green-1"));
    let proxy = Proxy::between(&[&one, &two], &[&green]);
    (one, two, green, proxy)
}

fn target(proxy: &Proxy, nth: usize) -> Value {
    proxy.app()["pools"]["blue"]["targets"][nth].clone()
}

/// Asks until a target is ejected.
fn ask_until_ejected(proxy: &Proxy, path: &str) {
    let mut client = proxy.http();
    for _ in 0..100 {
        client.get(path);
        if count(proxy, "proxy_target_ejected") > 0.0 {
            return;
        }
    }
    panic!("nothing was ejected");
}

#[test]
fn a_target_on_which_five_requests_in_a_row_fail_rests_and_comes_back_by_a_probe() {
    let (bad, good, _green, proxy) = probed();
    let mut events = proxy.ctl_start(["events", "--json"]);
    bad.tell(|told| told.page = Some("/reset"));
    ask_until_ejected(&proxy, "/");
    assert_eq!(bad.requests().len(), 5);
    let (one, two) = (target(&proxy, 0), target(&proxy, 1));
    assert_eq!((&one["healthy"], &one["ejected"]), (&json!(true), &json!(true)));
    assert!(one["ejected_until"].is_string(), "{one}");
    assert_eq!((&two["ejected"], &two["ejected_until"]), (&json!(false), &Value::Null));
    assert_eq!(count(&proxy, "proxy_ejections_total"), 1.0);
    let (_, told) = events.event("ejection");
    assert_eq!((&told["ejected"], &told["target"]), (&json!(true), &one["address"]));
    assert!(proxy.stderr().contains("is ejected"), "{}", proxy.stderr());
    for _ in 0..50 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
    assert_eq!(bad.requests().len(), 5, "it rests");
    bad.tell(|told| told.page = None);
    eventually("it is back after its time", || target(&proxy, 0)["ejected"] == json!(false));
    eventually("it serves", || proxy.http().get("/").expect(200).origin() == "blue-1");
    let (_, told) = events.event("ejection");
    assert_eq!(told["ejected"], json!(false));
    drop(good);
}

#[test]
fn never_more_than_half_of_a_pool_is_ejected_and_never_the_last_target() {
    let (one, two, _green, proxy) = probed();
    for origin in [&one, &two] {
        origin.tell(|told| told.page = Some("/reset"));
    }
    ask_until_ejected(&proxy, "/");
    for _ in 0..50 {
        proxy.http().get("/").expect(502);
    }
    assert_eq!(count(&proxy, "proxy_ejections_total"), 1.0);
    for origin in [&one, &two] {
        origin.tell(|told| told.page = None);
    }
    proxy.http().get("/").expect(200);
}

#[test]
fn an_answer_between_failures_starts_the_count_over() {
    let (one, two, _green, proxy) = unprobed(&json!({}));
    let mut client = proxy.http();
    for _ in 0..20 {
        for _ in 0..3 {
            let answer = client.post("/reset", b"");
            assert_eq!(answer.status, 502);
        }
        let before = [&one, &two].map(|origin| origin.requests().len());
        let each_has_answered = || {
            client.get("/").expect(200);
            one.requests().len() > before[0] && two.requests().len() > before[1]
        };
        eventually("each has answered one", each_has_answered);
    }
    assert_eq!(count(&proxy, "proxy_ejections_total"), 0.0);
}

#[test]
fn an_answer_that_its_client_leaves_starts_the_count_over_too() {
    let (one, two, _green, proxy) = unprobed(&json!({}));
    for _ in 0..6 {
        for _ in 0..3 {
            proxy.http().post("/reset", b"");
        }
        let before = [&one, &two].map(|origin| origin.requests().len());
        let each_is_left = || {
            let mut client = proxy.http();
            client.send("GET", "/endless", &[], b"");
            client.head();
            drop(client);
            one.requests().len() > before[0] && two.requests().len() > before[1]
        };
        eventually("each has been left", each_is_left);
        eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    }
    assert_eq!(count(&proxy, "proxy_ejections_total"), 0.0);
}

#[test]
fn an_error_of_the_applications_own_ejects_nothing() {
    let (_one, _two, _green, proxy) = probed();
    let mut client = proxy.http();
    for code in [500, 502, 503, 504] {
        for _ in 0..20 {
            client.get(&format!("/status?code={code}")).expect(code);
        }
    }
    assert_eq!(count(&proxy, "proxy_ejections_total"), 0.0);
    assert_eq!(count(&proxy, "proxy_retries_total"), 0.0);
}

#[test]
fn a_promote_ends_the_rests_of_the_colour_that_it_makes_live() {
    let (bad, _good, _green, proxy) = probed();
    bad.tell(|told| told.page = Some("/reset"));
    ask_until_ejected(&proxy, "/");
    bad.tell(|told| told.page = None);
    proxy.promote("green");
    assert_eq!(target(&proxy, 0)["ejected"], json!(true), "a switch away ends no rest");
    proxy.promote("blue");
    assert_eq!(target(&proxy, 0)["ejected"], json!(false), "the gate ignores it, and vouches");
    eventually("it serves", || proxy.http().get("/").expect(200).origin() == "blue-1");
}

#[test]
fn a_rest_outlives_a_reload() {
    let (bad, _good, _green, mut proxy) = probed();
    bad.tell(|told| told.page = Some("/reset"));
    ask_until_ejected(&proxy, "/");
    let generation = proxy.generation();
    proxy.rewrite_config(&json!({ "timeouts": { "idle": "42s" } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(proxy.generation(), generation + 1, "no ejection raises it");
    assert_eq!(target(&proxy, 0)["ejected"], json!(true));
}

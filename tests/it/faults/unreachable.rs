//! Not one target is left.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::count;
use super::line_of;
use super::unprobed;
use crate::harness::Health;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::deaf::Deaf;
use crate::harness::eventually;

#[test]
fn when_all_are_dead_the_client_hears_at_once_and_the_log_says_which_and_why() {
    let (one, two, _green, proxy) = unprobed(&json!({}));
    one.kill();
    two.kill();
    for (method, id) in [("GET", "a"), ("POST", "b")] {
        let begun = Instant::now();
        let answer = proxy
            .http()
            .request(method, &format!("/?id={id}"), &[], b"");
        assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let line = line_of(&proxy, id);
        let target = line["target"].as_str().unwrap();
        assert!(
            [&one, &two]
                .iter()
                .any(|dead| dead.address.to_string() == target),
            "{line}"
        );
        assert_eq!((&line["reason"], &line["attempts"]), (&json!("connect"), &json!(2)), "{line}");
    }
    let log = proxy.stderr();
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("no target can be reached"))
        .collect();
    assert_eq!(said.len(), 1, "once, not for each request: {log}");
    for dead in [&one, &two] {
        assert!(said[0].contains(&format!("{} connect", dead.address)), "{}", said[0]);
    }
}

#[test]
fn when_all_swallow_packets_the_client_hears_within_the_time_to_connect() {
    let (one, two, three) = (Deaf::listen(), Deaf::listen(), Deaf::listen());
    let green = Origin::start("green-1");
    let blue = [&one, &two, &three].map(|deaf| deaf.address.to_string());
    let change = json!({
        "timeouts": { "connect": "900ms" },
        "upstreams": { "app": { "blue": blue, "health": { "timeout": "100ms" } } },
    });
    let proxy = Proxy::setup().green(&[&green]).with(&change).start();
    let begun = Instant::now();
    let answer = proxy.http().get("/?id=a");
    let took = begun.elapsed();
    assert!(matches!(answer.status, 502..=504), "{}", answer.status);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(line_of(&proxy, "a")["attempts"], json!(3), "each has had its part of the time");
}

#[test]
fn one_that_swallows_packets_hides_no_other() {
    let (deaf, alive, green) = (Deaf::listen(), Origin::start("blue-2"), Origin::start("green-1"));
    let change = json!({
        "timeouts": { "connect": "600ms" },
        "upstreams": { "app": {
            "blue": [deaf.address.to_string(), alive.address.to_string()],
            "health": { "interval": "60s", "timeout": "100ms" },
        } },
    });
    let proxy = Proxy::setup().green(&[&green]).with(&change).start();
    for _ in 0..5 {
        proxy.http().post("/", b"x").expect(200);
    }
}

#[test]
fn a_pool_whose_every_health_check_fails_is_served_anyway_and_no_gate_opens() {
    let (one, two, green) =
        (Origin::start("blue-1"), Origin::start("blue-2"), Origin::start("green-1"));
    let proxy = Proxy::between(&[&one, &two], &[&green]);
    for origin in [&one, &two, &green] {
        origin.health(Health::Status(503));
    }
    let sick = || proxy.metrics().sum("proxy_target_healthy", &[]) == 0.0;
    eventually("all are sick", sick);
    let before = count(&proxy, "proxy_fail_open_total");
    for _ in 0..20 {
        proxy.http().get("/").expect(200);
        proxy.http().post("/", b"x").expect(200);
    }
    assert_eq!(count(&proxy, "proxy_fail_open_total"), before + 40.0);
    assert!(one.requests().len() > 5 && two.requests().len() > 5, "both share the load");
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert_eq!(proxy.live(), "blue");
    one.health(Health::Status(200));
    let well = || count(&proxy, "proxy_target_healthy") == 1.0;
    eventually("one is well", well);
    let before = count(&proxy, "proxy_fail_open_total");
    for _ in 0..10 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-1");
    }
    assert_eq!(count(&proxy, "proxy_fail_open_total"), before);
}

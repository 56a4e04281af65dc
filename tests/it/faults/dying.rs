//! One of two targets dies under load, once or again and again.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::Askers;
use super::unprobed;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::wait::pause;

/// A process that can be killed: another proxy, before a target.
fn process(origin: &Origin, standby: &Origin) -> Proxy {
    Proxy::between(&[origin], &[standby])
}

/// A proxy before two processes, whose health it asks so seldom that only requests find out.
fn before(one: &Proxy, two: &Proxy, green: &Origin) -> Proxy {
    let blue = json!([one.plain_address().to_string(), two.plain_address().to_string()]);
    let change = json!({ "workers": 2, "upstreams": { "app": {
        "blue": blue, "health": { "interval": "60s" }, "promotion": { "gate_timeout": "100s" },
    } } });
    Proxy::setup().green(&[green]).with(&change).start()
}

#[test]
fn kill_9_of_one_of_two_targets_costs_no_get_under_load() {
    let (origin, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let other = Origin::start("standby");
    let (mut one, mut two) = (process(&origin, &other), process(&origin, &other));
    let proxy = before(&one, &two, &green);
    let askers = Askers::start(&proxy, 8, "GET");
    askers.wait_for(400);
    one.kill9();
    one.skip_audit();
    askers.wait_for(400);
    askers.stop().expect_flawless();
    let errors = proxy
        .metrics()
        .sum("proxy_upstream_errors_total", &[("target", &one.plain_address().to_string())]);
    assert!(errors > 0.0, "the case was never met");
    two.stop();
}

#[test]
fn kill_9_of_one_of_two_targets_repeats_no_post() {
    let (origin, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let other = Origin::start("standby");
    let (mut one, mut two) = (process(&origin, &other), process(&origin, &other));
    let proxy = before(&one, &two, &green);
    let askers = Askers::start(&proxy, 8, "POST");
    askers.wait_for(400);
    one.kill9();
    one.skip_audit();
    askers.wait_for(400);
    let asked = askers.stop();
    asked.expect_once_at_most(&[&origin]);
    let lost = asked
        .answers
        .values()
        .filter(|status| **status != Some(200));
    assert!(lost.count() <= 8, "no more than were in flight");
    two.stop();
}

#[test]
fn a_target_that_flaps_costs_no_get_and_repeats_no_post() {
    let (one, two, _green, proxy) = unprobed(&json!({}));
    let gets = Askers::start(&proxy, 4, "GET");
    let posts = Askers::start(&proxy, 4, "POST");
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        gets.wait_for(20);
        one.kill();
        pause(Duration::from_millis(50));
        one.revive();
    }
    gets.stop().expect_flawless();
    posts.stop().expect_once_at_most(&[&one, &two]);
}

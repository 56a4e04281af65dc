//! `proxyctl why`: what stands in the way of a promotion, and the probes that say so.

use serde_json::Value;
use serde_json::json;

use crate::harness::Health;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;

fn why(proxy: &Proxy, code: i32) -> Value {
    let output = proxy.ctl(["why", "green", "--json"]).expect(code);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_target_that_blocks_the_gate_is_named_with_its_last_probes_and_what_they_said() {
    let (well, sick) = (Origin::start("green-1"), Origin::start("green-2"));
    let blue = Origin::start("blue-1");
    let proxy = Proxy::between(&[&blue], &[&well, &sick]);
    let free = why(&proxy, 0);
    assert_eq!((&free["passes"], &free["upstreams"][0]["blocks"]), (&json!(true), &json!([])));
    sick.health(Health::Status(503));
    let said = why(&proxy, 1);
    assert_eq!(said["passes"], false);
    let app = &said["upstreams"][0];
    assert_eq!(app["blocks"].as_array().unwrap().len(), 1, "{app}");
    assert_eq!(app["blocks"][0]["target"], sick.address.to_string());
    assert!(app["blocks"][0]["what"].as_str().unwrap().contains("503"));
    let target = |at: usize| why(&proxy, 1)["upstreams"][0]["targets"][at].clone();
    assert_eq!((&target(0)["passed"], &target(1)["passed"]), (&json!(true), &json!(false)));
    eventually("twenty probes are kept, and no more", || {
        let probes = target(1)["probes"].as_array().unwrap().len();
        assert!(probes <= 20);
        probes == 20
    });
    let newest = target(1)["probes"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(newest["outcome"], "503");
    assert!(newest["latency_ms"].is_number() && newest["at"].is_string());
    let told = proxy.ctl(["why", "green"]).expect(1).stdout;
    assert!(told.starts_with("app: 1 thing stands in the way of green\n"), "{told}");
    assert!(told.contains(&sick.address.to_string()) && told.contains("503"), "{told}");
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    sick.health(Health::Status(200));
    why(&proxy, 0);
    proxy.ctl(["promote", "green"]).expect(0);
}

#[test]
fn the_way_out_is_told() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(302));
    let said = why(&proxy, 1);
    let hint = said["upstreams"][0]["blocks"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("health.path"), "{hint}");
    proxy.ctl(["why", "green", "--build", "b1"]).expect(2);
    proxy.ctl(["why", "purple"]).expect(2);
    proxy.ctl(["why", "green", "--upstream", "nope"]).expect(2);
}

#[test]
fn who_holds_the_upstream_stands_in_the_way() {
    let (_blue, green, proxy) = app();
    let go = proxy.file("go");
    let wait = "while [ ! -e \"$0\" ]; do sleep 0.02; done";
    let command = ["guard", "green", "--", "sh", "-c", wait, go.to_str().unwrap()];
    let guard = proxy.ctl_start(command);
    eventually("the guard holds green off", || why_says(&proxy, "a guard of uid"));
    proxy.ctl(["promote", "green"]).expect(4);
    std::fs::write(&go, "").unwrap();
    guard.finish().expect(0);
    green.health(Health::Status(503));
    let gate = proxy.ctl_start(["promote", "green", "--gate-timeout", "60s"]);
    eventually("a promotion gates", || why_says(&proxy, "is gating since"));
    assert!(!why_says(&proxy, "a guard of uid"), "that guard is over");
    drop(gate);
}

fn why_says(proxy: &Proxy, word: &str) -> bool {
    proxy.ctl(["why", "green"]).stdout.contains(word)
}

#[test]
fn the_status_tells_the_last_probes_where_it_is_asked_for_them() {
    let (_blue, _green, proxy) = app();
    let asked = |path: &str| {
        let status = proxy.control().unwrap().get(path).expect(200).json();
        status["upstreams"]["app"]["pools"]["green"]["targets"][0].clone()
    };
    assert!(asked("/v1/status")["probes"].is_null());
    let probes = asked("/v1/status?probes=1")["probes"].clone();
    assert_eq!(probes[0]["outcome"], "200", "{probes}");
}

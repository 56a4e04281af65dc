//! `proxyctl canary`: a part of the users gets the standby colour, always the same ones.

mod crowd;
mod preview;
mod users;

use serde_json::Value;
use serde_json::json;

use crate::harness::Health;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::http::Answer;

const GAUGE: &str = "proxy_canary_weight";

fn canary(proxy: &Proxy, weight: &str) -> Value {
    let output = proxy.ctl(["canary", "green", "--weight", weight, "--json"]);
    output.expect(0).last_event()
}

fn gauge(proxy: &Proxy, colour: &str) -> f64 {
    let labels = [("upstream", "app"), ("colour", colour)];
    proxy.metrics().value(GAUGE, &labels)
}

/// `name=value` of the cookie that an answer gives.
fn given(answer: &Answer) -> Option<String> {
    let cookie = answer.header("set-cookie")?;
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[test]
fn it_passes_its_gate_first_and_who_does_not_gets_nobody() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    let refused = proxy
        .ctl(["canary", "green", "--weight", "50", "--gate-timeout", "1s", "--json"])
        .expect(1);
    let last = refused.last_event();
    assert_eq!((&last["event"], &last["code"]), (&json!("refused"), &json!("gate")));
    assert_eq!((proxy.app()["canary"].clone(), gauge(&proxy, "green")), (Value::Null, 0.0));
    green.health(Health::Status(200));
    let output = proxy
        .ctl(["canary", "green", "--weight", "50", "--json"])
        .expect(0);
    let events: Vec<_> = output.events();
    let rounds = events.iter().filter(|event| event["event"] == "gating");
    assert!(rounds.count() >= 2, "{events:?}");
    let last = output.last_event();
    assert_eq!(last["event"], "canary");
    assert_eq!((&last["colour"], &last["weight"]), (&json!("green"), &json!(50)));
    assert_eq!(last["generation"], proxy.generation());
    assert_eq!((proxy.live().as_str(), gauge(&proxy, "green")), ("blue", 50.0));
}

#[test]
fn it_is_shown_and_told_and_its_weight_changes_by_one_publish_without_a_gate() {
    let (_blue, green, proxy) = app();
    let mut events = proxy.ctl_start(["events", "--json"]);
    eventually("somebody follows", || {
        proxy.control_post("/v1/reload", &json!({}));
        events.is_running()
    });
    canary(&proxy, "0.1");
    let shown = proxy.app()["canary"].clone();
    assert_eq!((&shown["colour"], &shown["weight"]), (&json!("green"), &json!(0.1)));
    assert!(shown["since"].as_str().unwrap().ends_with('Z'));
    let (_, told) = events.event("canary");
    assert_eq!((&told["weight"], &told["upstreams"]), (&json!(0.1), &json!(["app"])));
    let (before, probes) = (proxy.generation(), green.probe_requests().len());
    // A gate would refuse: it asks afresh.
    green.health(Health::Status(503));
    assert_eq!(canary(&proxy, "12.5")["weight"], 12.5);
    assert_eq!((proxy.generation(), gauge(&proxy, "green")), (before + 1, 12.5));
    assert_eq!(proxy.app()["canary"]["since"], shown["since"]);
    assert_eq!(canary(&proxy, "12.5")["generation"], before + 1, "it is so already");
    let text = proxy.ctl(["status"]).expect(0).stdout;
    assert!(text.contains("canary: green gets 12.5 % of the users"), "{text}");
    assert!(green.probe_requests().len() >= probes);
}

#[test]
fn nothing_finer_than_a_tenth_of_a_percent_and_no_live_colour_is_taken() {
    let (_blue, _green, proxy) = app();
    let fine = proxy.ctl(["canary", "green", "--weight", "0.05"]).expect(2);
    assert!(fine.stderr.contains("\"0.05\" is finer than 0.1 %"), "{}", fine.stderr);
    proxy.ctl(["canary", "green", "--weight", "101"]).expect(2);
    let live = proxy.ctl(["canary", "blue", "--weight", "5"]).expect(5);
    assert!(live.stderr.contains("app: blue is live already"), "{}", live.stderr);
    for (body, status) in [
        (json!({ "colour": "green", "weight": 0.25 }), 422),
        (json!({ "colour": "green", "weight": "0.25" }), 422),
        (json!({ "colour": "green" }), 422),
        (json!({ "colour": "red", "weight": 1 }), 422),
        (json!({ "colour": "green", "weight": 1, "upstreams": ["none"] }), 404),
        (json!({ "colour": "blue", "weight": 0 }), 409),
    ] {
        let answer = proxy.control_post("/v1/canary", &body).expect(status);
        assert_eq!(answer.json()["status"], status, "{body}");
    }
    assert_eq!(proxy.app()["canary"], Value::Null);
}

#[test]
fn a_promote_gives_everybody_the_colour_and_nothing_is_left_over() {
    let (_blue, _green, proxy) = app_with(&json!({
        "upstreams": { "app": { "canary": { "sticky": "cookie" } } },
    }));
    canary(&proxy, "50");
    assert!(given(&proxy.http().get("/")).is_some());
    let receipt = proxy.promote("green");
    assert_eq!((&receipt["colour"], &receipt["safe_to_kill"]), (&json!("green"), &json!("blue")));
    assert_eq!(proxy.app()["canary"], Value::Null);
    assert_eq!((gauge(&proxy, "green"), gauge(&proxy, "blue")), (0.0, 0.0));
    let answer = proxy.http().get("/").expect(200);
    assert_eq!((answer.colour().as_str(), given(&answer)), ("green", None));
    let state = std::fs::read_to_string(proxy.file("state/state-a.json")).unwrap();
    assert!(!state.contains("canary"), "{state}");
}

#[test]
fn weight_zero_drains_it_and_says_what_is_safe_to_kill() {
    let (_blue, green, proxy) = app();
    let since = proxy.app()["since"].clone();
    canary(&proxy, "100");
    let mut held = proxy.http();
    held.send("GET", "/hold", &[], b"");
    green.wait_until_held(1);
    let mut end = proxy.ctl_start(["canary", "green", "--weight", "0", "--json"]);
    end.event("switched");
    end.event("draining");
    assert_eq!((proxy.colour().as_str(), proxy.app()["canary"].clone()), ("blue", Value::Null));
    assert!(end.is_running(), "it waits for the last request");
    green.release();
    assert_eq!(held.answer().expect(200).colour(), "green");
    let receipt = end.finish().expect(0).receipt();
    assert_eq!((&receipt["safe_to_kill"], &receipt["in_flight"]), (&json!("green"), &json!(0)));
    assert_eq!((proxy.live().as_str(), proxy.app()["since"].clone()), ("blue", since));
    proxy.ctl(["guard", "green", "--", "true"]).expect(0);
    // Twice is once.
    let again = proxy
        .ctl(["canary", "green", "--weight", "0", "--json"])
        .expect(0);
    assert_eq!(again.receipt()["already"], true);
    assert_eq!(proxy.ctl(["rollback"]).code, 1, "no other colour was ever live");
}

#[test]
fn a_rollback_and_a_promote_of_the_live_colour_end_it_without_a_gate() {
    let (blue, _green, proxy) = app();
    for command in ["rollback", "promote blue"] {
        canary(&proxy, "100");
        assert_eq!(proxy.colour(), "green");
        blue.health(Health::Stall);
        let words: Vec<&str> = command.split(' ').chain(["--json"]).collect();
        let receipt = proxy.ctl(words).expect(0).receipt();
        assert_eq!(
            (&receipt["colour"], &receipt["safe_to_kill"]),
            (&json!("blue"), &json!("green"))
        );
        blue.health(Health::Status(200));
        assert_eq!((proxy.colour().as_str(), proxy.app()["canary"].clone()), ("blue", Value::Null));
    }
}

#[test]
fn a_guard_of_its_colour_is_refused_and_says_why() {
    let (_blue, _green, proxy) = app();
    canary(&proxy, "5");
    let refused = proxy
        .ctl(["guard", "green", "--", "echo", "ran"])
        .expect(125);
    assert_eq!(refused.stdout, "");
    assert!(
        refused
            .stderr
            .contains("a canary gives green 5 % of the users"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("proxyctl canary green --weight 0"), "{}", refused.stderr);
    // And nobody begins one while a guard holds.
    proxy.ctl(["canary", "green", "--weight", "0"]).expect(0);
    let mut control = proxy.control().unwrap();
    let body = json!({ "colour": "green" }).to_string();
    control.send("POST", "/v1/guard", &[], body.as_bytes());
    assert_eq!(control.head().status().unwrap(), 200);
    proxy.ctl(["canary", "green", "--weight", "5"]).expect(4);
}

#[test]
fn while_it_gates_the_upstream_is_busy_and_who_goes_away_has_changed_nothing() {
    let (_blue, green, proxy) = app_with(&json!({
        "upstreams": { "app": { "promotion": { "gate_timeout": "60s" } } },
    }));
    green.health(Health::Status(503));
    let gate = proxy.ctl_start(["canary", "green", "--weight", "5"]);
    eventually("it gates", || proxy.app()["promotion"]["phase"] == "gating");
    proxy.ctl(["canary", "green", "--weight", "7"]).expect(4);
    proxy.ctl(["promote", "green"]).expect(4);
    gate.signal(rustix::process::Signal::INT);
    let gone = gate.finish().expect(130);
    assert!(gone.stderr.contains("cancelled, nothing has changed"), "{}", gone.stderr);
    eventually("the gate is cancelled", || proxy.app()["promotion"].is_null());
    assert_eq!(proxy.app()["canary"], Value::Null);
}

#[test]
fn a_canary_that_dies_in_the_middle_costs_its_users_nothing() {
    let (_blue, green, proxy) = app();
    canary(&proxy, "100");
    let load = Load::mixed(&proxy, 60);
    eventually("green serves", || green.requests().len() > 20);
    green.refuse();
    eventually("its probes say so", || {
        proxy.app()["pools"]["green"]["targets"][0]["healthy"] == false
    });
    drop(load.stop());
    // Nobody gets a 503 for being a canary.
    let load = Load::mixed(&proxy, 60);
    eventually("blue stands in", || load.requests() > 60);
    let report = load.stop();
    report.expect_flawless();
    assert!(
        report
            .answers
            .iter()
            .all(|answer| answer.origin == "blue-1")
    );
    let labels = [("upstream", "app"), ("colour", "blue")];
    assert!(
        proxy
            .metrics()
            .value("proxy_canary_stand_ins_total", &labels)
            > 60.0
    );
    assert_eq!(proxy.app()["canary"]["weight"], 100);
    green.revive();
    eventually("its users have it back", || proxy.colour() == "green");
}

#[test]
fn each_line_of_the_log_says_the_colour_that_answered() {
    let (_blue, _green, proxy) = app_with(&json!({
        "upstreams": { "app": { "canary": { "pins": [{ "header": "X-Tester", "value": "1" }] } } },
    }));
    canary(&proxy, "0.1");
    let mut client = proxy.http();
    client
        .request("GET", "/canary-line", &[("X-Tester", "1")], b"")
        .expect(200);
    client.request("GET", "/canary-line", &[], b"").expect(200);
    let lines = || -> Vec<Value> {
        let log = proxy.access_log();
        let ours = log.iter().filter(|line| line.contains("/canary-line"));
        ours.map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    eventually("both are logged", || lines().len() == 2);
    assert_eq!(lines()[0]["colour"], "green");
    // One address in a thousand is a canary's.
    assert!(["blue", "green"].contains(&lines()[1]["colour"].as_str().unwrap()));
}

#[test]
fn what_cannot_be_made_durable_is_not_begun() {
    let (_blue, _green, proxy) = app();
    let new = proxy.file("state").join("state-a.json.new");
    std::fs::create_dir(&new).unwrap();
    let refused = proxy
        .ctl(["canary", "green", "--weight", "100", "--json"])
        .expect(8);
    assert_eq!(refused.last_event()["code"], "not_durable");
    assert_eq!((proxy.app()["canary"].clone(), proxy.colour().as_str()), (Value::Null, "blue"));
    proxy.ctl(["guard", "green", "--", "true"]).expect(0);
    std::fs::remove_dir(&new).unwrap();
    canary(&proxy, "100");
    std::fs::create_dir(&new).unwrap();
    proxy.ctl(["canary", "green", "--weight", "50"]).expect(8);
    proxy.ctl(["preview", "green"]).expect(8);
    proxy.ctl(["canary", "green", "--weight", "0"]).expect(8);
    assert_eq!(
        (proxy.app()["canary"]["weight"].clone(), proxy.colour().as_str()),
        (json!(100), "green")
    );
    std::fs::remove_dir(&new).unwrap();
}

#[test]
fn several_upstreams_begin_behind_one_gate_and_end_together() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let (other_blue, other_green) = (Origin::start("blue-2"), Origin::start("green-2"));
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .upstream("other", &[&other_blue], &[&other_green])
        .start();
    proxy.ctl(["canary", "green", "--weight", "5"]).expect(2);
    other_green.health(Health::Status(503));
    proxy
        .ctl(["canary", "green", "--weight", "5", "--all", "--gate-timeout", "1s"])
        .expect(1);
    other_green.health(Health::Status(200));
    let before = proxy.generation();
    proxy
        .ctl(["canary", "green", "--weight", "5", "--all"])
        .expect(0);
    assert_eq!(proxy.generation(), before + 1);
    // One of them is promoted; the other's canary is left alone.
    proxy
        .ctl(["promote", "green", "--upstream", "app"])
        .expect(0);
    let upstreams = proxy.status()["upstreams"].clone();
    assert_eq!(upstreams["app"]["canary"], Value::Null);
    assert_eq!(upstreams["other"]["canary"]["weight"], 5);
    // What is behind each of them differs: a rollback of both switches one and ends the other.
    let back = proxy
        .ctl(["rollback", "--all", "--json"])
        .expect(0)
        .last_event();
    let safe = back["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|receipt| &receipt["safe_to_kill"]);
    assert_eq!(safe.collect::<Vec<_>>(), ["green", "green"]);
    let upstreams = proxy.status()["upstreams"].clone();
    for name in ["app", "other"] {
        assert_eq!(
            (&upstreams[name]["live"], &upstreams[name]["canary"]),
            (&json!("blue"), &Value::Null)
        );
    }
}

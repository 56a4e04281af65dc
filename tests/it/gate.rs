//! The gate: a promote moves traffic only when every target has just proven itself, in two whole
//! rounds; whatever is refused changes nothing.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Health;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;

/// A promote of green with one of its two targets in this state: refused, naming it and why.
#[track_caller]
fn refused(sick: impl FnOnce(&Origin), why: &[&str]) {
    let blue = Origin::start("blue-1");
    let (good, bad) = (Origin::start("green-1"), Origin::start("green-2"));
    let proxy = Proxy::between(&[&blue], &[&good, &bad]);
    let load = Load::mixed(&proxy, 60);
    let generation = proxy.generation();
    sick(&bad);
    let output = proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains(&bad.address.to_string()), "{}", output.stderr);
    let found = why.iter().any(|word| output.stderr.contains(word));
    assert!(found, "none of {why:?} in {}", output.stderr);
    assert_eq!(proxy.live(), "blue");
    assert_eq!(proxy.generation(), generation, "nothing has changed");
    let report = load.stop();
    report.expect_flawless();
    assert!(report.answers.iter().all(|a| a.origin == "blue-1"), "no request moved");
}

#[test]
fn a_promote_moves_all_traffic_and_ends_with_a_receipt() {
    let (_blue, _green, proxy) = app();
    assert_eq!(proxy.colour(), "blue");
    let before = proxy.generation();
    let output = proxy.ctl(["promote", "green", "--json"]).expect(0);
    let names: Vec<_> = output.events().iter().map(|e| e["event"].clone()).collect();
    assert!(names.iter().filter(|name| *name == "gating").count() >= 2, "{names:?}");
    assert!(names.contains(&json!("switched")), "{names:?}");
    assert_eq!(names.last(), Some(&json!("drained")));
    let receipt = output.receipt();
    assert_eq!(receipt["upstream"], "app");
    assert_eq!(receipt["colour"], "green");
    assert_eq!(receipt["generation"], before + 1);
    assert_eq!(receipt["in_flight"], 0);
    assert_eq!(receipt["cut"], json!({ "requests": 0, "tunnels": 0 }));
    assert_eq!(receipt["safe_to_kill"], "blue");
    assert!(receipt["gate_seconds"].as_f64().unwrap() >= 0.05, "one interval between two rounds");
    assert_eq!(proxy.colour(), "green");
    let app = proxy.app();
    assert_eq!((&app["live"], &app["standby"]), (&json!("green"), &json!("blue")));
    assert_eq!(proxy.generation(), before + 1);
}

#[test]
fn a_target_that_answers_503_is_named() {
    refused(|bad| bad.health(Health::Status(503)), &["503"]);
}

#[test]
fn a_target_that_refuses_is_named() {
    refused(Origin::kill, &["refused"]);
}

#[test]
fn a_target_that_stalls_is_named() {
    refused(|bad| bad.health(Health::Stall), &["timeout", "timed out", "in time", "within"]);
}

#[test]
fn a_target_that_does_not_speak_http_is_named() {
    refused(|bad| bad.health(Health::Garbage), &["HTTP"]);
}

#[test]
fn a_target_that_redirects_is_named_with_a_hint() {
    refused(|bad| bad.health(Health::Status(301)), &["301"]);
    let (_blue, green, proxy) = app();
    green.health(Health::Status(302));
    let output = proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains("hint:"), "{}", output.stderr);
    let followed = green.requests();
    assert!(followed.is_empty(), "a redirect is never followed: {followed:?}");
}

#[test]
fn a_target_that_dies_after_its_first_200_does_not_pass() {
    // The background probes would use up the one good answer.
    let blue = Origin::start("blue-1");
    let (good, bad) = (Origin::start("green-1"), Origin::start("green-2"));
    let slow = json!({ "upstreams": { "app": { "health": { "interval": "300ms" } } } });
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&good, &bad])
        .with(&slow)
        .start();
    bad.health(Health::DieAfter(1));
    let output = proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains(&bad.address.to_string()), "{}", output.stderr);
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn nothing_cached_decides() {
    let slow = json!({ "upstreams": { "app": {
        "health": { "interval": "60s" }, "promotion": { "gate_timeout": "100s" },
    } } });
    let (_blue, green, proxy) = app_with(&slow);
    let healthy = || proxy.app()["pools"]["green"]["targets"][0]["healthy"].clone();
    eventually("green was probed", || healthy() == json!(true));
    green.health(Health::Status(503));
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn the_gate_waits_for_a_target_that_gets_well() {
    let (_blue, green, proxy) = app();
    green.health(Health::GoodAfter(8));
    proxy
        .ctl(["promote", "green", "--gate-timeout", "10s"])
        .expect(0);
    assert_eq!(proxy.colour(), "green");
}

#[test]
fn probes_are_fresh_connections_that_carry_the_public_host() {
    let route = json!({ "routes": [{ "host": HOST, "upstream": "app" }] });
    let (_blue, green, proxy) = app_with(&route);
    proxy.promote("green");
    for probe in green.probe_requests() {
        assert_eq!(probe.nth, 1, "a probe on a used connection");
        assert_eq!(probe.head.header("host"), Some(HOST));
        assert_eq!(probe.head.header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn an_old_process_on_the_same_port_does_not_pass() {
    let blue = Origin::start("blue-1");
    let (new, old) = (Origin::of_build("green-1", "b2"), Origin::of_build("green-2", "b1"));
    let header = json!({ "upstreams": { "app": { "health": { "build_header": "X-Build" } } } });
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&new, &old])
        .with(&header)
        .start();
    let output = proxy.ctl(["promote", "green", "--build", "b2", "--gate-timeout", "1s"]);
    let output = output.expect(1);
    assert!(output.stderr.contains("b1"), "{}", output.stderr);
    assert_eq!(proxy.live(), "blue");
    old.tell(|told| told.build = Some("b2".to_owned()));
    proxy.ctl(["promote", "green", "--build", "b2"]).expect(0);
}

#[test]
fn what_counts_as_good_is_configurable() {
    let expect = json!({ "upstreams": { "app": { "health": { "expect": [204, "206-299"] } } } });
    let (blue, green, proxy) = app_with(&expect);
    blue.health(Health::Status(204));
    green.health(Health::Status(200));
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    green.health(Health::Status(204));
    proxy.ctl(["promote", "green"]).expect(0);
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let (blue, green, proxy) = app();
    let mut waiting = proxy.http();
    waiting.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    let generation = proxy.generation();
    let last = proxy
        .ctl(["promote", "green", "--dry-run", "--json"])
        .expect(0)
        .last_event();
    assert_eq!(last["in_flight"], 1, "{last}");
    green.health(Health::Status(503));
    proxy
        .ctl(["promote", "green", "--dry-run", "--gate-timeout", "1s"])
        .expect(1);
    assert_eq!(proxy.generation(), generation);
    assert_eq!(proxy.live(), "blue");
    blue.release();
    waiting.answer().expect(200);
}

#[test]
fn one_promotion_at_a_time() {
    let (_blue, green, proxy) = app();
    green.health(Health::Stall);
    let first = proxy.ctl_start(["promote", "green", "--gate-timeout", "10s"]);
    eventually("it is gating", || proxy.app()["promotion"]["phase"] == "gating");
    let second = proxy.ctl(["promote", "green"]).expect(4);
    assert!(second.stderr.contains("gating"), "{}", second.stderr);
    green.health(Health::Status(200));
    green.release();
    first.finish().expect(0);
}

#[test]
fn ctrl_c_while_the_gate_is_open_cancels_the_promotion() {
    for signal in [Signal::INT, Signal::KILL] {
        let (_blue, green, proxy) = app();
        green.health(Health::Status(503));
        let generation = proxy.generation();
        let running = proxy.ctl_start(["promote", "green", "--gate-timeout", "60s"]);
        eventually("it is gating", || proxy.app()["promotion"]["phase"] == "gating");
        running.signal(signal);
        eventually("it is cancelled", || proxy.app()["promotion"].is_null());
        assert_ne!(running.finish().code, 0);
        assert_eq!(proxy.generation(), generation);
        green.health(Health::Status(200));
        proxy.ctl(["promote", "green"]).expect(0);
    }
}

#[test]
fn compare_and_set_is_checked_first() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    let output = proxy
        .ctl(["promote", "green", "--expect-live", "green"])
        .expect(5);
    assert!(output.stderr.contains("blue"), "{}", output.stderr);
    green.health(Health::Status(200));
    proxy
        .ctl(["promote", "green", "--expect-live", "blue"])
        .expect(0);
    proxy
        .ctl(["promote", "green", "--expect-live", "blue"])
        .expect(5);
}

#[test]
fn promoting_the_live_colour_is_done_already() {
    let (blue, _green, proxy) = app();
    let generation = proxy.generation();
    blue.health(Health::Status(503)); // no gate is asked for what is so already
    let receipt = proxy.promote("blue");
    assert_eq!(receipt["already"], true);
    assert_eq!(receipt["colour"], "blue");
    assert_eq!(proxy.generation(), generation);
}

#[test]
fn the_gate_judges_only_the_new_colour() {
    let (blue, _green, proxy) = app();
    blue.kill();
    proxy.promote("green");
    assert_eq!(proxy.colour(), "green");
}

#[test]
fn a_rollback_goes_back_through_a_gate() {
    let (blue, _green, proxy) = app();
    proxy.promote("green");
    blue.health(Health::Status(503));
    let output = proxy.ctl(["rollback", "--gate-timeout", "1s"]).expect(1);
    assert!(output.stderr.contains(&blue.address.to_string()), "{}", output.stderr);
    assert_eq!(proxy.live(), "green");
    blue.health(Health::Status(200));
    let receipt = proxy.ctl(["rollback", "--json"]).expect(0).receipt();
    assert_eq!(receipt["colour"], "blue");
    assert_eq!(receipt["safe_to_kill"], "green");
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn force_skips_the_gate_and_says_so_loudly() {
    let (blue, green, proxy) = app();
    green.health(Health::Status(503));
    let output = proxy.ctl(["promote", "green", "--force"]).expect(0);
    assert!(output.said().contains("gate"), "{}", output.said());
    assert_eq!(proxy.live(), "green");
    blue.health(Health::Status(503));
    let output = proxy.ctl(["rollback", "--force"]).expect(0);
    assert!(output.said().contains("gate"), "{}", output.said());
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn several_upstreams_pass_one_gate_and_switch_in_one_generation() {
    let names = ["blue-1", "green-1", "blue-2", "green-2"];
    let [blue_1, green_1, blue_2, green_2] = names.map(Origin::start);
    let setup = Proxy::setup().blue(&[&blue_1]).green(&[&green_1]);
    let setup = setup.upstream("api", &[&blue_2], &[&green_2]);
    let routes = json!([
        { "upstream": "app" },
        { "path": "/api", "upstream": "api" },
    ]);
    let proxy = setup.with(&json!({ "routes": routes })).start();
    let generation = proxy.generation();

    for command in [&["promote", "green"] as &[&str], &["rollback"], &["standby"]] {
        let output = proxy.ctl(command).expect(2);
        assert!(output.stderr.contains("api") && output.stderr.contains("app"), "{output:?}");
    }

    green_2.health(Health::Status(503));
    proxy
        .ctl(["promote", "green", "--all", "--gate-timeout", "1s"])
        .expect(1);
    assert_eq!(proxy.generation(), generation);
    assert_eq!(proxy.colour(), "blue");
    green_2.health(Health::Status(200));

    let last = proxy
        .ctl(["promote", "green", "--all", "--json"])
        .expect(0)
        .last_event();
    assert_eq!(last["receipts"].as_array().map(Vec::len), Some(2));
    assert_eq!(proxy.generation(), generation + 1);
    assert_eq!(proxy.http().get("/").origin(), "green-1");
    assert_eq!(proxy.http().get("/api").origin(), "green-2");

    proxy
        .ctl(["promote", "blue", "--upstream", "api"])
        .expect(0);
    assert_eq!(proxy.http().get("/").origin(), "green-1");
    assert_eq!(proxy.http().get("/api").origin(), "blue-2");
    proxy
        .ctl(["promote", "blue", "--upstream", "api", "--upstream", "app"])
        .expect(0);
    assert_eq!(proxy.colour(), "blue");
    assert_eq!(proxy.ctl(["standby", "--upstream", "api"]).expect(0).stdout, "green\n");
}

#[test]
fn an_upstream_with_one_pool_cannot_be_promoted() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let single = Origin::start("single-1");
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(&json!({
            "upstreams": { "plain": { "targets": [single.address.to_string()] } },
            "routes": [{ "upstream": "app" }, { "path": "/plain", "upstream": "plain" }],
        }))
        .start();
    assert_eq!(proxy.http().get("/plain").expect(200).origin(), "single-1");
    proxy
        .ctl(["promote", "green", "--upstream", "plain"])
        .expect(2);
    proxy.promote("green"); // the only promotable one is implied
    assert_eq!(proxy.http().get("/plain").expect(200).origin(), "single-1");
}

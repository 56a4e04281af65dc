//! Promotions in steps: a canary that grows by itself, each step judged.

use super::*;
use crate::harness::Health;
use crate::harness::Load;

/// Two colours behind a proxy in front, which says whose each request is: many users.
fn many_users() -> (Proxy, [Origin; 2]) {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let front = json!({ "trusted_proxies": ["127.0.0.0/8"] });
    let proxy = two_routes(&[&blue], &[&green]).with(&front).start();
    (proxy, [blue, green])
}

#[test]
fn in_steps_a_healthy_colour_gets_everybody_each_step_judged() {
    let (proxy, _origins) = many_users();
    let _users = Users::of(&proxy, 6);
    let mut running =
        proxy.ctl_start(["promote", "green", "--json", "--steps", "20,60,100", "--pause", "1s"]);
    for (step, weight) in [(1, 20.0), (2, 60.0)] {
        let (_, event) = running.event("step");
        assert_eq!((&event["step"], &event["steps"]), (&json!(step), &json!(3)), "{event}");
        assert_eq!(event["weight"].as_f64(), Some(weight));
        let (_, verdict) = running.event("verdict");
        assert_eq!(verdict["result"], "passed", "{verdict}");
    }
    let (_, last) = running.event("drained");
    assert_eq!(last["receipts"][0]["safe_to_kill"], "blue");
    assert_eq!((running.finish().code, proxy.live()), (0, "green".to_owned()));
}

#[test]
fn a_step_that_fails_ends_the_canary() {
    let (proxy, [_blue, green]) = many_users();
    let _users = Users::of(&proxy, 6);
    green.tell(|told| told.sick = Some(Sick::FailsOn("/", 5)));
    let mut running =
        proxy.ctl_start(["promote", "green", "--json", "--steps", "20,100", "--pause", "30s"]);
    let (found, verdict) = running.event("verdict");
    let (back, last) = running.event("reverted");
    eprintln!(
        "canary at 20 %, 20 % 500s: {} after {} requests, {} s; ended in {:?}",
        verdict["what"],
        verdict["requests"],
        verdict["seconds"],
        back - found
    );
    assert_eq!(last["receipts"][0]["verdict"]["result"], "failed");
    assert_eq!((running.finish().code, proxy.live()), (6, "blue".to_owned()));
    assert!(proxy.app()["canary"].is_null(), "{}", proxy.app());
}

#[test]
fn a_step_on_which_nothing_is_seen_is_waited_for_and_then_held() {
    let (proxy, _origins) = many_users();
    let arguments = ["promote", "green", "--json", "--steps", "20,100", "--pause", "100ms"];
    let last = proxy.ctl(arguments).expect(6).last_event();
    assert_eq!(last["event"], "frozen", "{last}");
    assert_eq!(last["receipts"][0]["verdict"]["result"], "inconclusive");
    assert_eq!(proxy.app()["canary"]["weight"].as_f64(), Some(20.0), "{}", proxy.app());
}

#[test]
fn whoever_changes_the_canary_ends_its_steps() {
    let (proxy, _origins) = many_users();
    let mut running =
        proxy.ctl_start(["promote", "green", "--json", "--steps", "20,100", "--pause", "60s"]);
    running.event("step");
    let steps = proxy.app()["steps"].clone();
    assert_eq!((&steps["step"], &steps["steps"]), (&json!(1), &json!(2)), "{steps}");
    assert_eq!((&steps["colour"], &steps["pause_seconds"]), (&json!("green"), &json!(60.0)));
    let command = steps["by"]["command"].as_str().unwrap();
    assert!(command.contains("--steps 20,100"), "{steps}");
    let told = proxy.ctl(["status"]).expect(0).stdout;
    assert!(told.contains("in steps: green at step 1 of 2 (20 %), by uid "), "{told}");
    let busy = ["promote", "green", "--steps", "30,100"];
    proxy.ctl(busy).expect(4);
    proxy.ctl(["canary", "green", "--weight", "30"]).expect(0);
    running.event("refused");
    assert!(proxy.app()["steps"].is_null(), "a canary by itself");
    assert_eq!(running.finish().code, 6);
    assert_eq!(proxy.app()["canary"]["weight"].as_f64(), Some(30.0));
    let wrong = ["promote", "green", "--steps", "30,10,100"];
    assert!(proxy.ctl(wrong).expect(2).stderr.contains("must grow"));
}

/// Whether green has exactly this target, and not those of the file.
fn is_given(proxy: &Proxy, target: &Origin) -> bool {
    let green = proxy.app()["pools"]["green"].clone();
    let has = |target: &Origin| green["targets"][0]["address"] == json!(target.address);
    has(target) && green["overridden"] == true
}

#[test]
fn a_deploy_in_steps_gives_everybody_the_new_targets_and_nobody_notices() {
    let (proxy, _origins) = many_users();
    let new = Origin::start("green-9");
    let _users = Users::of(&proxy, 6);
    let load = Load::mixed(&proxy, 50);
    let address = new.address.to_string();
    let steps = ["--steps", "50,100", "--pause", "1s", "--json"];
    let mut running = proxy.ctl_start([&["deploy", "--target", &address][..], &steps].concat());
    let (_, event) = running.event("step");
    assert_eq!(event["weight"].as_f64(), Some(50.0), "{event}");
    assert!(is_given(&proxy, &new));
    let (_, last) = running.event("drained");
    assert_eq!(last["receipts"][0]["safe_to_kill"], "blue");
    assert_eq!((running.finish().code, proxy.live()), (0, "green".to_owned()));
    assert!(is_given(&proxy, &new));
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 20);
    load.stop().expect_flawless();
}

#[test]
fn a_deploy_in_steps_has_its_former_targets_again_if_the_gate_refuses() {
    let (proxy, [_blue, green]) = many_users();
    let sick = Origin::start("green-9");
    sick.health(Health::Status(503));
    let address = sick.address.to_string();
    let steps = ["--steps", "20,100", "--gate-timeout", "700ms"];
    let output = proxy
        .ctl([&["deploy", "--target", &address][..], &steps].concat())
        .expect(1);
    assert!(output.stderr.contains("former targets again"), "{output:?}");
    let app = proxy.app();
    assert!(app["canary"].is_null() && app["steps"].is_null(), "{app}");
    assert_eq!(app["pools"]["green"]["targets"][0]["address"], json!(green.address));
}

#[test]
fn a_deploy_in_steps_keeps_its_targets_once_users_have_them() {
    let (mut proxy, _origins) = many_users();
    let new = Origin::start("green-9");
    let address = new.address.to_string();
    let steps = ["--steps", "20,100", "--pause", "60s", "--json"];
    let mut running = proxy.ctl_start([&["deploy", "--target", &address][..], &steps].concat());
    running.event("step");
    proxy.kill9();
    proxy.start_again();
    assert!(is_given(&proxy, &new));
    let app = proxy.app();
    assert_eq!(app["canary"]["weight"].as_f64(), Some(20.0), "{app}");
    assert!(app["steps"].is_null(), "the canary stands, nothing drives it: {app}");
}

#[test]
fn killed_at_a_step_the_canary_stays_and_the_history_says_that_nothing_drives_it() {
    let (mut proxy, _origins) = many_users();
    let mut running =
        proxy.ctl_start(["promote", "green", "--json", "--steps", "20,100", "--pause", "60s"]);
    running.event("step");
    proxy.kill9();
    proxy.start_again();
    let app = proxy.app();
    assert_eq!(app["canary"]["weight"].as_f64(), Some(20.0), "{app}");
    assert!(app["steps"].is_null(), "{app}");
    let told = proxy.ctl(["history"]).expect(0).stdout;
    assert!(told.contains("green stays at 20 % of the users: no promotion in steps"), "{told}");
    proxy.kill9();
    proxy.start_again();
    let again = proxy.ctl(["history"]).expect(0).stdout;
    assert_eq!(again.matches("no promotion in steps").count(), 1, "said once: {again}");
}

#[test]
fn steps_that_end_before_everybody_has_the_colour_have_a_line_in_the_history() {
    let (proxy, _origins) = many_users();
    proxy
        .ctl(["promote", "green", "--steps", "20,100", "--pause", "100ms"])
        .expect(6);
    let entries = proxy.ctl(["history", "--json"]).expect(0).events();
    let end = entries.iter().find(|entry| entry["what"] == "steps");
    let end = end.unwrap_or_else(|| panic!("{entries:?}"));
    assert_eq!((&end["outcome"], &end["colour"]), (&json!("frozen"), &json!("green")));
    assert!(end["who"]["command"].as_str().unwrap().contains("--steps"), "{end}");
}

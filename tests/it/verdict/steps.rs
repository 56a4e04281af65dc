//! Promotions in steps: a canary that grows by itself, each step judged.

use super::*;

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
    let busy = ["promote", "green", "--steps", "30,100"];
    proxy.ctl(busy).expect(4);
    proxy.ctl(["canary", "green", "--weight", "30"]).expect(0);
    running.event("refused");
    assert_eq!(running.finish().code, 6);
    assert_eq!(proxy.app()["canary"]["weight"].as_f64(), Some(30.0));
    let wrong = ["promote", "green", "--steps", "30,10,100"];
    assert!(proxy.ctl(wrong).expect(2).stderr.contains("must grow"));
}

//! `target ready`: two fresh probes in a row, or it goes on draining.

use serde_json::json;

use super::fleet;
use super::target;
use crate::harness::Health;
use crate::harness::eventually;

#[test]
fn a_target_comes_back_only_after_two_good_probes_in_a_row() {
    let (blue, _green, proxy) = fleet();
    let one = blue[0].address.to_string();
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
    blue[0].kill();
    let output = proxy
        .ctl(["target", "ready", "app", &one, "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains("refused the connection"), "{output:?}");
    assert!(output.stderr.contains("goes on draining"), "{output:?}");
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    blue[0].revive();
    blue[0].health(Health::GoodAfter(3));
    let ready = proxy.ctl(["target", "ready", "app", &one, "--gate-timeout", "10s", "--json"]);
    let events = ready.expect(0).events();
    let good = |event: &&serde_json::Value| event["probe"]["passed"] == true;
    assert!(events.iter().filter(good).count() >= 2, "{events:?}");
    assert_eq!(events.last().unwrap()["phase"], "ready");
    let status = target(&proxy, &blue[0]);
    assert_eq!((&status["admin"], &status["healthy"]), (&json!("ready"), &json!(true)));
    eventually("it serves again", || proxy.http().get("/").expect(200).origin() == "blue-1");
}

#[test]
fn a_target_that_is_ready_already_is_said_to_be() {
    let (blue, _green, proxy) = fleet();
    let generation = proxy.generation();
    proxy
        .ctl(["target", "ready", "app", &blue[0].address.to_string()])
        .expect(0);
    assert_eq!(proxy.generation(), generation);
}

#[test]
fn a_canary_whose_targets_all_drain_gives_its_users_the_live_colour() {
    let (_blue, green, proxy) = fleet();
    let [one, two] = [&green[0], &green[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &one]).expect(0);
    let refused = proxy.ctl(["canary", "green", "--weight", "99"]).expect(1);
    assert!(refused.stderr.contains("drains"), "{refused:?}");
    proxy.ctl(["target", "ready", "app", &one]).expect(0);
    proxy.ctl(["canary", "green", "--weight", "100"]).expect(0);
    assert_eq!(proxy.colour(), "green");
    // Requests are sent there now: the last one is drained only by force.
    proxy.ctl(["target", "drain", "app", &one]).expect(0);
    assert_eq!(proxy.colour(), "green");
    proxy.ctl(["target", "drain", "app", &two]).expect(1);
    proxy
        .ctl(["target", "drain", "app", &two, "--force"])
        .expect(0);
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn a_colour_with_a_target_that_drains_is_not_promoted_but_by_force() {
    let (_blue, green, proxy) = fleet();
    let one = green[0].address.to_string();
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
    let refused = proxy.ctl(["promote", "green"]).expect(1);
    assert!(refused.stderr.contains(&format!("{one} drains")), "{refused:?}");
    assert!(refused.stderr.contains("proxyctl target ready"), "{refused:?}");
    assert_eq!(proxy.live(), "blue");
    proxy.ctl(["promote", "green", "--force"]).expect(0);
    assert_eq!(proxy.http().get("/").expect(200).origin(), "green-2");
    let two = green[1].address.to_string();
    proxy.ctl(["promote", "blue"]).expect(0);
    proxy
        .ctl(["target", "drain", "app", &two, "--wait"])
        .expect(0);
    proxy.ctl(["promote", "green", "--force"]).expect(1);
    assert_eq!(proxy.live(), "blue", "nobody would serve");
}

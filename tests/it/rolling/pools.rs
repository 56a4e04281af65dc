//! `pool set`, `pool reset` and `deploy`: targets at run time.

use serde_json::Value;
use serde_json::json;

use super::fleet;
use super::target;
use crate::harness::Health;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;

/// The addresses of a colour's targets, and whether they are said to differ from the file.
#[track_caller]
fn pool(proxy: &Proxy, colour: &str) -> (Vec<String>, bool) {
    let pool = proxy.app()["pools"][colour].clone();
    let address = |target: &Value| target["address"].as_str().unwrap().to_owned();
    let targets = pool["targets"].as_array().unwrap();
    (targets.iter().map(address).collect(), pool["overridden"] == true)
}

fn address(origin: &Origin) -> String {
    origin.address.to_string()
}

#[test]
fn the_standby_colour_gets_other_targets_until_it_is_reset() {
    let (_blue, green, mut proxy) = app();
    let new = [Origin::start("green-8"), Origin::start("green-9")];
    let [first, second] = [address(&new[0]), address(&new[1])];
    let said = proxy
        .ctl(["pool", "set", "green", &first, &second])
        .expect(0);
    assert!(said.stdout.contains("not those of the file"), "{said:?}");
    let expected = (vec![first.clone(), second], true);
    assert_eq!(pool(&proxy, "green"), expected);
    assert_eq!(proxy.app()["pools"]["green"]["file"], json!([address(&green)]));
    proxy.rewrite_config(&json!({ "timeouts": { "connect": "2s" } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(pool(&proxy, "green"), expected);
    proxy.kill9();
    proxy.start_again();
    assert_eq!(pool(&proxy, "green"), expected);
    proxy.promote("green");
    assert!(proxy.http().get("/").expect(200).origin() != "green-1");
    proxy.promote("blue");
    let generation = proxy.generation();
    proxy.ctl(["pool", "reset", "green"]).expect(0);
    assert_eq!(pool(&proxy, "green"), (vec![address(&green)], false));
    proxy.ctl(["pool", "reset", "green"]).expect(0);
    assert_eq!(proxy.generation(), generation + 1, "what is so already is not ordered again");
    // The file's own list is no other list.
    proxy
        .ctl(["pool", "set", "green", &address(&green)])
        .expect(0);
    assert!(!pool(&proxy, "green").1);
}

#[test]
fn the_live_colour_gets_other_targets_only_by_force_and_then_the_old_ones_drain() {
    let (blue, _green, proxy) = app();
    let new = Origin::start("blue-9");
    let refused = proxy.ctl(["pool", "set", "blue", &address(&new)]).expect(1);
    assert!(refused.stderr.contains("blue is live"), "{refused:?}");
    let mut client = proxy.http();
    client.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    proxy
        .ctl(["pool", "set", "blue", &address(&new), "--force"])
        .expect(0);
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-9");
    blue.release();
    assert_eq!(client.answer().expect(200).origin(), "blue-1");
}

#[test]
fn a_list_is_refused_for_what_the_file_would_be() {
    let (blue, green, proxy) = app();
    let generation = proxy.generation();
    let (blue, green) = (address(&blue), address(&green));
    let admin = proxy.admin_address().to_string();
    for (list, what) in [
        (vec!["10.0.0.5"], "\"10.0.0.5\" has no port"),
        (vec!["10.0.0.5:80", "10.0.0.5:80"], "10.0.0.5:80 is already upstreams.app.green[0]"),
        (vec![blue.as_str()], "is already upstreams.app.blue[0]"),
        (vec![admin.as_str()], "is admin.bind"),
    ] {
        let arguments = [&["pool", "set", "green"], list.as_slice()].concat();
        let refused = proxy.ctl(&arguments).expect(2);
        assert!(refused.stderr.contains(what), "{what}: {refused:?}");
    }
    proxy
        .ctl(["pool", "set", "green", "10.0.0.5:80", "--upstream", "nope"])
        .expect(2);
    assert_eq!((proxy.generation(), pool(&proxy, "green")), (generation, (vec![green], false)));
}

#[test]
fn a_file_that_has_a_target_of_an_ordered_list_in_the_other_colour_is_refused() {
    let (blue, _green, mut proxy) = app();
    let new = Origin::start("green-9");
    proxy
        .ctl(["pool", "set", "green", &address(&new)])
        .expect(0);
    let both = json!([address(&blue), address(&new)]);
    proxy.rewrite_config(&json!({ "upstreams": { "app": { "blue": both } } }));
    let refused = proxy.ctl(["reload"]).expect(1);
    assert!(
        refused
            .stderr
            .contains("whose targets were set at run time"),
        "{refused:?}"
    );
    assert!(
        refused
            .stderr
            .contains("proxyctl pool reset green --upstream app"),
        "{refused:?}"
    );
    assert_eq!(pool(&proxy, "blue").0.len(), 1);
    proxy.ctl(["pool", "reset", "green"]).expect(0);
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(pool(&proxy, "blue").0.len(), 2);
}

#[test]
fn while_a_promotion_gates_its_targets_stay() {
    let (_blue, green, proxy) = app();
    let new = Origin::start("green-9");
    green.health(Health::Status(503));
    let mut promote = proxy.ctl_start(["promote", "green", "--gate-timeout", "30s", "--json"]);
    promote.event("gating");
    proxy
        .ctl(["pool", "set", "green", &address(&new)])
        .expect(4);
    green.health(Health::Status(200));
    promote.finish().expect(0);
}

#[test]
fn what_drains_and_leaves_the_pool_is_ready_when_it_returns() {
    let (_blue, green, proxy) = fleet();
    let (one, new) = (address(&green[0]), Origin::start("green-9"));
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
    proxy
        .ctl(["pool", "set", "green", &address(&new)])
        .expect(0);
    proxy.ctl(["pool", "reset", "green"]).expect(0);
    assert_eq!(target(&proxy, &green[0])["admin"], "ready");
}

#[test]
fn a_deploy_is_the_whole_story_in_one_line_and_nobody_notices() {
    let (blue, green, proxy) = app();
    let new = [Origin::start("green-8"), Origin::start("green-9")];
    let load = Load::mixed(&proxy, 150);
    eventually("it flows", || load.requests() > 50);
    let output = proxy
        .ctl(["deploy", "--target", &address(&new[0]), "--target", &address(&new[1]), "--json"])
        .expect(0);
    assert_eq!(output.receipt()["safe_to_kill"], "blue");
    blue.kill();
    green.kill();
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 50);
    assert_eq!(pool(&proxy, "green"), (vec![address(&new[0]), address(&new[1])], true));
    assert!(new.iter().all(|origin| !origin.requests().is_empty()));
    // And the next one goes the other way.
    let next = Origin::start("blue-9");
    proxy.ctl(["deploy", "--target", &address(&next)]).expect(0);
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 50);
    load.stop().expect_flawless();
    assert_eq!(
        (proxy.live(), proxy.http().get("/").expect(200).origin()),
        ("blue".into(), "blue-9".into())
    );
}

#[test]
fn a_deploy_to_targets_that_never_answer_changes_nothing_and_the_former_targets_are_back() {
    let (_blue, green, proxy) = fleet();
    let one = address(&green[0]);
    proxy
        .ctl(["target", "drain", "app", &one, "--wait"])
        .expect(0);
    let before = pool(&proxy, "green");
    let silent = Origin::start("green-9");
    silent.health(Health::Stall);
    let output = proxy
        .ctl(["deploy", "--target", &address(&silent), "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains("did not answer"), "{output:?}");
    assert!(output.stderr.contains("former targets again"), "{output:?}");
    assert_eq!((proxy.live(), pool(&proxy, "green")), ("blue".to_owned(), before));
    assert_eq!(target(&proxy, &green[0])["admin"], "draining", "as it was, to the admin state");
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn a_deploy_whose_proxyctl_goes_away_while_it_gates_is_taken_back() {
    let (_blue, green, proxy) = app();
    let silent = Origin::start("green-9");
    silent.health(Health::Status(503));
    let arguments = ["deploy", "--target", &address(&silent), "--gate-timeout", "60s", "--json"];
    let mut deploy = proxy.ctl_start(arguments);
    deploy.event("gating");
    assert_eq!(pool(&proxy, "green"), (vec![address(&silent)], true));
    drop(deploy);
    eventually("the former targets are back", || {
        pool(&proxy, "green") == (vec![address(&green)], false)
    });
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn of_two_deploys_at_once_one_is_told_that_it_is_busy_and_nothing_is_mixed() {
    let (_blue, _green, proxy) = app();
    let [first, second] = [Origin::start("green-8"), Origin::start("green-9")];
    first.health(Health::Status(503));
    let arguments = ["deploy", "--target", &address(&first), "--gate-timeout", "60s", "--json"];
    let mut deploy = proxy.ctl_start(arguments);
    deploy.event("gating");
    proxy
        .ctl(["deploy", "--target", &address(&second)])
        .expect(4);
    assert_eq!(pool(&proxy, "green").0, [address(&first)]);
    first.health(Health::Status(200));
    deploy.finish().expect(0);
    assert_eq!(proxy.http().get("/").expect(200).origin(), "green-8");
    // One who had looked before the first was done comes too late.
    let late = json!({ "colour": "green", "expect_live": "blue", "targets": [address(&second)] });
    assert_eq!(proxy.control_post("/v1/promote", &late).status, 409);
    assert_eq!(pool(&proxy, "green").0, [address(&first)]);
}

#[test]
fn killed_between_the_targets_and_the_switch_it_restarts_as_it_was_before() {
    let (_blue, _green, mut proxy) = app();
    let [kept, new] = [Origin::start("green-8"), Origin::start("green-9")];
    // By hand: what was ordered stands, and was never live.
    proxy
        .ctl(["pool", "set", "green", &address(&kept)])
        .expect(0);
    proxy.kill9();
    proxy.start_again();
    assert_eq!((proxy.live(), proxy.colour()), ("blue".to_owned(), "blue".to_owned()));
    let before = (vec![address(&kept)], true);
    assert_eq!(pool(&proxy, "green"), before);
    // In the middle of a deploy: as if it had never begun.
    new.health(Health::Status(503));
    let arguments = ["deploy", "--target", &address(&new), "--gate-timeout", "60s", "--json"];
    let mut deploy = proxy.ctl_start(arguments);
    deploy.event("gating");
    assert_eq!(pool(&proxy, "green").0, [address(&new)]);
    proxy.kill9();
    deploy.finish().expect(7);
    proxy.start_again();
    assert_eq!((proxy.live(), proxy.colour()), ("blue".to_owned(), "blue".to_owned()));
    assert_eq!(pool(&proxy, "green"), before);
    // And after the switch: as it was made.
    new.health(Health::Status(200));
    proxy.ctl(["deploy", "--target", &address(&new)]).expect(0);
    proxy.kill9();
    proxy.start_again();
    assert_eq!(pool(&proxy, "green"), (vec![address(&new)], true));
    assert_eq!(proxy.http().get("/").expect(200).origin(), "green-9");
}

#[test]
fn a_deploy_that_cannot_begin_changes_nothing() {
    let (blue, green, proxy) = app();
    let generation = proxy.generation();
    proxy.ctl(["deploy", "--target", "10.0.0.5"]).expect(2);
    proxy.ctl(["deploy", "--target", &address(&blue)]).expect(2);
    proxy.ctl(["deploy"]).expect(2);
    let build = ["deploy", "--target", "10.0.0.5:80", "--build", "b1"];
    proxy.ctl(build).expect(2);
    assert_eq!((proxy.generation(), pool(&proxy, "green").0), (generation, vec![address(&green)]));
}

//! `examples/deploy.sh` against a running proxyd: two hosts, whose `docker` and `ssh` are scripts that
//! record what they are asked. A good release moves the traffic and stops the old colour; a release
//! that never gets healthy, a busy proxy or a missing one cost the live colour nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests: a helper that cannot go on should stop the test and say where"
)]

mod hosts;
mod stage;

use std::path::Path;
use std::thread;

use hosts::Hosts;
use stage::Stage;
use stage::eventually;

#[test]
fn a_good_release_goes_live_and_stops_the_old_colour() {
    let stage = Stage::with_live_blue();
    let visitor = stage.visitor();

    let deploy = stage.deploy(&[("IMAGE", "momo:2"), ("BUILD", "2")]);

    deploy.assert_code(0);
    visitor.leave();
    assert_eq!(stage.live(), "green");
    assert_eq!(stage.hosts.running(), ["green momo:2", "green momo:2"]);
    let calls = stage.hosts.calls();
    let asked = |what: &str| calls.iter().filter(|call| call.ends_with(what)).count();
    assert_eq!(asked("docker stop app-blue"), 2, "{calls:#?}");
    assert_eq!(asked("docker rm app-blue"), 2, "{calls:#?}");
    assert_eq!(asked("docker rmi momo:1"), 2, "{calls:#?}");
}

#[test]
fn a_request_that_still_runs_on_the_old_colour_is_answered_before_it_is_stopped() {
    let stage = Stage::with_live_blue();
    let request = stage.slow_request();

    thread::scope(|scope| {
        let deploy = scope.spawn(|| stage.deploy(&[("IMAGE", "momo:2")]));
        eventually("green is live", || (stage.live() == "green").then_some(()));
        for _ in 0..20 {
            stage.ctl(&["guard", "blue", "--", "true"]).assert_code(125);
            stage.hosts.assert_never_touched("app-blue");
        }
        stage.let_it_end();
        deploy.join().unwrap().assert_code(0);
    });

    assert_eq!(request.join().unwrap(), Some(()), "a whole answer");
    assert_eq!(stage.hosts.running(), ["green momo:2", "green momo:2"]);
}

#[test]
fn a_release_that_never_gets_healthy_leaves_the_live_colour_alone() {
    let stage = Stage::with_live_blue();
    let visitor = stage.visitor();

    let deploy = stage.deploy(&[("IMAGE", "momo:sick"), ("GATE_TIMEOUT", "1s")]);

    deploy.assert_code(1);
    deploy.assert_says("green did not get healthy: blue is live as before");
    visitor.leave();
    assert_eq!(stage.live(), "blue");
    assert_eq!(stage.hosts.running(), ["blue momo:1", "blue momo:1"]);
    stage.hosts.assert_never_touched("app-blue");
    let calls = stage.hosts.calls();
    let logs = calls.iter().position(|call| call.contains("docker logs"));
    let stop = calls
        .iter()
        .position(|call| call.contains("docker stop app-green"));
    assert!(logs.is_some() && logs < stop, "the last words come before the end: {calls:#?}");
}

#[test]
fn an_old_process_on_the_new_port_does_not_pass_for_the_new_build() {
    let stage = Stage::with_live_blue();

    let deploy = stage.deploy(&[("IMAGE", "momo:stale"), ("BUILD", "2"), ("GATE_TIMEOUT", "1s")]);

    deploy.assert_code(1);
    assert_eq!(stage.live(), "blue");
    stage.hosts.assert_never_touched("app-blue");
}

#[test]
fn one_host_that_cannot_start_the_image_ends_the_deploy() {
    let stage = Stage::with_live_blue();

    let deploy = stage.deploy(&[("IMAGE", "momo:broken")]);

    deploy.assert_code(1);
    deploy.assert_says("green could not be started: blue is live as before");
    assert_eq!(stage.live(), "blue");
    stage.hosts.assert_never_touched("app-blue");
}

#[test]
fn a_second_deploy_takes_the_way_back_and_replaces_what_was_kept_warm() {
    let stage = Stage::with_live_blue();
    stage
        .deploy(&[("IMAGE", "momo:2"), ("KEEP_OLD", "yes")])
        .assert_code(0);
    assert_eq!(stage.hosts.running().len(), 4, "blue stays warm");
    stage.ctl(&["rollback"]).assert_code(0);
    assert_eq!(stage.live(), "blue");

    stage.deploy(&[("IMAGE", "momo:3")]).assert_code(0);

    assert_eq!(stage.live(), "green");
    assert_eq!(stage.hosts.running(), ["green momo:3", "green momo:3"]);
}

#[test]
fn while_somebody_guards_the_standby_colour_both_colours_are_left_running() {
    let stage = Stage::with_live_blue();
    let held = stage.hold_guard("green");

    let deploy = stage.deploy(&[("IMAGE", "momo:2")]);

    deploy.assert_code(4);
    deploy.assert_says("another deploy holds this upstream: both colours are left running");
    assert_eq!(stage.live(), "blue");
    stage.hosts.assert_never_touched("app-blue");
    drop(held);
}

#[test]
fn without_a_proxy_nothing_is_touched() {
    let mut stage = Stage::with_live_blue();
    stage.stop_proxy();

    let deploy = stage.deploy(&[("IMAGE", "momo:2")]);

    deploy.assert_code(7);
    assert_eq!(stage.hosts.calls(), Vec::<String>::new());
}

#[test]
fn a_missing_setting_is_named() {
    let hosts = Hosts::new();
    let deploy = hosts.deploy(Path::new("/nowhere"), &[("IMAGE", "")]);
    assert_ne!(deploy.code, 0);
    deploy.assert_says("IMAGE: the image to deploy");
    assert_eq!(hosts.calls(), Vec::<String>::new());
}

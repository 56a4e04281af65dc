//! `proxyctl guard`: a command runs only while its colour is neither live nor in use.

use serde_json::json;

use crate::harness::app;
use crate::harness::eventually;

#[test]
fn the_command_runs_when_nothing_is_on_the_colour_and_its_exit_code_is_passed_on() {
    let (_blue, _green, proxy) = app();
    let output = proxy
        .ctl(["guard", "green", "--", "echo", "removed", "--all"])
        .expect(0);
    assert_eq!(output.stdout, "removed --all\n");
    proxy
        .ctl(["guard", "green", "--", "sh", "-c", "exit 7"])
        .expect(7);
    proxy.promote("green");
    proxy.ctl(["guard", "blue", "--", "true"]).expect(0);
}

#[test]
fn the_live_colour_is_refused_and_nothing_runs() {
    let (_blue, _green, proxy) = app();
    let output = proxy
        .ctl(["guard", "blue", "--", "echo", "ran"])
        .expect(125);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("live"), "{}", output.stderr);
}

#[test]
fn a_colour_in_use_is_refused_at_once_and_nothing_runs() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    proxy.ctl(["promote", "green", "--no-wait"]).expect(0);
    let output = proxy
        .ctl(["guard", "blue", "--", "echo", "ran"])
        .expect(125);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains('1'), "says how many are in flight: {}", output.stderr);
    blue.release();
    client.answer().expect(200);
    eventually("the drain ends", || proxy.app()["promotion"].is_null());
    proxy.ctl(["guard", "blue", "--", "true"]).expect(0);
}

#[test]
fn a_promote_meanwhile_is_busy() {
    let (_blue, _green, proxy) = app();
    let wait = "while [ ! -e \"$0\" ]; do sleep 0.02; done; echo done";
    let go = proxy.file("go");
    let go = go.to_str().unwrap();
    let mut guard =
        proxy.ctl_start(["guard", "green", "--", "sh", "-c", &format!("echo held; {wait}"), go]);
    assert_eq!(guard.line().unwrap().1, "held");
    proxy.ctl(["promote", "green"]).expect(4);
    std::fs::write(go, "").unwrap();
    assert!(guard.finish().expect(0).stdout.contains("done"));
    proxy.promote("green");
}

#[test]
fn it_lets_go_when_its_connection_closes() {
    let (_blue, _green, proxy) = app();
    let mut control = proxy.control().unwrap();
    let body = json!({ "colour": "green", "upstream": "app" }).to_string();
    control.send("POST", "/v1/guard", &[], body.as_bytes());
    assert_eq!(control.head().status().unwrap(), 200);
    proxy.ctl(["promote", "green"]).expect(4);
    drop(control);
    eventually("it may be promoted", || proxy.ctl(["promote", "green"]).code == 0);
}

#[test]
fn a_command_that_does_not_exist_is_said_and_not_zero() {
    let (_blue, _green, proxy) = app();
    let output = proxy.ctl(["guard", "green", "--", "no-such-command-here"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("no-such-command-here"), "{}", output.stderr);
    proxy.promote("green");
}

#[test]
fn unknown_words_are_wrong_usage_and_nothing_runs() {
    let (_blue, _green, proxy) = app();
    for arguments in [
        &["guard", "red", "--", "echo", "ran"] as &[&str],
        &["guard", "green", "--upstream", "nobody", "--", "echo", "ran"],
        &["guard", "green"],
    ] {
        let output = proxy.ctl(arguments);
        assert!(matches!(output.code, 2 | 125), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, "");
    }
}

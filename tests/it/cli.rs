//! `proxyctl`: what it prints, for people and for scripts, and how it ends.

use serde_json::Value;
use serde_json::json;

use crate::harness::Health;
use crate::harness::app;
use crate::harness::ctl::proxyctl;
use crate::harness::eventually;

#[test]
fn status_as_json_is_the_whole_state_unchanged() {
    let (blue, _green, proxy) = app();
    proxy.http().get("/").expect(200);
    eventually("the answer's last byte is booked", || proxy.in_flight("blue") == 0);
    let status: Value =
        serde_json::from_str(&proxy.ctl(["status", "--json"]).expect(0).stdout).unwrap();
    let socket = proxy.status();
    assert_eq!(keys(&status), keys(&socket));
    assert_eq!(status["generation"], socket["generation"]);
    let app = &status["upstreams"]["app"];
    assert_eq!((&app["live"], &app["standby"]), (&json!("blue"), &json!("green")));
    assert!(app["since"].as_str().unwrap().ends_with('Z'));
    assert!(app["promotion"].is_null());
    let pool = &app["pools"]["blue"];
    assert_eq!((&pool["in_flight"], &pool["tunnels"]), (&json!(0), &json!(0)));
    let target = &pool["targets"][0];
    assert_eq!(target["address"], blue.address.to_string());
    assert_eq!(target["healthy"], true);
    assert_eq!(target["last_probe"]["outcome"], "200");
    assert!(target["last_probe"]["latency_ms"].is_number());
    assert!(target["last_probe"]["at"].is_string());
    assert_eq!(status["listeners"][0]["address"], proxy.plain_address().to_string());
    assert_eq!(status["config"]["path"], proxy.config_path().to_str().unwrap());
    assert_eq!(status["config"]["pending_restart"], json!([]));
    assert_eq!(status["config"]["last_reload"]["ok"], true);
    assert!(status["version"].is_string());
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn status_for_people_names_colours_targets_and_health() {
    let (blue, green, proxy) = app();
    green.health(Health::Status(503));
    eventually("green is sick", || {
        let output = proxy.ctl(["status"]).expect(0);
        output.stdout.contains("503")
    });
    let output = proxy.ctl(["status"]).expect(0);
    for word in
        ["app", "blue", "green", "live", &blue.address.to_string(), &green.address.to_string()]
    {
        assert!(output.stdout.contains(word), "{word} in {}", output.stdout);
    }
    assert!(!output.stdout.contains('\x1b'), "colours only on a terminal");
}

#[test]
fn standby_is_one_word_for_a_script() {
    let (_blue, _green, proxy) = app();
    assert_eq!(proxy.ctl(["standby"]).expect(0).stdout, "green\n");
    proxy.promote("green");
    assert_eq!(proxy.ctl(["standby"]).expect(0).stdout, "blue\n");
}

#[test]
fn a_probe_changes_nothing_and_its_exit_code_is_its_verdict() {
    let (_blue, green, proxy) = app();
    let generation = proxy.generation();
    proxy.ctl(["probe", "green"]).expect(0);
    green.health(Health::Status(503));
    let output = proxy.ctl(["probe", "green"]).expect(1);
    assert!(output.said().contains("503"), "{output:?}");
    let output = proxy.ctl(["probe", "green", "--json"]).expect(1);
    let said: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(said["passed"], false);
    assert_eq!(said["targets"][0]["outcome"], "503");
    assert!(said["targets"][0]["latency_ms"].is_number());
    assert_eq!(proxy.generation(), generation);
}

#[test]
fn a_promote_for_people_says_what_to_do_next() {
    let (_blue, _green, proxy) = app();
    let output = proxy.ctl(["promote", "green"]).expect(0);
    assert!(output.said().contains("blue"), "{output:?}");
    assert!(output.said().contains("safe"), "which colour is safe to kill: {output:?}");
    assert!(!output.said().contains('\x1b'));
}

#[test]
fn quiet_says_no_more_than_the_receipt_and_why_when_it_is_refused() {
    let (blue, _green, proxy) = app();
    let output = proxy.ctl(["promote", "green", "--quiet"]).expect(0);
    assert_eq!(output.stderr, "");
    assert!(output.stdout.lines().count() <= 1, "the receipt at most: {}", output.stdout);
    blue.health(Health::Status(503));
    let output = proxy
        .ctl(["--quiet", "rollback", "--gate-timeout", "1s"])
        .expect(1);
    assert!(output.stderr.contains("503"), "{output:?}");
}

#[test]
fn a_refusal_is_one_line_that_says_what_which_why() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    let output = proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    let line = format!("proxyctl: app: green refused: {} answered 503", green.address);
    assert!(output.stderr.contains(&line), "{line:?} in {}", output.stderr);
}

#[test]
fn a_refusal_as_json_is_an_event() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    let arguments = ["promote", "green", "--gate-timeout", "1s", "--json"];
    let last = proxy.ctl(arguments).expect(1).last_event();
    assert_eq!(last["event"], "refused");
    assert_eq!(last["code"], "gate");
    assert!(
        last["reasons"]
            .to_string()
            .contains(&green.address.to_string()),
        "{last}"
    );
}

#[test]
fn the_promote_of_the_socket_prints_what_proxyctl_prints() {
    let (_blue, _green, proxy) = app();
    let answer = proxy
        .control_post("/v1/promote", &json!({ "colour": "green" }))
        .expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let names: Vec<String> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].to_string())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("\"gating\""));
    assert_eq!(names.last().map(String::as_str), Some("\"drained\""));
    let answer = proxy
        .control_post("/v1/rollback", &json!({ "wait": false }))
        .expect(200);
    assert!(
        answer
            .text()
            .lines()
            .last()
            .unwrap()
            .contains("\"switched\"")
    );
}

#[test]
fn the_socket_refuses_as_problems_with_a_code() {
    let (_blue, _green, proxy) = app();
    let cases = [
        (json!({ "colour": "red" }), 422, "unknown"),
        (json!({ "colour": "green", "upstreams": ["nobody"] }), 404, "unknown"),
        (json!({ "colour": "green", "expect_live": "green" }), 409, "expect_live"),
    ];
    for (body, status, code) in cases {
        let answer = proxy.control_post("/v1/promote", &body).expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["code"], code, "{body}");
        assert_eq!(answer.json()["status"], status);
    }
    for (path, body) in [("/v1/promote", json!({ "color": "green" })), ("/v1/promote", json!(7))] {
        let status = proxy.control_post(path, &body).status;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    assert_eq!(proxy.control_post("/v1/nothing", &json!({})).status, 404);
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn wrong_usage_is_2() {
    let (_blue, _green, proxy) = app();
    for arguments in [
        &["promote"] as &[&str],
        &["promote", "red"],
        &["promote", "green", "--upstream", "nobody"],
        &["promote", "green", "--expect-live", "red"],
        &["promote", "green", "--gate-timeout", "soon"],
        &["probe", "red"],
        &["dance"],
        &["--nonsense"],
        &[],
    ] {
        let output = proxy.ctl(arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() || !output.stdout.is_empty());
    }
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn no_daemon_is_7_and_names_the_socket() {
    for arguments in [&["status"] as &[&str], &["promote", "green"], &["standby"], &["reload"]] {
        let mut all = vec!["--socket", "/nowhere/control.sock"];
        all.extend_from_slice(arguments);
        let output = proxyctl(&all).expect(7);
        assert!(output.stderr.starts_with("proxyctl: "), "{}", output.stderr);
        assert!(output.stderr.contains("/nowhere/control.sock"), "{}", output.stderr);
    }
}

#[test]
fn the_socket_is_found_by_flag_then_environment_then_file() {
    let (_blue, _green, proxy) = app();
    let socket = proxy.socket();
    let run = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_proxyctl"));
        command.env_remove("PROXYCTL_SOCKET").current_dir("/");
        change(&mut command);
        crate::harness::ctl::start(command).finish()
    };
    let path = socket.to_str().unwrap();
    run(&|command| {
        command
            .args(["standby", "--socket", path])
            .env("PROXYCTL_SOCKET", "/nowhere");
    })
    .expect(0);
    run(&|command| {
        command.arg("standby").env("PROXYCTL_SOCKET", path);
    })
    .expect(0);
    run(&|command| {
        command.arg("standby").current_dir(proxy.folder());
    })
    .expect(0);
}

#[test]
fn events_are_followed() {
    let (_blue, green, proxy) = app();
    let mut events = proxy.ctl_start(["events", "--json"]);
    // A subscriber has no greeting: provoke until the first event shows that it listens.
    eventually("the first event", || {
        green.health(Health::Status(503));
        eventually("sick", || !is_healthy(&proxy));
        green.health(Health::Status(200));
        eventually("well", || is_healthy(&proxy));
        true
    });
    let mut probe = events.event("probe").1; // blue's first verdict may still come before
    while probe["target"] != green.address.to_string() {
        probe = events.event("probe").1;
    }
    assert_eq!(probe["upstream"], "app");
    assert!(probe["healthy"].is_boolean() && probe["outcome"].is_string());
    assert!(probe["at"].is_string());
    proxy.promote("green");
    let (_, switched) = events.event("switched");
    assert_eq!(switched["upstreams"], json!(["app"]));
    events.event("drained");
    proxy.ctl(["reload"]).expect(0);
    let (_, reload) = events.event("reload");
    assert_eq!(reload["applied"], true);
}

fn is_healthy(proxy: &crate::harness::Proxy) -> bool {
    proxy.app()["pools"]["green"]["targets"][0]["healthy"] == true
}

#[test]
fn completions_need_no_daemon() {
    for shell in ["bash", "zsh", "fish"] {
        let output = proxyctl(&["completions", shell]).expect(0);
        assert!(output.stdout.contains("proxyctl"), "{shell}");
    }
}

#[test]
fn help_names_every_command() {
    let output = proxyctl(&["--help"]).expect(0);
    for command in
        ["status", "promote", "rollback", "guard", "standby", "probe", "reload", "events"]
    {
        assert!(output.stdout.contains(command), "{command}");
    }
}

#[test]
fn the_socket_has_the_mode_that_the_file_gives_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_blue, _green, proxy) = app();
    let mode = std::fs::metadata(proxy.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn who_called_is_logged_with_every_change() {
    let (_blue, _green, proxy) = app();
    proxy.promote("green");
    let stderr = proxy.stderr();
    let line = stderr
        .lines()
        .find(|line| line.contains("uid"))
        .unwrap_or("");
    assert!(line.contains("pid"), "{stderr}");
}

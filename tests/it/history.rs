//! The history: whatever changes something is kept, with who asked for it and what came of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::harness::Health;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;
use crate::harness::eventually_some;

/// Every entry, the newest last.
fn history(proxy: &Proxy) -> Vec<Value> {
    let output = proxy.ctl(["history", "-n", "1000", "--json"]).expect(0);
    output.events()
}

/// The newest entry of this kind.
#[track_caller]
fn last(proxy: &Proxy, what: &str) -> Value {
    let mut entries = history(proxy).into_iter().rev();
    entries
        .find(|entry| entry["what"] == what)
        .unwrap_or_else(|| panic!("no {what} in the history"))
}

#[test]
fn a_promotion_is_kept_with_who_asked_when_it_switched_and_its_receipt() {
    let (_blue, _green, proxy) = app();
    let receipt = proxy.promote("green");
    let entries: Vec<Value> = history(&proxy)
        .into_iter()
        .filter(|entry| entry["what"] == "promote")
        .collect();
    let [switched, drained] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(
        (&switched["outcome"], &drained["outcome"]),
        (&json!("switched"), &json!("drained"))
    );
    assert_eq!(switched["id"], drained["id"]);
    assert_eq!(drained["event"]["receipts"][0], receipt);
    for entry in [switched, drained] {
        let before = receipt["generation"].as_u64().unwrap() - 1;
        assert_eq!(entry["generation"], json!({ "before": before, "after": before + 1 }));
        assert_eq!(entry["upstreams"], json!(["app"]));
        assert_eq!(entry["colour"], "green");
        assert!(
            entry["seconds"].as_f64().unwrap() >= receipt["gate_seconds"].as_f64().unwrap() - 0.01
        );
        let who = &entry["who"];
        assert_eq!(who["uid"], rustix::process::getuid().as_raw());
        assert_eq!(who["gid"], rustix::process::getgid().as_raw());
        assert!(who["pid"].as_i64().unwrap() > 1);
        let command = who["command"].as_str().unwrap();
        assert!(
            command.starts_with("proxyctl --socket ") && command.ends_with("promote green --json")
        );
    }
    let mode = fs::metadata(proxy.file("state/history.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
}

#[test]
fn what_is_refused_is_kept_with_its_reasons() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    let entry = last(&proxy, "promote");
    assert_eq!((&entry["outcome"], &entry["code"]), (&json!("refused"), &json!("gate")));
    assert!(entry["why"][0].as_str().unwrap().contains("503"), "{entry}");
    assert_eq!(entry["generation"]["before"], entry["generation"]["after"]);
    proxy
        .ctl(["promote", "green", "--expect-live", "green"])
        .expect(5);
    assert_eq!(last(&proxy, "promote")["code"], "expect_live");
    proxy.ctl(["rollback"]).expect(1);
    assert_eq!(last(&proxy, "rollback")["outcome"], "refused");
    proxy
        .ctl(["promote", "green", "--upstream", "nope"])
        .expect(2);
    let entry = last(&proxy, "promote");
    assert_eq!((&entry["code"], &entry["upstreams"]), (&json!("unknown"), &json!(["nope"])));
    proxy.ctl(["guard", "blue", "--", "true"]).expect(125);
    assert_eq!(last(&proxy, "guard")["code"], "in_use");
}

#[test]
fn a_guard_is_kept_when_it_is_granted_and_when_it_is_over() {
    let (_blue, _green, proxy) = app();
    proxy
        .ctl(["guard", "green", "--", "sh", "-c", "exit 7"])
        .expect(7);
    let guards = || {
        let entries = history(&proxy).into_iter();
        entries
            .filter(|entry| entry["what"] == "guard")
            .collect::<Vec<_>>()
    };
    eventually("its end is kept", || guards().len() == 2);
    let [begun, ended] = guards().try_into().unwrap();
    assert_eq!((&begun["outcome"], &ended["outcome"]), (&json!("begun"), &json!("ended")));
    assert_eq!((&begun["id"], &begun["colour"]), (&ended["id"], &json!("green")));
    let command = ended["who"]["command"].as_str().unwrap();
    assert!(command.ends_with("guard green -- sh -c exit 7"), "{command}");
    let told = proxy.ctl(["history"]).expect(0).stdout;
    assert_eq!(told.matches("guard green app").count(), 1, "{told}");
}

#[test]
fn what_changes_nothing_is_not_kept() {
    let (_blue, _green, proxy) = app();
    let before = history(&proxy).len();
    proxy.ctl(["promote", "green", "--dry-run"]).expect(0);
    proxy.ctl(["probe", "green"]).expect(0);
    proxy.ctl(["status"]).expect(0);
    assert_eq!(history(&proxy).len(), before);
}

#[test]
fn what_proxyd_does_by_itself_is_kept_with_its_cause() {
    let (_blue, _green, mut proxy) = app();
    let reload = |proxy: &Proxy, cause: &str| {
        let mut entries = history(proxy).into_iter();
        entries.find(|entry| entry["what"] == "reload" && entry["cause"] == cause)
    };
    proxy.signal(Signal::HUP);
    let entry = eventually_some("the signal is kept", || reload(&proxy, "SIGHUP"));
    assert_eq!((&entry["who"], &entry["outcome"]), (&json!("proxyd"), &json!("done")));
    proxy.rewrite_config(&json!({ "routes": [{ "upstream": "nope" }] }));
    let entry = eventually_some("the bad file is kept", || reload(&proxy, "changed on the disk"));
    assert_eq!(entry["outcome"], "refused");
    assert!(entry["why"][0].as_str().unwrap().contains("nope"), "{entry}");
    proxy.ctl(["maintenance", "on", "--for", "1s"]).expect(0);
    let over = || {
        let mut entries = history(&proxy).into_iter().rev();
        entries.find(|entry| entry["what"] == "maintenance" && entry["outcome"] == "over")
    };
    let entry = eventually_some("maintenance is over by itself", over);
    assert_eq!((&entry["who"], &entry["upstreams"]), (&json!("proxyd"), &json!(["app"])));
    let on = history(&proxy)
        .into_iter()
        .find(|entry| entry["what"] == "maintenance")
        .unwrap();
    assert_eq!((&on["outcome"], &on["request"]["on"]), (&json!("done"), &json!(true)));
}

#[test]
fn the_history_outlives_the_process_and_says_when_that_began_and_ended() {
    let (_blue, _green, mut proxy) = app();
    proxy.promote("green");
    proxy.restart();
    let whats: Vec<String> = history(&proxy)
        .iter()
        .map(|entry| entry["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(whats, ["start", "promote", "promote", "stop", "start"]);
    let told = proxy.ctl(["history", "--upstream", "app"]).expect(0).stdout;
    assert_eq!(told.lines().count(), 2, "a heading, and the promotion once:\n{told}");
    assert!(told.contains("promote green app") && told.contains("drained"), "{told}");
    let newest = proxy
        .ctl(["history", "-n", "1", "--json"])
        .expect(0)
        .events();
    assert_eq!(newest[0]["what"], "start");
    assert_eq!(
        proxy
            .ctl(["history", "--since", "0s", "--json"])
            .expect(0)
            .stdout,
        ""
    );
    proxy.ctl(["history", "--since", "soon"]).expect(2);
}

#[test]
fn a_reload_that_nobody_waited_for_is_kept_all_the_same() {
    let (_blue, green, proxy) = app();
    green.health(Health::Status(503));
    let gate = proxy.ctl_start(["promote", "green", "--gate-timeout", "60s"]);
    eventually("the gate is open", || proxy.app()["promotion"]["phase"] == "gating");
    // A reload waits for the gate; its caller does not.
    let mut caller = UnixStream::connect(proxy.socket()).unwrap();
    caller
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    drop(caller);
    eventually("that the caller left is kept", || {
        let entries = history(&proxy);
        entries
            .iter()
            .any(|entry| entry["what"] == "reload" && entry["outcome"] == "unanswered")
    });
    drop(gate);
    eventually("the cancelled promotion is kept", || {
        let entry = history(&proxy)
            .into_iter()
            .rev()
            .find(|entry| entry["what"] == "promote");
        entry.is_some_and(|entry| entry["code"] == "taken_back")
    });
}

#[test]
fn a_canary_is_kept_when_it_begins_when_it_grows_and_when_it_is_over() {
    let (_blue, _green, proxy) = app();
    for weight in ["5", "25", "0"] {
        proxy.ctl(["canary", "green", "--weight", weight]).expect(0);
    }
    let entries: Vec<Value> = history(&proxy)
        .into_iter()
        .filter(|entry| entry["what"] == "canary")
        .collect();
    let outcomes: Vec<&Value> = entries.iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(outcomes, ["canary", "canary", "switched", "drained"], "{entries:#?}");
    let weights: Vec<&Value> = entries
        .iter()
        .map(|entry| &entry["event"]["weight"])
        .collect();
    assert_eq!(weights[..2], [&json!(5), &json!(25)], "{entries:#?}");
    assert_eq!(entries[3]["event"]["receipts"][0]["safe_to_kill"], "green");
    for entry in &entries {
        assert_eq!(entry["upstreams"], json!(["app"]));
        let generation = &entry["generation"];
        let (before, after) = (generation["before"].as_u64(), generation["after"].as_u64());
        assert_eq!(before.map(|before| before + 1), after, "{entry:#}");
    }
}

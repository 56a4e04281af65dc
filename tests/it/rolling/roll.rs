//! `roll`: one target after the other, and not one request lost.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use super::fleet;
use super::target;
use super::waiting;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::eventually;

/// A command that says on which host it runs, and waits until the test lets it go on.
struct Work {
    folder: PathBuf,
}

impl Work {
    fn at(proxy: &Proxy) -> Self {
        Self { folder: proxy.folder().to_owned() }
    }

    fn command(&self) -> String {
        let folder = self.folder.display();
        format!(
            "echo {{target}} > {folder}/began-{{host}}; while ! [ -e {folder}/done-{{host}} ]; do sleep 0.01; done; exit $(cat {folder}/done-{{host}})"
        )
    }

    fn file(&self, what: &str, origin: &Origin) -> PathBuf {
        self.folder.join(format!("{what}-{}", origin.address.ip()))
    }

    /// Waits until it runs for this target.
    #[track_caller]
    fn wait_for(&self, origin: &Origin) {
        let began = self.file("began", origin);
        eventually("the command runs", || {
            fs::read_to_string(&began).is_ok_and(|text| text == format!("{}\n", origin.address))
        });
    }

    fn has_begun(&self, origin: &Origin) -> bool {
        self.file("began", origin).exists()
    }

    fn end(&self, origin: &Origin, code: u8) {
        let draft = self.folder.join("draft");
        fs::write(&draft, code.to_string()).unwrap();
        fs::rename(draft, self.file("done", origin)).unwrap();
    }
}

#[test]
fn a_roll_restarts_each_target_under_load_without_a_failed_request() {
    let (blue, _green, proxy) = fleet();
    let work = Work::at(&proxy);
    let load = Load::mixed(&proxy, 200);
    eventually("it flows to both", || blue.iter().all(|origin| origin.requests().len() > 20));
    let mut roll = proxy.ctl_start(["roll", "app", "--exec", &work.command(), "--json"]);
    for (at, origin) in blue.iter().enumerate() {
        work.wait_for(origin);
        let status = target(&proxy, origin);
        assert_eq!((&status["admin"], &status["in_flight"]), (&json!("draining"), &json!(0)));
        let by = proxy.app()["roll"]["by"].clone();
        assert!(by["command"].as_str().unwrap().contains("roll app"), "{by}");
        let told = proxy.ctl(["status"]).expect(0).stdout;
        assert!(told.contains("  rolled by uid "), "{told}");
        let other = target(&proxy, &blue[1 - at]);
        assert_eq!(other["admin"], "ready", "one at a time");
        let begun = Instant::now();
        origin.kill();
        let before = load.requests();
        eventually("it flows on", || load.requests() > before + 60);
        assert!(origin.requests_begun_after(begun).is_empty());
        origin.revive();
        work.end(origin, 0);
    }
    roll.event("rolled");
    eventually("nobody rolls it any more", || proxy.app()["roll"].is_null());
    let output = roll.finish().expect(0);
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 60);
    let report = load.stop();
    report.expect_flawless();
    for kind in ["keep-alive", "new connection", "upload", "websocket", "h2", "h2 upload"] {
        assert!(report.count(kind) > 0, "{kind}");
    }
    let last = output.last_event();
    assert_eq!((&last["exit"], &last["left"]), (&json!(0), &json!([])));
    assert_eq!(last["done"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_command_waits_for_the_last_request_of_its_target() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 3);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    let work = Work::at(&proxy);
    let mut roll =
        proxy.ctl_start(["roll", "app", "--exec", &work.command(), "--json", "--target", &one]);
    assert_eq!(roll.event("target").1["in_flight"], 3);
    assert!(!work.has_begun(&blue[0]));
    blue[0].release();
    work.wait_for(&blue[0]);
    work.end(&blue[0], 0);
    roll.finish().expect(0);
    for mut client in clients {
        client.answer().expect(200);
    }
    assert!(!work.has_begun(&blue[1]), "only the named one");
}

#[test]
fn a_roll_stops_at_the_first_that_does_not_come_back() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    let work = Work::at(&proxy);
    let command = work.command();
    let arguments = ["roll", "app", "--exec", &command, "--gate-timeout", "1s"];
    let roll = proxy.ctl_start(arguments);
    work.wait_for(&blue[0]);
    blue[0].kill();
    work.end(&blue[0], 0);
    let output = roll.finish().expect(1);
    let said = output.said();
    for part in [
        "refused the connection",
        &format!("left draining: {one}"),
        &format!("not begun: {two}"),
        &format!("proxyctl target ready app {one}"),
        &format!("--target {two}"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    assert_eq!(target(&proxy, &blue[1])["admin"], "ready");
    assert!(!work.has_begun(&blue[1]));
    for _ in 0..20 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
}

#[test]
fn a_command_that_fails_stops_the_roll_and_leaves_its_target_draining() {
    let (blue, _green, proxy) = fleet();
    let output = proxy
        .ctl(["roll", "app", "--exec", "exit 7", "--json"])
        .expect(1);
    let last = output.last_event();
    assert_eq!(last["draining"], json!([blue[0].address.to_string()]));
    assert_eq!(last["left"], json!([blue[1].address.to_string()]));
    assert!(last["why"].as_str().unwrap().contains("exit code 7"), "{last}");
    // The next one begins with what drains already.
    let again = proxy
        .ctl(["roll", "app", "--exec", "true", "--json"])
        .expect(0)
        .last_event();
    assert_eq!(again["done"][0], blue[0].address.to_string());
}

#[test]
fn never_fewer_than_must_are_ready_and_healthy() {
    let (blue, _green, proxy) = fleet();
    blue[1].kill();
    eventually("the probes say so", || target(&proxy, &blue[1])["healthy"] == false);
    let refused = proxy.ctl(["roll", "app", "--exec", "true"]).expect(1);
    assert!(
        refused
            .stderr
            .contains("only 0 of 2 would be ready and healthy"),
        "{refused:?}"
    );
    assert_eq!(target(&proxy, &blue[0])["admin"], "ready");
    let both = proxy
        .ctl(["roll", "app", "--exec", "true", "--parallel", "2"])
        .expect(1);
    assert!(both.stderr.contains("would be ready and healthy"), "{both:?}");
    blue[1].revive();
}

#[test]
fn while_a_roll_holds_the_upstream_nobody_promotes_or_rolls_it() {
    let (blue, _green, proxy) = fleet();
    let work = Work::at(&proxy);
    let one = blue[0].address.to_string();
    let command = work.command();
    let roll = proxy.ctl_start(["roll", "app", "--exec", &command, "--target", &one]);
    work.wait_for(&blue[0]);
    let busy = proxy.ctl(["promote", "green"]).expect(4);
    assert!(busy.stderr.contains("a roll of uid"), "{busy:?}");
    proxy.ctl(["roll", "app", "--exec", "true"]).expect(4);
    assert_eq!(proxy.live(), "blue");
    work.end(&blue[0], 0);
    roll.finish().expect(0);
    eventually("the daemon lets go", || proxy.ctl(["promote", "green"]).code == 0);
}

#[test]
fn a_roll_that_is_killed_lets_go_and_leaves_its_target_draining() {
    let (blue, _green, proxy) = fleet();
    let work = Work::at(&proxy);
    let command = work.command();
    let roll = proxy.ctl_start(["roll", "app", "--exec", &command]);
    work.wait_for(&blue[0]);
    roll.signal(Signal::KILL);
    work.end(&blue[0], 0);
    roll.finish();
    assert_eq!(target(&proxy, &blue[0])["admin"], "draining");
    let ready = ["target", "ready", "app", &blue[0].address.to_string()];
    proxy.ctl(ready).expect(0);
    eventually("the daemon lets go", || proxy.ctl(["promote", "green"]).code == 0);
}

#[test]
fn interrupted_it_ends_the_target_it_is_at_and_begins_no_other() {
    let (blue, _green, proxy) = fleet();
    let work = Work::at(&proxy);
    let command = work.command();
    let roll = proxy.ctl_start(["roll", "app", "--exec", &command]);
    work.wait_for(&blue[0]);
    roll.signal(Signal::INT);
    work.end(&blue[0], 0);
    let output = roll.finish().expect(130);
    let two = blue[1].address.to_string();
    assert!(output.stderr.contains("interrupted"), "{output:?}");
    assert!(output.stderr.contains(&format!("not begun: {two}")), "{output:?}");
    assert_eq!(target(&proxy, &blue[0])["admin"], "ready");
    assert!(!work.has_begun(&blue[1]));
}

#[test]
fn interrupted_while_it_drains_it_runs_nothing_and_says_what_drains() {
    let (blue, _green, proxy) = fleet();
    let [one, two] = [&blue[0], &blue[1]].map(|origin| origin.address.to_string());
    proxy.ctl(["target", "drain", "app", &two]).expect(0);
    let clients = waiting(&proxy, &blue[0], 1);
    proxy.ctl(["target", "ready", "app", &two]).expect(0);
    let work = Work::at(&proxy);
    let command = work.command();
    let mut roll = proxy.ctl_start(["roll", "app", "--exec", &command, "--json"]);
    assert_eq!(roll.event("target").1["phase"], "draining");
    roll.signal(Signal::INT);
    let last = roll.finish().expect(130).last_event();
    assert_eq!((&last["draining"], &last["left"]), (&json!([one]), &json!([two])));
    assert!(!work.has_begun(&blue[0]));
    blue[0].release();
    for mut client in clients {
        client.answer().expect(200);
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let (blue, _green, proxy) = fleet();
    let generation = proxy.generation();
    let exec = "ssh {host} ./restart.sh {port} # {upstream}";
    let plan = proxy
        .ctl(["roll", "app", "--exec", exec, "--dry-run"])
        .expect(0)
        .stdout;
    for origin in &blue {
        let address = origin.address;
        let step = format!(
            "drain {address}, then: ssh {} ./restart.sh {} # app",
            address.ip(),
            address.port()
        );
        assert!(plan.contains(&step), "{step}: {plan}");
    }
    assert_eq!(proxy.generation(), generation);
    proxy
        .ctl(["roll", "app", "--exec", "true", "--target", "127.0.0.1:1"])
        .expect(2);
    proxy.ctl(["roll", "nope", "--exec", "true"]).expect(2);
}

#[test]
fn several_at_a_time_are_drained_together() {
    let blue: Vec<Origin> = (1..=3)
        .map(|at| Origin::start(&format!("blue-{at}")))
        .collect();
    let list: Vec<String> = blue
        .iter()
        .map(|origin| origin.address.to_string())
        .collect();
    // Without colours: what is rolled is the only pool.
    let plain = json!({ "upstreams": { "app": { "promotion": null, "targets": list } } });
    let proxy = Proxy::setup().with(&plain).start();
    let work = Work::at(&proxy);
    let command = work.command();
    let roll = proxy.ctl_start(["roll", "app", "--exec", &command, "--parallel", "2"]);
    work.wait_for(&blue[0]);
    work.wait_for(&blue[1]);
    assert!(!work.has_begun(&blue[2]));
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-3");
    work.end(&blue[0], 0);
    work.end(&blue[1], 0);
    work.wait_for(&blue[2]);
    work.end(&blue[2], 0);
    roll.finish().expect(0);
}

//! What one colour does not have is asked of the other one (`skew`): the page that was loaded a minute
//! ago still finds its script.

use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::ctl::Running;
use crate::harness::ctl::proxyd;
use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::pages;

/// Skew, with a colour that is warm as long as a test may take.
fn skewed() -> Value {
    json!({ "upstreams": { "app": {
        "skew": { "paths": ["/assets/*", "*.js"] }, "promotion": { "drain_timeout": "2m" },
    } } })
}

/// Blue served until now and is warm, green is live and has nothing.
struct World {
    blue: Origin,
    green: Origin,
    proxy: Proxy,
    waits: JoinHandle<u16>,
    promote: Running,
}

impl World {
    fn new(change: &Value) -> Self {
        let (blue, green, proxy) = app_with(change);
        let mut client = proxy.http();
        client.wire.patience(Duration::from_secs(120));
        let waits = thread::spawn(move || client.get("/hold").status);
        blue.wait_until_held(1);
        let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
        promote.event("switched");
        green.tell(|told| told.page = Some("/missing"));
        Self { blue, green, proxy, waits, promote }
    }

    /// Blue's last plain request ends, and with it the time in which blue is warm.
    fn end(self) -> (Origin, Origin, Proxy) {
        self.blue.release();
        assert_eq!(self.waits.join().unwrap(), 200);
        assert_eq!(self.promote.finish().code, 0);
        (self.blue, self.green, self.proxy)
    }

    fn counted(&self, outcome: &str) -> f64 {
        let labels = [("colour", "green"), ("outcome", outcome)];
        self.proxy.metrics().value("proxy_skew_total", &labels)
    }
}

#[test]
fn an_asset_of_the_old_colour_is_found_after_the_switch_over_both_protocols() {
    let world = World::new(&skewed());
    let mut h1 = world.proxy.http();
    for target in ["/assets/app.1f.css", "/deep/app.1f.js?v=1"] {
        assert_eq!(h1.get(target).expect(200).colour(), "blue", "{target}");
        assert_eq!(world.proxy.h2().get(target).expect(200).colour(), "blue", "{target}");
    }
    let head = h1.request("HEAD", "/assets/app.1f.css", &[], b"");
    assert_eq!((head.status, head.colour().as_str()), (200, "blue"));
    // The same connection goes on, and what is not named stays with its colour.
    h1.get("/page").expect(404);
    h1.request("POST", "/assets/app.1f.css", &[], b"x")
        .expect(404);
    assert_eq!((world.counted("found"), world.counted("missing")), (5.0, 0.0));
    assert!(
        world
            .blue
            .requests()
            .iter()
            .all(|seen| seen.head.path() != "/page")
    );
    let line = last_line(&world.proxy, "app.1f.js");
    assert_eq!((&line["colour"], &line["skewed_from"]), (&json!("blue"), &json!("green")));
    let (blue, _green, proxy) = world.end();
    // Shut: whoever stops blue now takes nothing from anybody.
    let before = blue.requests().len();
    proxy.http().get("/assets/app.1f.css").expect(404);
    assert_eq!(blue.requests().len(), before);
}

#[test]
fn what_neither_has_is_the_first_ones_404_to_the_byte() {
    let world = World::new(&skewed());
    world.blue.tell(|told| told.page = Some("/missing"));
    let (mut h1, h2) = (world.proxy.http(), world.proxy.h2());
    for bytes in [0, 9, 3000, 300_000] {
        for how in ["", "&chunked=1"] {
            let target = format!("/assets/a?bytes={bytes}{how}");
            for answer in [h1.get(&target), h2.get(&target)] {
                let answer = answer.expect(404);
                assert_eq!(answer.colour(), "green");
                assert_eq!(answer.header("x-missing"), Some("yes"));
                assert!(answer.body == pages::patterned(bytes), "{target}");
            }
        }
    }
    assert_eq!((world.counted("found"), world.counted("missing")), (0.0, 16.0));
    world.end();
}

#[test]
fn a_range_and_a_condition_pass_as_they_are() {
    let world = World::new(&skewed());
    world.blue.tell(|told| told.page = Some("/asset"));
    let mut client = world.proxy.http();
    let part = client.request("GET", "/assets/a", &[("Range", "bytes=0-3")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, b"asse".as_slice()));
    let same = client.request("GET", "/assets/a", &[("If-None-Match", "\"x\"")], b"");
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(client.get("/assets/a").expect(200).text(), "assets are");
    world.end();
}

#[test]
fn an_old_colour_that_fails_leaves_the_404_as_it_was() {
    let world = World::new(&skewed());
    for page in ["/reset", "/garbage", "/status"] {
        world.blue.tell(|told| told.page = Some(page));
        for bytes in [9, 100_000] {
            let target = format!("/assets/a?bytes={bytes}&code=500");
            let answer = world.proxy.http().get(&target);
            assert_eq!((answer.status, answer.colour().as_str()), (404, "green"), "{page}");
            assert!(answer.body == pages::patterned(bytes), "{page}");
            world.proxy.h2().get(&target).expect(404);
        }
    }
    world.blue.tell(|told| told.page = None);
    world.end();
}

#[test]
fn the_404_that_nobody_gets_costs_its_connection_at_most() {
    let world = World::new(&skewed());
    let mut client = world.proxy.http();
    // Much of it is still to come when it is clear that nobody wants it: that is not read.
    for _ in 0..20 {
        client.get("/assets/a?bytes=3000000").expect(200);
    }
    eventually("no connection is left behind", || world.green.connections() <= 1);
    let open = world.green.connections();
    for _ in 0..20 {
        client.get("/assets/a?bytes=9").expect(200);
    }
    eventually("a short one's connection is used again", || world.green.connections() <= open + 1);
    world.end();
}

#[test]
fn without_skew_a_404_is_the_answer() {
    let world = World::new(&json!({}));
    world.proxy.http().get("/assets/app.1f.css").expect(404);
    world.end();
}

#[test]
fn a_pattern_that_can_match_nothing_is_refused_with_its_place() {
    let (_blue, _green, proxy) = app_with(&json!({}));
    let mut config = proxy.config.clone();
    config["upstreams"]["app"]["skew"] = json!({ "paths": ["assets/*", "/a?.js"] });
    let file = proxy.file("bad.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let said = proxyd(&["check", "--config", file.to_str().unwrap()])
        .expect(1)
        .said();
    assert!(said.contains("upstreams.app.skew.paths[0]"), "{said}");
    assert!(said.contains("\"assets/*\" is no pattern of paths: it begins with neither"), "{said}");
    assert!(said.contains("upstreams.app.skew.paths[1]"), "{said}");
}

fn last_line(proxy: &Proxy, part: &str) -> Value {
    crate::harness::eventually_some("its line in the log", || {
        let lines = proxy.access_log();
        let line = lines.iter().rev().find(|line| line.contains(part))?;
        serde_json::from_str(line).ok()
    })
}

#[test]
fn an_asset_that_breaks_off_behind_its_head_gets_one_head_over_both_protocols() {
    let world = World::new(&skewed());
    world.blue.tell(|told| told.page = Some("/broken-chunk"));
    let mut h1 = world.proxy.http();
    let answer = h1.get("/assets/app.js").expect(502);
    assert_eq!(answer.header("x-first"), None);
    // Had a second head followed, it would be read as the answer to this.
    h1.get("/assets/app.js").expect(502);
    let answer = world.proxy.h2().get("/assets/app.js").expect(502);
    assert_eq!(answer.header("x-first"), None);
    world.blue.tell(|told| told.page = None);
    world.end();
}

/// Asks for an asset, beside the test.
fn asset(proxy: &Proxy, target: &'static str) -> JoinHandle<Answer> {
    let mut client = proxy.http();
    thread::spawn(move || client.get(target))
}

#[test]
fn who_waits_with_a_404_at_hand_is_cut_with_the_colour_that_gave_it() {
    let mut change = skewed();
    change["upstreams"]["app"]["promotion"] = json!({ "hold": "1m", "drain_timeout": "2m" });
    let (blue, green, proxy) = app_with(&change);
    proxy.promote("green");
    green.tell(|told| told.page = Some("/missing"));
    blue.tell(|told| told.page = Some("/hold"));
    let (h1, h2) = (asset(&proxy, "/assets/app.js"), proxy.h2());
    let h2 = thread::spawn(move || h2.get("/assets/app.js"));
    blue.wait_until_held(2);
    // Green answered them and still holds them, though it is blue that is waited for.
    assert_eq!((proxy.in_flight("green"), proxy.in_flight("blue")), (2, 2));
    let back = ["rollback", "--drain-timeout", "300ms", "--json"];
    let receipt = proxy.ctl(back).expect(3).receipt();
    assert_eq!(receipt["cut"]["requests"], 2, "{receipt}");
    assert_eq!(receipt["safe_to_kill"], "green");
    for answer in [h1, h2] {
        answer.join().unwrap().expect(503);
    }
    assert_eq!((proxy.in_flight("green"), proxy.in_flight("blue")), (0, 0));
}

#[test]
fn when_the_colour_that_is_asked_a_favour_is_cut_the_404_at_hand_is_the_answer() {
    let (blue, green, proxy) = app_with(&skewed());
    let mut waits = proxy.http();
    waits.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    let arguments = ["promote", "green", "--drain-timeout", "3s", "--json"];
    let mut promote = proxy.ctl_start(arguments);
    promote.event("switched");
    green.tell(|told| told.page = Some("/missing"));
    blue.tell(|told| told.page = Some("/hold"));
    let h2 = proxy.h2();
    let by_h2 = thread::spawn({
        let h2 = h2.clone();
        move || h2.get("/assets/app.js?bytes=3000")
    });
    let mut h1 = proxy.http();
    h1.send("GET", "/assets/app.js?bytes=3000", &[], b"");
    blue.wait_until_held(3);
    promote.event("cut");
    for answer in [h1.answer(), by_h2.join().unwrap()] {
        let answer = answer.expect(404);
        assert_eq!(answer.colour(), "green");
        assert!(answer.body == pages::patterned(3000));
    }
    assert_eq!(promote.finish().code, 3, "the plain one was cut");
    assert_eq!(h1.get("/page").expect(404).colour(), "green", "the connection goes on");
    h2.get("/page").expect(404);
}

#[test]
fn in_a_canary_others_find_what_only_the_new_colour_has() {
    let (blue, green, proxy) = app_with(&skewed());
    proxy.ctl(["canary", "green", "--weight", "0.1"]).expect(0);
    blue.tell(|told| told.page = Some("/missing"));
    let mut client = proxy.http();
    assert_eq!(client.get("/page").expect(404).colour(), "blue");
    assert_eq!(client.get("/assets/app.js").expect(200).colour(), "green");
    let h2 = proxy.h2();
    assert_eq!(h2.get("/assets/app.js").expect(200).colour(), "green");
    assert_eq!(green.requests().len(), 2);
    let labels = [("colour", "blue"), ("outcome", "found")];
    assert_eq!(proxy.metrics().value("proxy_skew_total", &labels), 2.0);
}

#[test]
fn in_a_canary_its_users_find_what_only_the_live_colour_has() {
    let mut change = skewed();
    change["upstreams"]["app"]["canary"] =
        json!({ "pins": [{ "header": "X-Tester", "value": "1" }] });
    let (blue, green, proxy) = app_with(&change);
    proxy.ctl(["canary", "green", "--weight", "1"]).expect(0);
    green.tell(|told| told.page = Some("/missing"));
    let tester = [("X-Tester", "1")];
    let mut client = proxy.http();
    let missing = client.request("GET", "/page", &tester, b"").expect(404);
    assert_eq!(missing.colour(), "green");
    let found = client
        .request("GET", "/assets/app.js", &tester, b"")
        .expect(200);
    assert_eq!(found.colour(), "blue");
    assert_eq!(blue.last().target(), "/assets/app.js");
}

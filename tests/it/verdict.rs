//! A release that takes itself back: real faults in the new colour, found from the requests that the
//! proxy itself has seen.

mod steps;
mod theirs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use super::harness::client::Client;
use super::harness::config::HOST;
use super::harness::ctl::Running;
use super::harness::origin::Origin;
use super::harness::proxy::Proxy;
use super::harness::proxy::Setup;
use super::harness::sick::Sick;
use super::harness::wait::eventually;
use super::harness::wait::pause;

/// Clients that ask for one page after the other, on two routes, until they are dropped.
struct Users {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    asked: AtomicUsize,
}

impl Shared {
    fn ask_on(&self, address: SocketAddr, path: &str) {
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = client.take().or_else(|| Client::plain(address, HOST).ok());
            // Another user each time, as far as a proxy in front is believed.
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            let user = format!("10.1.{}.{}", number / 250 % 250, number % 250);
            let fields = [("X-Forwarded-For", user.as_str())];
            let answer = open
                .as_mut()
                .map(|client| client.try_request("GET", path, &fields, b""));
            if matches!(answer, Some(Ok(_))) {
                client = open;
            }
            pause(Duration::from_millis(4));
        }
    }
}

impl Users {
    fn of(proxy: &Proxy, clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let address = proxy.plain_address();
        let one = |number: usize| {
            let shared = Arc::clone(&shared);
            let path = if number.is_multiple_of(2) { "/shop/a" } else { "/b" };
            thread::spawn(move || shared.ask_on(address, path))
        };
        let threads = (0..clients).map(one).collect();
        Self { shared, threads }
    }

    /// Waits until so many more requests have been made.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        let from = self.shared.asked.load(Ordering::Relaxed);
        eventually("requests are made", || {
            self.shared.asked.load(Ordering::Relaxed) >= from + more
        });
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn two_routes(blue: &[&Origin], green: &[&Origin]) -> Setup {
    Proxy::setup().blue(blue).green(green).with(&json!({
        "routes": [{ "upstream": "app", "path": "/shop" }, { "upstream": "app" }],
    }))
}

/// Two colours with traffic that the old one has answered well for a while.
fn world() -> (Proxy, [Origin; 2], Users) {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = two_routes(&[&blue], &[&green]).start();
    let users = Users::of(&proxy, 6);
    users.wait_for(2500);
    (proxy, [blue, green], users)
}

/// Promotes green with a bake, and returns what was found, how long after the switch the old colour
/// was live again, and the last event.
fn promoted(proxy: &Proxy, extra: &[&str]) -> (Option<Value>, Duration, Value, i32) {
    let mut arguments = vec!["promote", "green", "--json", "--bake", "40s"];
    arguments.extend(extra);
    let mut running: Running = proxy.ctl_start(&arguments);
    let (switched, _) = running.event("switched");
    let (mut verdict, mut verdict_at) = (None, switched);
    let last = loop {
        let (at, line) = running.line().expect("an event");
        let event: Value = serde_json::from_str(&line).unwrap();
        match event["event"].as_str() {
            Some("verdict") => (verdict, verdict_at) = (Some(event), at),
            Some("draining" | "baking") => {}
            _ => break (at, event),
        }
    };
    let (at, event) = last;
    (verdict, at.duration_since(verdict_at), event, running.finish().code)
}

/// Green is `sick`: it must be taken back, quickly after the evidence, with the numbers.
fn is_reverted(name: &str, sick: Sick) -> Value {
    let (proxy, [_blue, green], _users) = world();
    green.tell(|told| told.sick = Some(sick));
    let (verdict, took, last, code) = promoted(&proxy, &[]);
    let verdict = verdict.expect("a verdict");
    eprintln!(
        "{name}: {} on {}: new {} old {} p {}; after {} requests, {:.1} s; reverted in {took:?}",
        verdict["what"],
        verdict["route"],
        verdict["new"],
        verdict["old"],
        verdict["p"],
        verdict["requests"],
        verdict["seconds"].as_f64().unwrap(),
    );
    assert_eq!((verdict["result"].as_str(), code), (Some("failed"), 6), "{verdict}");
    assert_eq!(last["event"], "reverted", "{last}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let receipt = &last["receipts"][0];
    assert_eq!((&receipt["colour"], &receipt["safe_to_kill"]), (&json!("blue"), &Value::Null));
    assert_eq!(receipt["verdict"]["result"], "failed", "{receipt}");
    assert_eq!(receipt["generation"], proxy.generation());
    assert_eq!(proxy.live(), "blue");
    let metrics = proxy.metrics();
    let labels = [("upstream", "app"), ("colour", "green"), ("outcome", "reverted")];
    assert_eq!(metrics.sum("proxy_promotions_total", &labels), 1.0);
    let labels = [("upstream", "app"), ("colour", "green"), ("outcome", "failed")];
    assert_eq!(metrics.sum("proxy_verdicts_total", &labels), 1.0);
    verdict
}

#[test]
fn one_request_in_twenty_that_fails_on_one_route_takes_the_release_back() {
    is_reverted("5 % 500s on one route", Sick::FailsOn("/shop", 20));
}

#[test]
fn two_hundred_milliseconds_more_take_the_release_back() {
    let verdict = is_reverted("+200 ms", Sick::Slow(Duration::from_millis(200)));
    assert!(verdict["what"].as_str().unwrap().contains("longer than"), "{verdict}");
}

#[test]
fn one_reset_in_fifty_takes_the_release_back() {
    is_reverted("1 in 50 resets", Sick::Resets(50));
}

#[test]
fn a_new_colour_that_dies_is_left_within_a_second() {
    let (proxy, [_blue, green], users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    users.wait_for(50);
    green.kill();
    let died = Instant::now();
    let (at, verdict) = running.event("verdict");
    let (back, last) = running.event("reverted");
    eprintln!(
        "dies: {} after {} requests; found {:?} after its death, blue live {:?} after it",
        verdict["what"],
        verdict["requests"],
        at - died,
        back - died
    );
    assert_eq!(verdict["what"], "no target can be reached");
    assert!(back - died < Duration::from_secs(1), "{:?}", back - died);
    assert_eq!(last["receipts"][0]["safe_to_kill"], Value::Null);
    assert_eq!((running.finish().code, proxy.live()), (6, "blue".to_owned()));
}

#[test]
fn a_healthy_colour_passes_its_bake_and_the_old_one_is_let_go() {
    let (proxy, _origins, users) = world();
    let running = proxy.ctl_start(["promote", "green", "--json", "--bake", "3s"]);
    users.wait_for(200);
    let receipt = running.finish().expect(0).receipt();
    assert_eq!(receipt["verdict"]["result"], "passed", "{receipt}");
    assert!(receipt["verdict"]["requests"].as_u64().unwrap() >= 100, "{receipt}");
    assert_eq!((&receipt["safe_to_kill"], proxy.live()), (&json!("blue"), "green".to_owned()));
    proxy.ctl(["guard", "blue", "--", "true"]).expect(0);
}

#[test]
fn a_bake_without_traffic_is_inconclusive_and_the_old_colour_is_held() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = two_routes(&[&blue], &[&green]).start();
    let arguments = ["promote", "green", "--json", "--bake", "1s"];
    let receipt = proxy.ctl(arguments).expect(0).receipt();
    assert_eq!(receipt["verdict"]["result"], "inconclusive", "{receipt}");
    assert_eq!(receipt["safe_to_kill"], Value::Null);
    assert!(receipt["held_until"].is_string(), "{receipt}");
    assert_eq!(proxy.live(), "green");
}

#[test]
fn frozen_traffic_stays_and_notified_the_release_goes_on() {
    for (on_fail, event, code) in [("freeze", "frozen", 6), ("notify", "drained", 0)] {
        let (proxy, [_blue, green], _users) = world();
        green.tell(|told| told.sick = Some(Sick::FailsOn("/", 2)));
        let (verdict, _, last, ended) = promoted(&proxy, &["--on-fail", on_fail]);
        assert_eq!(verdict.unwrap()["result"], "failed");
        assert_eq!((last["event"].as_str(), ended), (Some(event), code), "{last}");
        // Either way it is held, for whoever wants to go back.
        assert_eq!(last["receipts"][0]["safe_to_kill"], Value::Null, "{last}");
        assert!(last["receipts"][0]["held_until"].is_string(), "{last}");
        assert_eq!(proxy.live(), "green");
    }
}

#[test]
fn nothing_is_reverted_to_a_colour_that_is_not_well() {
    let (proxy, [blue, green], _users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    blue.kill();
    eventually("blue is seen to be gone", || {
        proxy.app()["pools"]["blue"]["targets"][0]["healthy"] == false
    });
    green.tell(|told| told.sick = Some(Sick::FailsOn("/", 2)));
    let (_, last) = running.event("frozen");
    let verdict = &last["receipts"][0]["verdict"];
    assert!(verdict["obstacle"].as_str().unwrap().contains("not well"), "{last}");
    assert_eq!((running.finish().code, proxy.live()), (6, "green".to_owned()));
}

#[test]
fn a_rollback_by_hand_ends_the_bake() {
    let (proxy, _origins, _users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    proxy.ctl(["rollback", "--json"]).expect(0);
    running.event("reopened");
    assert_eq!((running.finish().code, proxy.live()), (6, "blue".to_owned()));
}

#[test]
fn while_it_bakes_the_old_colour_is_not_guarded_and_the_status_says_until_when() {
    let (proxy, _origins, _users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    eventually("blue is drained", || proxy.in_flight("blue") == 0);
    let refused = proxy.ctl(["guard", "blue", "--", "true"]).expect(125);
    assert!(refused.stderr.contains("is held until"), "{}", refused.stderr);
    assert_eq!(proxy.app()["rollback"]["colour"], "blue");
    assert!(proxy.app()["rollback"]["instant_until"].is_string());
    proxy
        .ctl(["guard", "blue", "--ignore-hold", "--", "true"])
        .expect(0);
    proxy.ctl(["rollback", "--json"]).expect(0);
    assert!(proxy.app()["rollback"].is_null(), "no way back is held after a way back");
}

#[test]
fn killed_in_a_bake_it_comes_back_with_the_new_colour_and_holds_the_old_one() {
    let (mut proxy, _origins, users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "60s"]);
    running.event("switched");
    drop(users);
    proxy.kill9();
    proxy.start_again();
    assert_eq!(proxy.live(), "green");
    assert_eq!(proxy.app()["rollback"]["colour"], "blue");
    proxy.ctl(["guard", "blue", "--", "true"]).expect(125);
    assert!(proxy.stderr().contains("verdict of a bake is LOST"), "{}", proxy.stderr());
    let told = proxy.ctl(["history"]).expect(0).stdout;
    assert!(told.contains("green is judged no longer and stays live"), "{told}");
    let told = proxy.ctl(["status"]).expect(0).stdout;
    assert!(told.contains("held: a rollback to blue is instant until "), "{told}");
}

#[test]
fn after_a_promote_the_old_colour_is_held_as_long_as_the_file_says_across_a_restart() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let hold = json!({ "upstreams": { "app": { "promotion": { "hold": "10m" } } } });
    let mut proxy = two_routes(&[&blue], &[&green]).with(&hold).start();
    let receipt = proxy.promote("green");
    assert_eq!(receipt["safe_to_kill"], Value::Null);
    let until = receipt["held_until"].clone();
    assert!(until.is_string(), "{receipt}");
    proxy.restart();
    assert_eq!(proxy.app()["rollback"]["instant_until"], until);
    proxy.ctl(["guard", "blue", "--", "true"]).expect(125);
    proxy.ctl(["rollback", "--json"]).expect(0);
    proxy.ctl(["guard", "green", "--", "true"]).expect(0);
}

#[test]
fn a_new_colour_that_dies_without_traffic_is_left_by_its_probes() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = two_routes(&[&blue], &[&green]).start();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    green.kill();
    running.event("reverted");
    assert_eq!((running.finish().code, proxy.live()), (6, "blue".to_owned()));
}

#[test]
fn whoever_asked_may_go_away_and_the_release_is_taken_back_all_the_same() {
    let (proxy, [_blue, green], _users) = world();
    let mut running = proxy.ctl_start(["promote", "green", "--json", "--bake", "40s"]);
    running.event("switched");
    running.signal(Signal::KILL);
    running.finish();
    green.tell(|told| told.sick = Some(Sick::FailsOn("/", 2)));
    eventually("blue is live again", || proxy.live() == "blue");
}

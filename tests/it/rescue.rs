//! The old colour takes in what the new one has failed, while it is warm (`promotion.rescue`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::ctl::Running;
use crate::harness::eventually;
use crate::harness::eventually_some;
use crate::harness::h2::H2;
use crate::harness::http::Answer;
use crate::harness::pages;

/// Rescue, by a colour that is warm as long as a test may take.
fn on() -> Value {
    json!({ "upstreams": { "app": { "promotion": { "rescue": "on", "drain_timeout": "2m" } } } })
}

/// A request that waits on blue, and so keeps it warm after the switch.
fn keep_warm(proxy: &Proxy, blue: &Origin) -> JoinHandle<u16> {
    let mut client = proxy.http();
    client.wire.patience(Duration::from_secs(120));
    let waits = thread::spawn(move || client.get("/hold").status);
    blue.wait_until_held(1);
    waits
}

/// Promotes green; returns once it is live, while blue still drains.
fn switch(proxy: &Proxy) -> Running {
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    promote.event("switched");
    promote
}

/// What clients were answered, by the ids of their requests.
type Answers = HashMap<String, Result<u16, String>>;

/// Clients that ask one request after the other, each with an id of its own.
struct Askers {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Answers>>,
}

type Ask = Box<dyn FnMut(&str) -> Result<Answer, String> + Send>;

fn by_h1(address: SocketAddr, method: &'static str, body: &'static [u8]) -> Ask {
    let mut kept = None;
    Box::new(move |target| {
        let mut client = kept
            .take()
            .unwrap_or_else(|| Client::plain(address, HOST).unwrap());
        let answer = client.try_request(method, target, &[], body);
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.closes() {
            kept = Some(client);
        }
        Ok(answer)
    })
}

fn by_h2(address: SocketAddr, method: &'static str, body: &'static [u8]) -> Ask {
    let client = H2::connect(address, HOST).unwrap();
    Box::new(move |target| client.try_request(method, target, &[], body))
}

fn keep_asking(mut ask: Ask, name: &str, stop: &AtomicBool, asked: &AtomicUsize) -> Answers {
    let mut answers = Answers::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{}", answers.len());
        let answer = ask(&format!("/?id={id}")).map(|answer| answer.status);
        answers.insert(id, answer);
        asked.fetch_add(1, Ordering::Relaxed);
    }
    answers
}

impl Askers {
    /// GET, HEAD, and POST with a body, over HTTP/1 and HTTP/2.
    fn start(proxy: &Proxy) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut threads = Vec::new();
        let (plain, tls) = (proxy.plain_address(), proxy.tls_address());
        let kinds: [(&'static str, &'static [u8]); 3] =
            [("GET", b""), ("POST", b"an order"), ("HEAD", b"")];
        for (method, body) in kinds {
            for (protocol, ask) in
                [("h1", by_h1(plain, method, body)), ("h2", by_h2(tls, method, body))]
            {
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
                let name = format!("{method}-{protocol}");
                threads.push(thread::spawn(move || keep_asking(ask, &name, &stop, &asked)));
            }
        }
        Self { stop, asked, threads }
    }

    #[track_caller]
    fn wait_for(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        eventually(&format!("{more} more requests"), || {
            self.asked.load(Ordering::Relaxed) >= until
        });
    }

    fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads.flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn is_flawless(answers: &Answers, method: &str) -> usize {
    let of_method = answers.iter().filter(|(id, _)| id.starts_with(method));
    let (good, bad): (Vec<_>, Vec<_>) = of_method.partition(|(_, answer)| **answer == Ok(200));
    assert!(bad.is_empty(), "{} of {} failed: {bad:?}", bad.len(), bad.len() + good.len());
    good.len()
}

#[test]
fn kill_9_of_the_whole_new_colour_right_after_the_switch_costs_no_get_and_repeats_no_post() {
    let (blue, origin, other) =
        (Origin::start("blue-1"), Origin::start("green-1"), Origin::start("standby"));
    // A process that can be killed: another proxy, before the target that counts.
    let mut green = Proxy::between(&[&origin], &[&other]);
    let pool = json!([green.plain_address().to_string()]);
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .with(&json!({ "workers": 2, "upstreams": { "app": { "green": pool } } }))
        .with(&on())
        .start();
    let waits = keep_warm(&proxy, &blue);
    let askers = Askers::start(&proxy);
    askers.wait_for(200);
    let promote = switch(&proxy);
    askers.wait_for(300);
    green.kill9();
    green.skip_audit();
    askers.wait_for(2000);
    let answers = askers.stop();
    let (gets, heads) = (is_flawless(&answers, "GET"), is_flawless(&answers, "HEAD"));
    let lost: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| **answer != Ok(200))
        .collect();
    // What was in flight, or sent over a kept connection in the moment of the death: it may have been read.
    assert!(lost.len() <= 8, "no more than that: {lost:?}");
    let mut posts = 0;
    for (id, answer) in answers.iter().filter(|(id, _)| id.starts_with("POST")) {
        let executed = blue.executions(id) + origin.executions(id);
        assert!(executed <= 1, "{id} was executed {executed} times, and got {answer:?}");
        assert!(executed == 1 || *answer != Ok(200), "{id} was answered and not executed");
        posts += 1;
    }
    let rescued = proxy
        .metrics()
        .value("proxy_rescued_total", &[("colour", "green")]);
    assert!(rescued > 500.0, "{rescued}: the case was hardly met");
    eprintln!(
        "kill -9 of green: {gets} GETs and {heads} HEADs, 0 failed; {posts} POSTs, {} failed, none twice; {rescued} rescued",
        lost.len()
    );
    blue.release();
    assert_eq!(waits.join().unwrap(), 200);
    assert_eq!(promote.finish().code, 0, "nothing had to be cut");
}

#[test]
fn without_rescue_a_dead_colour_fails_its_requests() {
    let (blue, green, proxy) = app_with(&json!({}));
    let waits = keep_warm(&proxy, &blue);
    let promote = switch(&proxy);
    green.kill();
    fails(&proxy);
    blue.release();
    waits.join().unwrap();
    promote.finish();
}

#[test]
fn what_is_rescued_shows_in_the_log_and_on_the_meter_of_the_colour_that_failed() {
    let (blue, green, proxy) = app_with(&on());
    let waits = keep_warm(&proxy, &blue);
    let promote = switch(&proxy);
    green.kill();
    assert_eq!(proxy.http().get("/?id=one").expect(200).colour(), "blue");
    let line = line_of(&proxy, "one");
    assert_eq!((&line["colour"], &line["rescued_from"]), (&json!("blue"), &json!("green")));
    assert_eq!(line["status"], 200);
    let rescued = |colour| {
        proxy
            .metrics()
            .value("proxy_rescued_total", &[("colour", colour)])
    };
    assert_eq!((rescued("green"), rescued("blue")), (1.0, 0.0));
    blue.release();
    waits.join().unwrap();
    promote.finish();
}

#[test]
fn a_colour_that_is_shut_rescues_nobody() {
    let (blue, green, proxy) = app_with(&on());
    let receipt = proxy.promote("green");
    assert_eq!(receipt["safe_to_kill"], "blue");
    green.kill();
    let before = blue.requests().len();
    fails(&proxy);
    assert_eq!(blue.requests().len(), before, "whoever killed blue by then lost nothing");
}

#[test]
fn an_answer_that_says_500_is_no_reason_and_a_post_that_may_have_been_read_is_sent_nowhere_else() {
    let (blue, green, proxy) = app_with(&on());
    let waits = keep_warm(&proxy, &blue);
    let promote = switch(&proxy);
    let answer = proxy.http().get("/status?code=500&id=five").expect(500);
    assert_eq!(answer.colour(), "green");
    // Read, and reset without an answer: a POST ends there, a GET is asked again of blue.
    let lost = proxy.http().request("POST", "/reset?id=post", &[], b"x");
    lost.expect(502);
    assert_eq!((green.executions("post"), blue.executions("post")), (1, 0));
    blue.release();
    waits.join().unwrap();
    promote.finish();
}

#[test]
fn a_get_that_the_new_colour_does_not_answer_in_time_is_asked_of_the_old_one() {
    let change = json!({ "upstreams": { "app": {
        "promotion": { "rescue": "on" }, "timeouts": { "response": "500ms" },
    } } });
    let (blue, green, proxy) = app_with(&change);
    // Its own answer is not waited for; `/hold` of blue would be late as well, so a body that drips
    // keeps it warm.
    let mut client = proxy.http();
    let drips = thread::spawn(move || client.get("/slow?bytes=400&chunk=20&every_ms=200").status);
    eventually("blue drips", || proxy.in_flight("blue") == 1);
    let promote = switch(&proxy);
    let mut late = proxy.http();
    let late = thread::spawn(move || late.get("/hold"));
    green.wait_until_held(1);
    blue.wait_until_held(1);
    blue.release();
    assert_eq!(late.join().unwrap().expect(200).colour(), "blue");
    green.release();
    drips.join().unwrap();
    promote.finish();
}

#[test]
fn a_colour_that_is_held_rescues_after_its_drain() {
    let change =
        json!({ "upstreams": { "app": { "promotion": { "rescue": "on", "hold": "1m" } } } });
    let (_blue, green, proxy) = app_with(&change);
    let receipt = proxy.promote("green");
    assert!(receipt["safe_to_kill"].is_null() && receipt["held_until"].is_string(), "{receipt}");
    green.kill();
    assert_eq!(proxy.http().get("/").expect(200).colour(), "blue");
    assert_eq!(proxy.h2().get("/").expect(200).colour(), "blue");
}

#[test]
fn a_release_that_fails_every_request_is_taken_back_although_each_was_rescued() {
    let (_blue, green, proxy) = app_with(&on());
    let mut promote = proxy.ctl_start(["promote", "green", "--bake", "1m", "--json"]);
    promote.event("switched");
    let askers = Askers::start(&proxy);
    askers.wait_for(100);
    green.kill();
    let output = promote.finish();
    let answers = askers.stop();
    assert_eq!(output.code, 6, "{}", output.said());
    assert_eq!(proxy.live(), "blue");
    is_flawless(&answers, "GET");
}

#[test]
fn a_body_that_comes_slowly_is_whole_at_whoever_takes_it_in() {
    let (blue, green, proxy) = app_with(&on());
    let waits = keep_warm(&proxy, &blue);
    let promote = switch(&proxy);
    green.kill();
    let body = pages::patterned(3000);
    let head = "POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3000\r\n\r\n";
    let mut clients = [proxy.http(), proxy.https()];
    for client in &mut clients {
        client.send_raw(head);
        client.send_raw(&body[..1000]);
    }
    eventually("blue has the heads", || blue.requests().len() == 3);
    for client in &mut clients {
        client.send_raw(&body[1000..]);
        let answer = client.answer().expect(200);
        assert_eq!(answer.colour(), "blue");
        assert_eq!(answer.json()["sha256"], pages::sha256(&body));
    }
    blue.release();
    waits.join().unwrap();
    promote.finish().expect(0);
}

#[test]
fn who_is_rescued_is_in_flight_on_the_colour_that_took_it_in_and_on_no_other() {
    let (blue, green, proxy) = app_with(&on());
    let waits = keep_warm(&proxy, &blue);
    let mut promote = switch(&proxy);
    green.kill();
    let (mut h1, h2) = (proxy.http(), proxy.h2());
    h1.send("GET", "/hold", &[], b"");
    let h2 = thread::spawn(move || h2.get("/hold"));
    blue.wait_until_held(3);
    assert_eq!((proxy.in_flight("green"), proxy.in_flight("blue")), (0, 3));
    // Blue is not safe to stop while it works for them, though nobody else uses it.
    let refused = proxy.ctl(["guard", "blue", "--", "true"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    blue.release();
    assert_eq!(h1.answer().expect(200).colour(), "blue");
    assert_eq!(h2.join().unwrap().expect(200).colour(), "blue");
    assert_eq!(waits.join().unwrap(), 200);
    // Their leases have ended with their answers: nothing is waited for, and nothing cut.
    let (_, drained) = promote.event("drained");
    assert_eq!(drained["receipts"][0]["safe_to_kill"], "blue");
    promote.finish().expect(0);
    assert_eq!(proxy.in_flight("blue"), 0);
}

#[test]
fn where_neither_answers_the_client_is_told_what_failed_it_first() {
    let change = json!({ "upstreams": { "app": {
        "promotion": { "rescue": "on" }, "timeouts": { "response": "500ms" },
    } } });
    let (blue, green, proxy) = app_with(&change);
    let mut client = proxy.http();
    let drips = thread::spawn(move || client.get("/slow?bytes=400&chunk=20&every_ms=200").status);
    eventually("blue drips", || proxy.in_flight("blue") == 1);
    let promote = switch(&proxy);
    green.kill();
    proxy.http().get("/stall?id=both").expect(502);
    let line = line_of(&proxy, "both");
    assert_eq!((&line["status"], &line["reason"]), (&json!(502), &json!("connect")), "{line}");
    assert_eq!(blue.executions("both"), 1);
    drips.join().unwrap();
    promote.finish();
}

#[test]
fn a_pool_whose_targets_were_replaced_is_rescued_by_its_successor() {
    let (blue, green, proxy) = app_with(&on());
    let new = Origin::start("blue-2");
    let mut client = proxy.http();
    client.send("GET", "/hold?id=moved", &[], b"");
    blue.wait_until_held(1);
    let target = new.address.to_string();
    proxy
        .ctl(["pool", "set", "blue", &target, "--force"])
        .expect(0);
    blue.kill();
    new.wait_until_held(1);
    new.release();
    assert_eq!(client.answer().expect(200).origin(), "blue-2");
    assert!(green.requests().is_empty(), "the standby colour is nobody's way out");
}

/// A request of a colour that is gone and that nobody stands in for.
#[track_caller]
fn fails(proxy: &Proxy) {
    let status = proxy.http().get("/").status;
    assert!(matches!(status, 502 | 503), "{status}");
}

fn line_of(proxy: &Proxy, id: &str) -> Value {
    let with_id = format!("id={id}");
    eventually_some("its line in the log", || {
        let lines = proxy.access_log();
        let line = lines.iter().find(|line| line.contains(&with_id))?;
        serde_json::from_str(line).ok()
    })
}

//! What a colour is not judged by: the time that a pause takes, or its clients.

use std::time::Duration;

use serde_json::Value;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::ctl::Running;
use crate::harness::eventually;
use crate::harness::eventually_some;
use crate::harness::sick::Sick;
use crate::harness::wait::pause;

/// What blue takes for an answer. Whatever a loaded machine adds to green's is less.
const SLOW: Duration = Duration::from_millis(300);

/// What is not green's: far beyond that.
const NOT_THEIRS: Duration = Duration::from_secs(2);

/// A blue that is slow, and whose time is known.
fn slow_blue() -> (Origin, Origin, Proxy) {
    let (blue, green, proxy) = app();
    blue.tell(|told| told.sick = Some(Sick::Slow(SLOW)));
    let mut clients: Vec<Client> = (0..30).map(|_| proxy.http()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.send("GET", "/", &[], b"");
        }
        for client in &mut clients {
            client.answer().expect(200);
        }
    }
    (blue, green, proxy)
}

fn bake(proxy: &Proxy) -> Running {
    let mut promote = proxy.ctl_start(["promote", "green", "--bake", "6s", "--json"]);
    promote.event("switched");
    promote
}

/// Green gets quick requests until its bake is over, and passes.
#[track_caller]
fn passes(proxy: &Proxy, mut promote: Running) {
    let mut client = proxy.http();
    while promote.is_running() {
        client.get("/").expect(200);
    }
    let receipt = promote.finish().expect(0).receipt();
    assert_eq!(receipt["verdict"]["result"], "passed", "{receipt}");
}

/// In the log, the target's time is less than all of it, by what was not its own.
#[track_caller]
fn is_not_in_the_log(proxy: &Proxy, id: &str) {
    let with_id = format!("id={id}");
    let line: Value = eventually_some("its line in the log", || {
        let lines = proxy.access_log();
        let line = lines.iter().find(|line| line.contains(&with_id))?;
        serde_json::from_str(line).ok()
    });
    let millis = |field: &str| line[field].as_f64().unwrap();
    let others = millis("duration_ms") - millis("first_byte_ms");
    assert!(others >= NOT_THEIRS.as_secs_f64() * 1000.0, "{line}");
}

#[test]
fn the_time_for_which_a_request_was_held_is_not_the_new_colours() {
    let (_blue, _green, proxy) = slow_blue();
    proxy.ctl(["pause", "app"]).expect(0);
    let mut held: Vec<Client> = (0..60).map(|_| proxy.http()).collect();
    for client in &mut held {
        client.send("GET", "/?id=held", &[], b"");
    }
    let is_held = || proxy.metrics().value("proxy_requests_held", &[]);
    eventually("all are held", || is_held() == 60.0);
    let promote = bake(&proxy);
    pause(NOT_THEIRS);
    // One after the other: together they would slow each other down.
    proxy.ctl(["resume", "app", "--over", "2s"]).expect(0);
    for mut client in held {
        assert_eq!(client.answer().expect(200).colour(), "green");
    }
    passes(&proxy, promote);
    is_not_in_the_log(&proxy, "held");
}

#[test]
fn the_time_that_clients_take_for_their_bodies_is_not_the_new_colours() {
    let (_blue, _green, proxy) = slow_blue();
    let promote = bake(&proxy);
    let mut slow: Vec<Client> = (0..60).map(|_| proxy.http()).collect();
    let head = "POST /?id=slow HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf ";
    for client in &mut slow {
        client.send_raw(head);
    }
    eventually("all have begun", || proxy.in_flight("green") == 60);
    pause(NOT_THEIRS);
    for client in &mut slow {
        client.send_raw("whole");
        assert_eq!(client.answer().expect(200).colour(), "green");
    }
    passes(&proxy, promote);
    is_not_in_the_log(&proxy, "slow");
}

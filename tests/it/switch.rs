//! The switch: one store, every request before it old, every request after it new, and no client
//! notices.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;
use crate::harness::load::Report;
use crate::harness::pages;

#[test]
fn each_request_on_an_open_connection_decides_afresh() {
    let (_blue, _green, proxy) = app();
    let (mut plain, mut tls, h2) = (proxy.http(), proxy.https(), proxy.h2());
    for colour in ["blue", "green", "blue"] {
        if proxy.live() != colour {
            proxy.promote(colour);
        }
        assert_eq!(plain.get("/").expect(200).colour(), colour);
        assert_eq!(tls.get("/").expect(200).colour(), colour);
        assert_eq!(h2.get("/").expect(200).colour(), colour);
    }
    assert!(plain.is_open() && tls.is_open() && !h2.is_closed());
}

#[test]
fn what_is_in_flight_stays_with_its_colour() {
    let (blue, _green, proxy) = app();
    let mut held = proxy.https();
    held.send("GET", "/hold", &[], b"");
    let mut upload = proxy.https();
    upload.send("POST", "/echo", &[("Content-Length", "10")], b"01234");
    let mut download = proxy.https();
    download.send("GET", "/stall-within", &[], b"");
    download.head();
    blue.wait_until_held(2);
    eventually("all three are blue's", || proxy.in_flight("blue") == 3);

    proxy.ctl(["promote", "green", "--no-wait"]).expect(0);
    assert_eq!(proxy.colour(), "green");
    assert_eq!(proxy.in_flight("blue"), 3);
    upload.send_raw("56789");
    let said = upload.answer().expect(200);
    assert_eq!(said.json()["sha256"], pages::sha256(b"0123456789"));
    assert_eq!(said.colour(), "blue");
    blue.release();
    assert_eq!(held.answer().expect(200).colour(), "blue");
    assert!(download.bytes(10_000).unwrap() == pages::patterned(10_000));
    assert_eq!(held.get("/").expect(200).colour(), "green");
}

#[test]
fn after_switched_no_request_goes_to_the_old_colour() {
    let (blue, green, proxy) = app();
    let load = Load::mixed(&proxy, 150);
    eventually("it flows", || load.requests() > 50);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    let (switched, _) = promote.event("switched");
    let (drained, _) = promote.event("drained");
    promote.finish().expect(0);
    let before = load.requests();
    eventually("it flows on", || load.requests() > before + 50);
    let report = load.stop();
    report.expect_flawless();
    assert_eq!(report.begun_after(switched, "blue").len(), 0);
    // One that had its colour before may still have been on its way there, until the drain was over.
    assert_eq!(blue.requests_begun_after(drained).len(), 0);
    assert!(!green.requests().is_empty());
}

/// Between two rounds of a gate.
const INTERVAL: Duration = Duration::from_millis(20);

/// One promote while traffic flows.
struct Switch {
    asked: Instant,
    /// When the answer `switched` had come.
    switched: Instant,
    old: &'static str,
}

fn switch(proxy: &Proxy, colour: &str, old: &'static str) -> Switch {
    let asked = Instant::now();
    let mut control = proxy.control().unwrap();
    let body = json!({ "colour": colour }).to_string();
    control.send("POST", "/v1/promote", &[], body.as_bytes());
    assert_eq!(control.head().status().unwrap(), 200);
    let mut switched = None;
    while let Ok(line) = control.line() {
        // Between the lines stand the sizes of their chunks.
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if !event.is_object() {
            continue;
        }
        match event["event"].as_str() {
            Some("switched") => switched = Some(Instant::now()),
            Some("drained") => {
                assert_eq!(event["receipts"][0]["in_flight"], 0);
                let switched = switched.expect("switched comes before drained");
                return Switch { asked, switched, old };
            }
            Some("gating" | "draining") => {}
            _ => panic!("{event}"),
        }
    }
    panic!("no verdict");
}

#[test]
fn a_hundred_promotes_back_and_forth_under_load_lose_nothing() {
    let blue = [Origin::start("blue-1"), Origin::start("blue-2")];
    let green = [Origin::start("green-1"), Origin::start("green-2")];
    let proxy = Proxy::setup()
        .blue(&[&blue[0], &blue[1]])
        .green(&[&green[0], &green[1]])
        .with(&json!({ "workers": 2, "upstreams": { "app": {
            "health": { "interval": format!("{}ms", INTERVAL.as_millis()), "timeout": "5s" },
            "promotion": { "gate_timeout": "60s" },
        } } }))
        .start();
    let load = Load::mixed(&proxy, 260);
    eventually("it flows", || load.requests() > 100);
    let begun = Instant::now();
    let mut switches = Vec::new();
    for nth in 0..100 {
        let (new, old, retired) =
            if nth % 2 == 0 { ("green", "blue", &blue) } else { ("blue", "green", &green) };
        switches.push(switch(&proxy, new, old));
        if nth % 5 == 0 {
            // The receipt says that nothing is on it: then nobody may notice its end.
            retired.iter().for_each(Origin::kill);
            retired.iter().for_each(Origin::revive);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let requests = load.requests() as f64;
    let report = load.stop();
    eprintln!("100 promotes in {seconds:.1} s, {:.0} requests/s", requests / seconds);
    report.expect_flawless();
    for kind in ["keep-alive", "new connection", "h2", "upload", "download", "websocket"] {
        assert!(report.count(kind) > 0, "{kind}");
    }
    assert_none_late(&report, &switches);
}

/// No request that began after a switch, and ended before the colour can have come back, was
/// answered by the old colour: a gate takes at least one interval from when it was asked for.
fn assert_none_late(report: &Report, switches: &[Switch]) {
    let back = switches
        .iter()
        .skip(1)
        .map(|next| next.asked + INTERVAL)
        .chain([Instant::now()]);
    for (switch, back) in switches.iter().zip(back) {
        let after = report.begun_after(switch.switched, switch.old);
        let late: Vec<_> = after.iter().filter(|answer| answer.ended < back).collect();
        assert!(late.is_empty(), "{} requests on {}: {late:?}", late.len(), switch.old);
    }
}

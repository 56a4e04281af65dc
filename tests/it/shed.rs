//! Too many: requests and connections over a limit are told so at once, those within it notice
//! nothing, and the operator always gets in.

use std::fs;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::eventually_some;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
use crate::harness::h2::SETTINGS;
use crate::harness::wire::Wire;

/// A client with the address 127.0.0.`host`.
fn from(host: u8, proxy: &Proxy) -> Client {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
    Client::over(Wire::plain_from(source, proxy.plain_address()).unwrap(), HOST)
}

fn shed(proxy: &Proxy) -> f64 {
    proxy
        .metrics()
        .value("proxy_requests_outcome_total", &[("outcome", "shed")])
}

fn refused(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metrics()
        .sum("proxy_connections_total", &[("outcome", outcome)])
}

/// So many requests that the target holds, each from an address of its own.
fn held(count: u8, blue: &Origin, proxy: &Proxy) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|host| from(100 + host, proxy)).collect();
    for client in &mut clients {
        client.send("GET", "/hold", &[], b"");
    }
    blue.wait_until_held(usize::from(count));
    clients
}

#[test]
fn requests_over_the_limit_of_an_address_are_shed_and_other_addresses_are_served() {
    let change = json!({ "limits": { "requests_per_address": 2 } });
    let (blue, _green, proxy) = app_with(&change);
    let mut busy = [from(7, &proxy), from(7, &proxy)];
    for client in &mut busy {
        client.send("GET", "/hold", &[], b"");
    }
    blue.wait_until_held(2);
    let mut third = from(7, &proxy);
    let answer = third.get("/").expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    from(8, &proxy).get("/").expect(200);
    eventually("it is counted", || shed(&proxy) == 1.0);
    let log = || proxy.access_log().join("\n");
    eventually("the log says why", || log().contains("\"requests_address_limit\""));
    blue.release();
    for client in &mut busy {
        client.answer().expect(200);
    }
    third.get("/").expect(200); // over the connection on which it was shed
}

#[test]
fn the_limit_of_all_requests_counts_over_addresses_and_workers() {
    let (blue, _green, proxy) = app_with(&json!({ "limits": { "requests": 8 }, "workers": 3 }));
    let mut busy = held(8, &blue, &proxy);
    for host in 1..=6 {
        from(host, &proxy).get("/").expect(503);
    }
    eventually("they are counted", || shed(&proxy) == 6.0);
    assert_eq!(proxy.in_flight("blue"), 8);
    blue.release();
    for client in &mut busy {
        client.answer().expect(200);
    }
    from(1, &proxy).get("/").expect(200);
}

#[test]
fn http2_streams_over_the_limit_are_shed_one_by_one() {
    let change = json!({ "limits": { "requests_per_address": 3 } });
    let (blue, _green, proxy) = app_with(&change);
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    for stream in [1, 3, 5] {
        frames.get(stream, HOST, "/hold").unwrap();
    }
    blue.wait_until_held(3);
    let mut answered = || {
        let head = std::iter::from_fn(|| frames.next().ok()).find(|frame| frame.kind == HEADERS);
        head.map(|head| head.stream)
    };
    assert_eq!(shed(&proxy), 0.0);
    // The other clients of this address are over its limit as well.
    proxy.http().get("/").expect(503);
    blue.release();
    let mut streams: Vec<_> = (0..3).map_while(|_| answered()).collect();
    streams.sort_unstable();
    assert_eq!(streams, [1, 3, 5]);
    let h2 = proxy.h2();
    frames.get(7, HOST, "/hold").unwrap();
    frames.get(9, HOST, "/hold").unwrap();
    frames.get(11, HOST, "/hold").unwrap();
    eventually("three are in flight", || proxy.in_flight("blue") == 3);
    let answer = h2.get("/").expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    blue.release();
    eventually("there is room", || h2.get("/").status == 200);
}

#[test]
fn a_connection_over_the_limit_is_told_503_before_it_is_closed() {
    for limit in ["connections", "connections_per_address"] {
        let (_blue, _green, proxy) = app_with(&json!({ "limits": { limit: 2 } }));
        let mut served = eventually_some("two clients are served at once", || {
            let mut two = [proxy.http(), proxy.http()];
            two.iter_mut()
                .all(|client| client.try_get("/").is_ok_and(|answer| answer.status == 200))
                .then_some(two)
        });
        let mut third = proxy.http();
        let answer = third.get("/").expect(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(third.is_closed());
        assert!(Client::tls(proxy.tls_address(), HOST).is_err(), "no word of TLS");
        for client in &mut served {
            client.get("/").expect(200);
        }
    }
}

#[test]
fn a_flood_of_connections_over_the_limit_holds_no_descriptors() {
    let (_blue, _green, proxy) = app_with(&json!({ "limits": { "connections": 2 } }));
    let mut served = eventually_some("a client is served", || {
        let mut one = proxy.http();
        one.try_get("/")
            .is_ok_and(|a| a.status == 200)
            .then_some(one)
    });
    let before = proxy.open_files();
    let flood: Vec<_> = (0..1000).map(|_| proxy.http()).collect();
    eventually("all are refused", || refused(&proxy, "refused_limit") >= 998.0);
    let after = proxy.open_files();
    assert!(after <= before + 24, "{before} open before, {after} after");
    served.get("/").expect(200);
    drop(flood);
    eventually("none is left", || proxy.open_files() <= before + 1);
}

/// Of 256 files a quarter is reserved. Clients, their requests' connections to the target and idle
/// ones would take more than the rest.
#[test]
fn traffic_cannot_take_the_descriptors_that_the_operator_needs() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let proxy = setup.files_limit(256).start();
    let mut idle: Vec<_> = (0..90).map(|_| proxy.http()).collect();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    for stream in 0..120 {
        frames.get(2 * stream + 1, HOST, "/hold").unwrap();
    }
    eventually("some are shed", || shed(&proxy) > 0.0);
    assert!(proxy.open_files() <= 256 - 64 + 16, "{} files are open", proxy.open_files());
    // Everybody who was there before is still served or told at once; and the operator gets in.
    for client in &mut idle {
        assert!(matches!(client.get("/").status, 200 | 503));
    }
    proxy
        .ctl(["promote", "green", "--drain-timeout", "300ms"])
        .expect(3);
    drop((idle, frames));
    eventually("all is well again", || {
        let mut all: Vec<_> = (0..50).map(|_| proxy.http()).collect();
        all.iter_mut().all(|client| client.get("/").status == 200)
    });
}

/// Lets the process have so many files from now on; how many it might have had.
fn files(proxy: &Proxy, soft: u64) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let maximum = line.and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
    let limit = Rlimit { current: Some(soft), maximum };
    let pid = Pid::from_raw(i32::try_from(proxy.pid()).unwrap());
    prlimit(pid, Resource::Nofile, limit)
        .unwrap()
        .current
        .unwrap()
}

#[test]
fn out_of_descriptors_it_serves_on_pauses_says_so_once_and_recovers() {
    let (_blue, _green, proxy) = app_with(&json!({}));
    let mut operator = Client::plain(proxy.admin_address(), "admin").unwrap();
    let mut served = proxy.http();
    served.get("/").expect(200);
    let mut failed = || {
        let page = operator.get("/metrics").expect(200).text();
        let page = crate::harness::metrics::Metrics::parse(&page);
        page.sum("proxy_connections_total", &[("outcome", "failed")])
    };
    assert_eq!(failed(), 0.0);
    let before = files(&proxy, 3);
    let mut waiting = proxy.http();
    waiting.send("GET", "/", &[], b"");
    eventually("accepting has failed more than once", || failed() > 3.0);
    served.get("/").expect(200);
    let said = || proxy.stderr().matches("cannot accept").count();
    assert_eq!(said(), 1, "{}", proxy.stderr());
    files(&proxy, before);
    waiting.answer().expect(200);
    eventually("it says that it is over", || {
        proxy.http().get("/").expect(200);
        proxy.stderr().contains("accepts again")
    });
    assert_eq!(said(), 1, "{}", proxy.stderr());
    assert!(failed() < 100.0, "it did not spin");
    served.wire.patience(Duration::from_secs(5));
    served.get("/").expect(200);
}

#[test]
fn what_is_shed_takes_no_room_of_others_however_long_its_client_takes_to_read_why() {
    let change = json!({ "limits": { "requests": 8, "requests_per_address": 2 } });
    let (blue, _green, proxy) = app_with(&change);
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let initial_window_size_0 = [0, 4, 0, 0, 0, 0];
    frames.send(SETTINGS, 0, 0, &initial_window_size_0).unwrap();
    for stream in (1..).step_by(2).take(2) {
        frames.get(stream, HOST, "/hold").unwrap();
    }
    blue.wait_until_held(2);
    for stream in (5..).step_by(2).take(30) {
        frames.get(stream, HOST, "/").unwrap();
    }
    eventually("all of them are shed", || shed(&proxy) == 30.0);
    from(9, &proxy).get("/").expect(200);
    blue.release();
}

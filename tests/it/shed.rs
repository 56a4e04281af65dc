//! Too many: requests over a limit are told so at once, and those within it notice nothing.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::Frames;
use crate::harness::h2::HEADERS;
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

//! What is too much gets its own status, reaches no target, and never costs the process.

use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::eventually_some;

#[test]
fn a_head_of_too_many_bytes_gets_431() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    let fits = "x".repeat(20_000);
    client
        .request("GET", "/", &[("X-Large", &fits)], b"")
        .expect(200);
    let too_large = "x".repeat(70_000);
    client
        .request("GET", "/", &[("X-Large", &too_large)], b"")
        .expect(431);
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn a_head_of_too_many_fields_gets_431() {
    let (blue, _green, proxy) = app();
    let fields = |count| vec![("X-Many", "1"); count];
    proxy
        .http()
        .request("GET", "/", &fields(90), b"")
        .expect(200);
    proxy
        .http()
        .request("GET", "/", &fields(101), b"")
        .expect(431);
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn a_request_line_that_is_too_long_gets_414() {
    let (blue, _green, proxy) = app();
    let target = |length| format!("/{}", "x".repeat(length));
    proxy.http().get(&target(15_000)).expect(200);
    proxy.http().get(&target(17_000)).expect(414);
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn the_limits_are_configurable() {
    let limits = json!({ "limits": { "request_header": "8KiB", "request_headers": 10 } });
    let (_blue, _green, proxy) = app_with(&limits);
    proxy.http().get("/").expect(200);
    proxy
        .http()
        .request("GET", "/", &[("X-Large", &"x".repeat(9000))], b"")
        .expect(431);
    proxy
        .http()
        .request("GET", "/", &vec![("X-Many", "1"); 12], b"")
        .expect(431);
}

#[test]
fn http2_heads_have_the_same_limits() {
    let (blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let fits = "x".repeat(10_000);
    h2.try_request("GET", "/", &[("x-large", &fits)], b"")
        .unwrap()
        .expect(200);
    let many = vec![("x-many", "1"); 101];
    let answer = h2.try_request("GET", "/", &many, b"");
    assert!(answer.as_ref().is_ok_and(|a| a.status == 431) || answer.is_err(), "{answer:?}");
    let target = format!("/{}", "x".repeat(17_000));
    let answer = proxy.h2().try_request("GET", &target, &[], b"");
    assert!(answer.as_ref().is_ok_and(|a| a.status == 414) || answer.is_err(), "{answer:?}");
    let too_large = "x".repeat(70_000);
    let answer = proxy
        .h2()
        .try_request("GET", "/", &[("x-large", &too_large)], b"");
    assert!(answer.as_ref().is_ok_and(|a| a.status == 431) || answer.is_err(), "{answer:?}");
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn a_body_that_is_announced_too_large_gets_413_before_any_target() {
    let (blue, _green, proxy) = app_with(&json!({ "limits": { "request_body": "1KiB" } }));
    proxy.http().post("/echo", &[0; 1024]).expect(200);
    proxy.http().post("/echo", &[0; 1025]).expect(413);
    proxy
        .h2()
        .try_request("POST", "/echo", &[], &[0; 1025])
        .unwrap()
        .expect(413);
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn a_body_that_turns_out_too_large_is_cut_short() {
    let (blue, _green, proxy) = app_with(&json!({ "limits": { "request_body": "1KiB" } }));
    let mut client = proxy.http();
    client.send_raw("POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_raw(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(2048)));
    client.answer().expect(413);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    assert!(blue.requests().len() <= 1);
}

/// Three clients at once. The connections with which the start was looked for may still wait to be
/// accepted, and count until they are seen to be gone.
fn three_served(proxy: &Proxy) -> Vec<Client> {
    eventually_some("three clients are served at once", || {
        let mut three: Vec<_> = (0..3).map(|_| proxy.http()).collect();
        three
            .iter_mut()
            .all(|client| client.try_get("/").is_ok_and(|answer| answer.status == 200))
            .then_some(three)
    })
}

#[test]
fn one_client_address_cannot_have_all_connections() {
    let (_blue, _green, proxy) = app_with(&json!({ "limits": { "connections_per_address": 3 } }));
    let mut served = three_served(&proxy);
    let mut fourth = proxy.http();
    assert!(!fourth.try_get("/").is_ok_and(|answer| answer.status == 200));
    for client in &mut served {
        client.get("/").expect(200);
    }
    served.pop();
    eventually("there is room again", || {
        proxy
            .http()
            .try_get("/")
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn beyond_the_limit_of_connections_those_there_are_go_on() {
    let (_blue, _green, proxy) = app_with(&json!({ "limits": { "connections": 3 } }));
    let mut served = three_served(&proxy);
    let mut fourth = proxy.http();
    fourth.wire.patience(std::time::Duration::from_millis(300));
    assert!(!fourth.try_get("/").is_ok_and(|answer| answer.status == 200));
    for client in &mut served {
        client.get("/").expect(200);
    }
    drop(fourth);
    served.pop();
    eventually("there is room again", || {
        proxy
            .http()
            .try_get("/")
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn the_limit_of_connections_is_lowered_to_what_the_kernel_allows_and_says_so() {
    let (blue, green) =
        (crate::harness::Origin::start("blue-1"), crate::harness::Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let proxy = setup.files_limit(256).start();
    proxy.http().get("/").expect(200);
    let stderr = proxy.stderr();
    let warned = stderr
        .lines()
        .any(|line| line.contains("connections") && line.contains("256"));
    assert!(warned, "{stderr}");
}

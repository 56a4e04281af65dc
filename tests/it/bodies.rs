//! Bodies: streamed, whole, with backpressure; what happens when one side leaves.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::Client;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::pages;

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let (_blue, _green, proxy) = app();
    let body = pages::patterned(3_000_000);
    for mut client in [proxy.http(), proxy.https()] {
        let said = client.post("/echo", &body).expect(200).json();
        assert_eq!(said["sha256"], pages::sha256(&body));
        assert!(
            client
                .get("/slow?bytes=3000000&chunk=100000&every_ms=0")
                .expect(200)
                .body
                == body
        );
    }
}

#[test]
fn a_chunked_upload_arrives_whole_with_its_trailers() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw(
        "POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum\r\n\r\n",
    );
    let body = pages::patterned(100_000);
    for part in body.chunks(999) {
        write!(client.wire, "{:x};ext=1\r\n", part.len()).unwrap();
        client.wire.write_all(part).unwrap();
        client.wire.write_all(b"\r\n").unwrap();
    }
    client.wire.write_all(b"0\r\nX-Sum: 7\r\n\r\n").unwrap();
    let said = client.answer().expect(200).json();
    assert_eq!(said["sha256"], pages::sha256(&body));
    assert!(
        said["trailers"]
            .to_string()
            .to_lowercase()
            .contains("[\"x-sum\",\"7\"]"),
        "{said}"
    );
    client.get("/").expect(200);
}

#[test]
fn a_body_flows_while_it_is_still_being_sent() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("POST", "/mirror", &[("Content-Length", "10")], b"");
    for (first, part) in [(true, b"hello"), (false, b"world")] {
        client.wire.write_all(part).unwrap();
        if first {
            assert_eq!(client.head().status().unwrap(), 200);
        }
        assert_eq!(client.line().unwrap(), "5");
        assert_eq!(client.bytes(7).unwrap(), [part.as_slice(), b"\r\n"].concat());
    }
    assert_eq!(client.line().unwrap(), "0");
}

#[test]
fn an_upload_that_the_target_does_not_read_is_held_back_not_buffered() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    let huge = 200_000_000_u64;
    client.send("POST", "/never-read", &[("Content-Length", &huge.to_string())], b"");
    client
        .wire
        .tcp()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let part = vec![0; 100_000];
    let mut taken = 0;
    while taken < huge && client.wire.write_all(&part).is_ok() {
        taken += part.len() as u64;
    }
    assert!(taken < 64_000_000, "{taken} bytes were taken");
    let memory = resident_kib(proxy.pid());
    assert!(memory < 100_000, "{memory} KiB resident");
    drop(client);
    blue.release();
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_answer_that_comes_before_the_whole_upload_reaches_the_client() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("POST", "/early-answer", &[("Content-Length", "1000000")], b"the beginning");
    client.answer().expect(413);
}

#[test]
fn a_client_that_leaves_while_it_waits_lets_go_of_the_target() {
    let (blue, _green, proxy) = app();
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/hold", &[], b"");
        blue.wait_until_held(1);
        drop(client);
        blue.wait_until_held(0);
    }
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn a_client_that_leaves_within_its_upload_lets_go_of_the_target() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("POST", "/echo", &[("Content-Length", "100000")], b"the beginning");
    eventually("the target was asked", || blue.requests().len() == 1);
    drop(client);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    let outcomes = || {
        proxy
            .metrics()
            .sum("proxy_requests_outcome_total", &[("outcome", "client_gone")])
    };
    eventually("it is booked as the client's doing", || outcomes() == 1.0);
}

#[test]
fn a_client_that_leaves_within_its_download_lets_go_of_the_target() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/endless", &[], b"");
    client.head();
    drop(client);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    let talks_on = || blue.state.told().endless_running > 0;
    eventually("the target has noticed", || !talks_on());
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let (blue, _green, proxy) = app();
    let stream = TcpStream::connect(proxy.plain_address()).unwrap();
    let mut client = Client::over(crate::harness::wire::Wire::Plain(stream), HOST);
    client.send("GET", "/", &[("Connection", "close")], b"");
    client.answer().expect(200);
    assert_eq!(blue.requests().len(), 1);
}

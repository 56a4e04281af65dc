//! HTTP/2 between the client and the proxy.

use std::thread;

use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::HEADERS;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::SETTINGS;
use crate::harness::pages;

#[test]
fn streams_of_one_connection_do_not_wait_for_each_other() {
    let (blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let held = {
        let h2 = h2.clone();
        thread::spawn(move || h2.get("/hold"))
    };
    blue.wait_until_held(1);
    h2.get("/").expect(200);
    blue.release();
    held.join().unwrap().expect(200);
}

#[test]
fn a_hundred_streams_at_once_are_all_answered() {
    let (blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let ask = |_| {
        let h2 = h2.clone();
        thread::spawn(move || h2.get("/hold"))
    };
    let waiting: Vec<_> = (0..100).map(ask).collect();
    blue.wait_until_held(100);
    blue.release();
    for answer in waiting {
        answer.join().unwrap().expect(200);
    }
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let (_blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let body = pages::patterned(1_000_000);
    let said = h2
        .try_request("POST", "/echo", &[], &body)
        .unwrap()
        .expect(200)
        .json();
    assert_eq!(said["sha256"], pages::sha256(&body));
    let answer = h2.get("/chunked?bytes=1000000&chunk=50000").expect(200);
    assert!(answer.body == body);
    let mirrored = h2
        .try_request("POST", "/mirror", &[], &body)
        .unwrap()
        .expect(200);
    assert!(mirrored.body == body);
}

#[test]
fn trailers_reach_the_client() {
    let (_blue, _green, proxy) = app();
    let h2 = proxy.h2();
    let answer = h2
        .try_request("GET", "/trailers", &[("te", "trailers")], b"")
        .unwrap();
    assert_eq!(answer.expect(200).trailer("x-sum"), Some("42"));
}

#[test]
fn the_target_is_asked_in_http_1_1_with_the_authority_as_host() {
    let (_blue, _green, proxy) = app();
    let raw = proxy.h2().get("/headers?x=%2F").expect(200).text();
    assert!(raw.starts_with("GET /headers?x=%2F HTTP/1.1\r\n"), "{raw}");
    assert!(
        raw.to_lowercase()
            .contains(&format!("\r\nhost: {HOST}\r\n")),
        "{raw}"
    );
}

#[test]
fn cookies_in_several_fields_are_joined_for_the_target() {
    let (blue, _green, proxy) = app();
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2")];
    proxy
        .h2()
        .try_request("GET", "/", &crumbs, b"")
        .unwrap()
        .expect(200);
    assert_eq!(blue.last().headers("cookie"), ["a=1; b=2"], "RFC 9113 §8.2.3");
}

#[test]
fn fields_of_a_connection_are_not_sent_on_a_stream() {
    let (_blue, _green, proxy) = app();
    let with = [("x-with", "Keep-Alive: timeout=5|Connection: X-Gone|X-Gone: 1|X-Kept: 1")];
    let answer = proxy
        .h2()
        .try_request("GET", "/with", &with, b"")
        .unwrap()
        .expect(200);
    for gone in ["keep-alive", "connection", "x-gone", "transfer-encoding", "upgrade"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
}

#[test]
fn head_and_204_have_no_body() {
    let (_blue, _green, proxy) = app();
    let h2 = proxy.h2();
    assert_eq!(
        h2.try_request("HEAD", "/", &[], b"")
            .unwrap()
            .expect(200)
            .body,
        b""
    );
    assert_eq!(h2.get("/status?code=204").expect(204).body, b"");
}

#[test]
fn a_truncated_answer_is_never_passed_off_as_whole() {
    let (_blue, _green, proxy) = app();
    let h2 = proxy.h2();
    for path in ["/truncate", "/truncate-chunked"] {
        assert!(h2.try_request("GET", path, &[], b"").is_err(), "{path}");
    }
    h2.get("/").expect(200);
}

#[test]
fn a_stream_that_the_client_resets_lets_go_of_the_target() {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/hold").unwrap();
    blue.wait_until_held(1);
    let cancel = 8_u32;
    frames
        .send(RST_STREAM, 0, 1, &cancel.to_be_bytes())
        .unwrap();
    blue.wait_until_held(0);
    frames.get(3, HOST, "/").unwrap();
    let answered = std::iter::from_fn(|| frames.next().ok()).any(|f| f.kind == HEADERS);
    assert!(answered, "the connection goes on");
}

#[test]
fn the_connection_announces_its_limit_of_streams() {
    let (_blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let settings = frames.next().unwrap();
    assert_eq!(settings.kind, SETTINGS);
    let max_concurrent_streams = [0, 3];
    let said = settings
        .payload
        .chunks(6)
        .find(|pair| pair[..2] == max_concurrent_streams);
    assert_eq!(said.map(|pair| pair[2..].to_vec()), Some(vec![0, 0, 0, 128]));
}

#[test]
fn what_breaks_the_protocol_ends_its_connection_and_no_other() {
    let (_blue, _green, proxy) = app();
    let healthy = proxy.h2();
    healthy.get("/").expect(200);
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.send(HEADERS, 4, 2, b"\xff\xff\xff\xff").unwrap();
    let ended = frames.rest();
    assert!(
        ended
            .iter()
            .any(|frame| frame.kind == GOAWAY && frame.error() != 0),
        "{ended:?}"
    );
    healthy.get("/").expect(200);
}

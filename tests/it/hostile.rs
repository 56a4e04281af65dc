//! Peers that mean harm, or have bad luck at the worst moment: nothing is lost, leaked or held.

use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Client;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::pages;
use crate::harness::script::Script;
use crate::harness::wait::pause;
use crate::harness::wire::Wire;

const DONE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";

/// Closing it will be a reset instead of an end.
fn reset(client: &Client) {
    socket2::SockRef::from(client.wire.tcp())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn an_upload_that_goes_on_after_the_whole_answer_holds_nothing() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send("POST", "/", &[("Content-Length", "1000000")], b"the beginning");
    let mut asked = script.asked();
    asked.read_until("the beginning");
    asked.say(DONE);
    client.answer().expect(413);
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    // What is left of the upload is not taken for a request, nor is its connection used again.
    let mut other = proxy.http();
    other.send("GET", "/other", &[], b"");
    assert!(
        script
            .asked()
            .read_until("\r\n\r\n")
            .starts_with("GET /other")
    );
}

#[test]
fn a_cut_reaches_a_request_that_is_still_connecting() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(
        &"127.0.0.1:0"
            .parse::<std::net::SocketAddr>()
            .unwrap()
            .into(),
    )
    .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let patience = Duration::from_millis(200);
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
        filling.push(stream);
    }
    let green = crate::harness::Origin::start("green-1");
    let proxy = crate::harness::Proxy::setup()
        .green(&[&green])
        .with(&json!({
            "upstreams": { "app": { "blue": [address.to_string()] } },
            "timeouts": { "connect": "20s" },
        }))
        .start();
    let mut client = proxy.http();
    client.send("POST", "/late", &[], b"x");
    eventually("it is in flight", || proxy.in_flight("blue") == 1);
    proxy
        .ctl(["promote", "green", "--drain-timeout", "100ms"])
        .expect(3);
    let cut = Instant::now();
    client.answer().expect(503);
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
}

#[test]
fn a_client_that_is_gone_when_its_upgrade_is_agreed_to_leaves_no_lease() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    // The early byte keeps the proxy from reading on, and so from seeing the client leave.
    client.send_raw(
        "GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nearly",
    );
    let mut asked = script.asked();
    reset(&client);
    drop(client);
    asked.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n");
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn an_upgrade_asked_for_in_http_1_0_is_not_one() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send_raw(
        "GET / HTTP/1.0\r\nHost: app.test\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n",
    );
    let mut asked = script.asked();
    let head = asked.read_until("\r\n\r\n").to_lowercase();
    assert!(!head.contains("upgrade"), "RFC 9110 §7.8: {head}");
    asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.answer().expect(200);
}

#[test]
fn a_redirect_of_a_head_request_is_booked_as_replied() {
    let (_blue, _green, proxy) = redirecting();
    let answer = proxy.http().request("HEAD", "/x", &[], b"").expect(308);
    assert!(answer.header("location").unwrap().ends_with("/x"));
    let booked = |outcome: &str| {
        proxy
            .metrics()
            .sum("proxy_requests_outcome_total", &[("outcome", outcome)])
    };
    eventually("it is booked", || booked("replied") + booked("client_gone") > 0.0);
    assert_eq!(booked("client_gone"), 0.0);
}

#[test]
fn a_redirect_of_the_asterisk_leads_to_a_place_on_the_same_host() {
    let (_blue, _green, proxy) = redirecting();
    let answer = proxy.http().request("OPTIONS", "*", &[], b"").expect(308);
    let location = answer.header("location").unwrap();
    assert!(!location.contains('*'), "{location}");
}

fn redirecting() -> (crate::harness::Origin, crate::harness::Origin, crate::harness::Proxy) {
    let (blue, green) =
        (crate::harness::Origin::start("blue-1"), crate::harness::Origin::start("green-1"));
    let mut setup = crate::harness::Proxy::setup()
        .blue(&[&blue])
        .green(&[&green]);
    setup.config["listeners"][0]["redirect_to_https"] = json!(true);
    let proxy = setup.start();
    (blue, green, proxy)
}

#[test]
fn no_spelling_of_a_forwarding_field_passes() {
    let (blue, _green, proxy) = app();
    let claims = [
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Ssl", "on"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("X-Forwarded_Proto", "ftp"),
        ("X_Real_IP", "6.6.6.6"),
        ("X-Harmless", "1"),
    ];
    proxy.http().request("GET", "/", &claims, b"").expect(200);
    let last = blue.last();
    for (name, _) in &claims[..5] {
        assert_eq!(last.header(name), None, "{name}");
    }
    assert_eq!(last.header("x-harmless"), Some("1"));
    assert_eq!(last.headers("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn a_truncated_answer_without_framing_ends_in_a_reset() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send_raw("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let mut asked = script.asked();
    asked.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let mut seen = vec![0; 4096];
    let mut length = 0;
    while !seen[..length].ends_with(b"hello") {
        length += client.wire.read(&mut seen[length..]).unwrap();
    }
    drop(asked);
    let end = client.wire.read(&mut seen);
    assert!(end.is_err(), "a clean end says that this was all: {end:?}");
}

#[test]
fn a_half_head_behind_a_request_does_not_hold_the_connection() {
    let times = json!({ "timeouts": { "request_header": "300ms", "idle": "300ms" } });
    let (_blue, _green, proxy) = app_with(&times);
    for half in ["GET / HT", "\r\n"] {
        let mut client = proxy.http();
        client.send_raw(format!("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n{half}"));
        client.answer().expect(200);
        let begun = Instant::now();
        client.rest();
        assert!(begun.elapsed() < Duration::from_secs(3), "{half:?}: it is held");
    }
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_uploading() {
    let (_blue, _green, proxy) = app_with(&json!({ "limits": { "request_body": "1MiB" } }));
    for wire in [
        Wire::plain(proxy.plain_address()).unwrap(),
        Wire::tls(proxy.tls_address(), HOST, &["http/1.1"]).unwrap(),
    ] {
        let mut client = Client::over(wire, HOST);
        client.send("POST", "/", &[("Content-Length", "4000000")], b"");
        client.wire.write_all(&vec![0; 4_000_000]).ok();
        client.answer().expect(413);
    }
}

#[test]
fn a_failure_reaches_a_client_that_is_still_uploading() {
    let (blue, _green, proxy) = app();
    blue.kill();
    let mut client = proxy.http();
    client.send("POST", "/", &[("Content-Length", "4000000")], b"");
    client.wire.write_all(&vec![0; 4_000_000]).ok();
    assert!(client.answer().status >= 502);
}

#[test]
fn a_malformed_head_is_answered_also_when_more_follows() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let mut bytes = b"GET / HTTP/1.1\r\nHost: app.test\r\nbad header\r\n\r\n".to_vec();
    bytes.resize(1_000_000, b'x');
    client.try_send_raw(&bytes).ok();
    client.answer().expect(400);
}

#[test]
fn a_body_of_a_get_is_not_lost() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw(
        "GET /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    let said = client.answer().expect(200).json();
    assert_eq!(said["sha256"], pages::sha256(b"hello"));
    drop(blue);
}

#[test]
fn a_slow_client_that_goes_on_reading_is_not_cut() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "500ms" } }));
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/slow?bytes=12000000&chunk=1000000&every_ms=0", &[], b"");
        let mut part = vec![0; 32_000];
        let mut sum = 0;
        let begun = Instant::now();
        loop {
            match client.wire.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(length) => sum += length,
            }
            if begun.elapsed() < Duration::from_secs(5) {
                pause(Duration::from_millis(20));
            }
            if sum > 12_000_000 {
                break;
            }
        }
        assert!(sum > 12_000_000, "cut after {sum} bytes and {:?}", begun.elapsed());
    }
}

#[test]
fn what_was_sent_early_passes_through_a_tunnel_in_order_and_once() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in [proxy.http(), proxy.https()] {
        client.send_raw(
            "GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nearly",
        );
        let mut asked = script.asked();
        asked.say(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\nhaste",
        );
        assert_eq!(client.head().status().unwrap(), 101);
        client.wire.write_all(b" late").unwrap();
        assert!(asked.read_until(" late").ends_with("\r\n\r\nearly late"));
        asked.say(" waste");
        assert_eq!(client.bytes(11).unwrap(), b"haste waste");
    }
}

#[test]
fn a_target_that_was_sent_trailers_is_asked_again_over_the_same_connection() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send_raw(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let mut asked = script.asked();
    asked.read_until("0\r\n");
    asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.answer().expect(200);
    client.send("GET", "/again", &[], b"");
    assert!(asked.read_until("/again").contains("GET /again"));
}

#[test]
fn a_target_that_answers_and_never_reads_costs_no_descriptor() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", proxy.pid()))
            .unwrap()
            .count()
    };
    let mut held = Vec::new();
    let before = descriptors();
    for _ in 0..10 {
        let mut client = proxy.http();
        // More than the kernel buffers for a target that does not read.
        let length = "20000000";
        client.send("POST", "/", &[("Content-Length", length)], b"");
        let mut asked = script.asked();
        client
            .wire
            .tcp()
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        client.wire.write_all(&vec![0; 20_000_000]).ok();
        asked.say(DONE);
        held.push(asked);
    }
    eventually("all connections are closed", || descriptors() <= before + 1);
}

#[test]
fn the_answer_to_head_keeps_what_the_target_said_about_length() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for (said, length) in [("Transfer-Encoding: chunked", None), ("Content-Length: 7", Some("7"))] {
        let mut client = proxy.http();
        client.send("HEAD", "/", &[], b"");
        let mut asked = script.asked();
        asked.say(&format!("HTTP/1.1 200 OK\r\n{said}\r\nConnection: close\r\n\r\n"));
        drop(asked);
        assert_eq!(client.answer().expect(200).header("content-length"), length);
    }
}

#[test]
fn an_answer_that_is_framed_twice_is_not_passed_on_as_two() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    script
        .asked()
        .say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nokHTTP/1.1");
    assert_eq!(client.answer().status, 502);
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    script.asked().say(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let answer = client.answer();
    assert!(answer.status == 502 || answer.body == b"hello", "{answer:?}");
}

#[test]
fn a_body_broken_right_behind_its_head_is_answered_with_a_502_and_nothing_else() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for begins in ["zz\r\n", "5\r\nabcde\r\nzz\r\n"] {
        let mut client = proxy.http();
        client.send("GET", "/", &[], b"");
        let mut asked = script.asked();
        asked.say(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{begins}"));
        let answer = client.answer().expect(502);
        assert!(answer.text().contains("not HTTP"), "{}", answer.text());
        assert!(asked.is_closed(), "the target is not asked anything more over it");
        // Nothing of the broken answer is left for the next one.
        client.send("GET", "/next", &[], b"");
        script
            .asked()
            .say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
        assert_eq!(client.answer().expect(200).text(), "next");
    }
}

//! Where a message ends: what the target says in one framing, the client reads in its own.

use serde_json::json;

use crate::harness::app;
use crate::harness::pages;
use crate::harness::script::Asked;
use crate::harness::script::Script;

const CHUNKED: &str = "POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn an_answer_without_framing_is_chunked_for_http_1_1() {
    let (_blue, _green, proxy) = app();
    for mut client in [proxy.http(), proxy.https()] {
        let answer = client.get("/close-delimited?bytes=200000").expect(200);
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-length"), None);
        assert!(answer.body == pages::patterned(200_000));
        client.get("/").expect(200);
    }
}

#[test]
fn an_answer_without_framing_ends_with_the_connection_for_http_1_0() {
    let (_blue, _green, proxy) = app();
    for path in ["/close-delimited?bytes=200000", "/chunked?bytes=200000", "/trailers?bytes=200000"]
    {
        for mut client in [proxy.http(), proxy.https()] {
            client.send_raw(format!(
                "GET {path} HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n"
            ));
            let answer = client.answer().expect(200);
            assert_eq!(answer.header("transfer-encoding"), None, "{path}");
            assert_eq!(answer.header("content-length"), None, "{path}");
            assert!(answer.body == pages::patterned(200_000), "{path}");
        }
    }
}

#[test]
fn http_1_0_that_asks_for_it_keeps_its_connection() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    for _ in 0..3 {
        client.send_raw("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer().expect(200);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn chunk_extensions_end_at_the_proxy() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client
        .send_raw(format!("{CHUNKED}5;name=value\r\nhello\r\n6;q=\"a\"\r\n world\r\n0;e\r\n\r\n"));
    let mut asked = script.asked();
    let came = asked.read_until("\r\n0\r\n\r\n");
    let body = came.split_once("\r\n\r\n").unwrap().1;
    assert!(!body.contains([';', '=', '"']), "{body:?}");
    assert!(body.contains(" world"), "{body:?}");
    asked.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    asked.say("5;name=value\r\nhello\r\n6;q=\"a\"\r\n world\r\n0;e\r\n\r\n");
    client.head();
    let mut lines = Vec::new();
    while lines.last().map(String::as_str) != Some("0") {
        lines.push(client.line().unwrap());
    }
    let body = lines.join("\n");
    assert!(!body.contains([';', '=', '"']) && body.contains(" world"), "{body}");
}

/// What may be a trailer field, and what may not: it would be too late to frame, to route or to ask.
const TRAILERS: &str = "X-Sum: 7\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\
                        Authorization: x\r\nX-Forwarded-For: 6.6.6.6\r\nSet-Cookie: a=b\r\n\
                        Connection: close\r\nx-sECOND: two\r\n";

fn assert_only_allowed(trailers: &[(String, String)]) {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(trailers, [text("X-Sum", "7"), text("x-sECOND", "two")]);
}

#[test]
fn trailers_that_may_pass_do_and_the_others_end_at_the_proxy() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send_raw(format!("{CHUNKED}2\r\nhi\r\n0\r\n{TRAILERS}\r\n"));
    let mut asked = script.asked();
    let came = asked.read_until("\r\n0\r\nX-Sum: 7\r\nx-sECOND: two\r\n\r\n");
    assert!(came.ends_with("2\r\nhi\r\n0\r\nX-Sum: 7\r\nx-sECOND: two\r\n\r\n"), "{came}");
    asked.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    asked.say(&format!("2\r\nhi\r\n0\r\n{TRAILERS}\r\n"));
    assert_only_allowed(&client.answer().expect(200).trailers);
    assert!(client.is_open());
}

#[test]
fn pipelined_requests_with_bodies_are_answered_in_order() {
    let (blue, _green, proxy) = app();
    let body = "x".repeat(5000);
    let mut all = String::new();
    for nth in 0..10 {
        if nth % 2 == 0 {
            let length = body.len() + nth;
            let body = format!("{body}{}", "y".repeat(nth));
            all += &format!(
                "POST /echo?n={nth} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n\r\n\
                 {body}"
            );
        } else {
            let chunked = CHUNKED.replace("/echo", &format!("/echo?n={nth}"));
            all += &format!("{chunked}{nth:x}\r\n{}\r\n0\r\n\r\n", "z".repeat(nth));
        }
    }
    for mut client in [proxy.http(), proxy.https()] {
        client.send_raw(&all);
        for nth in 0..10 {
            let length = if nth % 2 == 0 { body.len() + nth } else { nth };
            assert_eq!(client.answer().expect(200).json()["length"], length, "number {nth}");
        }
        assert!(client.is_open());
    }
    let order: Vec<_> = blue
        .requests()
        .iter()
        .map(|seen| seen.head.number("n", 99))
        .collect();
    assert_eq!(order, (0..10).chain(0..10).collect::<Vec<_>>());
}

/// The next request comes over another connection than the one of `asked`, and gets its own answer.
#[track_caller]
fn expect_apart(script: &Script, proxy: &crate::harness::Proxy, asked: &mut Asked) {
    let mut client = proxy.http();
    client.send("GET", "/next", &[], b"");
    let mut next = script.asked();
    assert!(next.read_until("\r\n\r\n").starts_with("GET /next "));
    next.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine");
    assert_eq!(client.answer().expect(200).text(), "mine");
    assert!(asked.is_closed(), "a connection that is not to be trusted stays open");
}

#[test]
fn what_a_target_sends_beyond_its_answer_reaches_nobody() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let mut client = proxy.http();
        client.send("GET", "/", &[], b"");
        let mut asked = script.asked();
        asked.say(&format!("{answer}{evil}"));
        let came = client.answer();
        assert!(came.text() == "ok" || came.status == 204, "{came:?}");
        expect_apart(&script, &proxy, &mut asked);
        client.wire.finish_sending();
        assert_eq!(client.rest(), b"", "behind {answer:?}");
    }
}

#[test]
fn what_a_target_sends_unasked_reaches_nobody() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/", &[], b"");
        let mut asked = script.asked();
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        client.answer().expect(200);
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        expect_apart(&script, &proxy, &mut asked);
        assert!(client.is_open());
    }
}

#[test]
fn a_long_answer_that_a_target_overruns_is_cut_where_it_ends() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/", &[], b"");
        let mut asked = script.asked();
        // Enough to leave by whatever way is meant for much.
        let body = "x".repeat(1_000_000);
        let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        asked.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{body}{extra}"));
        let answer = client.answer().expect(200);
        assert!(answer.body == body.as_bytes());
        expect_apart(&script, &proxy, &mut asked);
        client.wire.finish_sending();
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_connection_that_the_target_has_closed_is_not_used_again() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    for nth in 0..20 {
        // A POST must not be sent twice: over a dead connection it would be lost.
        client.send("POST", &format!("/?n={nth}"), &[], b"body");
        let mut asked = script.asked();
        assert!(
            asked
                .read_until("body")
                .starts_with(&format!("POST /?n={nth} "))
        );
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        client.answer().expect(200);
        drop(asked); // without a word before
    }
}

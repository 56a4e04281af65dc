//! Heads pass as they came: names, order, targets, in whatever pieces.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::harness::app;
use crate::harness::http::find;
use crate::harness::script::Script;
use crate::harness::wait::pause;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The names of a raw head that are among `these`, whatever their case, in order.
fn names(head: &str, these: &[&str]) -> Vec<String> {
    let known = |name: &&str| these.iter().any(|this| this.eq_ignore_ascii_case(name));
    head.split("\r\n")
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0))
        .filter(known)
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn names_reach_the_target_in_the_clients_case_and_order() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let sent = ["X-ZULU", "aCCept", "x-alpha", "X-Zulu", "COOKIE", "content-TYPE", "User-AGENT"];
    let mut client = proxy.http();
    let lines: String = sent.map(|name| format!("{name}: v\r\n")).concat();
    client.send_raw(format!("GET / HTTP/1.1\r\nhOST: app.test\r\n{lines}\r\n"));
    let mut asked = script.asked();
    let head = asked.read_until("\r\n\r\n");
    assert_eq!(names(&head, &sent), sent, "{head}");
    asked.say(OK);
    client.answer().expect(200);
}

#[test]
fn names_reach_the_client_in_the_targets_case_and_order() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let sent = ["X-ZULU", "sERVER", "x-alpha", "set-COOKIE", "X-Zulu", "Set-Cookie", "DATE"];
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/", &[("Connection", "close")], b"");
        let mut asked = script.asked();
        let lines: String = sent.map(|name| format!("{name}: v\r\n")).concat();
        asked.say(&format!(
            "HTTP/1.1 299 Odd But Ours\r\n{lines}content-LENGTH: 2\r\nConnection: close\r\n\r\nok"
        ));
        let head = client.head();
        let text = String::from_utf8(head.raw).unwrap();
        assert!(text.starts_with("HTTP/1.1 299 Odd But Ours\r\n"), "{text}");
        let all = [&sent[..], &["content-length"]].concat();
        let expected = [&sent[..], &["content-LENGTH"]].concat();
        assert_eq!(names(&text, &all), expected, "{text}");
    }
}

#[test]
fn the_request_target_reaches_the_target_byte_for_byte() {
    let (blue, _green, proxy) = app();
    let targets: [&[u8]; 8] = [
        b"/a\"b<c>d|e^f`g{h}i\\j",
        b"/%zz/%2/%",
        b"//a//../b/./c",
        b"/..//..",
        "/kö/路?ä=€".as_bytes(),
        b"/q?x=\"<>|&&=?/?%%",
        b"/;p=1,2;q/[v1]'*!$()",
        b"/%41%2f%2F%c3%a9?%0a",
    ];
    let mut client = proxy.http();
    for target in targets {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: app.test\r\n\r\n"].concat();
        client.send_raw(request);
        client.answer().expect(200);
        let line = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
        let raw = blue.last().raw;
        assert_eq!(find(&raw, &line), Some(0), "{:?}", String::from_utf8_lossy(&raw));
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_is_one_request() {
    let (blue, _green, proxy) = app();
    let request = "POST /echo HTTP/1.1\r\nHost: app.test\r\nX-Last: 1\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    for mut client in [proxy.http(), proxy.https()] {
        for _ in 0..2 {
            for byte in request.as_bytes() {
                client.wire.write_all(&[*byte]).unwrap();
                client.wire.flush().unwrap();
                pause(Duration::from_micros(300));
            }
            let said = client.answer().expect(200).json();
            assert_eq!(said["length"], 5);
            assert_eq!(said["trailers"].as_array().map(Vec::len), Some(1), "{said}");
            assert_eq!(blue.last().header("x-last"), Some("1"));
        }
    }
    assert_eq!(blue.requests().len(), 4);
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_one_answer() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nX-Last: 1\r\n\
                  Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    let mut asked = script.asked();
    asked.stream.set_nodelay(true).unwrap();
    for byte in answer.as_bytes() {
        asked.stream.write_all(&[*byte]).unwrap();
        pause(Duration::from_micros(300));
    }
    let came = client.answer().expect(200);
    assert_eq!(came.interim.len(), 1);
    assert_eq!(came.header("x-last"), Some("1"));
    assert_eq!(came.text(), "hello");
    assert_eq!(came.trailer("x-sum"), Some("7"));
}

//! Interim answers: the target's own, passed on as they come.

use serde_json::json;

use crate::harness::script::Script;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn interim_answers_reach_an_http_1_1_client_before_the_final_one() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in [proxy.http(), proxy.https()] {
        client.send("GET", "/", &[], b"");
        let mut asked = script.asked();
        asked
            .say("HTTP/1.1 103 Early Hints\r\nLINK: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n");
        let head = client.head(); // and the target has not said anything else yet
        assert_eq!(head.first_line, "HTTP/1.1 103 Early Hints");
        assert_eq!(head.fields, [("LINK".to_owned(), "</a>".to_owned())]);
        asked.say("HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(client.head().status().unwrap(), 102);
        asked.say(&format!("HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n{OK}"));
        let answer = client.answer().expect(200);
        assert_eq!(answer.interim.len(), 1);
        assert_eq!(answer.text(), "ok");
        drop(asked);
    }
}

#[test]
fn an_http_1_0_client_gets_the_final_answer_alone() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send_raw("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    script.asked().say(&format!("{hint}{hint}{OK}"));
    let answer = client.answer().expect(200);
    assert_eq!(answer.interim.len(), 0);
    assert!(client.is_closed());
}

#[test]
fn sixteen_interim_answers_pass_and_the_seventeenth_ends_in_502() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    script.asked().say(&format!("{}{OK}", hint.repeat(16)));
    assert_eq!(client.answer().expect(200).interim.len(), 16);
    client.send("GET", "/", &[], b"");
    let mut asked = script.asked();
    asked.say(&hint.repeat(17));
    let answer = client.answer().expect(502);
    assert_eq!(answer.interim.len(), 16);
    assert!(asked.is_closed(), "nobody waits for its eighteenth");
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    let mut asked = script.asked();
    asked.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\nfoo");
    client.answer().expect(502);
    assert!(asked.is_closed());
    client.send("GET", "/next", &[], b"");
    script.asked().say(OK);
    client.answer().expect(200);
}

#[test]
fn a_switch_to_a_protocol_that_was_not_offered_is_502() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let fields = [("Upgrade", "foo, BAR/2"), ("Connection", "Upgrade")];
    for (upgrade, status) in [
        ("Upgrade: h2c\r\n", 502),
        ("Upgrade: bar\r\n", 502),
        ("Upgrade: foo, h2c\r\n", 502),
        ("Upgrade:\r\n", 502),
        ("", 502),
        ("Upgrade: bar/2\r\n", 101),
    ] {
        let mut client = proxy.http();
        client.send("GET", "/", &fields, b"");
        let mut asked = script.asked();
        asked.say(&format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n{upgrade}\r\n"));
        assert_eq!(client.head().status().unwrap(), status, "{upgrade:?}");
        assert!(status == 101 || asked.is_closed(), "{upgrade:?}");
    }
}

#[test]
fn the_target_decides_whether_a_body_is_wanted() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in [proxy.http(), proxy.https()] {
        let fields = [("Expect", "100-continue"), ("Content-Length", "5")];
        client.send("POST", "/", &fields, b"");
        let mut asked = script.asked();
        let head = asked.read_until("\r\n\r\n").to_lowercase();
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        asked.say("HTTP/1.1 100 Continue\r\nX-Why: ours\r\n\r\n");
        let go_on = client.head();
        assert_eq!(go_on.status().unwrap(), 100);
        assert_eq!(go_on.header("x-why"), Some("ours"), "it is the target's own");
        client.send_raw("hello");
        assert!(asked.read_until("hello").ends_with("\r\n\r\nhello"));
        asked.say(OK);
        client.answer().expect(200);
        assert!(client.is_open());
        // The connection to the target is as good as ever.
        asked.bytes.clear();
        client.send("GET", "/next", &[], b"");
        assert!(asked.read_until("\r\n\r\n").starts_with("GET /next "));
        asked.say(OK);
        client.answer().expect(200);
        drop(asked);
    }
}

#[test]
fn a_client_that_is_refused_its_body_keeps_it_and_neither_connection_goes_on() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for status in ["417 Expectation Failed", "401 Unauthorized"] {
        let mut client = proxy.http();
        let fields = [("Expect", "100-continue"), ("Content-Length", "5")];
        client.send("POST", "/", &fields, b"");
        let mut asked = script.asked();
        asked.say(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
        let answer = client.answer();
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.interim.len(), 0, "nobody else has asked for the body");
        // Whether the body still comes cannot be known: what follows must not be read as a request.
        assert!(answer.closes());
        assert!(client.is_closed());
        assert!(asked.is_closed());
        assert!(asked.bytes.ends_with(b"\r\n\r\n"), "no byte of the body has come");
    }
}

#[test]
fn a_client_that_does_not_wait_for_the_100_is_served_all_the_same() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = proxy.http();
    let fields = [("Expect", "100-continue"), ("Content-Length", "5")];
    client.send("POST", "/", &fields, b"hello");
    let mut asked = script.asked();
    assert!(asked.read_until("\r\n\r\nhello").ends_with("\r\n\r\nhello"));
    asked.say(OK);
    client.answer().expect(200);
    assert!(client.is_open());
}

#[test]
fn a_switch_before_the_whole_request_has_come_is_502() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for body in ["Transfer-Encoding: chunked\r\n\r\n14\r\n0123", "Content-Length: 20\r\n\r\n0123"] {
        let mut client = proxy.http();
        client.send_raw(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{upgrade}{body}"));
        let mut asked = script.asked();
        asked.read_until("0123");
        asked.say(&format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n"));
        client.answer().expect(502);
        assert!(asked.is_closed());
        assert!(client.is_closed());
    }
}

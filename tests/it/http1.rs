//! HTTP/1.1 between the client and the proxy: connections, framing, what is malformed.

use crate::harness::app;
use crate::harness::pages;

#[test]
fn a_connection_serves_one_request_after_another() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.https();
    for _ in 0..5 {
        assert_eq!(client.get("/").expect(200).origin(), "blue-1");
    }
    assert!(client.is_open());
    assert_eq!(blue.requests().len(), 5);
}

#[test]
fn one_connection_to_the_target_serves_many_clients() {
    let (blue, _green, proxy) = app();
    for _ in 0..5 {
        proxy.http().get("/").expect(200);
    }
    let seen = blue.requests();
    assert!(seen.iter().all(|s| s.connection == seen[0].connection), "{seen:#?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let get = |n: u8| format!("GET /headers?n={n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.send_raw(format!("{}{}{}", get(1), get(2), get(3)));
    for n in 1..=3 {
        assert!(
            client
                .answer()
                .expect(200)
                .text()
                .starts_with(&format!("GET /headers?n={n} "))
        );
    }
}

#[test]
fn connection_close_is_honoured_in_each_direction() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let answer = client
        .request("GET", "/", &[("Connection", "close")], b"")
        .expect(200);
    assert!(answer.closes());
    assert!(client.is_closed());
    let mut client = proxy.http();
    let answer = client.get("/?close=1").expect(200);
    assert!(!answer.closes(), "the target's connection is not the client's");
    client.get("/").expect(200);
}

#[test]
fn http_1_0_is_answered_and_closed_and_never_chunked() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw("GET /chunked?bytes=5000 HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let answer = client.answer().expect(200);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert!(answer.body == pages::patterned(5000));
    assert!(client.is_closed());
}

#[test]
fn head_gets_the_head_alone() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let length = client
        .get("/")
        .expect(200)
        .header("content-length")
        .unwrap()
        .to_owned();
    let answer = client.request("HEAD", "/", &[], b"").expect(200);
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    client.get("/").expect(200);
}

#[test]
fn answers_204_and_304_have_no_body() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let answer = client.get("/status?code=204").expect(204);
    assert_eq!(answer.header("content-length"), None, "RFC 9110 §8.6");
    assert_eq!(answer.header("transfer-encoding"), None, "RFC 9112 §6.1");
    let answer = client.get("/status?code=304").expect(304);
    assert_eq!(answer.header("etag"), Some("\"x\""));
    client.get("/").expect(200);
}

#[test]
fn chunked_and_close_delimited_answers_keep_the_connection_open() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    assert!(client.get("/chunked?bytes=9000&chunk=11").expect(200).body == pages::patterned(9000));
    let answer = client.get("/close-delimited?bytes=9000").expect(200);
    assert!(answer.body == pages::patterned(9000));
    client.get("/").expect(200);
}

#[test]
fn trailers_reach_the_client() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let answer = client
        .request("GET", "/trailers", &[("TE", "trailers")], b"")
        .expect(200);
    assert_eq!(answer.trailer("x-sum"), Some("42"));
    assert_eq!(answer.trailer("x-second"), Some("two"));
}

#[test]
fn a_truncated_answer_is_never_passed_off_as_whole() {
    let (_blue, _green, proxy) = app();
    for path in ["/truncate", "/truncate-chunked"] {
        let mut client = proxy.http();
        let answer = client.try_get(path);
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    let fields = [("Expect", "100-continue"), ("Content-Length", "5")];
    client.send("POST", "/echo", &fields, b"");
    assert_eq!(client.head().status().unwrap(), 100);
    client.send_raw("hello");
    assert_eq!(client.answer().expect(200).json()["length"], 5);
    client.get("/").expect(200);
}

#[test]
fn an_interim_answer_does_not_stand_for_the_final_one() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    assert!(
        client
            .get("/early-hints")
            .expect(200)
            .text()
            .starts_with("hello")
    );
    client.get("/").expect(200);
}

#[test]
fn malformed_requests_get_400_and_reach_no_target() {
    let (blue, _green, proxy) = app();
    let bad = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nBad Name: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: app.test\r\n\r\n",
        "not http at all\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ];
    for request in bad {
        let mut client = proxy.http();
        client.send_raw(request);
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 501 | 505), "{request:?}: {}", answer.status);
        // What is whole but wrong may leave the connection open; what is not HTTP must not.
        let whole = request.starts_with("GET / HTTP/1.1\r\n") && !request.contains("Bad Name");
        assert!(whole || client.is_closed(), "{request:?} leaves the connection open");
    }
    assert_eq!(blue.requests().len(), 0);
    let errors = proxy.metrics().sum("proxy_client_errors_total", &[]);
    assert!(errors >= bad.len() as f64, "{errors} client errors counted");
}

#[test]
fn a_request_with_two_framings_is_refused_or_forwarded_with_one() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw(
        "POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 30\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    );
    let status = client.answer().status;
    assert!(matches!(status, 200 | 400), "{status}");
    assert!(client.is_closed() || status == 400, "RFC 9112 §6.1: close after such a request");
    for seen in blue.requests() {
        assert_ne!(seen.head.path(), "/smuggled");
        let framings = seen.head.headers("content-length").len()
            + seen.head.headers("transfer-encoding").len();
        assert!(framings < 2, "{:?}", seen.head);
    }
}

#[test]
fn connect_is_refused() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send_raw("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n");
    let status = client.answer().status;
    assert!(matches!(status, 400 | 405), "{status}");
    assert_eq!(blue.requests().len(), 0);
}

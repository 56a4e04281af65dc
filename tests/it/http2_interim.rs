//! Interim answers over HTTP/2: the target's own, passed on as they come.

use std::future::Future;
use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use h2::client;
use h2::client::ResponseFuture;
use h2::client::SendRequest;
use http::Method;
use http::Request;
use http::Response;
use serde_json::json;
use tokio::time::timeout;

use crate::harness::Proxy;
use crate::harness::config::HOST;
use crate::harness::h2::DATA;
use crate::harness::h2::Frames;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::dial;
use crate::harness::h2::tests_runtime;
use crate::harness::script::Script;
use crate::harness::wait::DEADLINE;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLINK: </a>; rel=preload\r\nConnection: X-Hop\r\n\
    X-Hop: 1\r\nContent-Length: 7\r\n\r\n";

/// Waits for something of the client, but not for ever.
#[track_caller]
fn wait<T>(what: impl Future<Output = T>) -> T {
    tests_runtime()
        .block_on(async { timeout(DEADLINE, what).await })
        .expect("in time")
}

/// A client that shows interim answers.
fn connect(proxy: &Proxy) -> SendRequest<Bytes> {
    wait(async {
        let tls = dial(proxy.tls_address(), HOST).await.unwrap();
        let (sender, connection) = client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    })
}

fn request(method: Method, fields: &[(&str, &str)]) -> Request<()> {
    let uri = format!("https://{HOST}/");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The next interim answer: `None` once the final one has come.
fn interim(answer: &mut ResponseFuture) -> Option<Response<()>> {
    wait(poll_fn(|cx| answer.poll_informational(cx))).map(Result::unwrap)
}

fn text(answer: Response<RecvStream>) -> String {
    let mut body = answer.into_body();
    wait(async {
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            text.extend_from_slice(&data.unwrap());
        }
        String::from_utf8(text).unwrap()
    })
}

#[test]
fn interim_answers_reach_an_http_2_client_before_the_final_one() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    let (mut answer, _) = client
        .send_request(request(Method::GET, &[]), true)
        .unwrap();
    let mut asked = script.asked();
    asked.say(HINT);
    let hint = interim(&mut answer).unwrap(); // and the target has not said anything else yet
    assert_eq!(hint.status(), 103);
    let fields: Vec<_> = hint.headers().iter().collect();
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert_eq!(hint.headers()["link"], "</a>; rel=preload");
    asked.say("HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(interim(&mut answer).unwrap().status(), 102);
    asked.say(OK);
    let last = wait(answer).unwrap();
    assert_eq!(last.status(), 200);
    assert_eq!(text(last), "ok");
}

#[test]
fn sixteen_interim_answers_pass_over_http_2_and_the_seventeenth_ends_in_502() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    for (hints, status) in [(16, 200), (17, 502)] {
        let (answer, _) = client
            .send_request(request(Method::GET, &[]), true)
            .unwrap();
        let mut asked = script.asked();
        asked.say(&format!("{}{OK}", HINT.repeat(hints)));
        assert_eq!(wait(answer).unwrap().status(), status);
    }
}

#[test]
fn a_client_of_http_2_that_expects_it_is_told_by_its_target_to_go_on() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    let expecting = request(Method::POST, &[("expect", "100-continue"), ("content-length", "5")]);
    let (mut answer, mut body) = client.send_request(expecting, false).unwrap();
    let mut asked = script.asked();
    let head = asked.read_until("\r\n\r\n").to_lowercase();
    assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
    asked.say("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(interim(&mut answer).unwrap().status(), 100);
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert!(asked.read_until("hello").ends_with("\r\n\r\nhello"));
    asked.say(OK);
    assert_eq!(wait(answer).unwrap().status(), 200);
}

#[test]
fn a_client_of_http_2_that_is_refused_before_it_sends_its_content_keeps_it() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    let expecting = request(Method::POST, &[("expect", "100-continue"), ("content-length", "5")]);
    let (answer, _body) = client.send_request(expecting, false).unwrap();
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let mut asked = script.asked();
    asked.say(refusal);
    assert_eq!(wait(answer).unwrap().status(), 417);
    assert!(asked.is_closed(), "it may wait for the content");
    let (answer, _) = client
        .send_request(request(Method::GET, &[]), true)
        .unwrap();
    script.asked().say(OK);
    assert_eq!(wait(answer).unwrap().status(), 200);
}

#[test]
fn who_has_no_content_to_send_expects_nothing() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    let expecting = request(Method::GET, &[("expect", "100-continue")]);
    let (answer, _) = client.send_request(expecting, true).unwrap();
    let mut asked = script.asked();
    assert!(
        !asked
            .read_until("\r\n\r\n")
            .to_lowercase()
            .contains("expect")
    );
    asked.say(OK);
    assert_eq!(wait(answer).unwrap().status(), 200);
}

#[test]
fn an_expectation_that_nobody_knows_is_refused_over_http_2_as_over_http_1() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let mut client = connect(&proxy);
    let expecting = request(Method::GET, &[("expect", "the unexpected")]);
    let (answer, _) = client.send_request(expecting, true).unwrap();
    assert_eq!(wait(answer).unwrap().status(), 417);
    let (answer, _) = client
        .send_request(request(Method::GET, &[]), true)
        .unwrap();
    script.asked().say(OK);
    assert_eq!(wait(answer).unwrap().status(), 200);
}

#[test]
fn an_upload_that_its_client_resets_is_never_whole_for_its_target() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    let (no_error, cancel) = (0_u32, 8_u32);
    for code in [no_error, cancel] {
        let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
        frames.post(1, HOST, "/").unwrap();
        frames.send(DATA, 0, 1, b"half").unwrap();
        let mut asked = script.asked();
        assert!(asked.read_until("half\r\n").ends_with("half\r\n"));
        frames.send(RST_STREAM, 0, 1, &code.to_be_bytes()).unwrap();
        assert!(asked.is_closed());
        let came = String::from_utf8(asked.bytes).unwrap();
        assert!(came.ends_with("half\r\n"), "{code}: {came}");
    }
}

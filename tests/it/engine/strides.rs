//! Large bodies that come fast are taken in long strides, and are passed on as they come all the same.

use std::io::Read;
use std::io::Write;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::script::Asked;
use crate::harness::script::Script;

/// What comes at once: enough for its pace to be seen.
const FAST: usize = 3_000_000;

/// What comes by itself: less than any stride.
const LITTLE: usize = 10;

/// A body's course.
const COURSE: [usize; 6] = [FAST, LITTLE, LITTLE, FAST, LITTLE, FAST];

/// How soon a little must have been passed on: a tick of the proxy's clock, and much more for a busy
/// machine. Whoever waited for a whole stride would wait for ever.
const SOON: Duration = Duration::from_secs(3);

fn length() -> usize {
    COURSE.iter().sum()
}

/// Each piece of the body is read before the next one is written.
#[track_caller]
fn follow(from: &mut (impl Write + Send), to: &mut impl Read) {
    for piece in COURSE {
        let begun = Instant::now();
        let mut got = vec![0; piece];
        thread::scope(|scope| {
            scope.spawn(|| {
                from.write_all(&vec![b'x'; piece]).unwrap();
                from.flush().unwrap();
            });
            to.read_exact(&mut got).expect("it is passed on");
        });
        assert!(got.iter().all(|byte| *byte == b'x'));
        assert!(piece > LITTLE || begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

/// A small request and its answer, over the same two connections.
#[track_caller]
fn small(client: &mut Client, asked: &mut Asked) {
    client.send("GET", "/small", &[], b"");
    asked.bytes.clear();
    let head = asked.read_until("\r\n\r\n");
    assert!(head.starts_with("GET /small"), "{head}");
    asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().expect(200).text(), "ok");
}

#[test]
fn an_upload_that_comes_fast_and_then_trickles_is_passed_on_as_it_comes() {
    for client in [Proxy::http, Proxy::https] {
        let script = Script::start();
        let (_green, proxy) = script.behind(&json!({}));
        let mut client = client(&proxy);
        client.send("POST", "/up", &[("Content-Length", &length().to_string())], b"");
        let mut asked = script.asked();
        let head = asked.read_until("\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n"), "nothing of the body has been sent");
        follow(&mut client.wire, &mut asked.stream);
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        client.answer().expect(200);
        small(&mut client, &mut asked);
    }
}

#[test]
fn a_download_that_comes_fast_and_then_trickles_is_passed_on_as_it_comes() {
    for client in [Proxy::http, Proxy::https] {
        let script = Script::start();
        let (_green, proxy) = script.behind(&json!({}));
        let mut client = client(&proxy);
        client.send("GET", "/down", &[], b"");
        let mut asked = script.asked();
        asked.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length()));
        client.head();
        follow(&mut asked.stream, &mut client.wire);
        small(&mut client, &mut asked);
    }
}

//! Large bodies: whole, in memory that does not grow with them, and let go of when one side is gone.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;
use crate::harness::pages::Large;
use crate::harness::script::Script;
use crate::harness::wait::pause;

const LARGE: usize = 300_000_000;

/// Far less than the body, far more than the proxy needs for one.
const MORE_KIB: u64 = 16 * 1024;

const PART: usize = 1_000_000;

fn ways(proxy: &Proxy) -> [Client; 2] {
    [proxy.http(), proxy.https()]
}

/// Reads on until `until` bytes of the body have come.
#[track_caller]
fn read(client: &mut Client, large: &mut Large, until: usize) {
    while large.came < until {
        let part = client.bytes(PART.min(until - large.came)).unwrap();
        large.check(&part);
    }
}

#[test]
fn a_large_download_arrives_whole_and_costs_no_memory() {
    let (_blue, _green, proxy) = app();
    for mut client in ways(&proxy) {
        client.get("/large?bytes=5000000").expect(200);
        let before = proxy.resident_kib();
        client.send("GET", &format!("/large?bytes={LARGE}"), &[], b"");
        assert_eq!(client.head().header("content-length"), Some("300000000"));
        let mut large = Large::new();
        for tenth in 1..=10 {
            read(&mut client, &mut large, LARGE / 10 * tenth);
            let now = proxy.resident_kib();
            assert!(now < before + MORE_KIB, "{before} KiB before, {now} after {}", large.came);
        }
        client.get("/").expect(200);
    }
}

#[test]
fn a_large_upload_arrives_whole_and_costs_no_memory() {
    let (blue, _green, proxy) = app();
    for mut client in ways(&proxy) {
        client.post("/", &vec![b'x'; 5_000_000]).expect(200);
        let before = proxy.resident_kib();
        client.send("POST", "/count", &[("Content-Length", &LARGE.to_string())], b"");
        let mut large = Large::new();
        let mut most = 0;
        while large.came < LARGE {
            let part = large.next(LARGE - large.came);
            client.wire.write_all(part).unwrap();
            most = most.max(proxy.resident_kib());
        }
        client.wire.flush().unwrap();
        assert_eq!(client.answer().expect(200).text(), format!("{LARGE} bytes\n"));
        assert!(most < before + MORE_KIB, "{before} KiB before, {most} within");
    }
    assert_eq!(blue.executions("none"), 0);
}

/// A target's connection that is written to until somebody stops it.
struct Flood {
    sent: Arc<AtomicUsize>,
    end: JoinHandle<io::Result<()>>,
}

impl Flood {
    /// Answers with a [`LARGE`] body, and closes.
    fn over(mut stream: TcpStream) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let end = thread::spawn(move || {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")?;
            let mut large = Large::new();
            while large.came < LARGE {
                let part = large.next((LARGE - large.came).min(64 * 1024));
                stream.write_all(part)?;
                count.store(large.came, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { sent, end }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

#[test]
fn a_client_that_stops_reading_holds_its_target_back_and_may_go_on() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in ways(&proxy) {
        let before = proxy.resident_kib();
        client.send("GET", "/", &[("Connection", "close")], b"");
        let stream = script.asked().stream;
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let flood = Flood::over(stream);
        client.head();
        let mut large = Large::new();
        read(&mut client, &mut large, 10 * PART);
        eventually("the target is held back", || {
            let before = flood.sent();
            pause(Duration::from_millis(200));
            flood.sent() == before
        });
        // What is under way fills the buffers of four sockets, and what the proxy itself holds.
        assert!(flood.sent() < LARGE / 2, "{} bytes were taken", flood.sent());
        let now = proxy.resident_kib();
        assert!(now < before + MORE_KIB, "{before} KiB before, {now} KiB within");
        read(&mut client, &mut large, LARGE);
        assert!(client.is_closed());
        flood.end.join().unwrap().unwrap();
    }
}

#[test]
fn a_target_that_dies_within_its_answer_ends_the_clients_connection() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for (linger, mut client) in [None, Some(Duration::ZERO)]
        .into_iter()
        .flat_map(|linger| ways(&proxy).map(|client| (linger, client)))
    {
        client.send("GET", "/", &[], b"");
        let mut stream = script.asked().stream;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        client.head();
        let (mut sent, mut came) = (Large::new(), Large::new());
        while sent.came < 5 * PART {
            stream.write_all(sent.next(100_000)).unwrap();
            read(&mut client, &mut came, sent.came);
        }
        // With None it closes, with zero it resets.
        socket2::SockRef::from(&stream).set_linger(linger).unwrap();
        drop(stream);
        assert!(client.bytes(1).is_err(), "it was passed off as whole");
        eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    }
}

#[test]
fn a_client_that_leaves_within_its_answer_lets_go_of_the_target() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in ways(&proxy) {
        client.send("GET", "/", &[], b"");
        let flood = Flood::over(script.asked().stream);
        client.head();
        read(&mut client, &mut Large::new(), 3 * PART);
        drop(client);
        assert!(flood.end.join().unwrap().is_err(), "the target could say everything");
        eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    }
}

#[test]
fn a_target_that_dies_within_an_upload_ends_it() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in ways(&proxy) {
        client.send("POST", "/", &[("Content-Length", &LARGE.to_string())], b"");
        let mut stream = script.asked().stream;
        client.wire.write_all(Large::new().next(PART)).unwrap();
        stream.read_exact(&mut [0; 200_000]).unwrap();
        drop(stream);
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 502 "), "{rest}");
        eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    }
}

#[test]
fn a_client_that_leaves_within_its_upload_leaves_no_whole_request_behind() {
    let script = Script::start();
    let (_green, proxy) = script.behind(&json!({}));
    for mut client in ways(&proxy) {
        client.send_raw(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3d090\r\n",
        );
        let mut asked = script.asked();
        client.wire.write_all(Large::new().next(200_000)).unwrap();
        client.wire.flush().unwrap();
        drop(client);
        assert!(asked.is_closed());
        assert!(!asked.bytes.ends_with(b"0\r\n\r\n"), "it was passed off as whole");
        eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    }
}

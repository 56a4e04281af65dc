//! Much of everything: ten thousand connections, bodies larger than any memory should be.

use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;
use crate::harness::pages::Large;
use crate::harness::wire::Wire;

const ENOUGH_FILES: u64 = 40_000;

/// Lets this process, and those that it starts, open so many files if root runs it, else as many as
/// it may.
pub fn raise_files() -> u64 {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(ENOUGH_FILES);
    let wanted = most.max(ENOUGH_FILES);
    let limit = |files| Rlimit { current: Some(files), maximum: Some(files) };
    if setrlimit(Resource::Nofile, limit(wanted)).is_ok() {
        return wanted;
    }
    setrlimit(Resource::Nofile, limit(most)).unwrap();
    most
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Reads one small answer; its first line.
fn answer(mut stream: &TcpStream) -> String {
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..length]);
    text.lines().next().unwrap_or_default().to_owned()
}

fn open(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("proxy_connections", &[])
}

#[test]
fn ten_thousand_idle_connections_cost_little_memory_and_no_time() {
    let many = (raise_files() / 2 - 200).min(10_000);
    let (_blue, _green, proxy) = app();
    proxy.http().get("/").expect(200);
    let before = proxy.resident_kib();
    let connect = |number| {
        // No more of one address than its limit.
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number / 900).unwrap());
        let wire = Wire::plain_from(IpAddr::V4(source), proxy.plain_address()).unwrap();
        wire.tcp().try_clone().unwrap()
    };
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..many {
        idle.push(connect(number));
        // Some at once, so that neither side waits for the other each time.
        if number % 50 == 49 {
            let last = &idle[idle.len() - 50..];
            last.iter()
                .for_each(|mut client| client.write_all(ASK).unwrap());
            last.iter()
                .for_each(|client| assert!(answer(client).starts_with("HTTP/1.1 200 ")));
        }
    }
    eventually("all are open", || open(&proxy) >= many as f64);
    let each = (proxy.resident_kib() - before) * 1024 / many;
    assert!(each < 8 * 1024, "{each} bytes for each of {many}");
    // Whoever comes now waits for none of them, and each of them is still served.
    let begun = Instant::now();
    proxy.https().get("/").expect(200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    for mut client in idle.iter().step_by(500) {
        client.write_all(ASK).unwrap();
        assert!(answer(client).starts_with("HTTP/1.1 200 "));
    }
    drop(idle);
    eventually("none is left", || open(&proxy) < 10.0);
}

const TWO_GB: usize = 2_000_000_000;

/// Far less than the body.
const MORE_KIB: u64 = 16 * 1024;

#[test]
fn two_gigabytes_down_arrive_whole_in_flat_memory() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.get("/large?bytes=5000000").expect(200);
    let before = proxy.resident_kib();
    client.send("GET", &format!("/large?bytes={TWO_GB}"), &[], b"");
    client.head();
    let (mut large, mut most) = (Large::new(), 0);
    while large.came < TWO_GB {
        let part = client.bytes(5_000_000.min(TWO_GB - large.came)).unwrap();
        large.check(&part);
        most = most.max(proxy.resident_kib());
    }
    assert!(most < before + MORE_KIB, "{before} KiB before, {most} within");
    client.get("/").expect(200);
}

#[test]
fn two_gigabytes_up_arrive_whole_in_flat_memory() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.post("/", &vec![b'x'; 5_000_000]).expect(200);
    let before = proxy.resident_kib();
    client.send("POST", "/count", &[("Content-Length", &TWO_GB.to_string())], b"");
    let (mut large, mut most, mut pieces) = (Large::new(), 0, 0);
    while large.came < TWO_GB {
        client
            .wire
            .write_all(large.next(TWO_GB - large.came))
            .unwrap();
        pieces += 1;
        if pieces % 20 == 0 {
            most = most.max(proxy.resident_kib());
        }
    }
    assert_eq!(client.answer().expect(200).text(), format!("{TWO_GB} bytes\n"));
    assert!(most < before + MORE_KIB, "{before} KiB before, {most} within");
}

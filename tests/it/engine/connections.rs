//! Connections in numbers: what an idle one costs, who serves it, and what a flood of new ones does.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;

/// Room for many connections, and time for each: those that come first wait for those that come last.
fn many() -> Value {
    json!({
        "limits": { "connections": 9000, "connections_per_address": 9000 },
        "timeouts": { "tls_handshake": "5m", "request_header": "5m", "idle": "5m" },
    })
}

/// Tells whoever goes on until then that it is over, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// KiB of the proxy's memory for each of `count` idle connections that have been used.
fn cost_of_one(proxy: &Proxy, count: usize, connect: impl Fn() -> Client) -> f64 {
    let used = || {
        let mut client = connect();
        client.get("/").expect(200);
        client
    };
    // What the first ones need, later ones find there.
    let first: Vec<_> = std::iter::repeat_with(used).take(100).collect();
    let before = proxy.resident_kib();
    let idle: Vec<_> = std::iter::repeat_with(used).take(count).collect();
    let after = proxy.resident_kib();
    drop((first, idle));
    (after - before) as f64 / count as f64
}

#[test]
fn an_idle_plain_connection_costs_less_than_8_kib() {
    let (_blue, _green, proxy) = app_with(&many());
    let cost = cost_of_one(&proxy, 5000, || proxy.http());
    assert!(cost < 8.0, "{cost} KiB");
}

#[test]
fn an_idle_tls_connection_costs_less_than_16_kib() {
    let (_blue, _green, proxy) = app_with(&many());
    let cost = cost_of_one(&proxy, 5000, || proxy.https());
    assert!(cost < 16.0, "{cost} KiB");
}

/// How often each worker thread has gone to sleep, which it does between two requests.
fn rests(proxy: &Proxy) -> Vec<u64> {
    let mut threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", proxy.pid()))
        .unwrap()
        .map(|thread| thread.unwrap().path())
        .filter(|thread| {
            fs::read_to_string(thread.join("comm"))
                .unwrap()
                .starts_with("worker")
        })
        .collect();
    threads.sort();
    let count = |status: String| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    threads
        .iter()
        .map(|thread| count(fs::read_to_string(thread.join("status")).unwrap()))
        .collect()
}

#[test]
fn new_connections_are_spread_over_the_workers() {
    let (_blue, _green, proxy) = app_with(&json!({ "workers": 4 }));
    let before = rests(&proxy);
    assert_eq!(before.len(), 4);
    let requests: u64 = 1000;
    for _ in 0..requests {
        proxy.http().get("/").expect(200);
    }
    for (worker, (before, after)) in before.iter().zip(rests(&proxy)).enumerate() {
        let rested = after - before;
        // A quarter of the requests is a worker's fair share.
        assert!(rested >= requests / 8, "worker {worker} took part {rested} times");
    }
}

#[test]
fn a_flood_of_new_connections_costs_no_request() {
    let (_blue, _green, proxy) = app_with(&many());
    let (plain, tls) = (proxy.plain_address(), proxy.tls_address());
    let over = AtomicBool::new(false);
    let steady = |mut ask: Box<dyn FnMut() + Send>| {
        let over = &over;
        move || {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                ask();
                count += 1;
            }
            count
        }
    };
    let fresh = |address: SocketAddr| Client::plain(address, HOST).unwrap();
    let (mut kept, mut kept_tls) = (fresh(plain), Client::tls(tls, HOST).unwrap());
    let served: Vec<usize> = thread::scope(|scope| {
        let threads = [
            scope.spawn(steady(Box::new(move || drop(kept.get("/").expect(200))))),
            scope.spawn(steady(Box::new(move || drop(kept_tls.get("/").expect(200))))),
            scope.spawn(steady(Box::new(move || drop(fresh(plain).get("/").expect(200))))),
        ];
        let steady_end = Over(&over);
        let flood: Vec<_> = (0..2000)
            .map(|nth| fresh(if nth % 2 == 0 { plain } else { tls }))
            .collect();
        for mut client in flood.into_iter().step_by(2) {
            client.get("/").expect(200);
        }
        drop(steady_end);
        threads.map(|thread| thread.join().unwrap()).to_vec()
    });
    assert!(served.iter().all(|count| *count > 10), "{served:?}");
    let open = || {
        proxy
            .metrics()
            .sum("proxy_connections", &[("listener", &plain.to_string())])
    };
    eventually("none of them is left", || open() == 0.0);
}

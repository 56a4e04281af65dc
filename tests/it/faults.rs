//! Whatever can go wrong with a target, case by case: what the client gets, what is sent again and
//! what never is, counted by targets that remember what they executed.

mod budget;
mod dying;
mod ejection;
mod names;
mod one_by_one;
mod unreachable;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::config::HOST;
use crate::harness::pages;

/// Two blue targets, and a proxy that asks their health so seldom that only requests find out.
fn unprobed(change: &Value) -> (Origin, Origin, Origin, Proxy) {
    let (one, two, green) =
        (Origin::start("blue-1"), Origin::start("blue-2"), Origin::start("green-1"));
    let proxy = Proxy::setup()
        .blue(&[&one, &two])
        .green(&[&green])
        .with(&json!({ "upstreams": { "app": {
            "health": { "interval": "60s" }, "promotion": { "gate_timeout": "100s" },
        } } }))
        .with(change)
        .start();
    (one, two, green, proxy)
}

/// What clients saw that asked one request after the other.
struct Asked {
    /// By id: the status, or none where no whole answer came.
    answers: HashMap<String, Option<u16>>,
}

/// Clients that ask, each request with an id of its own, until they are stopped.
struct Askers {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<HashMap<String, Option<u16>>>>,
}

impl Askers {
    /// So many clients, each with one request at a time, over kept connections.
    fn start(proxy: &Proxy, clients: usize, method: &'static str) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = proxy.plain_address();
        let client = |number: usize| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || ask(address, &format!("{method}-{number}"), &stop, &asked))
        };
        let threads = (0..clients).map(client).collect();
        Self { stop, asked, threads }
    }

    /// Waits until so many more requests have been asked.
    fn wait_for(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        let came = || self.asked.load(Ordering::Relaxed) >= until;
        crate::harness::eventually(&format!("{more} more requests"), came);
    }

    fn stop(self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = HashMap::new();
        for thread in self.threads {
            answers.extend(thread.join().unwrap());
        }
        Asked { answers }
    }
}

fn ask(
    address: SocketAddr,
    name: &str,
    stop: &AtomicBool,
    asked: &AtomicUsize,
) -> HashMap<String, Option<u16>> {
    let method = name.split('-').next().unwrap();
    let mut answers = HashMap::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{}", answers.len());
        let mut client = kept
            .take()
            .unwrap_or_else(|| Client::plain(address, HOST).unwrap());
        let answer = client.try_request(method, &format!("/?id={id}"), &[], b"");
        answers.insert(id, answer.as_ref().ok().map(|answer| answer.status));
        if answer.is_ok_and(|answer| !answer.closes()) {
            kept = Some(client);
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    answers
}

impl Asked {
    /// Every request was answered with 200.
    #[track_caller]
    fn expect_flawless(&self) {
        let failed: Vec<_> = self
            .answers
            .iter()
            .filter(|(_, status)| **status != Some(200))
            .take(5)
            .collect();
        assert!(failed.is_empty(), "of {}: {failed:?}", self.answers.len());
        assert!(!self.answers.is_empty());
    }

    /// No request was executed more often than once, by whichever of these targets; each that was
    /// answered with 200 was.
    #[track_caller]
    fn expect_once_at_most(&self, origins: &[&Origin]) {
        let all: Vec<_> = origins
            .iter()
            .map(|origin| origin.all_executions())
            .collect();
        for (id, status) in &self.answers {
            let executed: usize = all.iter().filter_map(|of_one| of_one.get(id)).sum();
            assert!(executed <= 1, "{id} was executed {executed} times, and got {status:?}");
            assert!(executed == 1 || *status != Some(200), "{id} was answered and not executed");
        }
    }
}

/// How often a request with this id was executed, by both together.
fn executed(origins: [&Origin; 2], id: &str) -> usize {
    origins.iter().map(|origin| origin.executions(id)).sum()
}

/// A series of the live colour, over all its targets.
fn count(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(name, &[("colour", "blue")])
}

/// The line of the access log about the request with this id, once it is there.
fn line_of(proxy: &Proxy, id: &str) -> Value {
    let with_id = format!("id={id}");
    crate::harness::eventually_some("its line in the log", || {
        let lines = proxy.access_log();
        let line = lines.iter().find(|line| line.contains(&with_id))?;
        serde_json::from_str(line).ok()
    })
}

/// An upload that cannot be in one piece with its head.
fn upload() -> Vec<u8> {
    pages::patterned(300_000)
}

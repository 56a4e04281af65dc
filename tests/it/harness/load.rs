//! Mixed traffic at a steady rate: every kind of client at once, each answer checked to the byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::client::Client;
use super::config::HOST;
use super::h2::H2;
use super::http::Answer;
use super::pages;
use super::proxy::Proxy;
use super::wait::pause;
use super::wire::Wire;
use super::ws::WebSocket;

/// Traffic that flows until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Where the traffic goes.
#[derive(Debug, Clone, Copy)]
struct Ways {
    plain: SocketAddr,
    tls: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicUsize,
    report: Mutex<Report>,
}

/// What the traffic saw.
#[derive(Debug, Default)]
pub struct Report {
    pub answers: Vec<Answered>,
    /// Kind and reason of every request that failed, wrong bytes included.
    pub failures: Vec<String>,
    /// Kept-alive connections that were closed under a client.
    pub closed: usize,
}

/// One good answer.
#[derive(Debug, Clone)]
pub struct Answered {
    pub kind: &'static str,
    pub begun: Instant,
    pub ended: Instant,
    pub origin: String,
}

/// One client's way to make a request: who answered, or why it failed.
type Turn = Box<dyn FnMut() -> Result<String, String> + Send>;

impl Load {
    /// All kinds of clients, together about `rate` requests a second.
    pub fn mixed(proxy: &Proxy, rate: u32) -> Self {
        Self::to(proxy.plain_address(), Some(proxy.tls_address()), rate)
    }

    /// To any address: without TLS only the plain kinds.
    pub fn to(plain: SocketAddr, tls: Option<SocketAddr>, rate: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let mut load = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let ways = Ways { plain, tls };
        // Shares of the rate in percent; downloads and WebSockets last, and so come seldom.
        load.client("keep-alive", rate * 35 / 100, kept_alive(ways, &shared));
        load.client("new connection", rate * 15 / 100, fresh(ways.plain));
        load.client("upload", rate * 9 / 100, uploads(ways, &shared));
        load.client("download", rate * 3 / 100, downloads(ways, &shared));
        load.client("websocket", rate * 3 / 100, websockets(ways));
        if let Some(tls) = tls {
            load.client("new TLS connection", rate * 5 / 100, fresh_tls(tls));
            load.client("h2", rate * 20 / 100, h2(tls, &shared));
            load.client("h2 upload", rate * 10 / 100, h2_uploads(tls, &shared));
        }
        load
    }

    fn client(&mut self, kind: &'static str, rate: u32, mut turn: Turn) {
        let every = Duration::from_secs(1) / rate.max(1);
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::spawn(move || {
            let mut due = Instant::now();
            while !shared.stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                shared.requests.fetch_add(1, Ordering::Relaxed);
                let result = turn();
                let ended = Instant::now();
                let mut report = shared.report.lock().unwrap();
                match result {
                    Ok(origin) => report.answers.push(Answered { kind, begun, ended, origin }),
                    Err(why) => report.failures.push(format!("{kind}: {why}")),
                }
                drop(report);
                due = (due + every).max(Instant::now() - every * 10);
                pause(due.saturating_duration_since(Instant::now()));
            }
        }));
    }

    /// Requests begun so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Lets every client finish what it does, and reports.
    pub fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.shared.report.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Report {
    /// Nothing failed, no byte was wrong, no connection was closed under a client.
    #[track_caller]
    pub fn expect_flawless(&self) {
        let first: Vec<_> = self.failures.iter().take(5).collect();
        let count = self.failures.len();
        assert!(count == 0, "{count} of {} failed: {first:#?}", self.answers.len() + count);
        assert_eq!(self.closed, 0, "kept-alive connections closed under a client");
        assert!(!self.answers.is_empty(), "no traffic at all");
    }

    /// Requests of a colour that began after `instant`.
    pub fn begun_after(&self, instant: Instant, colour: &str) -> Vec<&Answered> {
        let is_late = |a: &&Answered| a.begun > instant && a.origin.starts_with(colour);
        self.answers.iter().filter(is_late).collect()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.answers
            .iter()
            .filter(|answered| answered.kind == kind)
            .count()
    }
}

fn connect(ways: Ways) -> Result<Client, String> {
    let client = match ways.tls {
        Some(tls) => Client::tls(tls, HOST),
        None => Client::plain(ways.plain, HOST),
    };
    client.map_err(|e| format!("connect: {e}"))
}

/// Requests on one connection that stays open; a connection lost is counted and replaced.
fn persistent(
    ways: Ways,
    shared: &Arc<Shared>,
    mut ask: impl FnMut(&mut Client) -> Result<Answer, String> + Send + 'static,
) -> Turn {
    let shared = Arc::clone(shared);
    let mut kept: Option<Client> = None;
    Box::new(move || {
        let mut client = match kept.take() {
            Some(client) => client,
            None => connect(ways)?,
        };
        let answer = ask(&mut client);
        if answer.as_ref().is_ok_and(|answer| !answer.closes()) {
            kept = Some(client);
        } else {
            shared.report.lock().unwrap().closed += 1;
        }
        answer.map(|answer| answer.origin())
    })
}

fn kept_alive(ways: Ways, shared: &Arc<Shared>) -> Turn {
    persistent(ways, shared, |client| good(client.try_get("/load").map_err(|e| e.to_string())?))
}

fn uploads(ways: Ways, shared: &Arc<Shared>) -> Turn {
    let body = pages::patterned(70_000);
    persistent(ways, shared, move |client| {
        let answer = client.try_request("POST", "/echo", &[], &body);
        uploaded(good(answer.map_err(|e| e.to_string())?)?, &body)
    })
}

fn downloads(ways: Ways, shared: &Arc<Shared>) -> Turn {
    let expected = pages::patterned(20_000);
    persistent(ways, shared, move |client| {
        let answer = client.try_get("/slow?bytes=20000&chunk=2000&every_ms=10");
        let answer = good(answer.map_err(|e| e.to_string())?)?;
        if answer.body == expected { Ok(answer) } else { Err("wrong bytes".to_owned()) }
    })
}

fn fresh(plain: SocketAddr) -> Turn {
    Box::new(move || {
        let mut client = Client::plain(plain, HOST).map_err(|e| format!("connect: {e}"))?;
        let answer = client.try_get("/load").map_err(|e| e.to_string())?;
        good(answer).map(|answer| answer.origin())
    })
}

fn fresh_tls(tls: SocketAddr) -> Turn {
    Box::new(move || {
        let mut client = Client::tls(tls, HOST).map_err(|e| format!("connect: {e}"))?;
        let answer = client.try_get("/load").map_err(|e| e.to_string())?;
        good(answer).map(|answer| answer.origin())
    })
}

fn websockets(ways: Ways) -> Turn {
    Box::new(move || {
        let wire = match ways.tls {
            Some(tls) => Wire::tls(tls, HOST, &["http/1.1"]),
            None => Wire::plain(ways.plain),
        };
        let wire = wire.map_err(|e| format!("connect: {e}"))?;
        let mut socket = WebSocket::open(wire, HOST)?;
        for text in ["one", "two", "three"] {
            let back = socket.echo(text)?;
            if back != text {
                return Err(format!("wrong bytes: {back:?} for {text:?}"));
            }
            pause(Duration::from_millis(20));
        }
        let origin = socket.origin.clone();
        socket.close()?;
        Ok(origin)
    })
}

fn h2(tls: SocketAddr, shared: &Arc<Shared>) -> Turn {
    h2_requests(tls, shared, |h2| good(h2.try_request("GET", "/load", &[], b"")?))
}

fn h2_uploads(tls: SocketAddr, shared: &Arc<Shared>) -> Turn {
    let body = pages::patterned(70_000);
    h2_requests(tls, shared, move |h2| {
        uploaded(good(h2.try_request("POST", "/echo", &[], &body)?)?, &body)
    })
}

fn h2_requests(
    tls: SocketAddr,
    shared: &Arc<Shared>,
    ask: impl Fn(&H2) -> Result<Answer, String> + Send + 'static,
) -> Turn {
    let shared = Arc::clone(shared);
    let mut kept: Option<H2> = None;
    Box::new(move || {
        let connection = match kept.take() {
            Some(connection) => connection,
            None => H2::connect(tls, HOST).map_err(|e| format!("connect: {e}"))?,
        };
        let answer = ask(&connection);
        if connection.is_closed() {
            shared.report.lock().unwrap().closed += 1;
        } else {
            kept = Some(connection);
        }
        answer.map(|answer| answer.origin())
    })
}

fn good(answer: Answer) -> Result<Answer, String> {
    if answer.status == 200 {
        return Ok(answer);
    }
    Err(format!("{} {}", answer.status, answer.text()))
}

fn uploaded(answer: Answer, body: &[u8]) -> Result<Answer, String> {
    let said = answer.json();
    if said["sha256"] == pages::sha256(body) && said["length"] == body.len() {
        return Ok(answer);
    }
    Err(format!("wrong bytes: {said}"))
}

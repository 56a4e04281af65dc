//! A target in this process, on a port of its own, that does what a test tells it to: it gets sick,
//! stalls, dies, comes back, and remembers everything it was asked.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use socket2::SockRef;

use super::address;
use super::http::Head;
use super::serve;
use super::sick::Sick;
use super::wait;

/// How the health path answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// With this status; a 3xx points to `/`, which answers 200.
    Status(u16),
    /// Not at all: the connection stays open.
    Stall,
    /// With something that is not HTTP.
    Garbage,
    /// 200 as often as this, then the whole target is gone.
    DieAfter(usize),
    /// 503 as often as this, then 200.
    GoodAfter(usize),
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub head: Head,
    /// Which of the connections it came on, from 1.
    pub connection: usize,
    /// Which request of that connection it was, from 1.
    pub nth: usize,
}

/// A target. Ends with the test.
#[derive(Debug)]
pub struct Origin {
    pub name: String,
    pub address: SocketAddr,
    pub state: Arc<State>,
}

/// What the connections of one target share.
#[derive(Debug)]
pub struct State {
    pub name: String,
    pub told: Mutex<Told>,
    seen: Mutex<Vec<Seen>>,
    executions: Mutex<HashMap<String, usize>>,
    connections: Mutex<HashMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    served: AtomicUsize,
    listener: Mutex<Option<TcpListener>>,
    holds: Mutex<Holds>,
    changed: Condvar,
}

/// What the test told the target to do.
#[derive(Debug, Clone)]
pub struct Told {
    pub health: Health,
    pub probes: usize,
    /// The `X-Build` of every answer.
    pub build: Option<String>,
    /// Close a connection, without announcing it, after so many answers.
    pub close_after: Option<usize>,
    /// Read the second request of each connection, then reset without an answer.
    pub die_on_reuse: bool,
    /// How many answers of `/endless` still flow.
    pub endless_running: usize,
    /// The page that answers every request but the probes, whatever it asks for.
    pub page: Option<&'static str>,
    /// The first so many requests take so long: a JVM that has just started.
    pub cold: Option<(usize, Duration)>,
    /// What is wrong with it.
    pub sick: Option<Sick>,
    /// Requests that it was sick for.
    pub sick_requests: usize,
}

/// Requests that wait at `/hold`.
#[derive(Debug, Default)]
struct Holds {
    came: usize,
    released: usize,
    waiting: usize,
    killed: usize,
}

impl Origin {
    /// A healthy target; `blue-1` is a target of the blue colour.
    pub fn start(name: &str) -> Self {
        let told = Told {
            health: Health::Status(200),
            probes: 0,
            build: None,
            close_after: None,
            die_on_reuse: false,
            endless_running: 0,
            page: None,
            cold: None,
            sick: None,
            sick_requests: 0,
        };
        let state = Arc::new(State {
            name: name.to_owned(),
            told: Mutex::new(told),
            seen: Mutex::default(),
            executions: Mutex::default(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            listener: Mutex::new(None),
            holds: Mutex::default(),
            changed: Condvar::new(),
        });
        let address = format!("{}:{}", address::own(), address::TARGET_PORT);
        let address = address.parse().unwrap();
        let origin = Self { name: name.to_owned(), address, state };
        origin.listen_on(TcpListener::bind(origin.address).unwrap());
        origin
    }

    /// As [`Self::start`], with the build that it presents in `X-Build`.
    pub fn of_build(name: &str, build: &str) -> Self {
        let origin = Self::start(name);
        origin.tell(|told| told.build = Some(build.to_owned()));
        origin
    }

    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.state.told.lock().unwrap());
    }

    pub fn health(&self, health: Health) {
        self.tell(|told| {
            told.health = health;
            told.probes = 0;
        });
    }

    /// How many health requests came since the health was last set.
    pub fn probes(&self) -> usize {
        self.state.told.lock().unwrap().probes
    }

    /// New connections are refused; those that exist go on.
    pub fn refuse(&self) {
        if let Some(listener) = self.state.listener.lock().unwrap().take() {
            SockRef::from(&listener)
                .shutdown(std::net::Shutdown::Both)
                .ok();
        }
    }

    /// Like SIGKILL: the listener and all connections are gone at once.
    pub fn kill(&self) {
        self.state.kill();
        let is_gone = || TcpStream::connect(self.address).is_err();
        wait::eventually("a killed target refuses connections", is_gone);
    }

    /// Listens again, on the same port, after [`Self::kill`] or [`Self::refuse`].
    pub fn revive(&self) {
        let listener = wait::eventually_some("the port is free again", || {
            TcpListener::bind(self.address).ok()
        });
        self.listen_on(listener);
    }

    fn listen_on(&self, listener: TcpListener) {
        *self.state.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
        let state = Arc::clone(&self.state);
        thread::spawn(move || accept_all(&state, &listener));
    }

    /// How many requests wait at `/hold`.
    pub fn held(&self) -> usize {
        self.state.holds.lock().unwrap().waiting
    }

    /// Waits until exactly `count` requests wait at `/hold`.
    #[track_caller]
    pub fn wait_until_held(&self, count: usize) {
        wait::eventually(&format!("{count} requests held at {}", self.name), || {
            self.held() == count
        });
    }

    /// Lets every request that waits at `/hold` go on.
    pub fn release(&self) {
        let mut holds = self.state.holds.lock().unwrap();
        holds.released = holds.came;
        self.state.changed.notify_all();
    }

    /// Every request but the probes, in the order they came.
    pub fn requests(&self) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.head.path() != "/health")
            .cloned()
            .collect()
    }

    /// Every probe.
    pub fn probe_requests(&self) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.head.path() == "/health")
            .cloned()
            .collect()
    }

    /// Requests (not probes) that came after `instant`.
    pub fn requests_begun_after(&self, instant: Instant) -> Vec<Seen> {
        self.requests()
            .into_iter()
            .filter(|seen| seen.at > instant)
            .collect()
    }

    /// The last request's head, as it came.
    #[track_caller]
    pub fn last(&self) -> Head {
        self.requests().pop().expect("no request came").head
    }

    /// How often the request with `?id=…` was executed.
    pub fn executions(&self, id: &str) -> usize {
        self.state
            .executions
            .lock()
            .unwrap()
            .get(id)
            .copied()
            .unwrap_or(0)
    }

    /// Which requests with `?id=…` were executed, and how often.
    pub fn all_executions(&self) -> HashMap<String, usize> {
        self.state.executions.lock().unwrap().clone()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.kill();
    }
}

impl State {
    pub fn kill(&self) {
        if let Some(listener) = self.listener.lock().unwrap().take() {
            SockRef::from(&listener)
                .shutdown(std::net::Shutdown::Both)
                .ok();
        }
        for stream in self.connections.lock().unwrap().values() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        let mut holds = self.holds.lock().unwrap();
        holds.killed = holds.came;
        self.changed.notify_all();
    }

    /// Takes as long as one more request does while it is cold.
    pub fn warm_up(&self) {
        let nth = self.served.fetch_add(1, Ordering::Relaxed);
        if let Some((_, takes)) = self.told().cold.filter(|(cold, _)| nth < *cold) {
            wait::pause(takes);
        }
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    pub fn remember(&self, seen: Seen) {
        let id = seen.head.parameter("id").map(ToOwned::to_owned);
        self.seen.lock().unwrap().push(seen);
        if let Some(id) = id {
            *self.executions.lock().unwrap().entry(id).or_default() += 1;
        }
    }

    /// Waits until the test releases this request, or the peer goes away.
    pub fn hold(&self, peer: &TcpStream) -> io::Result<()> {
        self.wait_unless(|| is_gone(peer))
    }

    /// Waits until the test releases this request, whatever the peer does.
    pub fn wait_for_release(&self) -> io::Result<()> {
        self.wait_unless(|| false)
    }

    fn wait_unless(&self, gone: impl Fn() -> bool) -> io::Result<()> {
        let mut holds = self.holds.lock().unwrap();
        holds.came += 1;
        let mine = holds.came;
        holds.waiting += 1;
        let verdict = loop {
            if mine <= holds.killed || gone() {
                break Err(io::ErrorKind::ConnectionAborted.into());
            }
            if mine <= holds.released {
                break Ok(());
            }
            holds = self
                .changed
                .wait_timeout(holds, Duration::from_millis(20))
                .unwrap()
                .0;
        };
        holds.waiting -= 1;
        verdict
    }
}

/// Listens on a Unix socket and passes every connection on to `target`.
pub fn relay_unix(path: &Path, target: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        while let Ok((unix, _)) = listener.accept() {
            let Ok(tcp) = TcpStream::connect(target) else { continue };
            let (mut from, mut to) = (unix.try_clone().unwrap(), tcp.try_clone().unwrap());
            thread::spawn(move || {
                io::copy(&mut from, &mut to).ok();
                to.shutdown(std::net::Shutdown::Write).ok();
            });
            let (mut from, mut to) = (tcp, unix);
            thread::spawn(move || {
                io::copy(&mut from, &mut to).ok();
                to.shutdown(std::net::Shutdown::Write).ok();
            });
        }
    });
}

/// Whether the peer has closed: nothing to read, for ever.
fn is_gone(peer: &TcpStream) -> bool {
    peer.set_nonblocking(true).ok();
    let peeked = peer.peek(&mut [0; 1]);
    peer.set_nonblocking(false).ok();
    match peeked {
        Ok(read) => read == 0,
        Err(e) => e.kind() != io::ErrorKind::WouldBlock,
    }
}

fn accept_all(state: &Arc<State>, listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        if state.listener.lock().unwrap().is_none() {
            return; // accepted between the death and its effect
        }
        let number = state.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        stream.set_nodelay(true).ok();
        let Ok(copy) = stream.try_clone() else { return };
        state.connections.lock().unwrap().insert(number, copy);
        let state = Arc::clone(state);
        thread::spawn(move || {
            serve::connection(&state, stream, number).ok();
            state.connections.lock().unwrap().remove(&number);
        });
    }
}

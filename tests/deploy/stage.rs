//! A proxyd in front of the two hosts, blue being live, and a visitor who notices every failure.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::SystemTime;

use crate::hosts::Ended;
use crate::hosts::Hosts;
use crate::hosts::PORTS;
use crate::hosts::SLOW_BEGUN;
use crate::hosts::SLOW_MAY_END;

const DEADLINE: Duration = Duration::from_secs(30);

/// The proxy and what stands behind it.
pub(crate) struct Stage {
    pub(crate) hosts: Hosts,
    proxyd: Child,
    listener: SocketAddr,
}

/// Asks for a page again and again, each time over a new connection.
pub(crate) struct Visitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

/// A guard that somebody else holds, until it is dropped.
pub(crate) struct Held(Child);

impl Stage {
    /// Blue runs `momo:1` on both hosts and is live; green runs nowhere.
    pub(crate) fn with_live_blue() -> Self {
        let hosts = Hosts::new();
        hosts.run("blue", "momo:1");
        fs::write(hosts.file("proxy.yaml"), config(&hosts)).unwrap();
        let log = fs::File::create(hosts.file("proxyd.log")).unwrap();
        let proxyd = Command::new(env!("CARGO_BIN_EXE_proxyd"))
            .args(["run", "--config"])
            .arg(hosts.file("proxy.yaml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let listener = ([127, 0, 0, 1], 0).into();
        let mut stage = Self { hosts, proxyd, listener };
        stage.listener = stage.wait_until_it_serves();
        stage
    }

    fn socket(&self) -> PathBuf {
        self.hosts.file("control.sock")
    }

    fn wait_until_it_serves(&mut self) -> SocketAddr {
        eventually("proxyd serves", || {
            if let Some(ended) = self.proxyd.try_wait().unwrap() {
                let log = fs::read_to_string(self.hosts.file("proxyd.log")).unwrap();
                panic!("proxyd ended with {ended:?}:\n{log}");
            }
            let status = self.status()?;
            let address = status["listeners"][0]["address"].as_str()?;
            let address: SocketAddr = address.parse().ok()?;
            TcpStream::connect(address).ok().map(|_| address)
        })
    }

    fn status(&self) -> Option<serde_json::Value> {
        let ended = self.ctl(&["status", "--json"]);
        serde_json::from_str(&ended.output).ok()
    }

    /// `proxyctl` by hand.
    pub(crate) fn ctl(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxyctl"));
        Ended::of(command.arg("--socket").arg(self.socket()).args(words))
    }

    /// The live colour.
    pub(crate) fn live(&self) -> String {
        let status = self.status().expect("a proxyd that answers");
        status["upstreams"]["app"]["live"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// `examples/deploy.sh` with these settings on top of the usual ones.
    pub(crate) fn deploy(&self, settings: &[(&str, &str)]) -> Ended {
        self.hosts.deploy(&self.socket(), settings)
    }

    pub(crate) fn visitor(&self) -> Visitor {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, address) = (Arc::clone(&stop), self.listener);
        let thread = thread::spawn(move || {
            let (mut made, mut failed) = (0, 0);
            while !told.load(Ordering::Relaxed) {
                made += 1;
                failed += usize::from(visit(address, "/").is_none());
            }
            (made, failed)
        });
        Visitor { stop, thread }
    }

    /// A request that is being answered by the live colour; it ends with [`let_it_end`](Self::let_it_end).
    pub(crate) fn slow_request(&self) -> JoinHandle<Option<()>> {
        let address = self.listener;
        let request = thread::spawn(move || visit(address, "/slow"));
        let begun = self.hosts.file(SLOW_BEGUN);
        eventually("the slow request reaches its target", || begun.exists().then_some(()));
        request
    }

    pub(crate) fn let_it_end(&self) {
        fs::write(self.hosts.file(SLOW_MAY_END), "").unwrap();
    }

    /// Somebody else's guard on `colour`; returns once it is held.
    pub(crate) fn hold_guard(&self, colour: &str) -> Held {
        let mut child = Command::new(env!("CARGO_BIN_EXE_proxyctl"))
            .arg("--socket")
            .arg(self.socket())
            .args(["guard", colour, "--", "sh", "-c", "echo held; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(child.stdout.as_mut().unwrap());
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Held(child)
    }

    pub(crate) fn stop_proxy(&mut self) {
        self.proxyd.kill().unwrap();
        self.proxyd.wait().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.hosts.file("proxyd.log")).unwrap_or_default();
            eprintln!("--- proxyd said:\n{log}---\n{:#?}", self.hosts.calls());
        }
        drop(self.proxyd.kill());
        drop(self.proxyd.wait());
    }
}

impl Visitor {
    /// Ends the visit, of which no request may have failed.
    #[track_caller]
    pub(crate) fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (made, failed) = self.thread.join().unwrap();
        assert!(made > 10, "a visit of {made} requests tells nothing");
        assert_eq!(failed, 0, "of {made} requests failed");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // its `cat` ends, and with it the guard
        drop(self.0.wait());
    }
}

/// Returns what `found` finds; panics with `what` at the deadline.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = SystemTime::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(began.elapsed().unwrap() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::yield_now();
    }
}

/// One request; `None` unless it is answered with a whole 200.
fn visit(address: SocketAddr, path: &str) -> Option<()> {
    let mut connection = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let whole = answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n\r\nmomo:");
    whole.then_some(())
}

fn config(hosts: &Hosts) -> String {
    let pool = |port: u16| {
        hosts
            .addresses
            .each_ref()
            .map(|host| format!("{host}:{port}"))
    };
    let [(_, blue), (_, green)] = PORTS;
    let config = serde_json::json!({
        "listeners": [{ "bind": "127.0.0.1:0" }],
        "routes": [{ "upstream": "app" }],
        "upstreams": {
            "app": {
                "blue": pool(blue),
                "green": pool(green),
                "health": {
                    "path": "/actuator/health", "interval": "50ms", "timeout": "1s",
                    "build_header": "X-Build",
                },
                "promotion": { "gate_timeout": "10s", "drain_timeout": "10s" },
            },
        },
        "workers": 1,
        "control": { "socket": hosts.file("control.sock") },
        "access_log": "off",
        "state_dir": hosts.file("state"),
    });
    config.to_string() // JSON is YAML
}

//! A small world for tests of the control plane: origins that answer what they are told to, a file,
//! a state directory, and a supervisor that runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::config;
use crate::control::command::Promote;
use crate::control::command::Rollback;
use crate::control::command::event::Event;
use crate::control::journal::Journal;
use crate::control::supervisor::Parts;
use crate::control::supervisor::build;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::handle::Handle;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::net::listen::Listeners;
use crate::observe::metrics::Metrics;
use crate::sync::lease::Lease;
use crate::sync::shutdown::Shutdown;
use crate::sync::shutdown::Stage;

/// Whoever runs the tests.
pub(in crate::control) const ME: Caller = Caller { uid: 1000, gid: 1000, pid: Some(7) };

/// A target whose status can be changed while it runs; 0 never answers.
pub(in crate::control) struct Origin {
    pub(in crate::control) address: SocketAddr,
    status: Arc<AtomicU16>,
}

impl Origin {
    pub(in crate::control) async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(status));
        let shared = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, status }
    }

    pub(in crate::control) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Release);
    }
}

async fn answer(mut stream: TcpStream, status: Arc<AtomicU16>) {
    let mut head = [0; 2048];
    let _read = stream.read(&mut head).await;
    let status = status.load(Ordering::Acquire);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    drop(stream.write_all(answer.as_bytes()).await);
}

/// A running supervisor and everything under it.
pub(in crate::control) struct World {
    pub(in crate::control) dir: TempDir,
    pub(in crate::control) file: Value,
    pub(in crate::control) handle: Handle,
    metrics: Metrics,
    pub(in crate::control) shutdown: Shutdown,
    pub(in crate::control) running: JoinHandle<()>,
}

/// An upstream of the file: quick probes, the given targets.
pub(in crate::control) fn upstream(blue: &[&Origin], green: &[&Origin]) -> Value {
    let list = |origins: &[&Origin]| -> Vec<String> {
        origins
            .iter()
            .map(|origin| origin.address.to_string())
            .collect()
    };
    json!({
        "blue": list(blue),
        "green": list(green),
        "health": { "interval": "50ms", "timeout": "500ms" },
        "promotion": { "gate_timeout": "20s", "drain_timeout": "20s" },
    })
}

/// A folder with a file in it that has these upstreams.
pub(in crate::control) fn ground(upstreams: &Value) -> (TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    let first = upstreams
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let file = json!({
        "listeners": [{ "bind": "127.0.0.1:0" }],
        "routes": [{ "upstream": first }],
        "upstreams": upstreams,
        "control": { "socket": dir.path().join("run/control.sock") },
        "state_dir": dir.path().join("state"),
    });
    std::fs::write(dir.path().join("proxy.yaml"), file.to_string()).unwrap();
    (dir, file)
}

/// What a supervisor is built from, on such a folder.
pub(in crate::control) fn parts(dir: &TempDir) -> Parts {
    let loaded = config::load(&dir.path().join("proxy.yaml")).unwrap();
    let (journal, recovered) = Journal::open(&dir.path().join("state")).unwrap();
    Parts {
        loaded,
        journal,
        recovered,
        listeners: Listeners::new(1),
        metrics: Metrics::new("test"),
        workers: 1,
        watch: None,
    }
}

impl World {
    pub(in crate::control) async fn with(upstreams: Value) -> Self {
        let (dir, file) = ground(&upstreams);
        Self::start(dir, file).await
    }

    /// A supervisor on a file and a state directory that exist.
    pub(in crate::control) async fn start(dir: TempDir, file: Value) -> Self {
        let parts = parts(&dir);
        let metrics = parts.metrics.clone();
        let (supervisor, handle, _published) = build(parts).await.unwrap();
        let shutdown = Shutdown::default();
        let running = tokio::spawn(supervisor.run(shutdown.stopping()));
        let world = Self { dir, file, handle, metrics, shutdown, running };
        world.until(|world| world.handle.is_ready()).await;
        world
    }

    /// Stops the supervisor at once, as a crash would; what is on the disk stays.
    pub(in crate::control) async fn kill(self) -> (TempDir, Value) {
        self.shutdown.advance(Stage::Now);
        self.running.await.unwrap();
        (self.dir, self.file)
    }

    pub(in crate::control) fn write_file(&self, file: &Value) {
        std::fs::write(self.path(), file.to_string()).unwrap();
    }

    pub(in crate::control) fn path(&self) -> PathBuf {
        self.dir.path().join("proxy.yaml")
    }

    /// Waits for something that must come true.
    pub(in crate::control) async fn until(&self, come_true: impl Fn(&Self) -> bool) {
        let wait = async {
            while !come_true(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("it never came true");
    }

    /// What the page of metrics says of this series.
    pub(in crate::control) fn measured(&self, series: &str) -> f64 {
        let page = self.metrics.render(&self.handle.snapshot());
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        line.expect(series).trim().parse().unwrap()
    }

    pub(in crate::control) fn generation(&self) -> u64 {
        self.handle.snapshot().generation
    }

    pub(in crate::control) fn live(&self, upstream: &str) -> Colour {
        let snapshot = self.handle.snapshot();
        snapshot.upstream(upstream).unwrap().live().unwrap()
    }

    pub(in crate::control) fn pool(&self, upstream: &str, colour: Colour) -> Arc<Pool> {
        let snapshot = self.handle.snapshot();
        Arc::clone(snapshot.upstream(upstream).unwrap().pool(colour).unwrap())
    }

    /// A request in flight on the live pool.
    pub(in crate::control) fn request(&self, upstream: &str) -> Lease<Arc<Pool>> {
        let snapshot = self.handle.snapshot();
        let pool = Arc::clone(snapshot.upstream(upstream).unwrap().pick());
        Lease::take(pool, 0).unwrap()
    }

    pub(in crate::control) async fn promote(&self, colour: &str) -> EventStream {
        self.handle.promote(to(colour), ME).await.unwrap()
    }

    pub(in crate::control) async fn rollback(&self) -> EventStream {
        let request = Rollback { wait: true, ..Rollback::default() };
        self.handle.rollback(request, ME).await.unwrap()
    }
}

/// A promote of the only upstream that waits to the end.
pub(in crate::control) fn to(colour: &str) -> Promote {
    Promote { colour: colour.to_owned(), wait: true, ..Promote::default() }
}

impl EventStream {
    /// The last event.
    pub(in crate::control) async fn last(&mut self) -> Event {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        last.expect("no event at all")
    }

    /// Reads on until such an event comes.
    pub(in crate::control) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream ended before");
            if wanted(&event) {
                return event;
            }
        }
    }
}

//! Start and stop, in order. What can fail, fails before anything is served; what ends, ends after
//! whatever still needs it.

use std::fmt;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::file;
use crate::config::file::Loaded;
use crate::config::watch::Watch;
use crate::control::admin;
use crate::control::journal::Journal;
use crate::control::socket::ControlSocket;
use crate::control::supervisor;
use crate::control::supervisor::Parts;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::handle::Handle;
use crate::daemon::account::Ours;
use crate::daemon::signals::Signals;
use crate::daemon::signals::Wish;
use crate::model::problem::Problem;
use crate::model::settings::Settings;
use crate::net::limits;
use crate::net::listen::Listeners;
use crate::observe::access::AccessLog;
use crate::observe::metrics::Metrics;
use crate::proxy::worker;
use crate::proxy::worker::Admission;
use crate::proxy::worker::OpenListeners;
use crate::proxy::worker::WorkerParts;
use crate::sync::shutdown::Shutdown;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

/// File descriptors left to probes, logs, the control socket and what libraries open.
const RESERVED_FILES: u64 = 128;

/// How long the control plane may take to say goodbye once nothing is served any more.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why the daemon does not run.
#[derive(Debug)]
pub enum Refused {
    /// The file, or what it asks for, at its place in the file.
    Problems(Vec<Problem>),
    /// Something else: one line, and a hint after it where one is known.
    Because(String),
}

/// A daemon at work.
pub struct Running {
    handle: Handle,
    data_plane: Shutdown,
    control_plane: Shutdown,
    workers: Vec<thread::JoinHandle<()>>,
    supervisor: JoinHandle<()>,
    doors: JoinSet<()>,
    access_log: Arc<AccessLog>,
    metrics: Metrics,
}

impl Refused {
    fn because(what: impl fmt::Display) -> Self {
        Self::Because(what.to_string())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Because(what) => write!(f, "proxyd: {what}"),
        }
    }
}

/// The control plane's runtime: one thread, the caller's.
///
/// # Errors
///
/// The kernel gives no event queue.
pub fn runtime() -> Result<Runtime, Refused> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Refused::because)
}

/// Runs the daemon that the file at `path` describes, until a signal ends it.
///
/// # Errors
///
/// [`Refused`] when it cannot start.
pub fn run(path: &Path) -> Result<(), Refused> {
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(path));
    // A resolver that hangs sits on a thread of its own, which must not hold up the end.
    runtime.shutdown_timeout(GOODBYE);
    ended
}

async fn serve(path: &Path) -> Result<(), Refused> {
    let mut signals = Signals::listen().map_err(Refused::because)?;
    let running = tokio::select! {
        started = start(path) => started?,
        () = ended_early(&mut signals) => return Ok(()),
    };
    running.until_stopped(&mut signals).await;
    Ok(())
}

/// A stop that comes before the start is complete: nothing is served yet, so nothing is lost.
async fn ended_early(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Wish::Stop | Wish::StopNow => return,
            Wish::Reload | Wish::Reopen => {}
        }
    }
}

/// Starts the daemon that the file at `path` describes. It serves when this returns, but for the
/// public listeners, which open after one round of probes.
///
/// # Errors
///
/// [`Refused`] when it cannot start; nothing is left behind.
pub async fn start(path: &Path) -> Result<Running, Refused> {
    let loaded = file::load(path).map_err(Refused::Problems)?;
    let settings = loaded.settings.clone();
    let files = limits::raise_nofile().map_err(Refused::because)?;
    let workers = settings.workers.unwrap_or_else(cores);
    let admission = Arc::new(Admission::new(ceiling(&settings, files), workers));
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let ours = Ours::note(&settings);
    let control_socket = ControlSocket::bind(&settings.control).map_err(Refused::because)?;
    let admin = settings
        .admin
        .map(|address| bind_admin(address, &loaded))
        .transpose()?;
    let (journal, recovered) = Journal::open(&settings.state_dir).map_err(Refused::because)?;
    let listeners = Listeners::new(workers);
    let open = listeners.subscribe();
    let watch = Some(Watch::new());
    let parts =
        Parts { loaded, journal, recovered, listeners, metrics: metrics.clone(), workers, watch };
    let (supervisor, handle, snapshots) =
        supervisor::build(parts).await.map_err(Refused::Problems)?;
    if let Some(user) = &settings.user {
        ours.become_account(user).map_err(Refused::because)?;
    }
    let access_log = AccessLog::open(&settings.access_log, metrics.clone());
    let access_log = Arc::new(access_log.map_err(Refused::because)?);
    let (data_plane, control_plane) = (Shutdown::default(), Shutdown::default());
    let part = |index| WorkerParts {
        index,
        snapshots: snapshots.clone(),
        listeners: OpenListeners::clone(&open),
        admission: Arc::clone(&admission),
        metrics: metrics.clone(),
        log: access_log.writer(),
        stopping: data_plane.stopping(),
    };
    let workers = (0..workers).map(|index| worker::spawn(part(index)));
    let workers = workers
        .collect::<Result<Vec<_>, _>>()
        .map_err(Refused::because)?;
    let doors = doors(control_socket, admin, &handle, &metrics, &access_log, &control_plane);
    let supervisor = tokio::spawn(supervisor.run(data_plane.stopping()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "proxyd runs");
    Ok(Running {
        handle,
        data_plane,
        control_plane,
        workers,
        supervisor,
        doors,
        access_log,
        metrics,
    })
}

/// Everything that listens to operators and scrapers.
fn doors(
    control_socket: ControlSocket,
    admin: Option<TcpListener>,
    handle: &Handle,
    metrics: &Metrics,
    access_log: &Arc<AccessLog>,
    control_plane: &Shutdown,
) -> JoinSet<()> {
    let mut doors = JoinSet::new();
    doors.spawn(control_socket.serve(handle.clone(), control_plane.stopping()));
    if let Some(listener) = admin {
        doors.spawn(serve_admin(
            listener,
            handle.clone(),
            metrics.clone(),
            control_plane.stopping(),
        ));
    }
    let mut stopping = control_plane.stopping();
    let (handle, access_log) = (handle.clone(), Arc::clone(access_log));
    doors.spawn(async move {
        tokio::select! {
            () = follow_access_log(handle, access_log) => {}
            () = stopping.reached(Stage::Graceful) => {}
        }
    });
    doors
}

async fn serve_admin(
    listener: TcpListener,
    handle: Handle,
    metrics: Metrics,
    mut stopping: Stopping,
) {
    let serving = admin::serve(listener, handle, metrics, stopping.clone());
    tokio::select! {
        Err(error) = serving => tracing::error!(%error, "the admin listener cannot be served"),
        () = stopping.reached(Stage::Graceful) => {}
    }
}

/// A reload may send the access log elsewhere. One that cannot be opened leaves it where it is.
async fn follow_access_log(handle: Handle, access_log: Arc<AccessLog>) {
    let mut current = handle.snapshot().settings.access_log.clone();
    let mut notices = handle.subscribe();
    loop {
        match notices.recv().await {
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
        let wanted = handle.snapshot().settings.access_log.clone();
        if wanted != current {
            if let Err(error) = access_log.reconfigure(&wanted) {
                tracing::error!(%error, "the access log stays where it was");
            }
            current = wanted;
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many client connections the file descriptors allow, and how many requests, each of which may
/// need one to a target. What is reserved here no connection of either kind ever gets.
fn ceiling(settings: &Settings, files: u64) -> usize {
    let reserved = RESERVED_FILES.min(files / 4);
    limits::reserve(files - reserved);
    let allowed = (files - reserved) / 2;
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(1);
    let limits = &settings.limits;
    for (key, limit) in [("connections", limits.connections), ("requests", limits.requests)] {
        if allowed < limit {
            tracing::warn!(
                "limits.{key}: {limit} lowered to {allowed}: only {files} files may be open (LimitNOFILE, ulimit -n)"
            );
        }
    }
    allowed
}

fn bind_admin(address: SocketAddr, loaded: &Loaded) -> Result<TcpListener, Refused> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let hint = format!("`ss -ltnp 'sport = :{}'` shows who has it", address.port());
        let hint = (error.kind() == std::io::ErrorKind::AddrInUse).then_some(hint);
        Refused::Problems(vec![loaded.places.problem(
            "admin.bind",
            format!("{address}: {error}"),
            hint,
        )])
    })
}

/// A second signal means it: what is in flight is not waited for any longer. Never returns.
async fn at_once(signals: &mut Signals, data_plane: Shutdown) {
    loop {
        match signals.next().await {
            Wish::Stop | Wish::StopNow => data_plane.advance(Stage::Now),
            Wish::Reload | Wish::Reopen => {}
        }
    }
}

impl Running {
    /// Does what signals say, until one of them ends it and everything has ended.
    async fn until_stopped(self, signals: &mut Signals) {
        loop {
            match signals.next().await {
                Wish::Stop => break self.data_plane.advance(Stage::Graceful),
                Wish::StopNow => break self.data_plane.advance(Stage::Now),
                Wish::Reload => self.reload(),
                Wish::Reopen => {
                    self.access_log.reopen();
                    tracing::info!("log files reopened");
                }
            }
        }
        tracing::info!("stopping");
        let data_plane = self.data_plane.clone();
        tokio::select! {
            () = self.end() => {}
            () = at_once(signals, data_plane) => {}
        }
    }

    fn reload(&self) {
        let handle = self.handle.clone();
        // The supervisor logs what comes of it; whoever sent the signal cannot be answered.
        tokio::spawn(async move { drop(handle.reload(Cause::Signal).await) });
    }

    /// Ends at once, whatever is in flight.
    pub async fn stop_now(self) {
        self.data_plane.advance(Stage::Now);
        self.end().await;
    }

    /// Waits for the data plane, then ends the control plane, then the log that both write to.
    async fn end(mut self) {
        for worker in self.workers.drain(..) {
            let joined = tokio::task::spawn_blocking(move || worker.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("a worker has panicked");
            }
        }
        let lost = self.metrics.without_outcome();
        if lost > 0 {
            tracing::error!(
                requests = lost,
                "the ledger: requests were taken in and have no outcome"
            );
        }
        // A promotion whose drain has ended still writes its receipt.
        if timeout(GOODBYE, &mut self.supervisor).await.is_err() {
            self.supervisor.abort();
        }
        self.control_plane.advance(Stage::Graceful);
        let goodbye = async { while self.doors.join_next().await.is_some() {} };
        drop(self.handle);
        drop(timeout(GOODBYE, goodbye).await);
        self.access_log.close();
        tracing::info!("stopped");
    }
}

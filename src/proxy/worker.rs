//! A worker: one thread with its own runtime, its own listeners' sockets and its own idle
//! connections. The only place that knows that there are several.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::timeout;

use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::net::handshake::Turns;
use crate::net::incoming::Incoming;
use crate::net::listen::Listener;
use crate::observe::access::AccessWriter;
use crate::observe::access::Fixed;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::PoolMeters;
use crate::observe::metrics::RequestMeters;
use crate::proxy::accept;
use crate::proxy::accept::ListenerContext;
pub use crate::proxy::admission::Admission;
use crate::proxy::admission::Shares;
use crate::proxy::clock::Clock;
use crate::proxy::clock::TICK;
use crate::proxy::hold::Holding;
use crate::proxy::idle::IdleConnections;
use crate::proxy::preopen;
use crate::proxy::refused::Refused;
use crate::proxy::view::View;
use crate::sync::lease::LAST_WORDS;
use crate::sync::published::Published;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

/// How often idle connections to targets are looked through, and the budgets' seconds counted.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// How long the supervisor may take to close the listeners once the stop has begun.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// How many TLS handshakes may wait for their turn on one worker: at the price of a signature by an
/// RSA key, two seconds of work.
const HANDSHAKES_WAITING: usize = 4096;

/// The listeners that are open now, as `net` publishes them.
pub type OpenListeners = watch::Receiver<Arc<Vec<Arc<Listener>>>>;

/// What a worker is started with.
pub struct WorkerParts {
    /// Its number, from 0.
    pub index: usize,
    /// The snapshots to decide on.
    pub snapshots: Published<Snapshot>,
    /// The listeners to accept on.
    pub listeners: OpenListeners,
    /// The connection counts of the process.
    pub admission: Arc<Admission>,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to log requests.
    pub log: AccessWriter,
    /// When to end.
    pub stopping: Stopping,
}

/// What everything on one worker shares.
pub(crate) struct Worker {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// Its view of the snapshot.
    pub(crate) view: View,
    /// Its deadlines.
    pub(crate) clock: Rc<Clock>,
    /// The requests that pauses hold.
    pub(crate) holding: Holding,
    /// Its idle connections to targets.
    pub(crate) idle: IdleConnections,
    /// Its TLS handshakes' turns.
    pub(crate) turns: Turns,
    /// The connection counts of the process.
    pub(crate) admission: Arc<Admission>,
    /// What it has of the limits of requests.
    pub(crate) shares: Shares,
    /// Connections that were one too many.
    pub(crate) refused: Refused,
    /// Where to count.
    pub(crate) metrics: Metrics,
    /// Where every request is counted as it comes.
    pub(crate) requests: RequestMeters,
    /// Where requests without an upstream are counted.
    pub(crate) unrouted: PoolMeters,
    /// Where to log requests.
    pub(crate) log: AccessWriter,
    /// How the log says that a request was sent nowhere.
    pub(crate) nowhere: Fixed,
    /// How far the stop has come.
    pub(crate) stage: Cell<Stage>,
    /// The time to finish is over: what can be ended well is, and everything else is cut.
    pub(crate) is_ending: Cell<bool>,
    /// Since when the worker takes nothing new.
    pub(crate) stopping_since: Cell<Option<Instant>>,
    /// Connection tasks that have not ended.
    pub(crate) open: Cell<usize>,
}

impl Worker {
    /// A worker that has nothing to do yet.
    pub(crate) fn new(
        index: usize,
        snapshots: &Published<Snapshot>,
        admission: Arc<Admission>,
        metrics: Metrics,
        log: AccessWriter,
    ) -> Self {
        let view = View::new(snapshots, metrics.clone());
        let kept = view
            .load()
            .snapshot
            .settings
            .limits
            .idle_upstream_connections;
        Self {
            index,
            view,
            clock: Rc::default(),
            holding: Holding::default(),
            idle: IdleConnections::new(kept),
            turns: Turns::new(HANDSHAKES_WAITING),
            shares: admission.shares(),
            admission,
            refused: Refused::default(),
            requests: metrics.requests(),
            unrouted: metrics.unrouted(),
            metrics,
            log,
            nowhere: Fixed::target("", "", ""),
            stage: Cell::new(Stage::Running),
            is_ending: Cell::new(false),
            stopping_since: Cell::new(None),
            open: Cell::new(0),
        }
    }
}

/// A listener that this worker accepts on; stops when dropped.
struct Accepting {
    context: Rc<ListenerContext>,
    _stop: oneshot::Sender<()>,
}

/// Starts a worker on a thread of its own.
///
/// # Errors
///
/// No thread or no runtime can be had.
pub fn spawn(parts: WorkerParts) -> io::Result<thread::JoinHandle<()>> {
    let (started, start) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", parts.index))
        .spawn(move || {
            // Made here: it stays on the thread that made it. Its tasks need no queue of their own
            // beside it, as those of a `LocalSet` do (a tenth of the instructions of a request).
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
            runtime.block_on(run(parts));
            // Whatever has not ended by now ends here, and books its outcome while the log still stands.
            drop(runtime);
        })?;
    // A thread that ended without a word did not start.
    start
        .recv()
        .unwrap_or_else(|_ended| Err(io::Error::other("the worker's thread has ended")))?;
    Ok(thread)
}

async fn run(parts: WorkerParts) {
    let WorkerParts { index, snapshots, mut listeners, admission, metrics, log, mut stopping } =
        parts;
    let worker = Rc::new(Worker::new(index, &snapshots, admission, metrics, log));
    let ticking = tokio::task::spawn_local(tick(Rc::clone(&worker)));
    let mut accepting: HashMap<SocketAddr, Accepting> = HashMap::new();
    loop {
        // Not kept beyond this: a listener that is held keeps its sockets open.
        follow(&worker, &mut accepting, &Arc::clone(&listeners.borrow_and_update()));
        tokio::select! {
            () = stopping.reached(Stage::Graceful) => break,
            changed = listeners.changed() => if changed.is_err() { break },
        }
    }
    worker.stage.set(Stage::Graceful);
    worker.stopping_since.set(Some(Instant::now()));
    // The supervisor closes the listeners: only then are these the last holders of their sockets,
    // and nothing can arrive behind the back of the accept tasks that empty the queues.
    let closed = listeners.wait_for(|open| open.is_empty());
    drop(timeout(CLOSED_WITHIN, closed).await);
    drop(accepting);
    finish(&worker, &mut stopping).await;
    ticking.abort();
}

/// Accepts on what is open now, and no longer on what is not.
fn follow(
    worker: &Rc<Worker>,
    accepting: &mut HashMap<SocketAddr, Accepting>,
    open: &[Arc<Listener>],
) {
    accepting.retain(|bind, _| open.iter().any(|listener| listener.address == *bind));
    let https = open
        .iter()
        .find(|listener| listener.tls.is_some())
        .map(|l| l.address.port());
    for listener in open {
        if let Some(known) = accepting.get(&listener.address) {
            known.context.update(listener, https);
            continue;
        }
        let socket = listener.accept_socket(worker.index).and_then(Incoming::new);
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(listener = %listener.bind, %error, "this worker cannot accept here");
                continue;
            }
        };
        let meters = worker.metrics.listener(&listener.bind.to_string());
        let context = Rc::new(ListenerContext::new(listener, meters, https));
        let (stop, stopped) = oneshot::channel();
        let task = accept::accept(Rc::clone(worker), Rc::clone(&context), socket, stopped);
        tokio::task::spawn_local(task);
        accepting.insert(listener.address, Accepting { context, _stop: stop });
    }
}

/// Looks at every deadline, and at what else happens by the clock.
async fn tick(worker: Rc<Worker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reaped = Instant::now();
    let mut generation = 0;
    loop {
        let now = ticks.tick().await;
        // Whoever rests has nothing to wait for but the end of the proxy.
        worker
            .clock
            .tick(now, worker.stage.get() >= Stage::Graceful);
        // Also without traffic: a worker must not hold an old snapshot for longer than a tick.
        let seen = worker.view.load();
        if std::mem::replace(&mut generation, seen.snapshot.generation) != generation {
            worker.shares.follow(&seen.snapshot.settings.limits);
            close_to_draining(&worker.idle, &seen.snapshot);
        }
        preopen::look(&worker, &seen);
        worker.holding.tick(now, &seen.snapshot);
        worker.refused.reap(now);
        worker.log.flush();
        if now.duration_since(reaped) >= REAP_EVERY {
            reaped = now;
            seen.tick();
            worker
                .idle
                .set_max(seen.snapshot.settings.limits.idle_upstream_connections);
            worker.idle.reap(now);
        }
    }
}

/// Closes the idle connections to targets that drain. A request that still has one does not give it
/// back; and whoever drains a target publishes a snapshot after that.
fn close_to_draining(idle: &IdleConnections, snapshot: &Snapshot) {
    let pools = snapshot.upstreams.iter().flat_map(Upstream::all_pools);
    let targets = pools.flat_map(|pool| pool.targets.iter());
    for target in targets.filter(|target| target.is_draining()) {
        idle.close(target.filed_under());
    }
}

/// Lets requests finish, up to the deadline. What is left then is cut, or ended well where it can be.
async fn finish(worker: &Rc<Worker>, stopping: &mut Stopping) {
    let deadline = Instant::now() + worker.view.load().snapshot.settings.timeouts.shutdown;
    let all_done = async {
        // The accept tasks empty their queues first, so that what they take is counted.
        tokio::time::sleep(TICK).await;
        while worker.open.get() > 0 || worker.clock.len() > 0 {
            tokio::time::sleep(TICK / 4).await;
        }
    };
    let at_the_deadline = async {
        tokio::time::sleep_until(deadline).await;
        tracing::warn!(
            worker = worker.index,
            connections = worker.open.get(),
            "shutdown deadline: ending what is left"
        );
        worker.is_ending.set(true);
        worker.clock.tick(Instant::now(), true);
        tokio::time::sleep(LAST_WORDS + TICK).await;
    };
    tokio::select! {
        () = all_done => {}
        () = at_the_deadline => {}
        () = stopping.reached(Stage::Now) => {}
    }
    worker.stage.set(Stage::Now);
    worker.clock.tick(Instant::now(), true);
}

//! Idle connections to targets: kept by one worker, used again by the same one.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::net::dial::Stream;
use crate::proxy::body::RequestBody;

/// How long an idle connection is kept: below what common targets keep theirs (Tomcat 20–60 s,
/// nginx 75 s), so that it is we who close it.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How long ago a connection may have been used for a request that must not be sent twice. The
/// target may be closing it this very moment, and then nobody knows what it has read.
pub(crate) const FRESH_ENOUGH: Duration = Duration::from_millis(50);

/// The byte stream of a connection after a target has agreed to an upgrade.
pub(crate) type Upgraded = http1::Parts<TokioIo<Stream>>;

/// A connection to a target on which one request at a time is sent.
pub(crate) struct TargetConnection {
    /// hyper's hand for sending requests.
    pub(crate) sender: SendRequest<RequestBody>,
    /// The task that moves the bytes.
    pub(crate) driver: AbortHandle,
    upgrade: Rc<Cell<Option<oneshot::Sender<Upgraded>>>>,
}

struct Idle {
    connection: TargetConnection,
    since: Instant,
}

/// The idle connections of one worker.
pub(crate) struct IdleConnections {
    by_target: RefCell<HashMap<u64, Vec<Idle>>>,
    per_target_max: Cell<usize>,
}

impl TargetConnection {
    /// Speaks HTTP/1.1 over a stream that was just connected.
    ///
    /// # Errors
    ///
    /// hyper's, if it cannot start.
    pub(crate) async fn start(stream: Stream, head_max: usize) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(1000)
            .max_header_size(head_max)
            .handshake(TokioIo::new(stream))
            .await?;
        let upgrade: Rc<Cell<Option<oneshot::Sender<Upgraded>>>> = Rc::default();
        let upgrade_of_driver = Rc::clone(&upgrade);
        let driver = tokio::task::spawn_local(async move {
            // An error reaches the request it belongs to; here it only ends the task.
            if let Ok(parts) = connection.without_shutdown().await
                && let Some(taker) = upgrade_of_driver.take()
            {
                drop(taker.send(parts));
            }
        });
        Ok(Self { sender, driver: driver.abort_handle(), upgrade })
    }

    /// The byte stream, once the target has answered 101. To be called before the answer comes.
    pub(crate) fn upgraded(&self) -> oneshot::Receiver<Upgraded> {
        let (sender, receiver) = oneshot::channel();
        self.upgrade.set(Some(sender));
        receiver
    }
}

impl Idle {
    /// Whether it may be kept; one that may not ends here, because it can still be writing to a
    /// target that answered early and reads no more.
    fn stays(&self, now: Instant) -> bool {
        let stays =
            now.duration_since(self.since) < IDLE_MAX && !self.connection.sender.is_closed();
        if !stays {
            self.connection.driver.abort();
        }
        stays
    }
}

impl IdleConnections {
    /// None yet; keeps at most `per_target_max` of each target.
    pub(crate) fn new(per_target_max: usize) -> Self {
        Self { by_target: RefCell::default(), per_target_max: Cell::new(per_target_max) }
    }

    /// The connection to this target that was used last, if it was used within `age`.
    pub(crate) fn take(&self, target: u64, age: Duration) -> Option<TargetConnection> {
        let mut by_target = self.by_target.borrow_mut();
        let idle = by_target.get_mut(&target)?;
        idle.retain(|idle| !idle.connection.sender.is_closed());
        // The last one may still be finishing the answer that made it idle: then the one before it.
        let at = idle
            .iter()
            .rposition(|idle| idle.connection.sender.is_ready())?;
        let young = idle.get(at).is_some_and(|idle| idle.since.elapsed() <= age);
        young.then(|| idle.remove(at).connection)
    }

    /// Keeps a connection whose last answer is complete.
    pub(crate) fn put(&self, target: u64, connection: TargetConnection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut by_target = self.by_target.borrow_mut();
        let idle = by_target.entry(target).or_default();
        if idle.len() < self.per_target_max.get() {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Changes how many are kept of each target.
    pub(crate) fn set_max(&self, per_target_max: usize) {
        self.per_target_max.set(per_target_max);
    }

    /// Closes what has been idle for too long, or was closed by the target.
    pub(crate) fn reap(&self, now: Instant) {
        self.by_target.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| idle.stays(now));
            !idle.is_empty()
        });
    }
}

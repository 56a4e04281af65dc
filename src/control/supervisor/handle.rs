//! The one way to ask the supervisor for something, for the socket, the admin listener and signals.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::control::command::Guard;
use crate::control::command::Probe;
use crate::control::command::Probed;
use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::Reloaded;
use crate::control::command::Rollback;
use crate::control::command::canary::Canary;
use crate::control::command::canary::Preview;
use crate::control::command::canary::Previewed;
use crate::control::command::event::Event;
use crate::control::command::event::Notice;
use crate::control::command::explain::Explain;
use crate::control::command::explain::Explained;
use crate::control::command::maintenance::Maintain;
use crate::control::command::maintenance::Maintained;
use crate::control::command::pause::Pause;
use crate::control::command::pause::Paused;
use crate::control::command::pause::Resume;
use crate::control::command::status::Status;
use crate::control::command::target::PoolSet;
use crate::control::command::target::Roll;
use crate::control::command::target::SetPool;
use crate::control::command::target::SetTarget;
use crate::control::command::why::Whys;
use crate::control::events::Bus;
use crate::control::explain;
use crate::control::gate;
use crate::control::history::Recorder;
use crate::control::status;
use crate::control::status::Board;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::why;
use crate::model::colour::Colour;
use crate::model::snapshot::Snapshot;
use crate::net::listen::Listener;
use crate::sync::published::Published;

/// Who asks: the peer's credentials on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, where the kernel tells it.
    pub pid: Option<i32>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        match self.pid {
            Some(pid) => write!(f, " pid {pid}"),
            None => Ok(()),
        }
    }
}

/// Why the file is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked on the control socket.
    Asked(Caller),
    /// SIGHUP.
    Signal,
    /// The file, or a certificate it names, changed on the disk.
    Watch,
}

/// Asks the supervisor. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) snapshot: Published<Snapshot>,
    pub(super) board: watch::Receiver<Arc<Board>>,
    pub(super) listeners: watch::Receiver<Arc<Vec<Arc<Listener>>>>,
    pub(super) bus: Bus,
}

/// The events of one promotion; ends after the last one. Dropped while the gate is open, it cancels
/// the promotion; dropped later, it changes nothing.
#[derive(Debug)]
pub struct EventStream {
    pub(super) events: mpsc::Receiver<Event>,
}

/// A guard that holds: the colour is neither live nor in use, and is not promoted until this is
/// dropped.
#[derive(Debug)]
pub struct Guarded {
    /// The upstream.
    pub upstream: String,
    /// The colour that is held off.
    pub colour: Colour,
    pub(super) _alive: Arc<()>,
}

/// A roll that holds: its upstream is not promoted, nor rolled by another, until this is dropped.
#[derive(Debug)]
pub struct Rolled {
    /// The upstream.
    pub upstream: String,
    pub(super) _alive: Arc<()>,
}

/// A command in the supervisor's queue.
#[derive(Debug)]
pub(super) enum Ask {
    Promote(Promote, Caller, oneshot::Sender<Result<EventStream, Refusal>>),
    Rollback(Rollback, Caller, oneshot::Sender<Result<EventStream, Refusal>>),
    Canary(Canary, Caller, oneshot::Sender<Result<EventStream, Refusal>>),
    Preview(Preview, Caller, oneshot::Sender<Result<Previewed, Refusal>>),
    Guard(Guard, Caller, oneshot::Sender<Result<Guarded, Refusal>>),
    Maintain(Maintain, Caller, oneshot::Sender<Result<Maintained, Refusal>>),
    Pause(Pause, Caller, oneshot::Sender<Result<Paused, Refusal>>),
    Resume(Resume, Caller, oneshot::Sender<Result<Paused, Refusal>>),
    SetTarget(SetTarget, Caller, oneshot::Sender<Result<EventStream, Refusal>>),
    Roll(Roll, Caller, oneshot::Sender<Result<Rolled, Refusal>>),
    SetPool(SetPool, Caller, oneshot::Sender<Result<PoolSet, Refusal>>),
    Reload(Cause, oneshot::Sender<Result<Reloaded, Refusal>>),
}

impl EventStream {
    /// The next event; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Handle {
    /// Starts a promotion. What it comes to is told by the stream.
    ///
    /// # Errors
    ///
    /// What is refused before it starts: unknown names, busy, another colour live than expected.
    pub async fn promote(&self, request: Promote, who: Caller) -> Result<EventStream, Refusal> {
        self.ask(|reply| Ask::Promote(request, who, reply)).await
    }

    /// Starts a promotion of the colour that was live before.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    pub async fn rollback(&self, request: Rollback, who: Caller) -> Result<EventStream, Refusal> {
        self.ask(|reply| Ask::Rollback(request, who, reply)).await
    }

    /// Begins a canary, changes its weight, or ends it. What it comes to is told by the stream.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote); the colour is the live one.
    pub async fn canary(&self, request: Canary, who: Caller) -> Result<EventStream, Refusal> {
        self.ask(|reply| Ask::Canary(request, who, reply)).await
    }

    /// Shows the standby colour to whoever has a token, or ends that.
    ///
    /// # Errors
    ///
    /// Unknown names; the colour is live, guarded, or still drains; it cannot be made durable.
    pub async fn preview(&self, request: Preview, who: Caller) -> Result<Previewed, Refusal> {
        self.ask(|reply| Ask::Preview(request, who, reply)).await
    }

    /// Holds a colour off while a command runs on its processes.
    ///
    /// # Errors
    ///
    /// Unknown names; the colour is live, about to be, or in use.
    pub async fn guard(&self, request: Guard, who: Caller) -> Result<Guarded, Refusal> {
        self.ask(|reply| Ask::Guard(request, who, reply)).await
    }

    /// Orders maintenance of upstreams, or says that it is over.
    ///
    /// # Errors
    ///
    /// Unknown names, what cannot be read, or a state that cannot be made durable.
    pub async fn maintain(&self, request: Maintain, who: Caller) -> Result<Maintained, Refusal> {
        self.ask(|reply| Ask::Maintain(request, who, reply)).await
    }

    /// Orders that requests to upstreams are held.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain).
    pub async fn pause(&self, request: Pause, who: Caller) -> Result<Paused, Refusal> {
        self.ask(|reply| Ask::Pause(request, who, reply)).await
    }

    /// Lets what is held go.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain).
    pub async fn resume(&self, request: Resume, who: Caller) -> Result<Paused, Refusal> {
        self.ask(|reply| Ask::Resume(request, who, reply)).await
    }

    /// Drains a target, or makes it ready again. What it comes to is told by the stream.
    ///
    /// # Errors
    ///
    /// Unknown names, the last target that serves, or a state that cannot be made durable.
    pub async fn set_target(
        &self,
        request: SetTarget,
        who: Caller,
    ) -> Result<EventStream, Refusal> {
        self.ask(|reply| Ask::SetTarget(request, who, reply)).await
    }

    /// Holds an upstream while its targets are taken one after the other.
    ///
    /// # Errors
    ///
    /// Unknown names; a promotion that gates, or another roll.
    pub async fn roll(&self, request: Roll, who: Caller) -> Result<Rolled, Refusal> {
        self.ask(|reply| Ask::Roll(request, who, reply)).await
    }

    /// Gives a colour other targets than the file does, or the file's again.
    ///
    /// # Errors
    ///
    /// Unknown names, what the file would be refused for, a colour that is live or about to be.
    pub async fn set_pool(&self, request: SetPool, who: Caller) -> Result<PoolSet, Refusal> {
        self.ask(|reply| Ask::SetPool(request, who, reply)).await
    }

    /// Applies the file, after a gate that may be open. Unchanged, it is applied already: the
    /// generation stays.
    ///
    /// # Errors
    ///
    /// The file is not valid, cannot be applied, or not be made durable. Nothing has changed then.
    pub async fn reload(&self, cause: Cause) -> Result<Reloaded, Refusal> {
        self.ask(|reply| Ask::Reload(cause, reply)).await
    }

    /// One fresh probe of every target of a colour. Changes nothing, so the supervisor is not asked.
    ///
    /// # Errors
    ///
    /// Unknown names.
    pub async fn probe(&self, request: Probe) -> Result<Probed, Refusal> {
        let (upstreams, colour) = request::probe(&request, &self.snapshot.load())?;
        let asked = gate::round(&upstreams, colour, None).await;
        Ok(Probed { passed: gate::passed(&asked), targets: gate::reports(&asked) })
    }

    /// What stands in the way of a promotion of `request.colour` now, by a fresh probe of every target
    /// and by what holds the upstream. Changes nothing, so the supervisor is not asked.
    ///
    /// # Errors
    ///
    /// Unknown names, or a build where none can be asked for.
    pub async fn why(&self, request: Probe, build: Option<&str>) -> Result<Whys, Refusal> {
        let (upstreams, colour) = request::probe(&request, &self.snapshot.load())?;
        if build.is_some() {
            request::names_builds(&upstreams)?;
        }
        let asked = gate::round(&upstreams, colour, build).await;
        Ok(why::why(&upstreams, colour, &asked, &self.board.borrow()))
    }

    /// What would become of a request that came now.
    ///
    /// # Errors
    ///
    /// It is no request that a client could send.
    pub fn explain(&self, request: &Explain) -> Result<Explained, Refusal> {
        let listeners = Arc::clone(&self.listeners.borrow());
        explain::explain(request, &self.snapshot.load(), &listeners, SystemTime::now())
    }

    /// The whole state. Never waits: a gate, a drain or a slow disk cannot delay it.
    #[must_use]
    pub fn status(&self) -> Status {
        status::status(&self.snapshot.load(), &self.board.borrow())
    }

    /// The whole state, with the last probes of each target.
    #[must_use]
    pub fn status_with_probes(&self) -> Status {
        let snapshot = self.snapshot.load();
        let mut status = status::status(&snapshot, &self.board.borrow());
        status::add_probes(&mut status, &snapshot);
        status
    }

    /// Whether the public listeners are open and the daemon is not stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.board.borrow().ready
    }

    /// Everything that happens from here on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.bus.subscribe()
    }

    /// What was changed, and by whom.
    #[must_use]
    pub fn history(&self) -> &Recorder {
        self.bus.history()
    }

    /// The snapshot of the moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load()
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Ask,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let sent = self.asks.send(ask(reply)).await;
        // Either error says that the supervisor has ended.
        if sent.is_err() {
            return Err(refusal::stopping());
        }
        answer
            .await
            .unwrap_or_else(|_gone| Err(refusal::stopping()))
    }
}

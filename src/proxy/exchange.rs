//! One request and its answer: what it holds, what it waits for, and how it ended.
//!
//! An exchange lives as long as any part of it: the handler, the request body on its way to the
//! target, the answer's body on its way to the client, a tunnel. When the last part is gone it books
//! exactly one outcome, and gives back its lease.

mod ending;
mod extras;
mod moving;
mod pace;
mod parting;
mod record;
mod target_use;
mod testimony;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::cell::OnceCell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::colour::Colour;
use crate::model::extras::Extras;
use crate::model::fault::Fault;
use crate::model::settings::Timeouts;
use crate::observe::access::Moved;
use crate::proxy::clock::Watch;
use crate::proxy::clock::Watched;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::moving::Step;
pub(crate) use crate::proxy::exchange::parting::Kind;
use crate::proxy::exchange::parting::Parting;
pub(crate) use crate::proxy::exchange::record::Asked;
use crate::proxy::exchange::target_use::TargetUse;
use crate::proxy::idle::TargetConnection;
use crate::proxy::view::WorkerPool;
use crate::proxy::worker::Worker;
use crate::sync::lease::Lease;

/// One request and its answer.
pub(crate) struct Exchange {
    /// The worker it runs on.
    pub(crate) worker: Rc<Worker>,
    /// The connection it came over.
    pub(crate) connection: Rc<Connection>,
    /// When the request head was complete.
    pub(crate) began: Instant,
    asked: OnceCell<Asked>,
    extras: OnceCell<Box<Extras>>,
    generation: Cell<u64>,
    /// The number of its route; `None`: what comes of it says nothing about a release.
    route: Cell<Option<usize>>,
    timeouts: Cell<Timeouts>,
    pool: RefCell<Option<Rc<WorkerPool>>>,
    lease: RefCell<Option<Lease<Rc<WorkerPool>>>>,
    in_use: RefCell<Option<TargetUse>>,
    target: Cell<Option<usize>>,
    waiting_until: Cell<Option<Instant>>,
    waiting_for: Cell<Fault>,
    /// A tick found it waiting: it is none of the many that are over at once.
    is_slow: Cell<bool>,
    /// The next tick wakes whoever works on it.
    waits_for_much: Cell<bool>,
    fault: Cell<Option<Fault>>,
    parting: Cell<Parting>,
    waker: RefCell<Option<Waker>>,
    status: Cell<u16>,
    complete: Cell<bool>,
    by_target: Cell<bool>,
    bytes_in: Cell<u64>,
    /// The ticks that saw more of its body awaited.
    awaited: Cell<u32>,
    bytes_out: Cell<u64>,
    attempts: Cell<u32>,
    connect: Cell<Option<Duration>>,
    /// When the head of the target's answer had come.
    answered: Cell<Option<Instant>>,
    /// From when on its target is to blame for the time it takes.
    theirs_since: Cell<Instant>,
    /// What it holds while another pool is asked first.
    behind: RefCell<Option<Box<Step>>>,
    /// All of it had come by then, and was sent on in the same turn.
    at_once: Cell<bool>,
    /// The colour that was asked first, where another one answered.
    moved: Cell<Option<(Moved, Colour)>>,
    was_exceptional: Cell<bool>,
    /// Where its connection does not watch it.
    watch: OnceCell<Watch>,
}

impl Exchange {
    /// A request whose head has just been read.
    pub(crate) fn begin(worker: &Rc<Worker>, connection: &Rc<Connection>) -> Rc<Self> {
        worker.requests.accepted();
        connection.begin_request();
        let began = Instant::now();
        // Made in its place: from the stack it would be copied there.
        let exchange = Rc::new_cyclic(|_| Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            began,
            asked: OnceCell::new(),
            extras: OnceCell::new(),
            generation: Cell::new(0),
            route: Cell::new(None),
            timeouts: Cell::new(Timeouts::default()),
            pool: RefCell::new(None),
            lease: RefCell::new(None),
            in_use: RefCell::new(None),
            target: Cell::new(None),
            waiting_until: Cell::new(None),
            waiting_for: Cell::new(Fault::Internal),
            is_slow: Cell::new(false),
            waits_for_much: Cell::new(false),
            fault: Cell::new(None),
            parting: Cell::new(Parting::Cut),
            waker: RefCell::new(None),
            status: Cell::new(0),
            complete: Cell::new(false),
            by_target: Cell::new(false),
            bytes_in: Cell::new(0),
            awaited: Cell::new(0),
            bytes_out: Cell::new(0),
            attempts: Cell::new(0),
            connect: Cell::new(None),
            answered: Cell::new(None),
            theirs_since: Cell::new(began),
            behind: RefCell::new(None),
            at_once: Cell::new(false),
            moved: Cell::new(None),
            was_exceptional: Cell::new(false),
            watch: OnceCell::new(),
        });
        let watched: Weak<dyn Watched> = Rc::<Self>::downgrade(&exchange);
        if let Err(watched) = connection.watch_along(watched) {
            exchange
                .watch
                .get_or_init(|| worker.clock.watch_also(watched));
        }
        exchange
    }

    /// Which snapshot the request was decided on.
    pub(crate) fn decided_on(&self, generation: u64) {
        self.generation.set(generation);
    }

    /// The request is to be forwarded under this lease.
    pub(crate) fn hold(&self, lease: Lease<Rc<WorkerPool>>, timeouts: Timeouts) {
        self.pool.replace(Some(Rc::clone(lease.holder())));
        self.lease.replace(Some(lease));
        self.timeouts.set(timeouts);
        self.connection.set_send_timeout(timeouts.send);
    }

    /// The pool that would have served it, to be counted there.
    pub(crate) fn belong_to(&self, pool: Rc<WorkerPool>) {
        self.pool.replace(Some(pool));
    }

    /// The pool it is forwarded to.
    pub(crate) fn pool(&self) -> Option<Rc<WorkerPool>> {
        self.pool.borrow().clone()
    }

    /// The timeouts of its route.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts.get()
    }

    /// The head as it is sent to targets, and where the log finds what it repeats.
    pub(crate) fn ask(&self, asked: Asked) {
        self.asked.get_or_init(|| asked);
    }

    /// What was asked; `None` if the head could not even be read.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.asked.get()
    }

    /// Keeps the connection to the target that answered for the next request.
    pub(crate) fn keep(&self, connection: TargetConnection) {
        if self
            .in_use
            .borrow()
            .as_ref()
            .is_none_or(TargetUse::is_draining)
        {
            return;
        }
        // A little too old rather than too young, at no look at a clock.
        let answered = self.answered.get().unwrap_or(self.began);
        let since = self.worker.clock.last().max(answered);
        self.worker.idle.put(connection, since);
    }

    /// How long the connect that succeeded took.
    pub(crate) fn connected(&self, took: Duration) {
        self.connect.set(Some(took));
    }

    /// Waits for something that must move within `patience`, or else `fault`.
    pub(crate) fn wait(&self, fault: Fault, patience: Duration) {
        self.waiting_for.set(fault);
        self.waiting_until
            .set(Some(self.worker.clock.deadline(patience)));
    }

    /// As [`wait`](Self::wait), but a wait for the same thing that has begun goes on: being looked
    /// at again is no sign of life.
    pub(crate) fn wait_on(&self, fault: Fault, patience: Duration) {
        if self.waiting_until.get().is_none() || self.waiting_for.get() != fault {
            self.wait(fault, patience);
        }
    }

    /// Waits for the client to take what it is sent. The connection watches this by itself, except
    /// over HTTP/2: there a client that takes the other streams can leave this one's window closed.
    pub(crate) fn wait_for_client(&self) {
        if self.connection.is_multiplexed() {
            self.wait(Fault::SendTimeout, self.timeouts.get().send);
        } else {
            self.rest();
        }
    }

    /// Whether it lasts: a tick has found it, and woken whoever works on it. Then it is worth while to
    /// watch whether the client is still there, which the many that are over sooner save.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow.get()
    }

    /// How long the head of the target's answer took to come, if it has: from when on the target is to
    /// blame.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        let answered = self.answered.get()?;
        Some(answered.saturating_duration_since(self.theirs_since.get()))
    }

    /// From here on the target is what is waited for: it was held until now, or its body came.
    pub(crate) fn is_theirs(&self) {
        self.theirs_since.set(Instant::now());
    }

    /// The head of the target's answer had come at this moment, and was kept aside.
    pub(crate) fn was_answered_at(&self, came: Instant) {
        self.answered.set(Some(came));
    }

    /// What the client is answered; 0 while nothing is.
    pub(crate) fn status(&self) -> u16 {
        self.status.get()
    }

    /// Waits for nothing that this exchange must watch.
    pub(crate) fn rest(&self) {
        self.waiting_until.set(None);
    }

    /// The status that the client is sent, and whether it is the target's own.
    pub(crate) fn answer(&self, status: u16, by_target: bool) {
        self.status.set(status);
        self.by_target.set(by_target);
        if by_target {
            self.answered.set(Some(Instant::now()));
        }
        self.wait_for_client();
    }

    /// The last byte of the answer has been handed to the client's connection.
    pub(crate) fn complete(&self) {
        self.complete.set(true);
        self.rest();
    }

    /// As [`complete`](Self::complete), in the turn in which the head of the answer came: that is
    /// the time then, too, but for the system call that sent it. A look at the clock less.
    pub(crate) fn complete_at_once(&self) {
        self.at_once.set(true);
        self.complete();
    }

    /// Bytes of the answer's body that have been sent on.
    pub(crate) fn has_sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes_out
            .set(self.bytes_out.get().saturating_add(bytes));
    }

    /// How many those are.
    pub(crate) fn sent(&self) -> u64 {
        self.bytes_out.get()
    }

    /// Why it failed, if it did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Counts it as a tunnel from here on.
    pub(crate) fn become_tunnel(&self) {
        if let Some(lease) = self.lease.borrow_mut().as_mut() {
            lease.become_tunnel();
        }
    }

    /// Counts an error on the target tried last.
    pub(crate) fn count_upstream_error(&self, fault: Fault) {
        if let (Some(pool), Some(at)) = (self.pool.borrow().as_ref(), self.target.get()) {
            pool.failed(at, fault);
        }
    }
}

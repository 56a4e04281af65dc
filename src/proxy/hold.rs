//! Requests that wait because a pause holds them: in the order in which they came, without a colour and
//! without a lease. Once nothing holds them any more each gets a turn, spread over the time that the
//! order says, and is decided about afresh.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::model::orders::Orders;
use crate::model::orders::pause::Pause;
use crate::model::orders::pause::is_safe;
use crate::model::snapshot::Snapshot;
use crate::proxy::connection::keep_waker;
use crate::proxy::exchange::Exchange;
use crate::proxy::reply;
use crate::proxy::reply::Reply;
use crate::proxy::view::WorkerPool;
use crate::proxy::worker::Worker;

/// What one worker holds.
#[derive(Default)]
pub(crate) struct Holding {
    waiting: RefCell<BTreeMap<u64, Rc<Waiting>>>,
    next: Cell<u64>,
}

/// One request that waits.
struct Waiting {
    upstream: Arc<str>,
    safe: bool,
    /// When it has waited for too long.
    until: Instant,
    turn: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

/// A request that is held; no longer once dropped.
pub(crate) struct Held {
    worker: Rc<Worker>,
    key: u64,
    waiting: Rc<Waiting>,
    /// The pool that would have served it.
    pool: Rc<WorkerPool>,
    /// When the pause is over by itself.
    pub(crate) over_at: SystemTime,
    /// Its head as it came, where nothing else keeps it (HTTP/1).
    pub(crate) head: Vec<u8>,
}

/// Why a request is held no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// Its turn has come: it is decided about again.
    Turn,
    /// It has waited for as long as it may.
    TooLong,
}

impl Held {
    /// Holds a request to `pool`, for which `orders` has a pause.
    ///
    /// # Errors
    ///
    /// The answer to one that cannot be held beside all others.
    pub(crate) fn new(
        exchange: &Rc<Exchange>,
        method: &str,
        orders: &Orders,
        pool: &Rc<WorkerPool>,
        at_most: usize,
    ) -> Result<Self, Reply> {
        let Some(pause) = &orders.pause else {
            return Err(reply::to_fault(Fault::Internal, exchange));
        };
        let worker = &exchange.worker;
        if !worker.admission.hold(at_most) {
            return Err(reply::paused(pause.until, exchange));
        }
        pool.held_meters.held();
        let waiting = Waiting::new(pool, is_safe(method), worker.clock.deadline(pause.max));
        let key = worker.holding.next.get();
        worker.holding.next.set(key + 1);
        worker.holding.insert(key, &waiting);
        let (worker, pool, over_at) = (Rc::clone(worker), Rc::clone(pool), pause.until);
        Ok(Self { worker, key, waiting, pool, over_at, head: Vec::new() })
    }

    /// Its turn had come, and `orders` has a pause for it again: it keeps its place among those that are
    /// held, and the time that it has waited counts.
    pub(crate) fn once_more(
        mut self: Box<Self>,
        orders: &Orders,
        pool: &Rc<WorkerPool>,
    ) -> Box<Self> {
        if pool.upstream != self.pool.upstream {
            pool.held_meters.held();
            self.pool.held_meters.let_go();
            self.pool = Rc::clone(pool);
        }
        let mut until = self.until();
        if let Some(pause) = &orders.pause {
            self.over_at = pause.until;
            until = until.min(self.worker.clock.deadline(pause.max));
        }
        self.waiting = Waiting::new(pool, self.waiting.safe, until);
        self.worker.holding.insert(self.key, &self.waiting);
        self
    }

    /// When it will have waited for too long.
    pub(crate) fn until(&self) -> Instant {
        self.waiting.until
    }

    /// Ready once it is not to be held any longer.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Freed> {
        let now = self.worker.clock.last();
        if self.waiting.turn.get().is_some_and(|turn| turn <= now) {
            return Poll::Ready(Freed::Turn);
        }
        if self.until() <= now {
            return Poll::Ready(Freed::TooLong);
        }
        keep_waker(&self.waiting.waker, cx);
        Poll::Pending
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.worker.holding.waiting.borrow_mut().remove(&self.key);
        self.worker.admission.let_go();
        self.pool.held_meters.let_go();
    }
}

impl Waiting {
    fn new(pool: &WorkerPool, safe: bool, until: Instant) -> Rc<Self> {
        Rc::new(Self {
            upstream: Arc::clone(&pool.upstream),
            safe,
            until,
            turn: Cell::new(None),
            waker: RefCell::new(None),
        })
    }
}

impl Holding {
    fn insert(&self, key: u64, waiting: &Rc<Waiting>) {
        self.waiting.borrow_mut().insert(key, Rc::clone(waiting));
    }

    /// Gives turns to those that `snapshot` does not hold any more, and wakes all: each sees for itself
    /// whether its turn or its time has come, or its client gone.
    pub(crate) fn tick(&self, now: Instant, snapshot: &Snapshot) {
        let waiting = self.waiting.borrow();
        if waiting.is_empty() {
            return;
        }
        let wall = SystemTime::now();
        let mut freed: BTreeMap<&str, Vec<&Waiting>> = BTreeMap::new();
        for one in waiting.values().filter(|one| one.turn.get().is_none()) {
            let pause = pause_of(snapshot, &one.upstream);
            if !pause.is_some_and(|pause| pause.holds(one.safe, wall)) {
                freed.entry(&one.upstream).or_default().push(one);
            }
        }
        for (upstream, freed) in freed {
            let over =
                pause_of(snapshot, upstream).map_or_else(Default::default, |pause| pause.over);
            let many = u32::try_from(freed.len()).unwrap_or(u32::MAX);
            for (nth, one) in (0..).zip(freed) {
                one.turn.set(Some(now + over * nth / many));
            }
        }
        for one in waiting.values() {
            if let Some(waker) = one.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

fn pause_of<'a>(snapshot: &'a Snapshot, upstream: &str) -> Option<&'a Pause> {
    snapshot.upstream(upstream)?.orders.pause.as_ref()
}

//! A request counted on one target, for as long as that target works on it.

use std::rc::Rc;

use crate::model::fault::Fault;
use crate::proxy::exchange::Exchange;
use crate::proxy::view::WorkerPool;
use crate::sync::uses::Uses;

/// A request counted on one target; ends when dropped.
pub(super) struct TargetUse {
    pool: Rc<WorkerPool>,
    at: usize,
    worker: usize,
}

impl TargetUse {
    /// Counts a request of `worker` on the target at this place of the pool, if there is one and it
    /// takes requests.
    fn begin(pool: &Rc<WorkerPool>, at: usize, worker: usize) -> Option<Self> {
        let begun = pool.targets.get(at)?.in_flight.begin(worker);
        begun.then(|| Self { pool: Rc::clone(pool), at, worker })
    }

    fn uses(&self) -> Option<&Uses> {
        Some(&self.pool.targets.get(self.at)?.in_flight)
    }

    /// Whether its target gets no further request, and so needs no idle connection.
    pub(super) fn is_draining(&self) -> bool {
        self.uses().is_none_or(Uses::is_draining)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.uses().is_some_and(Uses::is_cut)
    }
}

impl Drop for TargetUse {
    fn drop(&mut self) {
        if let Some(uses) = self.uses() {
            uses.end(self.worker);
        }
    }
}

impl Exchange {
    /// Another target is tried: counts the request on it. Whether it takes it: it may have begun to
    /// drain since it was picked, and then another one must be.
    pub(crate) fn use_target(&self, pool: &Rc<WorkerPool>, at: usize) -> bool {
        let Some(begun) = TargetUse::begin(pool, at, self.worker.index) else { return false };
        self.in_use.replace(Some(begun));
        self.target.set(Some(at));
        self.attempts.set(self.attempts.get() + 1);
        true
    }

    /// Whether the drain of its target alone has come to its deadline.
    pub(super) fn is_target_cut(&self) -> bool {
        self.in_use.borrow().as_ref().is_some_and(TargetUse::is_cut)
    }

    /// Its target works on it no longer. A cut is counted once: for the pool, or else for the target.
    pub(super) fn leave_target(&self, fault: Fault) {
        let Some(in_use) = self.in_use.take().filter(|_| fault == Fault::Cut) else { return };
        let lease = self.lease.borrow();
        let of_pool = lease
            .as_ref()
            .is_some_and(|lease| lease.holder().leases().is_cut());
        if let Some(uses) = in_use.uses().filter(|_| !of_pool) {
            uses.count_cut(self.status.get() == SWITCHING_PROTOCOLS);
        }
    }
}

/// Only the target's own 101 makes a tunnel.
const SWITCHING_PROTOCOLS: u16 = 101;

//! How an exchange comes from one pool to another: for good, or to ask there and perhaps come back.

use std::rc::Rc;

use crate::model::colour::Colour;
use crate::model::fault::Fault;
use crate::observe::access::Moved;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::target_use::TargetUse;
use crate::proxy::view::WorkerPool;
use crate::sync::lease::Lease;

/// What an exchange held before it [stepped over](Exchange::step_over) to another pool.
pub(crate) struct Step {
    pool: Option<Rc<WorkerPool>>,
    lease: Option<Lease<Rc<WorkerPool>>>,
    in_use: Option<TargetUse>,
    target: Option<usize>,
}

impl Exchange {
    /// Another pool serves it from here on, because the one before has failed it: the lease on that is
    /// given back, and what was waited for there is over. The verdict on a release hears of the fault,
    /// and of nothing else: whoever takes a request in is not judged by it.
    pub(crate) fn move_to(&self, lease: Lease<Rc<WorkerPool>>, fault: Fault) {
        if let Some(pool) = self.pool() {
            self.testify(&pool, fault.outcome(), Some(fault));
        }
        self.counts_on(None);
        self.in_use.replace(None);
        self.target.set(None);
        self.connect.set(None);
        self.rest();
        self.is_not_late();
        self.pool.replace(Some(Rc::clone(lease.holder())));
        self.lease.replace(Some(lease));
    }

    /// Another pool is asked, while what the one before has answered waits under its own lease.
    pub(crate) fn step_over(&self, lease: Lease<Rc<WorkerPool>>) -> Step {
        let step = Step {
            pool: self.pool.replace(Some(Rc::clone(lease.holder()))),
            lease: self.lease.replace(Some(lease)),
            in_use: self.in_use.take(),
            target: self.target.take(),
        };
        self.rest();
        step
    }

    /// It is the pool before that answers.
    pub(crate) fn step_back(&self, step: Step) {
        self.rest();
        self.is_not_late();
        self.in_use.replace(step.in_use);
        self.target.set(step.target);
        self.pool.replace(step.pool);
        self.lease.replace(step.lease);
    }

    /// A target that took too long has ended it; that was not the last word.
    fn is_not_late(&self) {
        if self.fault.get() == Some(Fault::ResponseTimeout) {
            self.fault.set(None);
        }
    }

    /// The pool that answers is not the one that was asked first, and is not judged by it.
    pub(crate) fn was_moved(&self, why: Moved, from: Option<Colour>) {
        self.counts_on(None);
        self.moved.set(from.map(|colour| (why, colour)));
    }

    /// Whether it is an exception itself, or was when it was ended.
    pub(crate) fn is_exceptional(&self) -> bool {
        let lease = self.lease.borrow();
        lease
            .as_ref()
            .map_or(self.was_exceptional.get(), Lease::is_exceptional)
    }
}

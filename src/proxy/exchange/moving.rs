//! How an exchange comes from one pool to another: for good, or to ask there and perhaps come back.

use std::rc::Rc;

use crate::model::colour::Colour;
use crate::model::fault::Fault;
use crate::observe::access::Moved;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::target_use::TargetUse;
use crate::proxy::view::WorkerPool;
use crate::sync::lease::CutAs;
use crate::sync::lease::Lease;
use crate::sync::shutdown::Stage;

/// What an exchange held before it [stepped over](Exchange::step_over) to another pool.
pub(super) struct Step {
    route: Option<usize>,
    pool: Option<Rc<WorkerPool>>,
    lease: Option<Lease<Rc<WorkerPool>>>,
    in_use: Option<TargetUse>,
    target: Option<usize>,
}

impl Step {
    fn is_cut(&self) -> bool {
        let pool = self.pool.as_ref();
        pool.is_some_and(|pool| pool.leases().is_cut())
            || self.in_use.as_ref().is_some_and(TargetUse::is_cut)
    }
}

impl Exchange {
    /// Another pool serves it from here on, because the one before has failed it: the lease on that is
    /// given back, and what was waited for there is over. The verdict on a release hears of the fault,
    /// and of nothing else: whoever takes a request in is not judged by it.
    pub(crate) fn move_to(&self, lease: Lease<Rc<WorkerPool>>, fault: Fault) {
        if let Some(pool) = self.pool() {
            self.testify(&pool, fault.outcome(), Some(fault), self.first_byte());
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

    /// Another pool is asked, while what the one before has answered waits under its own lease. What
    /// comes of that says nothing about either.
    pub(crate) fn step_over(&self, lease: Lease<Rc<WorkerPool>>) {
        let step = Step {
            route: self.route.take(),
            pool: self.pool.replace(Some(Rc::clone(lease.holder()))),
            lease: self.lease.replace(Some(lease)),
            in_use: self.in_use.take(),
            target: self.target.take(),
        };
        self.rest();
        self.behind.replace(Some(Box::new(step)));
    }

    /// It is the pool before that answers; not if that was cut meanwhile.
    pub(crate) fn step_back(&self) -> bool {
        let Some(step) = self.behind.take() else { return false };
        self.rest();
        // The other one was asked a favour: what ended that has not ended the request.
        if matches!(self.fault.get(), Some(Fault::ResponseTimeout | Fault::Cut)) {
            self.fault.set(None);
        }
        self.route.set(step.route);
        self.in_use.replace(step.in_use);
        self.target.set(step.target);
        self.pool.replace(step.pool);
        self.lease.replace(step.lease);
        true
    }

    /// The pool before is out of it.
    pub(crate) fn leave_behind(&self) {
        self.behind.replace(None);
    }

    /// Whether a drain has cut the pool, or the target, whose answer waits while another is asked.
    pub(super) fn is_cut_behind(&self) -> bool {
        let behind = self.behind.borrow();
        behind.as_ref().is_some_and(|step| step.is_cut())
    }

    /// The exchange is cut, and what waits behind with it, if that is what was cut, or all is.
    pub(super) fn cut_behind(&self) {
        let all = self.worker.stage.get() == Stage::Now || self.worker.is_ending.get();
        if (all || self.is_cut_behind())
            && let Some(step) = self.behind.take()
            && let Some(lease) = step.lease
        {
            lease.end_as_cut(CutAs::Force);
        }
    }

    /// A target that took too long has ended it; that was not the last word.
    pub(crate) fn is_not_late(&self) {
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

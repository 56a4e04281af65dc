//! How an exchange ends: by its clock or from outside, and in exactly one outcome.

use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::model::fault::Side;
use crate::proxy::clock::Watched;
use crate::proxy::connection::keep_waker;
use crate::proxy::exchange::Exchange;
use crate::proxy::view::WorkerPool;
use crate::sync::lease::CutAs;
use crate::sync::lease::Lease;
use crate::sync::shutdown::Stage;

/// The status that logs and metrics show for a client that left before it was answered, as nginx
/// does. Never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Exchange {
    /// Books the first fault; later ones are its consequences.
    pub(crate) fn fail(&self, fault: Fault) {
        if self.fault.get().is_none() {
            self.fault.set(Some(fault));
        }
    }

    /// Ends it from outside: books the fault, gives the lease back, and wakes whoever works on it,
    /// who then closes the target's connection.
    pub(crate) fn end(&self, fault: Fault) {
        if self.complete.get() {
            return;
        }
        self.fail(fault);
        self.rest();
        self.leave_target(fault);
        if fault == Fault::Cut {
            self.cut_behind();
        }
        if let Some(lease) = self.lease.take() {
            self.was_exceptional.set(lease.is_exceptional());
            self.give_back(lease, fault);
        }
        self.wake();
    }

    /// Wakes whoever works on it.
    pub(super) fn wake(&self) {
        if self.connection.is_multiplexed() {
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        } else {
            self.connection.wake();
        }
    }

    /// Ready once it has been ended from outside.
    #[inline]
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<Fault> {
        if let Some(fault) = self.fault.get() {
            return Poll::Ready(fault);
        }
        if self.connection.is_multiplexed() {
            keep_waker(&self.waker, cx);
        } else {
            // There is one at a time, and the task of its connection works on it.
            self.connection.keep_waker(cx);
        }
        Poll::Pending
    }

    /// Ends what has waited for too long.
    fn time_out(&self) {
        let fault = self.waiting_for.get();
        // Who waits for the head counts it there; a tunnel may rest for either side's sake.
        if !matches!(self.status.get(), 0 | 101) {
            self.count_upstream_error(fault);
        }
        self.end(fault);
    }

    /// Gives the lease back, to a drain with how it ended.
    fn give_back(&self, lease: Lease<Rc<WorkerPool>>, fault: Fault) {
        let how = match (fault, self.kind()) {
            (Fault::Closed, Some(kind)) => kind.closed(),
            (Fault::Cut, _) if self.connection.is_multiplexed() && self.status.get() != 0 => {
                CutAs::Reset
            }
            (Fault::Cut, _) => CutAs::Force,
            _ => return drop(lease),
        };
        lease.end_as_cut(how);
    }

    /// How long it took until now; `first_byte` is how long the target's answer did.
    fn took(&self, first_byte: Option<Duration>) -> Duration {
        match (self.answered.get(), first_byte) {
            (Some(_), Some(all)) if self.at_once.get() && self.theirs_since.get() == self.began => {
                all
            }
            (Some(answered), _) if self.at_once.get() => {
                answered.saturating_duration_since(self.began)
            }
            (Some(_) | None, _) => self.began.elapsed(),
        }
    }

    fn verdict(&self) -> (Outcome, Option<Fault>) {
        // Whatever went wrong before, this is what the client lost its answer to.
        if !self.complete.get() && std::thread::panicking() {
            return (Outcome::Lost, Some(Fault::Internal));
        }
        if let Some(fault) = self.fault.get() {
            return (fault.outcome(), Some(fault));
        }
        match (self.complete.get(), self.by_target.get()) {
            (true, true) => (Outcome::Answered, None),
            (true, false) => (Outcome::Replied, None),
            (false, _) => (Outcome::ClientGone, Some(Fault::ClientGone)),
        }
    }
}

impl Watched for Exchange {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let over = match self.worker.stage.get() {
            Stage::Now => Some(Fault::Cut),
            Stage::Running | Stage::Graceful if self.is_target_cut() || self.is_cut_behind() => {
                Some(Fault::Cut)
            }
            Stage::Running | Stage::Graceful => self.part(now),
        };
        if let Some(fault) = over {
            self.end(fault);
        } else if self.waiting_until.get().is_some_and(|at| at <= now) {
            self.time_out();
        } else if self.is_body_too_slow() {
            self.end(Fault::BodyTooSlow);
        } else if !self.is_slow.replace(true) | self.waits_for_much.replace(false) {
            self.wake();
        }
        // Its pool may be cut at any time.
        None
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let first_byte = self.first_byte();
        let took = self.took(first_byte);
        let (outcome, fault) = self.verdict();
        let status = if self.status.get() == 0 { CLIENT_CLOSED_REQUEST } else { self.status.get() };
        match self.pool.borrow().as_ref() {
            Some(pool) => {
                pool.meters.answered(status, took);
                self.testify(pool, outcome, fault, first_byte);
                // A client that has had enough of a target's answer says nothing against the target.
                let well = matches!(outcome, Outcome::Answered | Outcome::ClientGone);
                if let Some(at) = self.target.get().filter(|_| well && self.by_target.get()) {
                    pool.served(at);
                }
            }
            None => self.worker.unrouted.answered(status, took),
        }
        self.worker.metrics.outcome(outcome);
        if let Some(fault) = fault.filter(|fault| fault.side() == Side::Downstream) {
            self.connection.listener.meters.fault(fault);
        }
        self.log((took, first_byte), status, outcome, fault);
        let has_room = !self.fault.get().is_some_and(Fault::is_for_want_of_room);
        self.connection.end_request(has_room);
    }
}

//! How an exchange ends: by its clock, and in exactly one outcome.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::model::fault::Side;
use crate::proxy::clock::Watched;
use crate::proxy::exchange::Exchange;
use crate::sync::shutdown::Stage;

/// The status that logs and metrics show for a client that left before it was answered, as nginx
/// does. Never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Exchange {
    fn took(&self) -> Duration {
        match self.answered.get() {
            Some(answered) if self.at_once.get() => answered.saturating_duration_since(self.began),
            Some(_) | None => self.began.elapsed(),
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
        let cut = self
            .lease
            .borrow()
            .as_ref()
            .is_some_and(|lease| lease.holder().leases().is_cut());
        if cut || self.is_target_cut() || self.worker.stage.get() == Stage::Now {
            self.end(Fault::Cut);
            self.reset_stream();
        } else if self.waiting_until.get().is_some_and(|at| at <= now) {
            self.time_out();
        } else if self.is_body_too_slow() {
            self.end(Fault::BodyTooSlow);
        } else if !self.is_slow.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
        // Its pool may be cut at any time.
        None
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.took();
        let (outcome, fault) = self.verdict();
        let status = if self.status.get() == 0 { CLIENT_CLOSED_REQUEST } else { self.status.get() };
        match self.pool.borrow().as_ref() {
            Some(pool) => {
                pool.meters.answered(status, took);
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
        self.log(took, status, outcome, fault);
        let has_room = !self.fault.get().is_some_and(Fault::is_for_want_of_room);
        self.connection.end_request(has_room);
    }
}

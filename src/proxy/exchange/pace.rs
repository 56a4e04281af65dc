//! How much of a request's body has come, and at what pace.

use std::time::Duration;

use crate::model::fault::Fault;
use crate::proxy::clock::TICK;
use crate::proxy::exchange::Exchange;

impl Exchange {
    /// More of a body is awaited than its next bytes: whoever works on it is woken at the next tick, to
    /// take what has come until then.
    pub(crate) fn waits_for_much(&self) {
        self.waits_for_much.set(true);
    }

    /// Bytes of the request body that have come.
    pub(crate) fn has_received(&self, bytes: usize) -> u64 {
        let sum = self
            .bytes_in
            .get()
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.bytes_in.set(sum);
        sum
    }

    /// Whether the client sends its body more slowly than it must. The time is counted in ticks that
    /// find the client awaited: what the target took to take it is not the client's, and neither is
    /// the time in which this worker was kept from ticking.
    pub(super) fn is_body_too_slow(&self) -> bool {
        let awaited =
            self.waiting_for.get() == Fault::BodyTimeout && self.waiting_until.get().is_some();
        // A client that expects to be told to go on has sent nothing, and is not to blame.
        if !awaited || self.bytes_in.get() == 0 || self.status.get() != 0 {
            return false;
        }
        self.awaited.set(self.awaited.get().saturating_add(1));
        let seen = self.worker.view.load();
        let limits = &seen.snapshot.settings.limits;
        let Some(rate) = limits.request_body_rate else { return false };
        let earned = Duration::from_secs(self.bytes_in.get() / rate);
        TICK * self.awaited.get() > limits.request_body_grace.saturating_add(earned)
    }
}

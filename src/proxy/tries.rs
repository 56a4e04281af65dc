//! What has been tried for one request, and which target is next.

use std::time::Duration;

use crate::model::fault::Fault;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::proxy::balance;

/// Into how many parts what is left of the time for connecting is divided at most. Each target that
/// is tried gets one, so that one which swallows packets hides no other.
const PARTS: usize = 3;

/// What has been tried for one request.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Targets that are not to be tried again, and how each failed.
    failed: Vec<(usize, Fault)>,
    /// One whose old connection was dead or died of the request: a fresh one may serve.
    again: Option<usize>,
    /// Only a fresh connection will do.
    pub(crate) fresh_only: bool,
    /// The request may have been read once before.
    pub(crate) repeated: bool,
    /// How long connecting has taken.
    connecting: Duration,
}

impl Tries {
    /// The target to try next. Another one first, as long as it is as good a choice as the one whose
    /// old connection was dead; nothing once there is no time to connect.
    pub(crate) fn next(&mut self, pool: &Pool, worker: usize, connect: Duration) -> Option<usize> {
        if self.failed.is_empty() {
            return balance::pick(pool, worker, &[]);
        }
        if self.connecting >= connect {
            return None;
        }
        let tried: Vec<usize> = self.failed.iter().map(|(at, _)| *at).collect();
        let other = balance::pick(pool, worker, &tried);
        let is_good = |at: usize| {
            let target = pool.targets.get(at);
            target.is_some_and(|target| target.health.is_usable() && !target.backup)
        };
        match self.again {
            Some(_) if !other.is_some_and(is_good) => self.again.take(),
            Some(_) | None => other,
        }
    }

    /// This target is not to be tried again …
    pub(crate) fn fail(&mut self, at: usize, fault: Fault) {
        self.failed.push((at, fault));
    }

    /// … unless over a fresh connection.
    pub(crate) fn fail_stale(&mut self, at: usize) {
        self.fail(at, Fault::Reset);
        self.again = Some(at);
        self.fresh_only = true;
    }

    /// Each that was tried, and how it failed.
    pub(crate) fn failed(&self) -> &[(usize, Fault)] {
        &self.failed
    }

    /// How long the next one may take to connect: its part of what is left.
    pub(crate) fn patience(&self, targets: usize, connect: Duration) -> Duration {
        let left = connect.saturating_sub(self.connecting);
        let waiting = targets.saturating_sub(self.failed.len());
        left / u32::try_from(waiting.clamp(1, PARTS)).unwrap_or(1)
    }

    /// An attempt to connect has come to an end.
    pub(crate) fn connected(&mut self, took: Duration) {
        self.connecting += took;
    }

    /// Why the request fails, if nothing is left to be tried.
    pub(crate) fn fault(&self, pool: &Pool) -> Fault {
        match self.failed.last() {
            Some((_, last @ (Fault::Reset | Fault::ResponseTimeout))) => *last,
            Some((_, last)) if !is_all_sick(pool) => *last,
            Some(_) | None => Fault::NoHealthyTarget,
        }
    }
}

/// Whether no target's probes are good.
pub(crate) fn is_all_sick(pool: &Pool) -> bool {
    let mut targets = pool.targets.iter();
    targets.all(|target| target.health.verdict() == Verdict::Unhealthy)
}

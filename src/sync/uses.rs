//! Counts what is in flight on one target, and turns new work away while the target drains.
//!
//! The rule is that of the leases: *count first, look second*. A use adds one to its worker's cell and
//! then reads `draining`; a drain sets `draining` and then looks at every cell with a
//! read-modify-write. Both touch the cell, so one of the two comes first in its modification order:
//! either the drain sees the count and waits, or the use sees that the target drains and gives itself
//! back. A target reported drained can therefore get no further request until it is ready again.

#[cfg(loom_model)]
use loom::sync::atomic::AtomicBool;
#[cfg(loom_model)]
use loom::sync::atomic::AtomicUsize;
#[cfg(loom_model)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicBool;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicUsize;
#[cfg(not(loom_model))]
use std::sync::atomic::Ordering;

use crate::sync::striped::Striped;

/// What is in flight on one target, and whether it takes more.
#[derive(Debug)]
pub struct Uses {
    count: Striped,
    draining: AtomicBool,
    cut: AtomicBool,
    cut_requests: AtomicUsize,
    cut_tunnels: AtomicUsize,
}

/// What a drain had to end by force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Requests that were not tunnels.
    pub requests: usize,
    /// WebSockets and other upgraded connections.
    pub tunnels: usize,
}

impl Uses {
    /// Nothing in flight, and ready for more.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            count: Striped::new(workers),
            draining: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            cut_requests: AtomicUsize::new(0),
            cut_tunnels: AtomicUsize::new(0),
        }
    }

    /// Counts one use by `worker`, unless the target drains: then nothing is counted, and false. Whoever
    /// was told true [ends](Self::end) it once.
    #[must_use]
    pub fn begin(&self, worker: usize) -> bool {
        self.count.add(worker);
        if self.is_draining() {
            self.count.take_away(worker);
            return false;
        }
        true
    }

    /// Ends a use that `worker` has begun.
    pub fn end(&self, worker: usize) {
        self.count.take_away(worker);
    }

    /// Turns further uses away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Takes uses again, and forgets that what was left was to end.
    pub fn make_ready(&self) {
        self.cut.store(false, Ordering::Release);
        self.draining.store(false, Ordering::Release);
    }

    /// Whether further uses are turned away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Asks whoever still uses the target to end now; each sees it at its next look.
    pub fn cut(&self) {
        if self.is_cut() {
            return;
        }
        self.cut_requests.store(0, Ordering::Release);
        self.cut_tunnels.store(0, Ordering::Release);
        self.cut.store(true, Ordering::Release);
    }

    /// Whether whoever uses the target should end now.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Counts a use that ends because of the cut.
    pub fn count_cut(&self, tunnel: bool) {
        let count = if tunnel { &self.cut_tunnels } else { &self.cut_requests };
        count.fetch_add(1, Ordering::AcqRel);
    }

    /// What the cut has ended so far.
    #[must_use]
    pub fn cut_count(&self) -> Ended {
        if !self.is_cut() {
            return Ended::default();
        }
        Ended {
            requests: self.cut_requests.load(Ordering::Acquire),
            tunnels: self.cut_tunnels.load(Ordering::Acquire),
        }
    }

    /// The count of one worker: cheap, for decisions that need no truth.
    #[must_use]
    pub fn of(&self, worker: usize) -> usize {
        self.count.of(worker)
    }

    /// How many uses there are. Exact for a target that drains: it can only fall.
    #[must_use]
    pub fn look(&self) -> usize {
        self.count.look()
    }

    /// The same as a plain reading, for gauges.
    #[must_use]
    pub fn read(&self) -> usize {
        self.count.read()
    }
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_drains_turns_new_work_away_and_leaves_no_trace() {
        let uses = Uses::new(2);
        assert!(uses.begin(0));
        uses.drain();
        assert!(!uses.begin(1));
        assert_eq!((uses.look(), uses.of(1)), (1, 0));
        uses.end(0);
        assert_eq!(uses.look(), 0);
        uses.make_ready();
        assert!(uses.begin(1));
    }

    #[test]
    fn a_cut_is_counted_by_kind_and_a_second_one_forgets_nothing() {
        let uses = Uses::new(1);
        uses.drain();
        uses.count_cut(false);
        assert_eq!(uses.cut_count(), Ended::default(), "nothing was to be cut yet");
        uses.cut();
        uses.count_cut(false);
        uses.count_cut(true);
        uses.cut();
        assert_eq!(uses.cut_count(), Ended { requests: 1, tunnels: 1 });
        uses.make_ready();
        assert!(!uses.is_cut());
    }
}

/// Run as those of `lease`.
#[cfg(all(test, loom_model))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn loom_a_drained_target_never_gets_another_request() {
        loom::model(|| {
            let uses = Arc::new(Uses::new(2));
            let working = Arc::new(AtomicBool::new(false));
            let worker = loom::thread::spawn({
                let (uses, working) = (Arc::clone(&uses), Arc::clone(&working));
                move || {
                    if uses.begin(1) {
                        working.store(true, Ordering::Release);
                        working.store(false, Ordering::Release);
                        uses.end(1);
                    }
                }
            });
            uses.drain();
            if uses.look() == 0 {
                // Drained: whoever used it has ended, and nobody does any more.
                assert!(!working.load(Ordering::Acquire));
                worker.join().unwrap();
                assert!(!working.load(Ordering::Acquire));
                assert_eq!(uses.look(), 0);
            } else {
                worker.join().unwrap();
            }
        });
    }
}

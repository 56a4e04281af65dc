//! A request counted on one target, for as long as that target works on it.

use std::rc::Rc;

use crate::proxy::view::WorkerPool;

/// A request counted on one target; ends when dropped.
pub(super) struct TargetUse {
    pool: Rc<WorkerPool>,
    at: usize,
    worker: usize,
}

impl TargetUse {
    /// Counts a request of `worker` on the target at this place of the pool, if there is one.
    pub(super) fn begin(pool: &Rc<WorkerPool>, at: usize, worker: usize) -> Option<Self> {
        pool.targets.get(at)?.in_flight.add(worker);
        Some(Self { pool: Rc::clone(pool), at, worker })
    }
}

impl Drop for TargetUse {
    fn drop(&mut self) {
        if let Some(target) = self.pool.targets.get(self.at) {
            target.in_flight.take_away(self.worker);
        }
    }
}

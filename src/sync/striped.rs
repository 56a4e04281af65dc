//! A count that every worker may change without touching another worker's cache line.

#[cfg(loom_model)]
use loom::sync::atomic::AtomicUsize;
#[cfg(loom_model)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicUsize;
#[cfg(not(loom_model))]
use std::sync::atomic::Ordering;

/// One worker's share, alone on its cache line (128 bytes: adjacent lines are prefetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicUsize);

/// A sum of per-worker cells. What a worker adds it must also take away, from the same cell.
#[derive(Debug)]
pub struct Striped {
    cells: Box<[Cell]>,
}

impl Striped {
    /// A count of zero with one cell a worker (at least one).
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { cells: (0..workers.max(1)).map(|_| Cell::default()).collect() }
    }

    /// Adds one to `worker`'s cell. Everything the worker did before is visible to whoever
    /// [looks](Self::look) and sees this count.
    pub fn add(&self, worker: usize) {
        self.cell(worker).fetch_add(1, Ordering::AcqRel);
    }

    /// Takes one from `worker`'s cell.
    pub fn take_away(&self, worker: usize) {
        self.cell(worker).fetch_sub(1, Ordering::Release);
    }

    /// The count of one worker: cheap, for decisions that need no truth.
    #[must_use]
    pub fn of(&self, worker: usize) -> usize {
        self.cell(worker).load(Ordering::Relaxed)
    }

    /// The sum. Read-modify-write on every cell (`fetch_add(0)`), so that each cell's look takes its
    /// place in that cell's modification order: the drain's half of "count first, look second".
    #[must_use]
    pub fn look(&self) -> usize {
        self.cells
            .iter()
            .map(|cell| cell.0.fetch_add(0, Ordering::AcqRel))
            .sum()
    }

    /// The sum as a plain reading, for gauges.
    #[must_use]
    pub fn read(&self) -> usize {
        self.cells
            .iter()
            .map(|cell| cell.0.load(Ordering::Relaxed))
            .sum()
    }

    fn cell(&self, worker: usize) -> &AtomicUsize {
        let cell = self.cells.get(worker);
        &cell.unwrap_or_else(|| self.shared(worker)).0
    }

    /// A worker's number is below the count the cells were made for; this keeps a mistake harmless (a
    /// shared cell) instead of a panic on the request path.
    #[cold]
    fn shared(&self, worker: usize) -> &Cell {
        #[expect(
            clippy::indexing_slicing,
            reason = "the place is below the length, which is at least one"
        )]
        &self.cells[worker % self.cells.len()]
    }
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;

    #[test]
    fn sums_what_each_worker_holds() {
        let count = Striped::new(2);
        count.add(0);
        count.add(1);
        count.add(1);
        count.take_away(1);
        assert_eq!((count.of(0), count.of(1), count.look(), count.read()), (1, 1, 2, 2));
    }

    #[test]
    fn a_worker_beyond_the_cells_shares_one_and_loses_nothing() {
        let count = Striped::new(2);
        for worker in 0..7 {
            count.add(worker);
        }
        assert_eq!((count.of(0), count.of(1), count.look()), (4, 3, 7));
        count.take_away(6);
        assert_eq!((count.of(0), count.of(6), count.look()), (3, 3, 6));
    }
}

//! A limit that all workers keep together and each counts by itself: a worker takes a part of it for
//! later, and goes to the common pot again only when that is used up.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Of each limit the workers together keep at most twice this part at hand, unused: so much too early
/// one of them may be refused more. A limit that is too small for parts is kept to the last one, at the
/// price of the common pot for each.
const SPARE: usize = 16;

/// How much of a limit the workers have taken.
#[derive(Debug, Default)]
pub(crate) struct Pot(AtomicUsize);

/// One worker's part of a limit.
#[derive(Debug)]
pub(crate) struct Share {
    pot: Arc<Pot>,
    workers: usize,
    /// How many there are on this worker, within the limit or not.
    here: Cell<usize>,
    /// How many this worker may have.
    taken: Cell<usize>,
    /// The limit of which it was taken, and how much of it is kept at hand.
    limit: Cell<usize>,
    spare: Cell<usize>,
}

impl Pot {
    /// Takes what there is, and no more than `most`.
    fn take(&self, most: usize, limit: usize) -> usize {
        let left = |taken: usize| most.min(limit.saturating_sub(taken));
        let took = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| Some(taken + left(taken)));
        took.map_or(0, left)
    }

    fn give_back(&self, part: usize) {
        self.0.fetch_sub(part, Ordering::AcqRel);
    }
}

impl Share {
    /// Nothing yet of what one of `workers` may take from the pot.
    pub(crate) fn new(pot: Arc<Pot>, workers: usize) -> Self {
        let [here, taken, limit, spare] = [0; 4].map(Cell::new);
        Self { pot, workers: workers.max(1), here, taken, limit, spare }
    }

    /// One more is here, whether or not it [fits](Self::fits).
    pub(crate) fn begin(&self) {
        self.here.set(self.here.get() + 1);
    }

    /// One of them is gone.
    pub(crate) fn end(&self) {
        let here = self.here.get().saturating_sub(1);
        self.here.set(here);
        if self.taken.get() > here + 2 * self.spare.get() {
            self.shrink_to(here + self.spare.get());
        }
    }

    /// Whether those that are here are within the limit.
    pub(crate) fn fits(&self, limit: usize) -> bool {
        (self.here.get() <= self.taken.get() && self.limit.get() == limit) || self.grow(limit)
    }

    #[cold]
    fn grow(&self, limit: usize) -> bool {
        if self.limit.replace(limit) != limit {
            // What was taken of the old limit may be more than there is of the new one.
            self.shrink_to(0);
            self.spare.set(limit / (SPARE * self.workers));
        }
        let (here, taken) = (self.here.get(), self.taken.get());
        let missing = here.saturating_sub(taken) + self.spare.get();
        self.taken.set(taken + self.pot.take(missing, limit));
        here <= self.taken.get()
    }

    fn shrink_to(&self, wanted: usize) {
        let part = self.taken.get().saturating_sub(wanted);
        self.taken.set(self.taken.get() - part);
        self.pot.give_back(part);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pot.give_back(self.taken.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_workers() -> (Arc<Pot>, [Share; 2]) {
        let pot = Arc::new(Pot::default());
        let shares = [(); 2].map(|()| Share::new(Arc::clone(&pot), 2));
        (pot, shares)
    }

    /// Begins as long as it fits; how many did.
    fn fill(share: &Share, limit: usize) -> usize {
        let begin = || {
            share.begin();
            share.fits(limit)
        };
        let fitted = std::iter::repeat_with(begin)
            .take_while(|fits| *fits)
            .count();
        share.end();
        fitted
    }

    fn taken(pot: &Pot) -> usize {
        pot.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_small_limit_is_kept_to_the_last_one_whichever_worker_has_them() {
        let (pot, [one, other]) = two_workers();
        assert_eq!(fill(&one, 2), 2);
        assert_eq!(fill(&other, 2), 0);
        one.end();
        assert_eq!(fill(&other, 2), 1);
        one.end();
        other.end();
        assert_eq!(taken(&pot), 0);
    }

    #[test]
    fn of_a_large_limit_a_worker_keeps_a_part_at_hand_and_no_worker_is_kept_from_the_rest() {
        let (pot, [one, other]) = two_workers();
        one.begin();
        assert!(one.fits(1000));
        let at_hand = taken(&pot);
        for _ in 0..100 {
            one.end();
            one.begin();
            assert!(one.fits(1000));
        }
        assert_eq!(taken(&pot), at_hand, "the pot is left alone");
        let most = fill(&other, 1000);
        assert!((1000 - 1000 / 8..1000).contains(&most), "{most}");
        assert!(fill(&one, 1000) + most < 1000, "and together not more than there are");
        (0..most).for_each(|_| other.end());
        assert!(taken(&pot) <= 1000 / 8 + 100, "{} still taken", taken(&pot));
    }

    #[test]
    fn a_limit_that_changes_counts_from_the_next_one_on() {
        let (pot, [one, other]) = two_workers();
        assert_eq!(fill(&one, 5), 5);
        one.begin();
        assert!(!one.fits(2), "five are here, and stay");
        assert!(one.fits(9), "the sixth");
        other.begin();
        assert!(other.fits(9));
        drop((one, other));
        assert_eq!(taken(&pot), 0);
    }

    #[test]
    fn workers_that_count_at_the_same_time_never_exceed_the_limit_and_lose_nothing() {
        const LIMIT: usize = 7;
        let (pot, in_all) = (Arc::new(Pot::default()), AtomicUsize::new(0));
        let work = || {
            let share = Share::new(Arc::clone(&pot), 4);
            for _ in 0..1000 {
                let fitted = fill(&share, LIMIT);
                let now = in_all.fetch_add(fitted, Ordering::AcqRel) + fitted;
                assert!(now <= LIMIT, "{now}");
                in_all.fetch_sub(fitted, Ordering::AcqRel);
                (0..fitted).for_each(|_| share.end());
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
        assert_eq!(taken(&pot), 0);
    }
}

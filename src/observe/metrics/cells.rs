//! Where numbers live between scrapes: counts, timings, and stripes, which let each worker count on
//! cache lines of its own. Knows no metric by name.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A number that only grows. Relaxed throughout: a scrape needs no order between numbers.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One count for each of `N` words. A place outside of them is not counted; callers index by enum.
#[derive(Debug)]
pub(super) struct Counts<const N: usize>([Count; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl<const N: usize> Counts<N> {
    pub(super) fn add(&self, at: usize, n: u64) {
        if let Some(count) = self.0.get(at) {
            count.add(n);
        }
    }

    pub(super) fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, Count::get)
    }
}

impl<const N: usize> Fold for Counts<N> {
    fn fold_into(&self, sum: &Self) {
        for (from, to) in self.0.iter().zip(&sum.0) {
            to.add(from.get());
        }
    }
}

/// The upper bounds of a histogram's buckets, rising.
pub(super) type Bounds<const N: usize> = [Duration; N];

/// A histogram of durations.
#[derive(Debug)]
pub(super) struct Timings<const N: usize> {
    bounds: &'static Bounds<N>,
    /// How many fell into each bucket, not cumulative.
    within: Counts<N>,
    /// How many were longer than the last bound.
    beyond: Count,
    /// In microseconds: twenty thousand requests at once fill 64 bits in 29 years.
    sum: Count,
}

/// A histogram as a scrape reports it. The count is made of the buckets, so the two always agree.
#[derive(Debug, PartialEq)]
pub(super) struct TimingsRead {
    /// Each bucket's bound in seconds, and how many took at most that long.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
    /// In seconds.
    pub(super) sum: f64,
}

impl<const N: usize> Timings<N> {
    pub(super) fn new(bounds: &'static Bounds<N>) -> Self {
        Self { bounds, within: Counts::default(), beyond: Count::default(), sum: Count::default() }
    }

    pub(super) fn observe(&self, took: Duration) {
        match self.bounds.iter().position(|bound| took <= *bound) {
            Some(bucket) => self.within.add(bucket, 1),
            None => self.beyond.add(1),
        }
        self.sum
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn read(&self) -> TimingsRead {
        let mut count = 0;
        let buckets = self
            .bounds
            .iter()
            .enumerate()
            .map(|(bucket, bound)| {
                count += self.within.get(bucket);
                (seconds(bound.as_micros()), count)
            })
            .collect();
        let sum = seconds(u128::from(self.sum.get()));
        TimingsRead { buckets, count: count + self.beyond.get(), sum }
    }
}

impl<const N: usize> Fold for Timings<N> {
    fn fold_into(&self, sum: &Self) {
        self.within.fold_into(&sum.within);
        sum.beyond.add(self.beyond.get());
        sum.sum.add(self.sum.get());
    }
}

/// Divided, not added up, so that 500 µs reads 0.0005 and nothing longer.
#[expect(clippy::cast_precision_loss, reason = "a sum of seconds needs no more than 53 bits")]
fn seconds(micros: u128) -> f64 {
    micros as f64 / 1e6
}

/// Cells that can be added up.
pub(super) trait Fold {
    /// Adds every number here to `sum`'s.
    fn fold_into(&self, sum: &Self);
}

/// One series' cells, once for each handle that counts on it: no two workers share a cache line, and
/// only a scrape adds them up. What a handle counted outlives it.
#[derive(Debug, Default)]
pub(super) struct Stripes<T>(Mutex<Parts<T>>);

#[derive(Debug, Default)]
struct Parts<T> {
    /// What the handles that are gone have counted.
    ended: T,
    live: Vec<Arc<T>>,
}

impl<T: Default + Fold> Stripes<T> {
    /// Cells for one more handle. Takes a lock: once a worker and series, never once a request.
    pub(super) fn stripe(&self) -> Arc<T> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.collect_ended();
        let stripe = Arc::new(T::default());
        parts.live.push(Arc::clone(&stripe));
        stripe
    }

    /// The sum of all handles there are and ever were.
    pub(super) fn sum(&self) -> T {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.collect_ended();
        let sum = T::default();
        parts.ended.fold_into(&sum);
        for stripe in &parts.live {
            stripe.fold_into(&sum);
        }
        sum
    }
}

impl<T: Fold> Parts<T> {
    /// Keeps the numbers of handles that are gone, and lets their cells go.
    fn collect_ended(&mut self) {
        let Self { ended, live } = self;
        live.retain_mut(|stripe| match Arc::get_mut(stripe) {
            Some(alone) => {
                alone.fold_into(ended);
                false
            }
            None => true,
        });
    }
}

/// How many threads count without sharing a line; further ones share, which is slower, not wrong.
const SLOTS: usize = 32;

/// Counts for `N` words that every worker adds to without a handle of its own: each thread has its
/// slot.
#[derive(Debug)]
pub(super) struct Slots<const N: usize>(Box<[Slot<N>]>);

/// 128 bytes, because adjacent lines are prefetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot<const N: usize>(Counts<N>);

impl<const N: usize> Default for Slots<N> {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| Slot::default()).collect())
    }
}

impl<const N: usize> Slots<N> {
    pub(super) fn add(&self, at: usize, n: u64) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SLOT: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
        }
        // A thread that is being torn down has no slot of its own any more: any will do.
        let slot = SLOT.try_with(|slot| *slot).unwrap_or_default();
        if let Some(slot) = self.0.get(slot) {
            slot.0.add(at, n);
        }
    }

    pub(super) fn get(&self, at: usize) -> u64 {
        self.0.iter().map(|slot| slot.0.get(at)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds<2> = [Duration::from_micros(500), Duration::from_millis(10)];

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let timings = Timings::new(&BOUNDS);
        for micros in [500, 501, 10_000, 10_001] {
            timings.observe(Duration::from_micros(micros));
        }
        let read = timings.read();
        assert_eq!(read.buckets, [(0.0005, 1), (0.01, 3)]);
        assert_eq!((read.count, read.sum), (4, 0.021_002));
    }

    #[test]
    fn a_sum_holds_what_ended_handles_counted_and_lets_their_cells_go() {
        let stripes = Stripes::<Counts<2>>::default();
        let (first, second) = (stripes.stripe(), stripes.stripe());
        first.add(0, 2);
        second.add(1, 3);
        second.add(9, 1);
        drop(first);
        assert_eq!((stripes.sum().get(0), stripes.sum().get(1)), (2, 3));
        assert_eq!(stripes.0.lock().unwrap().live.len(), 1);
        second.add(0, 5);
        assert_eq!(stripes.sum().get(0), 7);
    }

    #[test]
    fn slots_lose_nothing_however_many_threads_count() {
        let slots = Slots::<2>::default();
        let count = || (0..100).for_each(|_| slots.add(1, 1));
        std::thread::scope(|scope| {
            for _ in 0..SLOTS + 8 {
                scope.spawn(count);
            }
        });
        assert_eq!((slots.get(0), slots.get(1)), (0, (SLOTS as u64 + 8) * 100));
    }
}

//! Where numbers live between scrapes: counts, timings, and stripes, which let each worker count on
//! cache lines of its own. Knows no metric by name.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
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

    /// As [`add`](Self::add), for the only thread that ever adds here, without locking the cache
    /// line: twenty cycles less. What another thread adds at the same moment would be lost.
    pub(super) fn add_alone(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
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

    /// For the only thread that ever adds here.
    pub(super) fn add_alone(&self, at: usize, n: u64) {
        if let Some(count) = self.0.get(at) {
            count.add_alone(n);
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

/// The upper bounds of a histogram's buckets, rising, in nanoseconds.
#[derive(Debug)]
pub(super) struct Bounds<const N: usize>([u64; N]);

impl<const N: usize> Bounds<N> {
    pub(super) const fn in_micros(bounds: [u64; N]) -> Self {
        Self::scaled(bounds, 1_000)
    }

    pub(super) const fn in_millis(bounds: [u64; N]) -> Self {
        Self::scaled(bounds, 1_000_000)
    }

    const fn scaled(mut bounds: [u64; N], nanos: u64) -> Self {
        let mut at = 0;
        while at < N {
            #[expect(clippy::indexing_slicing, reason = "at is below the length")]
            let bound = &mut bounds[at];
            *bound *= nanos;
            at += 1;
        }
        Self(bounds)
    }
}

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
        let nanos = nanos(took);
        self.count_of(nanos).add(1);
        self.sum.add(nanos / 1000);
    }

    /// For the only thread that ever observes here.
    pub(super) fn observe_alone(&self, took: Duration) {
        let nanos = nanos(took);
        self.count_of(nanos).add_alone(1);
        self.sum.add_alone(nanos / 1000);
    }

    /// From the small end: most of what is observed takes little.
    fn count_of(&self, nanos: u64) -> &Count {
        let mut buckets = self.bounds.0.iter().zip(&self.within.0);
        let bucket = buckets.find(|(bound, _)| nanos <= **bound);
        bucket.map_or(&self.beyond, |(_, count)| count)
    }

    pub(super) fn read(&self) -> TimingsRead {
        let mut count = 0;
        let buckets = self
            .bounds
            .0
            .iter()
            .zip(&self.within.0)
            .map(|(bound, within)| {
                count += within.get();
                (seconds(bound / 1000), count)
            })
            .collect();
        let sum = seconds(self.sum.get());
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
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// In 64 bits, which are enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
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

/// One handle's cells. Not shared between threads, nor cloned, so that there is only one thread that
/// adds to them at any time.
#[derive(Debug)]
pub(super) struct Stripe<T> {
    cells: Arc<T>,
    one_thread: PhantomData<Cell<()>>,
}

impl<T> Stripe<T> {
    /// The cells, to be added to from anywhere: no longer by any `…_alone`.
    pub(super) fn shared(self) -> Arc<T> {
        self.cells
    }
}

impl<T> Deref for Stripe<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.cells
    }
}

#[derive(Debug, Default)]
struct Parts<T> {
    /// What the handles that are gone have counted.
    ended: T,
    live: Vec<Arc<T>>,
}

impl<T: Default + Fold> Stripes<T> {
    /// Cells for one more handle. Takes a lock: once a worker and series, never once a request.
    pub(super) fn stripe(&self) -> Stripe<T> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.collect_ended();
        let cells = Arc::new(T::default());
        parts.live.push(Arc::clone(&cells));
        Stripe { cells, one_thread: PhantomData }
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
pub(super) struct Slots<const N: usize> {
    own: Box<[Slot<N>]>,
    shared: Slot<N>,
}

/// 128 bytes, because adjacent lines are prefetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot<const N: usize>(Counts<N>);

impl<const N: usize> Default for Slots<N> {
    fn default() -> Self {
        Self { own: (0..SLOTS).map(|_| Slot::default()).collect(), shared: Slot::default() }
    }
}

impl<const N: usize> Slots<N> {
    pub(super) fn add(&self, at: usize, n: u64) {
        match self.own.get(number_of_this_thread()) {
            // The slot with this thread's number, which no other thread has or will ever have.
            Some(slot) => slot.0.add_alone(at, n),
            None => self.shared.0.add(at, n),
        }
    }

    pub(super) fn get(&self, at: usize) -> u64 {
        let slots = self.own.iter().chain([&self.shared]);
        slots.map(|slot| slot.0.get(at)).sum()
    }
}

/// Unique in this process, never reused.
fn number_of_this_thread() -> usize {
    const UNKNOWN: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    let number = NUMBER.get();
    if number != UNKNOWN {
        return number;
    }
    NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds<2> = Bounds::in_micros([500, 10_000]);

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
    fn a_bound_is_exact_to_the_nanosecond_and_a_duration_beyond_all_measure_is_counted() {
        let timings = Timings::new(&BOUNDS);
        timings.observe(Duration::from_nanos(500_000));
        timings.observe_alone(Duration::from_nanos(500_001));
        timings.observe_alone(Duration::MAX);
        let read = timings.read();
        assert_eq!((read.buckets, read.count), (vec![(0.0005, 1), (0.01, 2)], 3));
    }

    #[test]
    fn a_sum_holds_what_ended_handles_counted_and_lets_their_cells_go() {
        let stripes = Stripes::<Counts<2>>::default();
        let (first, second) = (stripes.stripe(), stripes.stripe());
        first.add_alone(0, 2);
        second.add_alone(1, 3);
        second.add(9, 1);
        drop(first);
        assert_eq!((stripes.sum().get(0), stripes.sum().get(1)), (2, 3));
        assert_eq!(stripes.0.lock().unwrap().live.len(), 1);
        second.add(0, 5);
        assert_eq!(stripes.sum().get(0), 7);
    }

    #[test]
    fn handles_that_count_alone_lose_nothing_while_a_scrape_adds_up() {
        let stripes = Stripes::<Counts<1>>::default();
        let count = || {
            let stripe = stripes.stripe();
            (0..10_000).for_each(|_| stripe.add_alone(0, 1));
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(count);
            }
            for _ in 0..100 {
                assert!(stripes.sum().get(0) <= 40_000);
            }
        });
        assert_eq!(stripes.sum().get(0), 40_000);
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

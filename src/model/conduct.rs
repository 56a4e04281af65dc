//! How a pool has behaved, route by route: requests, how they failed, and how long their answers took
//! to begin. Workers add to it at the end of a request, the control plane reads it for the verdict on
//! a release.
//!
//! Each worker counts in cells of its own, made at its first request on a route, and is the only one
//! that adds there: no lock, and no locked instruction. Counts are 32 bits wide and may wrap; only
//! differences are ever used.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Routes that are told apart; all from the last of these on share its place.
pub const ROUTES: usize = 64;

/// Buckets of a latency: four to a doubling from [`SHORTEST`] to 64 seconds, one for all below and one
/// for all above.
pub const BUCKETS: usize = 2 + 4 * (LAST_OCTAVE - FIRST_OCTAVE);

/// 2^18 ns, a quarter of a millisecond: what is shorter is all the same.
const FIRST_OCTAVE: usize = 18;

/// 2^36 ns, a little more than a minute.
const LAST_OCTAVE: usize = 36;

/// The upper edge of the first bucket.
pub const SHORTEST: Duration = Duration::from_nanos(1 << FIRST_OCTAVE);

/// How a request failed, as far as its pool is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Failing {
    /// The target answered 500 or more.
    Status,
    /// No target could be connected to.
    Connect,
    /// The target closed or reset the connection, or did not speak HTTP.
    Reset,
    /// The target sent nothing for too long.
    Timeout,
}

/// How many ways there are to fail.
pub const FAILINGS: usize = 4;

/// The counts of one pool.
#[derive(Debug)]
pub struct Conduct {
    workers: Box<[OfWorker]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct OfWorker([OnceLock<Box<OfRoute>>; ROUTES]);

/// Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct OfRoute {
    latency: [AtomicU32; BUCKETS],
    failed: [AtomicU32; FAILINGS],
}

/// What has been counted on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Requests by how long their answer took to begin; together, all of them.
    pub latency: [u32; BUCKETS],
    /// Those that failed, by [`Failing`].
    pub failed: [u32; FAILINGS],
}

/// What has been counted so far, by route. A route on which nothing came is not in it.
pub type Reading = BTreeMap<usize, Counts>;

impl Conduct {
    /// Nothing counted yet, by this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let one = |_| OfWorker(std::array::from_fn(|_| OnceLock::new()));
        Self { workers: (0..workers.max(1)).map(one).collect() }
    }

    /// A request of `worker` on the route of this number has ended; `latency` is the time to the head
    /// of its answer, or to its end if none came.
    pub fn count(&self, worker: usize, route: usize, failing: Option<Failing>, latency: Duration) {
        let route = route.min(ROUTES - 1);
        let cell = self.workers.get(worker).and_then(|own| own.0.get(route));
        let Some(cell) = cell else { return };
        let cell = cell.get_or_init(Box::default);
        if let Some(count) = cell.latency.get(bucket(latency)) {
            add_alone(count);
        }
        if let Some(count) = failing.and_then(|failing| cell.failed.get(failing as usize)) {
            add_alone(count);
        }
    }

    /// The counts of all workers together.
    #[must_use]
    pub fn read(&self) -> Reading {
        let mut reading = Reading::new();
        let all = self.workers.iter().flat_map(|own| own.0.iter().enumerate());
        for (route, cell) in all.filter_map(|(route, cell)| Some((route, cell.get()?))) {
            reading.entry(route).or_default().add_cell(cell);
        }
        reading
    }
}

/// For the only thread that ever adds here.
fn add_alone(count: &AtomicU32) {
    let sum = count.load(Ordering::Relaxed).wrapping_add(1);
    count.store(sum, Ordering::Relaxed);
}

/// The bucket that a latency falls into.
#[must_use]
pub fn bucket(latency: Duration) -> usize {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let Some(octave) = nanos.checked_ilog2().map(|octave| octave as usize) else { return 0 };
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let quarter = usize::try_from(nanos >> (octave - 2) & 3).unwrap_or_default();
    (1 + 4 * (octave - FIRST_OCTAVE) + quarter).min(BUCKETS - 1)
}

/// Where a bucket ends: no latency in it is longer. The last one ends nowhere.
#[must_use]
pub fn edge(bucket: usize) -> Duration {
    if bucket >= BUCKETS - 1 {
        return Duration::MAX;
    }
    let Some(above) = bucket.checked_sub(1) else { return SHORTEST };
    let (octave, quarter) = (FIRST_OCTAVE + above / 4, (above % 4) as u64);
    Duration::from_nanos((5 + quarter) << (octave - 2))
}

impl Counts {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.latency.iter().copied().map(u64::from).sum()
    }

    /// Those that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.iter().copied().map(u64::from).sum()
    }

    /// Those that failed in this way.
    #[must_use]
    pub fn failed(&self, failing: Failing) -> u64 {
        self.failed
            .get(failing as usize)
            .copied()
            .map_or(0, u64::from)
    }

    /// Those whose answer took longer than the [`edge`] of this bucket.
    #[must_use]
    pub fn beyond(&self, bucket: usize) -> u64 {
        let longer = self.latency.iter().skip(bucket + 1);
        longer.copied().map(u64::from).sum()
    }

    /// What has been counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        let both = since.latency.iter_mut().zip(&before.latency);
        both.for_each(|(now, then)| *now = now.wrapping_sub(*then));
        let both = since.failed.iter_mut().zip(&before.failed);
        both.for_each(|(now, then)| *now = now.wrapping_sub(*then));
        since
    }

    /// Takes in what else was counted.
    pub fn add(&mut self, other: &Self) {
        let both = self.latency.iter_mut().zip(&other.latency);
        both.for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
        let both = self.failed.iter_mut().zip(&other.failed);
        both.for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    }

    fn add_cell(&mut self, cell: &OfRoute) {
        let both = self.latency.iter_mut().zip(&cell.latency);
        both.for_each(|(sum, one)| *sum = sum.wrapping_add(one.load(Ordering::Relaxed)));
        let both = self.failed.iter_mut().zip(&cell.failed);
        both.for_each(|(sum, one)| *sum = sum.wrapping_add(one.load(Ordering::Relaxed)));
    }
}

/// What has been counted between two readings of one pool.
#[must_use]
pub fn between(before: &Reading, now: &Reading) -> Reading {
    let none = Counts::default();
    now.iter()
        .map(|(route, counts)| (*route, counts.since(before.get(route).unwrap_or(&none))))
        .filter(|(_, counts)| counts.requests() > 0)
        .collect()
}

impl Default for Counts {
    fn default() -> Self {
        Self { latency: [0; BUCKETS], failed: [0; FAILINGS] }
    }
}

impl Default for OfRoute {
    fn default() -> Self {
        Self {
            latency: std::array::from_fn(|_| AtomicU32::default()),
            failed: std::array::from_fn(|_| AtomicU32::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_in_the_bucket_whose_edges_hold_it() {
        for micros in [0, 1, 249, 262, 263, 500, 1000, 2_000, 333_333, 1_000_000, 60_000_000] {
            let latency = Duration::from_micros(micros);
            let at = bucket(latency);
            assert!(latency <= edge(at), "{latency:?} {at}");
            assert!(at == 0 || latency >= edge(at - 1), "{latency:?} {at}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!((1..BUCKETS - 1).all(|at| edge(at) <= edge(at - 1) * 5 / 4));
    }

    #[test]
    fn what_workers_count_is_read_as_one_route_by_route() {
        let conduct = Conduct::new(2);
        let (quick, slow) = (Duration::from_millis(1), Duration::from_secs(1));
        conduct.count(0, 0, None, quick);
        conduct.count(1, 0, Some(Failing::Reset), slow);
        conduct.count(1, 1000, None, quick);
        conduct.count(1, ROUTES - 1, Some(Failing::Status), quick);
        let reading = conduct.read();
        let told = |route: usize| {
            let counts = &reading[&route];
            (counts.requests(), counts.failures(), counts.beyond(bucket(quick)))
        };
        assert_eq!(reading.len(), 2);
        assert_eq!((told(0), told(ROUTES - 1)), ((2, 1, 1), (2, 1, 0)));
    }

    #[test]
    fn only_what_was_counted_in_between_shows_and_a_count_may_wrap() {
        let conduct = Conduct::new(1);
        let before = conduct.read();
        conduct.count(0, 3, Some(Failing::Timeout), Duration::ZERO);
        let then = conduct.read();
        assert_eq!(between(&before, &then)[&3].failed(Failing::Timeout), 1);
        assert_eq!(between(&then, &conduct.read()), Reading::new());
        let mut wrapped = Counts::default();
        wrapped.latency[0] = 1;
        let mut full = Counts::default();
        full.latency[0] = u32::MAX;
        assert_eq!(wrapped.since(&full).requests(), 2);
    }
}

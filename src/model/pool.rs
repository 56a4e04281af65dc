//! All targets of one colour of one upstream, and the leases on them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::model::colour::Colour;
use crate::model::conduct::Conduct;
use crate::model::target::Target;
use crate::sync::lease::Holder;
use crate::sync::lease::Leases;

/// A pool in service. A pool whose targets change is a new pool with leases of its own.
#[derive(Debug)]
pub struct Pool {
    /// Unique in this process, never reused: what a worker files its meters under.
    pub id: u64,
    /// The upstream it belongs to.
    pub upstream: Arc<str>,
    /// Its colour; `None` for an upstream with one plain pool.
    pub colour: Option<Colour>,
    /// Its targets, in the order of the file; not empty.
    pub targets: Vec<Arc<Target>>,
    /// The largest weight among them; 1 if none has one.
    pub heaviest: u32,
    leases: Leases,
    conduct: Conduct,
    /// A second in the upper half, and how many retries it has seen in the lower.
    retries: AtomicU64,
}

/// How many seconds a worker may be behind another, at the very most.
const BEHIND: u64 = 5;

/// How many retries a second are never too many.
const FEW_RETRIES: u64 = 10;

impl Pool {
    /// A pool with nothing in flight, open.
    #[must_use]
    pub fn new(
        upstream: Arc<str>,
        colour: Option<Colour>,
        targets: Vec<Arc<Target>>,
        workers: usize,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let heaviest = targets
            .iter()
            .map(|target| target.weight)
            .max()
            .unwrap_or(1)
            .max(1);
        let (leases, conduct) = (Leases::new(workers), Conduct::new(workers));
        let retries = AtomicU64::new(0);
        Self { id, upstream, colour, targets, heaviest, leases, conduct, retries }
    }

    /// What is in flight here.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// How its requests have ended.
    #[must_use]
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    /// A lease for the tests of rooms that may not name `sync`.
    #[cfg(test)]
    pub(crate) fn lease(
        self: &Arc<Self>,
        worker: usize,
    ) -> Result<crate::sync::lease::Lease<Arc<Self>>, crate::sync::lease::Retired> {
        crate::sync::lease::Lease::take(Arc::clone(self), worker)
    }

    /// As [`lease`](Self::lease), for the exceptions of a release.
    #[cfg(test)]
    pub(crate) fn exceptional_lease(
        self: &Arc<Self>,
        worker: usize,
    ) -> Result<crate::sync::lease::Lease<Arc<Self>>, crate::sync::lease::Retired> {
        crate::sync::lease::Lease::take_exceptional(Arc::clone(self), worker)
    }

    /// Counts a retry of this `second`; whether it is one of the few that each second may see. Workers
    /// look at the clock at different moments: one that is a little behind counts to the newer second.
    #[must_use]
    pub fn is_among_the_first_retries_of(&self, second: u64) -> bool {
        let next = |seen: u64| {
            // Further ahead it was before the clock was set back.
            let counts = (second..=second + BEHIND).contains(&(seen >> 32));
            Some(if counts { seen + 1 } else { (second << 32) + 1 })
        };
        let (order, fetched) = (Ordering::Relaxed, Ordering::Relaxed);
        let seen = self.retries.fetch_update(order, fetched, next);
        let seen = seen.ok().and_then(next).unwrap_or_default();
        seen & 0xffff_ffff <= FEW_RETRIES
    }

    /// Lets the target at this place rest, because requests fail on it one after the other. Never the
    /// last usable one, and never more than half of the pool: until when it rests, if it does.
    pub fn eject(&self, at: usize, now: SystemTime) -> Option<SystemTime> {
        let health = &self.targets.get(at)?.health;
        if !self.can_spare(at) {
            return None;
        }
        let until = health.eject(now)?;
        // Set first, look second: of two workers that eject two targets at once, one sees the other.
        if self.can_spare(at) {
            return Some(until);
        }
        health.readmit();
        None
    }

    /// Whether enough is left without the target at this place.
    fn can_spare(&self, at: usize) -> bool {
        let others = || {
            let all = self.targets.iter().enumerate();
            all.filter(|(other, _)| *other != at)
                .map(|(_, target)| target)
        };
        let resting = others().filter(|target| target.health.is_ejected()).count();
        let usable = others().any(|target| !target.health.is_ejected() && target.is_fit());
        usable && (resting + 1) * 2 <= self.targets.len()
    }

    /// Whether any of its targets may be sent requests.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.targets.iter().any(|target| target.is_fit())
    }

    /// The colour as a metric label: empty for a plain pool.
    #[must_use]
    pub fn colour_label(&self) -> &'static str {
        self.colour.map_or("", Colour::as_str)
    }
}

impl Holder for Pool {
    fn leases(&self) -> &Leases {
        &self.leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::ProbeOutcome;
    use crate::model::health::ProbeRecord;
    use crate::model::settings::HealthSettings;
    use crate::model::settings::TargetSettings;
    use std::time::Duration;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn pool(targets: usize) -> Pool {
        let target = |at| {
            let address = format!("10.0.0.{at}:80").parse().unwrap();
            Arc::new(Target::new(&TargetSettings { address, weight: 1, backup: false }, 1))
        };
        Pool::new("app".into(), None, (1..=targets).map(target).collect(), 1)
    }

    #[test]
    fn workers_that_disagree_about_the_second_share_its_few_retries() {
        let pool = pool(1);
        let workers = [8, 7].into_iter().cycle().take(100);
        let few = workers.filter(|second| pool.is_among_the_first_retries_of(*second));
        assert_eq!(few.count(), 10);
        assert!(pool.is_among_the_first_retries_of(9));
        assert!(pool.is_among_the_first_retries_of(2), "the clock was set back");
    }

    #[test]
    fn never_more_than_half_of_a_pool_rests() {
        for (targets, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let pool = pool(targets);
            let ejected = (0..targets).filter(|at| pool.eject(*at, NOW).is_some());
            assert_eq!(ejected.count(), most, "of {targets}");
        }
    }

    #[test]
    fn the_last_usable_target_never_rests() {
        let pool = pool(3);
        for sick in &pool.targets[1..] {
            let (at, outcome) = (NOW, ProbeOutcome::Refused);
            let record = ProbeRecord { at, outcome, latency: Duration::ZERO };
            sick.health.record(record, &HealthSettings::default());
        }
        assert_eq!(pool.eject(0, NOW), None);
        assert!(pool.targets[0].health.is_usable());
    }
}

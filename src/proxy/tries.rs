//! What has been tried for one request, and which target is next.

use std::time::Duration;

use crate::model::fault::Fault;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::proxy::balance;

/// The part of the time for connecting that no target's attempt takes more than, while there are
/// others: a third, so that one which swallows packets hides no other.
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
    /// For a request that may have been read before: once it may have been again, that was all.
    pub(crate) fn once() -> Self {
        Self { repeated: true, ..Self::default() }
    }

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
            target.is_some_and(|target| target.is_fit() && !target.backup)
        };
        match self.again {
            Some(_) if !other.is_some_and(is_good) => {
                let drains = |at: &usize| pool.targets.get(*at).is_none_or(|it| it.is_draining());
                self.again.take().filter(|at| !drains(at)).or(other)
            }
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
            Some((_, Fault::Reset)) => Fault::Reset,
            Some((_, last)) if !is_all_sick(pool) => *last,
            Some(_) | None => Fault::NoHealthyTarget,
        }
    }
}

/// Whether the probes of none that may be sent requests are good.
pub(crate) fn is_all_sick(pool: &Pool) -> bool {
    let mut targets = pool.targets.iter();
    targets.all(|target| target.is_draining() || target.health.verdict() == Verdict::Unhealthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::ProbeOutcome;
    use crate::model::health::ProbeRecord;
    use crate::model::settings::HealthSettings;
    use crate::model::settings::TargetSettings;
    use crate::model::target::Target;
    use std::sync::Arc;
    use std::time::SystemTime;

    const CONNECT: Duration = Duration::from_secs(3);

    fn pool(backups: &[bool]) -> Pool {
        let target = |(at, backup): (usize, &bool)| {
            let address = format!("10.0.0.{}:80", at + 1).parse().unwrap();
            let settings = TargetSettings { address, weight: 1, backup: *backup };
            Arc::new(Target::new(&settings, 1))
        };
        Pool::new("app".into(), None, backups.iter().enumerate().map(target).collect(), 1)
    }

    fn sicken(target: &Target) {
        let (at, outcome) = (SystemTime::UNIX_EPOCH, ProbeOutcome::Refused);
        let record = ProbeRecord { at, outcome, latency: Duration::ZERO };
        target.health.record(record, &HealthSettings::default());
    }

    #[test]
    fn a_stale_connection_leads_to_another_target_as_good_or_to_a_fresh_one_to_the_same() {
        let (two, with_backup, alone) =
            (pool(&[false, false]), pool(&[false, true]), pool(&[false]));
        for (pool, expected) in [(two, 1), (with_backup, 0), (alone, 0)] {
            let mut tries = Tries::default();
            tries.fail_stale(0);
            assert_eq!(tries.next(&pool, 0, CONNECT), Some(expected));
            assert!(tries.fresh_only);
        }
    }

    #[test]
    fn the_same_target_comes_before_a_sick_one_and_is_tried_again_only_once() {
        let pool = pool(&[false, false]);
        sicken(&pool.targets[1]);
        let mut tries = Tries::default();
        tries.fail_stale(0);
        assert_eq!(tries.next(&pool, 0, CONNECT), Some(0));
        tries.fail(0, Fault::Connect);
        assert_eq!(tries.next(&pool, 0, CONNECT), Some(1));
        tries.fail(1, Fault::Connect);
        assert_eq!(tries.next(&pool, 0, CONNECT), None);
    }

    #[test]
    fn a_target_that_has_begun_to_drain_is_not_tried_again() {
        let pool = pool(&[false]);
        let mut tries = Tries::default();
        tries.fail_stale(0);
        pool.targets[0].in_flight.drain();
        assert_eq!(tries.next(&pool, 0, CONNECT), None);
        assert_eq!(tries.fault(&pool), Fault::Reset);
    }

    #[test]
    fn all_attempts_to_connect_share_the_time() {
        for targets in [1, 2, 3, 5, 50] {
            let pool = pool(&vec![false; targets]);
            let (mut tries, mut took) = (Tries::default(), Duration::ZERO);
            while let Some(at) = tries.next(&pool, 0, CONNECT) {
                let patience = tries.patience(targets, CONNECT);
                assert!(patience <= CONNECT / u32::try_from(targets.min(PARTS)).unwrap());
                took += patience;
                tries.connected(patience);
                tries.fail(at, Fault::ConnectTimeout);
            }
            assert!(took <= CONNECT && took > CONNECT * 99 / 100, "{targets}: {took:?}");
        }
    }

    #[test]
    fn the_fault_says_that_all_are_sick_only_where_none_took_the_request() {
        let pool = pool(&[false, false]);
        let fault = |faults: &[Fault]| {
            let mut tries = Tries::default();
            faults
                .iter()
                .enumerate()
                .for_each(|(at, fault)| tries.fail(at, *fault));
            tries.fault(&pool)
        };
        assert_eq!(fault(&[Fault::Connect, Fault::ConnectTimeout]), Fault::ConnectTimeout);
        pool.targets.iter().for_each(|target| sicken(target));
        assert_eq!(fault(&[Fault::Connect, Fault::ConnectTimeout]), Fault::NoHealthyTarget);
        assert_eq!(fault(&[Fault::Connect, Fault::Reset]), Fault::Reset);
    }
}

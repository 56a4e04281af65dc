//! Which target of a pool gets a request: the less busy of two drawn at random ("the power of two
//! choices", Mitzenmacher 2001), by this worker's own counts.

use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::model::target::Target;

/// Draws before the targets are looked through one by one.
const DRAWS: usize = 16;

/// The target to try next, as an index, leaving out those in `tried`; `None` when all have been.
///
/// Healthy targets before backups, backups before those that rest, and these before unhealthy ones:
/// when no probe finds a healthy target, refusing to even try would turn a broken health page into an
/// outage. One that somebody drains is no choice at all: a person has said so, not a probe.
#[must_use]
pub fn pick(pool: &Pool, worker: usize, tried: &[usize]) -> Option<usize> {
    let first_choice =
        |at: usize, target: &Target| !target.backup && target.is_fit() && !tried.contains(&at);
    if let [only] = pool.targets.as_slice()
        && first_choice(0, only)
    {
        return Some(0);
    }
    if pool.heaviest == 1 && tried.is_empty() {
        let [one, other] = draw_two(pool)?;
        if let (Some(first), Some(second)) = (pool.targets.get(one), pool.targets.get(other))
            && first_choice(one, first)
            && first_choice(other, second)
        {
            let less = second.in_flight.of(worker) < first.in_flight.of(worker);
            return Some(if less { other } else { one });
        }
    }
    let mut one = None;
    for _ in 0..DRAWS {
        let Some((at, target)) = draw(pool) else { continue };
        if !first_choice(at, target) {
            continue;
        }
        match one {
            None => one = Some((at, target)),
            Some((other, _)) if other == at => {}
            Some(other) => return Some(less_busy(other, (at, target), worker)),
        }
    }
    one.map(|(at, _)| at)
        .or_else(|| look_through(pool, worker, tried))
}

/// The places of two different targets (of one, if there is only one) by a single random number: half
/// of it for the first, the other half for its distance to the second. A share of 32 random bits is
/// uneven by less than one in a million among a thousand targets.
fn draw_two(pool: &Pool) -> Option<[usize; 2]> {
    let count = pool.targets.len();
    let others = u64::try_from(count).ok()?.checked_sub(1)?;
    let random = fastrand::u64(..);
    let share = |bits: u64, of: u64| usize::try_from((bits * of) >> 32).ok();
    let one = share(random >> 32, others + 1)?;
    let other = one + 1 + share(random & 0xffff_ffff, others)?;
    Some([one, if other < count { other } else { other - count }])
}

/// A target drawn at random, in proportion to its weight (by rejection: no table to keep).
fn draw(pool: &Pool) -> Option<(usize, &Target)> {
    let at = fastrand::usize(..pool.targets.len().max(1));
    let target = pool.targets.get(at)?;
    let kept = pool.heaviest == 1 || fastrand::u32(..pool.heaviest) < target.weight;
    kept.then_some((at, &**target))
}

fn less_busy(a: (usize, &Target), b: (usize, &Target), worker: usize) -> usize {
    let load = |target: &Target, other: &Target| {
        u64::try_from(target.in_flight.of(worker))
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(other.weight))
    };
    if load(b.1, a.1) < load(a.1, b.1) { b.0 } else { a.0 }
}

/// The rare case: few healthy targets among many, or none.
fn look_through(pool: &Pool, worker: usize, tried: &[usize]) -> Option<usize> {
    let rank = |target: &Target| match (target.health.is_usable(), target.backup) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) if target.health.verdict() != Verdict::Unhealthy => 2,
        (false, _) => 3,
    };
    let start = fastrand::usize(..pool.targets.len().max(1));
    let count = pool.targets.len();
    pool.targets
        .iter()
        .enumerate()
        .filter(|(at, target)| !target.is_draining() && !tried.contains(at))
        .min_by_key(|(at, target)| {
            (rank(target), target.in_flight.of(worker), (at + count - start) % count)
        })
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::ProbeOutcome;
    use crate::model::health::ProbeRecord;
    use crate::model::settings::HealthSettings;
    use crate::model::settings::TargetSettings;
    use std::sync::Arc;
    use std::time::Duration;
    use std::time::SystemTime;

    fn pool(targets: &[(u32, bool)]) -> Pool {
        let target = |(at, (weight, backup)): (usize, &(u32, bool))| {
            let address = format!("10.0.0.{}:80", at + 1).parse().unwrap();
            Arc::new(Target::new(&TargetSettings { address, weight: *weight, backup: *backup }, 1))
        };
        Pool::new("app".into(), None, targets.iter().enumerate().map(target).collect(), 1)
    }

    fn fail(target: &Target) {
        let record = ProbeRecord {
            at: SystemTime::UNIX_EPOCH,
            outcome: ProbeOutcome::Refused,
            latency: Duration::ZERO,
        };
        target.health.record(record, &HealthSettings::default());
    }

    fn shares(pool: &Pool, picks: u32) -> Vec<u32> {
        let mut shares = vec![0; pool.targets.len()];
        for _ in 0..picks {
            shares[pick(pool, 0, &[]).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn only_healthy_targets_are_picked_and_evenly() {
        let pool = pool(&[(1, false), (1, false), (1, false)]);
        fail(&pool.targets[1]);
        let shares = shares(&pool, 10_000);
        assert_eq!(shares[1], 0);
        assert!((4500..5500).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn every_pair_is_drawn_alike_and_none_twice_the_same() {
        let pool = pool(&[(1, false); 5]);
        let mut drawn = [[0; 5]; 5];
        for _ in 0..20_000 {
            let [one, other] = draw_two(&pool).unwrap();
            drawn[one][other] += 1;
        }
        for at in 0..25 {
            let (one, other) = (at / 5, at % 5);
            let expected = if one == other { 0..1 } else { 800..1200 };
            assert!(expected.contains(&drawn[one][other]), "{one} {other}: {drawn:?}");
        }
    }

    #[test]
    fn the_busier_of_two_is_left_alone() {
        let pool = pool(&[(1, false), (1, false)]);
        assert!(pool.targets[0].in_flight.begin(0));
        assert_eq!(shares(&pool, 100), [0, 100]);
    }

    #[test]
    fn a_weight_is_a_share() {
        let pool = pool(&[(3, false), (1, false), (1, true)]);
        let shares = shares(&pool, 20_000);
        // Equal counts tie: the first drawn wins, and it is drawn in proportion to its weight.
        assert!((14_000..16_000).contains(&shares[0]), "{shares:?}");
        assert_eq!(shares[2], 0);
    }

    #[test]
    fn a_backup_comes_before_an_unhealthy_target_and_that_before_nothing() {
        let pool = pool(&[(1, false), (1, true)]);
        fail(&pool.targets[0]);
        assert_eq!(pick(&pool, 0, &[]), Some(1));
        assert_eq!(pick(&pool, 0, &[1]), Some(0));
        assert_eq!(pick(&pool, 0, &[0, 1]), None);
    }

    #[test]
    fn a_target_that_drains_is_never_picked_even_if_no_other_is_left() {
        let pool = pool(&[(1, false), (1, true), (2, false)]);
        pool.targets[0].in_flight.drain();
        assert_eq!(shares(&pool, 100), [0, 0, 100]);
        fail(&pool.targets[2]);
        assert_eq!(shares(&pool, 100), [0, 100, 0]);
        pool.targets[1].in_flight.drain();
        assert_eq!(pick(&pool, 0, &[]), Some(2), "a sick one is better than none");
        pool.targets[2].in_flight.drain();
        assert_eq!(pick(&pool, 0, &[]), None);
        pool.targets[0].in_flight.make_ready();
        assert_eq!(pick(&pool, 0, &[]), Some(0));
    }

    #[test]
    fn a_target_that_rests_comes_after_a_backup_and_before_an_unhealthy_one() {
        let pool = pool(&[(1, false), (1, true), (1, false), (1, false)]);
        fail(&pool.targets[2]);
        fail(&pool.targets[3]);
        assert!(pool.eject(0, SystemTime::UNIX_EPOCH).is_some());
        assert_eq!(pick(&pool, 0, &[]), Some(1));
        assert_eq!(pick(&pool, 0, &[1]), Some(0));
        assert!(pick(&pool, 0, &[0, 1]).is_some_and(|at| at >= 2));
    }
}

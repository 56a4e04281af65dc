//! Whether a colour is dead: seen by its requests, without waiting for probes to agree.

use crate::model::conduct::Counts;
use crate::model::conduct::Failing;
use crate::model::conduct::Reading;

/// So many requests in a row that reached no target at all are enough. Each of them has tried every
/// target that there is.
const ENOUGH: u64 = 5;

/// What the requests of one pool say about its life.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Requests so far that reached a target.
    reached: u64,
    /// Requests that had not, when the last one did.
    before: u64,
}

impl Pulse {
    /// Takes a reading of the whole bake: how many requests in a row have reached no target, if they
    /// are too many.
    pub fn is_lost(&mut self, new: &Reading) -> Option<u64> {
        let all: u64 = new.values().map(Counts::requests).sum();
        let unreachable = new
            .values()
            .map(|counts| counts.failed(Failing::Connect))
            .sum();
        let reached = all.saturating_sub(unreachable);
        if reached != self.reached {
            (self.reached, self.before) = (reached, unreachable);
        }
        let in_a_row = unreachable.saturating_sub(self.before);
        (in_a_row >= ENOUGH).then_some(in_a_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(all: u32, unreachable: u32) -> Reading {
        let mut counts = Counts::default();
        counts.latency[0] = all;
        counts.failed[Failing::Connect as usize] = unreachable;
        Reading::from([(0, counts)])
    }

    #[test]
    fn five_requests_in_a_row_that_reach_no_target_are_enough_and_one_that_does_starts_over() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.is_lost(&Reading::new()), None);
        assert_eq!(pulse.is_lost(&reading(100, 4)), None);
        assert_eq!(pulse.is_lost(&reading(104, 8)), None);
        assert_eq!(pulse.is_lost(&reading(106, 9)), None, "one came through between");
        assert_eq!(pulse.is_lost(&reading(111, 14)), Some(5));
    }
}

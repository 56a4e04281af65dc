//! What a live colour has done lately, so that there is something to compare its successor with.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::conduct;
use crate::model::conduct::Reading;

/// How often a reading is kept.
pub const EVERY: Duration = Duration::from_secs(10);

/// How many are kept: a quarter of an hour.
const KEPT: usize = 90;

/// Readings of one pool, the oldest first.
#[derive(Debug)]
pub struct History {
    /// [`Pool::id`](crate::model::pool::Pool::id): another pool has another history.
    pub pool: u64,
    readings: VecDeque<Reading>,
}

impl History {
    /// Of a pool that has counted this much before anybody looked.
    #[must_use]
    pub fn begin(pool: u64, reading: Reading) -> Self {
        Self { pool, readings: VecDeque::from([reading]) }
    }

    /// Keeps a reading; the oldest makes room for it.
    pub fn keep(&mut self, reading: Reading) {
        if self.readings.len() >= KEPT {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// What was counted from the oldest reading to `now`.
    #[must_use]
    pub fn until(&self, now: &Reading) -> Reading {
        let none = Reading::new();
        conduct::between(self.readings.front().unwrap_or(&none), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::conduct::Counts;

    fn reading(requests: u32) -> Reading {
        let mut counts = Counts::default();
        counts.latency[0] = requests;
        Reading::from([(0, counts)])
    }

    #[test]
    fn what_lies_further_back_than_a_quarter_of_an_hour_is_forgotten() {
        let mut history = History::begin(1, reading(10));
        assert_eq!(history.until(&reading(15))[&0].requests(), 5);
        (1..=100).for_each(|at| history.keep(reading(10 + at)));
        assert_eq!(history.until(&reading(111))[&0].requests(), 90);
    }
}

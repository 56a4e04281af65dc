//! How many requests of one pool may be sent once more: a fifth of those that came, but at least ten
//! a second. A target that fails every request must not cost its neighbours twice the traffic.
//!
//! What a kept connection that its target had closed costs does not count: each such try uses up one
//! that an answer had earned.
//!
//! Each worker counts its own requests; the ten a second are the pool's, whichever workers use them.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;

use crate::model::pool::Pool;

/// Of how many requests one may be sent once more.
const ONE_IN: u64 = 5;

/// Over how many seconds they are counted.
const SECONDS: usize = 10;

/// One worker's count of the requests of one pool.
#[derive(Debug)]
pub(crate) struct Budget {
    now: Cell<Counted>,
    /// What was counted at the end of each of the last seconds, the oldest first.
    before: RefCell<VecDeque<Counted>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    requests: u64,
    again: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { now: Cell::default(), before: RefCell::new([Counted::default()].into()) }
    }
}

impl Budget {
    /// A request has come.
    pub(crate) fn request(&self) {
        let now = self.now.get();
        self.now
            .set(Counted { requests: now.requests.wrapping_add(1), ..now });
    }

    /// Whether one may be sent once more, in this `second`: counts it if so.
    pub(crate) fn spend(&self, pool: &Pool, second: u64) -> bool {
        let (now, before) = (self.now.get(), self.before.borrow());
        let since = before.front().copied().unwrap_or_default();
        let requests = now.requests.wrapping_sub(since.requests);
        let again = now.again.wrapping_sub(since.again).wrapping_add(1);
        // Looked at first: it counts.
        let is_of_few = pool.is_among_the_first_retries_of(second);
        let may = is_of_few || again.saturating_mul(ONE_IN) <= requests;
        if may {
            self.now
                .set(Counted { again: now.again.wrapping_add(1), ..now });
        }
        may
    }

    /// A second has passed.
    pub(crate) fn tick(&self) {
        let mut before = self.before.borrow_mut();
        if before.len() == SECONDS {
            before.pop_front();
        }
        before.push_back(self.now.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::new("app".into(), None, Vec::new(), 1)
    }

    fn spent(budget: &Budget, pool: &Pool, second: u64, tries: usize) -> usize {
        (0..tries).filter(|_| budget.spend(pool, second)).count()
    }

    #[test]
    fn ten_a_second_may_be_sent_once_more_whatever_came() {
        let (budget, pool) = (Budget::default(), pool());
        assert_eq!(spent(&budget, &pool, 7, 100), 10);
        assert_eq!(spent(&budget, &pool, 7, 100), 0);
        assert_eq!(spent(&budget, &pool, 8, 100), 10);
    }

    #[test]
    fn the_ten_are_the_pools_whichever_workers_use_them() {
        let (one, other, pool) = (Budget::default(), Budget::default(), pool());
        assert_eq!(spent(&one, &pool, 7, 6) + spent(&other, &pool, 7, 6), 10);
    }

    #[test]
    fn a_fifth_of_what_came_in_the_last_ten_seconds_may_be() {
        let (budget, pool) = (Budget::default(), pool());
        for _ in 0..SECONDS {
            (0..100).for_each(|_| budget.request());
            budget.tick();
        }
        assert_eq!(
            spent(&budget, &pool, 1, 500),
            180,
            "nine whole seconds, and the one that began"
        );
        (0..100).for_each(|_| budget.request());
        assert_eq!(spent(&budget, &pool, 1, 500), 20);
        (0..SECONDS).for_each(|_| budget.tick());
        assert_eq!(spent(&budget, &pool, 2, 500), 10, "what is long ago counts no more");
    }
}

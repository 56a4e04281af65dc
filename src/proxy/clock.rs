//! One worker's coarse clock. Instead of a timer for each request and connection, every one of them
//! writes its deadline into a cell, and one tick looks at all of them.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::time::Duration;
use std::time::SystemTime;

use slab::Slab;
use tokio::time::Instant;

/// How often deadlines are looked at: they pass at most this late.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Something with a deadline.
pub(crate) trait Watched {
    /// Called at every tick.
    fn tick(&self, now: Instant);
}

/// Everything on this worker that has a deadline.
pub(crate) struct Clock {
    watched: RefCell<Slab<Weak<dyn Watched>>>,
    /// The last tick, by both clocks.
    last: Cell<(Instant, SystemTime)>,
}

/// Ends the watch when dropped.
pub(crate) struct Watch {
    clock: Rc<Clock>,
    key: usize,
}

impl Default for Clock {
    fn default() -> Self {
        let last = Cell::new((Instant::now(), SystemTime::now()));
        Self { watched: RefCell::default(), last }
    }
}

impl Clock {
    /// Watches what `make` makes until the [`Watch`] it is given drops.
    pub(crate) fn watch<T: Watched + 'static>(
        self: &Rc<Self>,
        make: impl FnOnce(Watch) -> T,
    ) -> Rc<T> {
        Rc::new_cyclic(|weak: &Weak<T>| {
            let weak: Weak<dyn Watched> = weak.clone();
            let key = self.watched.borrow_mut().insert(weak);
            make(Watch { clock: Rc::clone(self), key })
        })
    }

    /// When `patience` will have passed, seen from the last tick: no look at a clock. Never early,
    /// and at most two ticks late.
    pub(crate) fn deadline(&self, patience: Duration) -> Instant {
        self.last.get().0 + TICK + patience
    }

    /// The last tick.
    pub(crate) fn last(&self) -> Instant {
        self.last.get().0
    }

    /// What the wall clock showed at `at`, a moment around the last tick.
    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        let (last, wall) = self.last.get();
        match at.checked_duration_since(last) {
            Some(since) => wall + since,
            None => wall - last.duration_since(at),
        }
    }

    /// How many are watched.
    pub(crate) fn len(&self) -> usize {
        self.watched.borrow().len()
    }

    /// Looks at every deadline.
    pub(crate) fn tick(&self, now: Instant) {
        self.last.set((now, SystemTime::now()));
        // Collected first: a tick may end what it looks at, which changes the slab.
        let all: Vec<Weak<dyn Watched>> = self
            .watched
            .borrow()
            .iter()
            .map(|(_, weak)| Weak::clone(weak))
            .collect();
        for watched in all.iter().filter_map(Weak::upgrade) {
            watched.tick(now);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.clock.watched.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counter {
        ticks: Cell<u32>,
        _watch: Watch,
    }

    impl Watched for Counter {
        fn tick(&self, _now: Instant) {
            self.ticks.set(self.ticks.get() + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_watched_is_looked_at_until_it_drops() {
        let clock = Rc::new(Clock::default());
        let counter = clock.watch(|watch| Counter { ticks: Cell::new(0), _watch: watch });
        clock.tick(Instant::now());
        clock.tick(Instant::now());
        assert_eq!((counter.ticks.get(), clock.len()), (2, 1));
        drop(counter);
        clock.tick(Instant::now());
        assert_eq!(clock.len(), 0);
    }
}

//! One worker's coarse clock. Instead of a timer for each request and connection, every one of them
//! says until when it rests, and one tick looks at what is due (in `wheel`).

mod wheel;

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

use crate::proxy::clock::wheel::Wheel;

/// How often deadlines are looked at: they pass at most this late.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Something with a deadline.
pub trait Watched {
    /// Called at a tick. Returns until when no tick need look at it, unless it is
    /// roused; `None`: the next one must.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// Everything on this worker that has a deadline.
pub struct Clock {
    wheel: RefCell<Wheel>,
    /// The last tick, by both clocks: the wall clock's as the time since 1970.
    last: Cell<(Instant, Duration)>,
    /// When the next one falls due.
    next: Cell<Instant>,
}

/// Ends the watch when dropped.
pub struct Watch {
    clock: Rc<Clock>,
    key: usize,
}

impl Default for Clock {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            wheel: RefCell::new(Wheel::new(now)),
            last: Cell::new((now, since_1970())),
            next: Cell::new(now + TICK),
        }
    }
}

/// A clock that stands before 1970 reads as 1970.
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Clock {
    /// Watches what `make` makes until the [`Watch`] it is given drops.
    pub fn watch<T: Watched + 'static>(self: &Rc<Self>, make: impl FnOnce(Watch) -> T) -> Rc<T> {
        Rc::new_cyclic(|weak: &Weak<T>| make(self.watch_also(weak.clone())))
    }

    /// As [`watch`](Self::watch), of what is made already.
    #[inline]
    pub(crate) fn watch_also(self: &Rc<Self>, watched: Weak<dyn Watched>) -> Watch {
        let key = self.wheel.borrow_mut().insert(watched);
        Watch { clock: Rc::clone(self), key }
    }

    /// When `patience` will have passed, seen from the last tick: no look at a clock. Not early, unless
    /// a tick was late by more than another, and at most two ticks late.
    pub(crate) fn deadline(&self, patience: Duration) -> Instant {
        self.next.get() + patience
    }

    /// The last tick.
    pub(crate) fn last(&self) -> Instant {
        self.last.get().0
    }

    /// The second of the last tick: other workers may be in the next one already.
    pub(crate) fn second(&self) -> u64 {
        self.last.get().1.as_secs()
    }

    /// What the wall clock showed at `at`, a moment around the last tick, since 1970.
    pub(crate) fn wall(&self, at: Instant) -> Duration {
        let (last, wall) = self.last.get();
        match at.checked_duration_since(last) {
            Some(since) => wall + since,
            None => wall.saturating_sub(last.duration_since(at)),
        }
    }

    /// How many are watched.
    pub(crate) fn len(&self) -> usize {
        self.wheel.borrow().len()
    }

    /// Looks at the deadlines: at those of all, or only of what does not rest.
    pub fn tick(&self, now: Instant, all: bool) {
        self.last.set((now, since_1970()));
        self.next.set(now + TICK);
        // Taken first: a look may end what it looks at, or another, or begin a watch.
        let due = self.wheel.borrow_mut().take_due(now, all);
        for key in &due {
            let watched = self.wheel.borrow().due(*key).and_then(Weak::upgrade);
            let rests_until = watched.and_then(|watched| watched.tick(now));
            self.wheel.borrow_mut().put_back(*key, rests_until);
        }
        self.wheel.borrow_mut().give_back(due);
    }
}

impl Watch {
    /// The next tick must look at it: it has another deadline than it rests until.
    pub(crate) fn rouse(&self) {
        self.clock.wheel.borrow_mut().rouse(self.key);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.clock.wheel.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counter {
        ticks: Cell<u32>,
        rests_until: Cell<Option<Instant>>,
        watch: Watch,
    }

    impl Watched for Counter {
        fn tick(&self, _now: Instant) -> Option<Instant> {
            self.ticks.set(self.ticks.get() + 1);
            self.rests_until.get()
        }
    }

    fn watched(clock: &Rc<Clock>) -> Rc<Counter> {
        let (ticks, rests_until) = (Cell::new(0), Cell::new(None));
        clock.watch(|watch| Counter { ticks, rests_until, watch })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_watched_is_looked_at_until_it_drops() {
        let clock = Rc::new(Clock::default());
        let counter = watched(&clock);
        clock.tick(Instant::now(), false);
        clock.tick(Instant::now(), false);
        assert_eq!((counter.ticks.get(), clock.len()), (2, 1));
        drop(counter);
        clock.tick(Instant::now(), false);
        assert_eq!(clock.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_is_left_alone_until_its_time_or_until_it_is_roused() {
        let clock = Rc::new(Clock::default());
        let counter = watched(&clock);
        let later = Instant::now() + Duration::from_secs(60);
        counter.rests_until.set(Some(later));
        let ticks_at = |now, all| {
            clock.tick(now, all);
            counter.ticks.get()
        };
        assert_eq!(ticks_at(Instant::now(), false), 1);
        assert_eq!(ticks_at(later - TICK, false), 1);
        assert_eq!(ticks_at(later - TICK, true), 2);
        counter.watch.rouse();
        assert_eq!(ticks_at(later - TICK, false), 3);
        assert_eq!(ticks_at(later, false), 4);
    }
}

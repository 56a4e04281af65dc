//! What workers have seen lately: distinct things, and how long each took. Every worker writes to a
//! place of its own and never waits; who reads takes a look at all of them.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// How many durations one worker keeps.
const DURATIONS: usize = 256;

/// The latest distinct things of each worker.
#[derive(Debug)]
pub struct Recent {
    workers: Box<[Mutex<Seen>]>,
    room: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// What stands for each thing, at the same place.
    keys: Vec<u64>,
    things: Vec<Box<[u8]>>,
    next: usize,
    took: Vec<Duration>,
    next_took: usize,
}

impl Recent {
    /// Nothing seen yet; keeps at most `room` things for each worker, and gives out no more.
    #[must_use]
    pub fn new(workers: usize, room: usize) -> Self {
        let workers = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        Self { workers, room }
    }

    /// Remembers a thing that `worker` has seen, unless it does already, and how long it took. Where
    /// somebody reads at this moment it is left out: a worker waits for nobody.
    pub fn offer(
        &self,
        worker: usize,
        key: u64,
        took: Duration,
        thing: impl FnOnce() -> Box<[u8]>,
    ) {
        let Some(Ok(mut seen)) = self.workers.get(worker).map(Mutex::try_lock) else { return };
        let Seen { keys, things, next, took: all, next_took } = &mut *seen;
        put(all, next_took, DURATIONS, took);
        if !keys.contains(&key) {
            let mut at = *next;
            put(keys, &mut at, self.room, key);
            put(things, next, self.room, thing());
        }
    }

    /// The things that any worker remembers, each once.
    #[must_use]
    pub fn things(&self) -> Vec<Box<[u8]>> {
        let mut known = HashSet::new();
        let mut all = Vec::new();
        for worker in &self.workers {
            let seen = locked(worker);
            let both = seen.keys.iter().zip(&seen.things);
            all.extend(
                both.filter(|(key, _)| known.insert(**key))
                    .map(|(_, thing)| thing.clone()),
            );
        }
        all.truncate(self.room);
        all
    }

    /// How long the latest took, in no order.
    #[must_use]
    pub fn durations(&self) -> Vec<Duration> {
        let all = self.workers.iter().map(locked);
        all.flat_map(|seen| seen.took.clone()).collect()
    }
}

/// Puts one more into a ring of `room` places.
fn put<T>(ring: &mut Vec<T>, next: &mut usize, room: usize, one: T) {
    if ring.len() < room {
        ring.push(one);
    } else if let Some(old) = ring.get_mut(*next) {
        *old = one;
    }
    *next = if *next + 1 < room { *next + 1 } else { 0 };
}

fn locked(worker: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;

    fn thing(number: u64) -> Box<[u8]> {
        number.to_string().into_bytes().into()
    }

    #[test]
    fn a_thing_is_kept_once_and_the_oldest_makes_room() {
        let recent = Recent::new(1, 3);
        for number in [1, 2, 2, 1, 3, 4] {
            recent.offer(0, number, Duration::ZERO, || thing(number));
        }
        let mut things = recent.things();
        things.sort();
        assert_eq!(things, [thing(2), thing(3), thing(4)]);
        assert_eq!(recent.durations().len(), 6);
    }

    #[test]
    fn what_several_workers_have_seen_is_told_once() {
        let recent = Recent::new(2, 10);
        for worker in [0, 1, 7] {
            recent.offer(worker, 5, Duration::from_secs(1), || thing(5));
        }
        assert_eq!((recent.things().len(), recent.durations().len()), (1, 2));
    }

    #[test]
    fn a_worker_waits_for_nobody_who_reads() {
        let recent = Recent::new(1, 10);
        let reading = locked(&recent.workers[0]);
        recent.offer(0, 1, Duration::ZERO, || thing(1));
        drop(reading);
        assert!(recent.things().is_empty() && recent.durations().is_empty());
    }
}

//! A hashed timing wheel (Varghese and Lauck 1987, scheme 6): who has a deadline, filed under the tick
//! in which it falls, so that a tick finds what is due without a look at what rests.
//!
//! An entry is in one of two places. What every tick looks at is *awake*: a list of keys, put right by the
//! tick alone, so that requests which come and go between two ticks share one line of it. What *rests* is in
//! the ring, in a doubly linked list for each of its slots, and leaves at once from wherever it is.

use std::rc::Weak;
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::clock::TICK;
use crate::proxy::clock::Watched;

/// Slots of the ring, a tick each. Its span, 102 s, is beyond the usual idle time; what rests for longer
/// is passed over once a turn.
const SLOTS: u64 = 1024;

/// No entry.
const NONE: usize = usize::MAX;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In no list.
    Nowhere,
    /// In the list of what the next tick looks at. A vacant one may still be, until then.
    Awake,
    /// Taken by the present tick, which is about to look at it, or does.
    Due,
    /// In a slot of the ring.
    Resting,
}

/// Room for one that is watched; vacant without one.
struct Entry {
    watched: Option<Weak<dyn Watched>>,
    place: Place,
    /// While it rests: until when, and in which slot.
    until: Instant,
    slot: usize,
    /// Its neighbours in its slot.
    before: usize,
    /// The next vacant entry, if it is vacant.
    behind: usize,
}

/// Everything on one worker that has a deadline.
pub(super) struct Wheel {
    entries: Vec<Entry>,
    /// The first vacant entry.
    vacant: usize,
    awake: Vec<usize>,
    /// The room of the last list, for the next one.
    spare: Vec<usize>,
    /// The first entry of each slot.
    ring: Vec<usize>,
    /// When the ring began to turn.
    began: Instant,
    /// The last tick that was looked at, in ticks since then. What rests falls into it or into later
    /// ones: its slot is looked at once more, for what falls into the rest of it.
    at: u64,
}

impl Wheel {
    pub(super) fn new(began: Instant) -> Self {
        let slots = usize::try_from(SLOTS).unwrap_or(1);
        Self {
            entries: Vec::new(),
            vacant: NONE,
            awake: Vec::new(),
            spare: Vec::new(),
            ring: vec![NONE; slots],
            began,
            at: 0,
        }
    }

    /// How many are watched.
    pub(super) fn len(&self) -> usize {
        let watched = self
            .entries
            .iter()
            .filter_map(|entry| entry.watched.as_ref());
        watched.count()
    }

    /// Watches one more, awake. Returns its key.
    #[inline]
    pub(super) fn insert(&mut self, watched: Weak<dyn Watched>) -> usize {
        let key = self.vacant;
        let Some(entry) = self.entries.get_mut(key) else { return self.grow(watched) };
        self.vacant = entry.behind;
        entry.watched = Some(watched);
        if entry.place != Place::Awake {
            entry.place = Place::Awake;
            self.awake.push(key);
        }
        key
    }

    #[cold]
    fn grow(&mut self, watched: Weak<dyn Watched>) -> usize {
        let key = self.entries.len();
        self.entries.push(Entry {
            watched: Some(watched),
            place: Place::Awake,
            until: self.began,
            slot: 0,
            before: NONE,
            behind: NONE,
        });
        self.awake.push(key);
        key
    }

    /// Watches it no longer.
    #[inline]
    pub(super) fn remove(&mut self, key: usize) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.watched = None;
        // If it is awake its key stays in the list, where the next one will want it.
        if entry.place == Place::Resting {
            self.take_out(key);
        }
        if let Some(entry) = self.entries.get_mut(key) {
            entry.behind = std::mem::replace(&mut self.vacant, key);
        }
    }

    /// The next tick looks at it.
    pub(super) fn rouse(&mut self, key: usize) {
        // What is due is looked at by the present tick, and then says itself when it must be again.
        let rests = |entry: &Entry| entry.place == Place::Resting;
        if self.entries.get(key).is_some_and(rests) {
            self.take_out(key);
            self.wake(key);
        }
    }

    /// The keys that a tick at `now` must look at: what is awake, and what rests until then; or `all`.
    pub(super) fn take_due(&mut self, now: Instant, all: bool) -> Vec<usize> {
        let mut due = std::mem::replace(&mut self.awake, std::mem::take(&mut self.spare));
        due.retain(|key| {
            let Some(entry) = self.entries.get_mut(*key) else { return false };
            let is_watched = entry.watched.is_some();
            entry.place = if is_watched { Place::Due } else { Place::Nowhere };
            is_watched
        });
        let from = self.at;
        self.at = from.max(self.tick_of(now));
        // A whole turn has every slot, however late the tick is.
        let last = self.at.min(from.saturating_add(SLOTS - 1));
        if all {
            self.take_all(&mut due);
        } else {
            for tick in from..=last {
                self.take_slot(slot_of(tick), now, &mut due);
            }
        }
        due
    }

    /// Whom a tick that has [taken](Self::take_due) this key is to look at; `None` if an earlier look
    /// of the same tick has ended it.
    pub(super) fn due(&self, key: usize) -> Option<&Weak<dyn Watched>> {
        self.entries
            .get(key)
            .filter(|entry| entry.place == Place::Due)
            .and_then(|entry| entry.watched.as_ref())
    }

    /// It has been looked at: it rests until then, or is awake.
    pub(super) fn put_back(&mut self, key: usize, until: Option<Instant>) {
        if self.due(key).is_none() {
            return;
        }
        match until {
            None => self.wake(key),
            Some(until) => self.rest(key, until),
        }
    }

    /// Gives the room of a list back that [`take_due`](Self::take_due) has given.
    pub(super) fn give_back(&mut self, mut due: Vec<usize>) {
        due.clear();
        self.spare = due;
    }

    fn wake(&mut self, key: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.place != Place::Awake
        {
            entry.place = Place::Awake;
            self.awake.push(key);
        }
    }

    fn rest(&mut self, key: usize, until: Instant) {
        // What is past already falls into the slot that the next tick begins with.
        let slot = slot_of(self.tick_of(until).max(self.at));
        let Some(head) = self.ring.get_mut(slot) else { return };
        let behind = std::mem::replace(head, key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.place = Place::Resting;
            (entry.until, entry.slot) = (until, slot);
            entry.before = NONE;
            entry.behind = behind;
        }
        if let Some(entry) = self.entries.get_mut(behind) {
            entry.before = key;
        }
    }

    /// Takes one that rests out of its slot.
    fn take_out(&mut self, key: usize) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.place = Place::Nowhere;
        let (slot, before, behind) = (entry.slot, entry.before, entry.behind);
        if let Some(entry) = self.entries.get_mut(behind) {
            entry.before = before;
        }
        if let Some(entry) = self.entries.get_mut(before) {
            entry.behind = behind;
        } else if let Some(head) = self.ring.get_mut(slot) {
            *head = behind;
        }
    }

    /// What is due in a slot.
    fn take_slot(&mut self, slot: usize, now: Instant, due: &mut Vec<usize>) {
        let mut next = self.ring.get(slot).copied().unwrap_or(NONE);
        while let Some(entry) = self.entries.get(next) {
            let (key, until) = (next, entry.until);
            next = entry.behind;
            if until <= now {
                self.take(key, due);
            }
        }
    }

    /// All that rest.
    fn take_all(&mut self, due: &mut Vec<usize>) {
        for key in 0..self.entries.len() {
            let rests = |entry: &Entry| entry.place == Place::Resting;
            if self.entries.get(key).is_some_and(rests) {
                self.take(key, due);
            }
        }
    }

    fn take(&mut self, key: usize, due: &mut Vec<usize>) {
        self.take_out(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.place = Place::Due;
        }
        due.push(key);
    }

    /// In which tick it falls, since the ring began to turn.
    fn tick_of(&self, at: Instant) -> u64 {
        const TICK_MS: u64 = TICK.as_millis() as u64;
        let since: Duration = at.saturating_duration_since(self.began);
        since
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(u64::from(since.subsec_millis()))
            / TICK_MS
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).unwrap_or(0)
}

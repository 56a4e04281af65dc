//! How a target comes to rest that fails one request after the other, whatever its health page says:
//! the count of its failures in a row, and for how long it rests. Knows no pool: which targets can be
//! spared is the pool's to say.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// How many failures in a row are too many.
const IN_A_ROW: u32 = 5;

/// The first rest. Each that follows soon after the last is twice as long …
const FIRST: Duration = Duration::from_secs(10);

/// … up to this.
const LONGEST: Duration = Duration::from_secs(300);

/// One target's failures and rests. Workers change it without a lock.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// Requests that failed since one was answered whole.
    failures: AtomicU32,
    /// In milliseconds since 1970: until when it rests, and after that, when it came back.
    moment: AtomicU64,
    /// How long its last rest was, in milliseconds; 0 if there was none.
    rest: AtomicU64,
}

impl Ejection {
    /// An answer came whole.
    pub(super) fn served(&self) {
        // Looked at first: the line stays with every worker as long as nothing fails.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed; whether these are too many in a row.
    pub(super) fn failed(&self) -> bool {
        self.failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
            >= IN_A_ROW
    }

    /// Begins a rest. Until when it lasts; `None` if another worker has just begun it.
    pub(super) fn begin(&self, now: SystemTime) -> Option<SystemTime> {
        let now = in_millis(now);
        let moment = self.moment.load(Ordering::Relaxed);
        let last = self.rest.load(Ordering::Relaxed);
        let (first, longest) = (millis(FIRST), millis(LONGEST));
        if moment > now && moment - now <= longest {
            return None;
        }
        // Who has served for as long as it had rested starts over.
        let served_well = last == 0 || now.saturating_sub(moment) >= last;
        let rest = if served_well { first } else { last.saturating_mul(2).min(longest) };
        let until = now.saturating_add(rest);
        let (order, lost) = (Ordering::Relaxed, Ordering::Relaxed);
        self.moment
            .compare_exchange(moment, until, order, lost)
            .ok()?;
        self.rest.store(rest, Ordering::Relaxed);
        Some(at(until))
    }

    /// Until when the rest lasts.
    pub(super) fn until(&self) -> SystemTime {
        at(self.moment.load(Ordering::Relaxed))
    }

    /// Whether the rest is over at `now`. A wall clock that was set back prolongs none.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        let left = self.until().duration_since(now).unwrap_or_default();
        left.is_zero() || left > LONGEST
    }

    /// It came back at `now`.
    pub(super) fn end(&self, now: SystemTime) {
        self.failures.store(0, Ordering::Relaxed);
        self.moment.store(in_millis(now), Ordering::Relaxed);
    }

    /// All is forgotten.
    pub(super) fn forget(&self) {
        self.end(UNIX_EPOCH);
        self.rest.store(0, Ordering::Relaxed);
    }
}

fn in_millis(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn five_failures_in_a_row_are_too_many_and_an_answer_starts_over() {
        let ejection = Ejection::default();
        for _ in 0..4 {
            assert!(!ejection.failed());
        }
        ejection.served();
        for _ in 0..4 {
            assert!(!ejection.failed());
        }
        assert!(ejection.failed());
    }

    #[test]
    fn each_rest_soon_after_the_last_is_twice_as_long_up_to_five_minutes() {
        let ejection = Ejection::default();
        let mut now = 0;
        for rest in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(ejection.begin(after(now)), Some(after(now + rest)));
            assert!(!ejection.is_over(after(now + rest - 1)));
            now += rest;
            assert!(ejection.is_over(after(now)));
            ejection.end(after(now));
            now += 5;
        }
    }

    #[test]
    fn who_has_served_as_long_as_it_had_rested_starts_over() {
        let ejection = Ejection::default();
        ejection.begin(after(0));
        ejection.end(after(15)); // its probe was late
        assert_eq!(ejection.begin(after(24)), Some(after(44)));
        ejection.end(after(44));
        assert_eq!(ejection.begin(after(64)), Some(after(74)));
    }

    #[test]
    fn of_two_workers_one_begins_the_rest() {
        let ejection = Ejection::default();
        assert!(ejection.begin(after(0)).is_some());
        assert_eq!(ejection.begin(after(1)), None);
        assert_eq!(ejection.until(), after(10));
    }

    #[test]
    fn a_clock_that_is_set_back_prolongs_no_rest() {
        let ejection = Ejection::default();
        ejection.begin(after(10_000));
        assert!(ejection.is_over(after(0)));
        assert!(ejection.begin(after(0)).is_some());
    }
}

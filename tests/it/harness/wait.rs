//! Waiting for a thing to be true. No test sleeps for a while and hopes.

use std::time::Duration;
use std::time::Instant;

/// How long anything may take that should happen at once. Generous: machines that build are slow.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Returns once `holds`; panics with `what` at the deadline.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Returns what `found` finds; panics with `what` at the deadline.
#[track_caller]
pub fn eventually_some<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, found)
}

/// As [`eventually_some`], with a deadline of its own.
#[track_caller]
pub fn within<T>(time: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass: for a pace (a slow sender, a load's rate), never to wait for something.
#[expect(clippy::disallowed_methods, reason = "a test thread of its own, not a worker")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

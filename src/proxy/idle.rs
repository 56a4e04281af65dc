//! Idle connections to targets: kept by one worker, used again by the same one.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::dial::Stream;
use crate::net::limits::is_scarce;

/// How long an idle connection is kept: below what common targets keep theirs (Tomcat 20–60 s,
/// nginx 75 s), so that it is we who close it.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How long ago a connection may have been used for a request that must not be sent twice. The
/// target may be closing it this very moment, and then nobody knows what it has read.
pub(crate) const FRESH_ENOUGH: Duration = Duration::from_millis(50);

/// How many times the limit may be kept for a moment, and how long that is. Streams of HTTP/2 come and
/// go together: with a hundred and sixty of them at once, one connection in five was closed under a
/// hard limit of 128, only to be opened again with the next burst.
const BURST: usize = 4;
const MOMENT: Duration = Duration::from_secs(1);

/// A connection to a target, and whether a request has been sent over it before.
pub(crate) struct TargetConnection {
    /// Its bytes.
    pub(crate) stream: Stream,
    /// One that was used before may have been closed by the target meanwhile.
    pub(crate) used: bool,
    /// What it is filed under while it is idle ([`Target::filed_under`]).
    ///
    /// [`Target::filed_under`]: crate::model::target::Target::filed_under
    pub(crate) filed_under: u64,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

/// What they are filed under is counted up by ourselves: nobody can choose them so that they collide.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: the table looks at the high bits.
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The idle connections of one worker.
pub(crate) struct IdleConnections {
    by_target: RefCell<HashMap<u64, Vec<Idle>, BuildHasherDefault<IdHasher>>>,
    per_target_max: Cell<usize>,
}

impl Idle {
    /// Whether it may be kept: young, and with nothing heard from the target, which has nothing to
    /// say but that it closes. The runtime knows that already, so this costs no system call.
    fn stays(&self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE_MAX && self.stream.is_quiet()
    }
}

impl IdleConnections {
    /// None yet; keeps at most `per_target_max` of each target, and up to four times as many for a
    /// moment.
    pub(crate) fn new(per_target_max: usize) -> Self {
        Self { by_target: RefCell::default(), per_target_max: Cell::new(per_target_max) }
    }

    /// The connection that was used last of those filed under this number, if it was used within `age`
    /// of `now`; `None`: of any age.
    pub(crate) fn take(
        &self,
        filed_under: u64,
        now: Instant,
        age: Option<Duration>,
    ) -> Option<TargetConnection> {
        let mut by_target = self.by_target.borrow_mut();
        let idle = by_target.get_mut(&filed_under)?;
        while let Some(last) = idle.pop() {
            if !last.stream.is_quiet() {
                continue;
            }
            if age.is_some_and(|age| now.duration_since(last.since) > age) {
                idle.push(last);
                return None;
            }
            return Some(TargetConnection { stream: last.stream, used: true, filed_under });
        }
        None
    }

    /// Keeps a connection whose last answer was complete at `now`; none above the limit while
    /// descriptors are scarce, for no other worker could close it.
    pub(crate) fn put(&self, connection: TargetConnection, now: Instant) {
        let mut by_target = self.by_target.borrow_mut();
        let idle = by_target.entry(connection.filed_under).or_default();
        let max = self.per_target_max.get();
        let most = if is_scarce(&connection.stream) { max } else { max.saturating_mul(BURST) };
        if idle.len() < most {
            idle.push(Idle { stream: connection.stream, since: now });
        }
    }

    /// Changes how many are kept of each target.
    pub(crate) fn set_max(&self, per_target_max: usize) {
        self.per_target_max.set(per_target_max);
    }

    /// Closes all of them: their descriptors are needed more elsewhere.
    pub(crate) fn close_all(&self) {
        self.by_target.borrow_mut().clear();
    }

    /// Closes those filed under this number: nothing will be sent over them.
    pub(crate) fn close(&self, filed_under: u64) {
        self.by_target.borrow_mut().remove(&filed_under);
    }

    /// Closes what has been idle for too long, or was closed by the target; of what is more than the
    /// limit, all that nobody has needed for a moment.
    pub(crate) fn reap(&self, now: Instant) {
        let max = self.per_target_max.get();
        self.by_target.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| idle.stays(now));
            // The last one is taken first, so the first ones have waited longest.
            let over = idle.len().saturating_sub(max);
            let waited = |idle: &&Idle| now.duration_since(idle.since) >= MOMENT;
            let unneeded = idle.iter().take(over).take_while(waited).count();
            drop(idle.drain(..unneeded));
            !idle.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    /// The number that all of them are filed under.
    const TARGET: u64 = 7;

    /// Keeps so many connections at `now`; what is at their other ends.
    async fn keep(kept: &IdleConnections, count: usize, now: Instant) -> Vec<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut others = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            others.push(listener.accept().await.unwrap().0);
            let stream = Stream::Tcp(stream);
            kept.put(TargetConnection { stream, used: true, filed_under: TARGET }, now);
        }
        others
    }

    fn count(kept: &IdleConnections) -> usize {
        kept.by_target.borrow().get(&TARGET).map_or(0, Vec::len)
    }

    #[tokio::test]
    async fn what_a_burst_has_opened_is_kept_for_a_moment_and_then_closed_down_to_the_limit() {
        let (kept, now) = (IdleConnections::new(2), Instant::now());
        let _others = keep(&kept, 10, now).await;
        assert_eq!(count(&kept), 2 * BURST);
        kept.reap(now + MOMENT / 2);
        assert_eq!(count(&kept), 2 * BURST, "the next burst may need them");
        let used = kept.take(TARGET, now, None).unwrap();
        kept.put(used, now + MOMENT / 2);
        kept.reap(now + MOMENT);
        assert_eq!(count(&kept), 2);
        assert_eq!(kept.take(TARGET, now, Some(Duration::ZERO)).map(|_| ()), Some(()));
    }

    #[tokio::test]
    async fn a_limit_of_none_keeps_none() {
        let kept = IdleConnections::new(0);
        let _others = keep(&kept, 1, Instant::now()).await;
        assert_eq!(count(&kept), 0);
    }
}

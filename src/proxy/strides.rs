//! In which strides a large body is taken from a socket: as it comes, or, where it comes fast, in
//! strides so long that being woken for each costs little.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::low_water::LowWater;
use crate::proxy::exchange::Exchange;

/// How much of a body shows its pace, in bytes; also the shortest stride that is worth a system call.
const SAMPLE: u64 = 64 * 1024;

/// The longest stride, in bytes.
const LONGEST: u64 = 256 * 1024;

/// How much of a body is taken as it comes after a stride that did not: whoever sends in bursts, or
/// waits for an answer of ours or of our kernel's, is held up by one in so many bytes.
const REST: u64 = 4 * 1024 * 1024;

/// How long a stride may take to come, at the pace that was seen.
const TIME: Duration = Duration::from_millis(4);

/// The strides in which one socket is read.
#[derive(Default)]
pub(crate) struct Strides {
    mark: LowWater,
    /// How long they are; 0: as it comes.
    length: u64,
    /// Since when the pace is watched.
    since: Option<Instant>,
    /// How much has come since.
    came: u64,
    /// Whether it was waited for since: what had come already says nothing about the pace.
    waited: bool,
    /// How much is to come before the pace is watched again.
    rests: u64,
    /// The tick after which nothing has come.
    waits: Option<Instant>,
}

impl Strides {
    /// The pace of a body: nothing is known of it yet.
    pub(crate) fn begin(&mut self) {
        (self.length, self.since, self.came, self.rests) = (0, None, 0, 0);
    }

    /// Of a body of which `before` bytes were left, `left` are.
    pub(crate) fn took(&mut self, socket: &TcpStream, before: u64, left: u64) {
        self.waits = None;
        if left == 0 {
            return self.end(socket);
        }
        let came = before.saturating_sub(left);
        self.rests = self.rests.saturating_sub(came);
        let Some(since) = self.since else {
            if left >= SAMPLE && self.rests == 0 {
                (self.since, self.waited) = (Some(Instant::now()), false);
            }
            return;
        };
        self.came += came;
        if self.came >= SAMPLE && self.waited {
            let now = Instant::now();
            self.length = stride(self.came, now.saturating_duration_since(since));
            (self.since, self.came, self.waited) = (Some(now), 0, false);
        }
    }

    /// Waits for more, of which `left` bytes are certain to come over `socket`. No longer than until
    /// the next tick for a whole stride.
    pub(crate) fn wait(&mut self, socket: &TcpStream, left: u64, exchange: &Exchange) {
        let tick = exchange.worker.clock.last();
        self.waited = true;
        if *self.waits.get_or_insert(tick) != tick && self.mark.is_high() {
            // It does not come as it came: for a good while it is taken as it comes.
            self.begin();
            self.rests = REST;
        }
        let length = self.length.min(left);
        if length < SAMPLE {
            self.end(socket);
        } else {
            self.mark.set(socket, usize::try_from(length).unwrap_or(1));
            exchange.waits_for_much();
        }
    }

    /// Whatever comes is awaited again.
    pub(crate) fn end(&mut self, socket: &TcpStream) {
        self.mark.set(socket, 1);
    }
}

/// The stride for a body of which `came` bytes took so long: a power of two, so that it seldom changes.
fn stride(came: u64, took: Duration) -> u64 {
    let fits = u128::from(came) * TIME.as_nanos() / took.as_nanos().max(1);
    let fits = u64::try_from(fits).unwrap_or(LONGEST).min(LONGEST);
    if fits < SAMPLE { 0 } else { 1 << fits.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stream::testing::sockets;
    use crate::proxy::clock::TICK;
    use crate::proxy::testing::Alone;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn only_what_was_waited_for_shows_the_pace_and_a_stride_that_does_not_come_ends_them() {
        LocalSet::new().run_until(pace_and_rest()).await;
    }

    async fn pace_and_rest() {
        let alone = Alone::new();
        let exchange = alone.exchange();
        let (_far, near) = sockets().await;
        let (mut strides, mut left) = (Strides::default(), 100 * SAMPLE);
        let mut take = |strides: &mut Strides| {
            strides.took(&near, left, left - SAMPLE);
            left -= SAMPLE;
            strides.length
        };
        assert_eq!([(); 5].map(|()| take(&mut strides)), [0; 5], "it was there already");
        strides.wait(&near, SAMPLE, &exchange);
        assert_eq!(take(&mut strides), LONGEST);
        strides.wait(&near, LONGEST, &exchange);
        assert!(strides.mark.is_high());
        alone.worker.clock.tick(Instant::now() + TICK, false);
        strides.wait(&near, LONGEST, &exchange);
        assert!(!strides.mark.is_high());
        for _ in 0..REST / SAMPLE {
            strides.wait(&near, LONGEST, &exchange);
            assert_eq!(take(&mut strides), 0);
        }
        strides.wait(&near, LONGEST, &exchange);
        take(&mut strides);
        strides.wait(&near, LONGEST, &exchange);
        assert_eq!(take(&mut strides), LONGEST, "a good while is over");
    }

    #[test]
    fn a_stride_is_what_comes_in_a_moment() {
        let micros = Duration::from_micros;
        assert_eq!(stride(SAMPLE, micros(100)), LONGEST);
        assert_eq!(stride(SAMPLE, Duration::ZERO), LONGEST);
        assert_eq!(stride(SAMPLE, micros(4000)), SAMPLE);
        assert_eq!(stride(3 * SAMPLE, micros(4000)), 2 * SAMPLE, "it seldom changes");
        assert_eq!(stride(SAMPLE, micros(4001)), 0, "it comes too slowly");
    }
}

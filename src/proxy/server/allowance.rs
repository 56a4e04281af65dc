//! How much an HTTP/2 client may ask for beside requests: pings, settings, window updates, resets.
//!
//! Each costs us more than it costs whoever sends it. A client that is answered needs some of them for
//! what it is answered; any other has a few thousand in ten seconds, and is then told to calm down.

use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;

/// What may be spent before anything has been answered, and again after each [`WHILE`].
const MOST: u32 = 4000;

/// How long it takes until all may be spent again.
const WHILE: Duration = Duration::from_secs(10);

/// How many bytes that a client is sent earn it one.
const BYTES: usize = 16;

/// What each sending earns beside: the updates of two windows, however little was sent.
const UPDATES: usize = 2;

/// What an HTTP/2 client may still ask for beside requests.
pub(super) struct Allowance {
    left: u32,
    /// Since when [`MOST`] was there to be spent.
    since: Instant,
}

impl Allowance {
    /// What a ping costs, which must be answered: 500 of them. gRPC sends one with what it is
    /// answered, and one now and then.
    pub(super) const PING: u32 = 8;

    /// What a change of the settings costs: 100. Real clients change theirs once.
    pub(super) const SETTINGS: u32 = 40;

    /// What a reset costs: 250. It ends a request that may have begun on its way, and lets the client
    /// begin the next one beyond its limit of streams.
    pub(super) const RESET: u32 = 16;

    /// What an empty frame of content costs: 80. `h2` has patience for 100 in a connection's life.
    pub(super) const EMPTY: u32 = 50;

    /// All there is.
    pub(super) fn new() -> Self {
        Self { left: MOST, since: Instant::now() }
    }

    /// The client has been sent something.
    #[inline]
    pub(super) fn earn(&mut self, bytes: usize) {
        let earned = u32::try_from(bytes / BYTES + UPDATES).unwrap_or(MOST);
        self.left = self.left.saturating_add(earned).min(MOST);
    }

    /// It has sent something that costs so much.
    ///
    /// # Errors
    ///
    /// There is not so much left.
    #[inline]
    pub(super) fn spend(&mut self, cost: u32) -> Result<(), Broken> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.begin_again(),
        }
    }

    /// No clock is looked at before here.
    #[cold]
    fn begin_again(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        if now.duration_since(self.since) < WHILE {
            return Err(Broken { code: Code::EnhanceYourCalm, why: "too many control frames" });
        }
        *self = Self { left: MOST, since: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_spent_comes_back_with_time() {
        let mut allowance = Allowance::new();
        for _ in 0..MOST / Allowance::PING {
            assert!(allowance.spend(Allowance::PING).is_ok());
        }
        assert!(allowance.spend(1).is_err());
        tokio::time::advance(WHILE).await;
        assert!(allowance.spend(Allowance::PING).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_answered_may_ask_for_ever() {
        let mut allowance = Allowance::new();
        for _ in 0..100_000 {
            // The smallest piece of content and its frame, for which both windows are updated.
            allowance.earn(1 + 9);
            assert!(allowance.spend(1).is_ok());
            assert!(allowance.spend(1).is_ok());
        }
    }

    /// Whether one ends who asks again and again for what costs so much, and is answered so much.
    fn ends(cost: u32, answer: usize) -> bool {
        let mut allowance = Allowance::new();
        (0..MOST).any(|_| {
            allowance.earn(answer);
            allowance.spend(cost).is_err()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_to_pings_and_settings_earn_less_than_they_cost() {
        assert!(ends(Allowance::PING, 17));
        assert!(ends(Allowance::SETTINGS, 9));
    }
}

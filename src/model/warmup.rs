//! The requests with which a new colour is warmed up, and what of the live traffic may be one.

use std::hash::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::model::pattern::Pattern;
use crate::sync::recent::Recent;

/// How a new colour is warmed up (`promotion.warmup`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmupSettings {
    /// Requests for these paths may be remembered and repeated; not empty.
    pub paths: Vec<Pattern>,
    /// How many distinct ones are remembered, by each worker; and repeated.
    pub requests: usize,
    /// How many are repeated a second at the most, by all targets together.
    pub rate: u32,
    /// Within how much of the live colour's 95th percentile the new one's must come, in percent.
    pub within: u32,
    /// How long it may take.
    pub timeout: Duration,
    /// How many connections to each new target every worker opens before the switch.
    pub connections: usize,
}

/// The settings, and what workers have seen of the live traffic by them.
#[derive(Debug)]
pub struct Warmup {
    /// How it is done.
    pub settings: WarmupSettings,
    seen: Recent,
    calls: Arc<Calls>,
}

/// Which pool was about to be live, for the workers; the same under whatever settings.
#[derive(Debug, Default)]
struct Calls {
    /// The id of the last such pool.
    awaited: AtomicU64,
    /// How often there was one.
    count: AtomicU64,
}

/// What is repeated of a request: whom it asked, and for what. No field of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The Host.
    pub host: String,
    /// The raw path and query.
    pub target: String,
}

/// The longest host and target together that are remembered, in bytes.
const LONGEST: usize = 2048;

/// A query key in which one of these words stands may name a secret …
const SECRETS: [&str; 10] = [
    "token",
    "secret",
    "signature",
    "password",
    "passwd",
    "session",
    "auth",
    "jwt",
    "credential",
    "apikey",
];

/// … and so may a key that is one of these.
const SECRET_KEYS: [&str; 14] = [
    "key",
    "api_key",
    "api-key",
    "access_key",
    "sig",
    "hmac",
    "code",
    "sid",
    "otp",
    "pin",
    "ticket",
    "nonce",
    "pass",
    "pwd",
];

impl Warmup {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(settings: WarmupSettings, workers: usize) -> Self {
        let seen = Recent::new(workers, settings.requests);
        Self { settings, seen, calls: Arc::default() }
    }

    /// Nothing seen yet, in place of one with other settings. A promotion that has begun under those
    /// calls the workers all the same.
    #[must_use]
    pub fn in_place_of(old: &Self, settings: WarmupSettings, workers: usize) -> Self {
        Self { calls: Arc::clone(&old.calls), ..Self::new(settings, workers) }
    }

    /// Whether requests for this raw target may be remembered.
    #[must_use]
    pub fn covers(&self, target: &[u8]) -> bool {
        self.settings.paths.iter().any(|path| path.matches(target)) && may_be_repeated(target)
    }

    /// Remembers a GET that was answered well; `took` is the time to the head of its answer.
    pub fn remember(&self, worker: usize, host: &[u8], target: &[u8], took: Duration) {
        if host.len() + target.len() > LONGEST {
            return;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(host);
        hasher.write_u8(b' ');
        hasher.write(target);
        self.seen
            .offer(worker, hasher.finish(), took, || [host, b" ", target].concat().into());
    }

    /// What is to be repeated.
    #[must_use]
    pub fn repeats(&self) -> Vec<Repeat> {
        let read = |thing: &[u8]| {
            let (host, target) = std::str::from_utf8(thing).ok()?.split_once(' ')?;
            Some(Repeat { host: host.to_owned(), target: target.to_owned() })
        };
        let things = self.seen.things();
        things.iter().filter_map(|thing| read(thing)).collect()
    }

    /// The 95th percentile of the live colour on these requests, if there were any.
    #[must_use]
    pub fn live_p95(&self) -> Option<Duration> {
        p95(&mut self.seen.durations())
    }

    /// The pool of this id is about to be live: workers open connections to it.
    pub fn awaits(&self, pool: u64) {
        self.calls.awaited.store(pool, Ordering::Relaxed);
        self.calls.count.fetch_add(1, Ordering::Release);
    }

    /// Which call of [`awaits`](Self::awaits) was the last, if it was for the pool of this id. A
    /// worker that comes to look a little late still finds it.
    #[must_use]
    pub fn call_for(&self, pool: u64) -> Option<u64> {
        let call = self.calls.count.load(Ordering::Acquire);
        (self.calls.awaited.load(Ordering::Relaxed) == pool).then_some(call)
    }
}

/// The 95th percentile (the nearest rank).
#[must_use]
pub fn p95(durations: &mut [Duration]) -> Option<Duration> {
    durations.sort_unstable();
    let rank = (durations.len() * 95).div_ceil(100);
    durations.get(rank.checked_sub(1)?).copied()
}

/// Whether no key of the query may name a secret: what is repeated is also logged by the application,
/// and a link that works once would be used up.
fn may_be_repeated(target: &[u8]) -> bool {
    let Ok(target) = std::str::from_utf8(target) else { return false };
    let Some((_, query)) = target.split_once('?') else { return true };
    let names_a_secret = |pair: &str| {
        let key = pair.split('=').next().unwrap_or_default();
        let key = key.to_ascii_lowercase();
        // Nobody who hides the letters of a key does so by chance.
        key.contains('%')
            || SECRET_KEYS.contains(&key.as_str())
            || SECRETS.iter().any(|word| key.contains(word))
    };
    !query.split(['&', ';']).any(names_a_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warmup() -> Warmup {
        let settings = WarmupSettings {
            paths: vec!["/".parse().unwrap(), "/shop/*".parse().unwrap()],
            requests: 100,
            rate: 50,
            within: 150,
            timeout: Duration::from_secs(60),
            connections: 4,
        };
        Warmup::new(settings, 1)
    }

    #[test]
    fn only_paths_that_were_named_and_queries_without_secrets_are_covered() {
        let warmup = warmup();
        for good in ["/", "/?page=2", "/shop/a?keyword=red&sort=price", "/shop/a?q=a%20b"] {
            assert!(warmup.covers(good.as_bytes()), "{good}");
        }
        for bad in [
            "/admin",
            "/?token=1",
            "/shop/a?x=1&access_token=abc",
            "/shop/a?X-Amz-Signature=ff",
            "/shop/a?API_KEY=1",
            "/shop/a?code=4/0A",
            "/shop/a?%74oken=1",
            "/shop/a?a=1;jsessionid=5",
        ] {
            assert!(!warmup.covers(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn whom_and_what_is_remembered_and_nothing_else() {
        let warmup = warmup();
        for _ in 0..3 {
            warmup.remember(0, b"a.test", b"/shop/a?x=1", Duration::from_millis(5));
        }
        warmup.remember(0, b"a.test", "/".repeat(LONGEST).as_bytes(), Duration::ZERO);
        let expected = Repeat { host: "a.test".to_owned(), target: "/shop/a?x=1".to_owned() };
        assert_eq!(warmup.repeats(), [expected]);
        assert_eq!(warmup.live_p95(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn other_settings_see_anew_and_hear_the_calls_of_a_promotion_that_began_before() {
        let old = warmup();
        old.remember(0, b"a.test", b"/", Duration::from_millis(5));
        old.awaits(1);
        let first = old.call_for(1);
        let new = Warmup::in_place_of(&old, WarmupSettings { rate: 5, ..old.settings.clone() }, 1);
        assert!(new.repeats().is_empty());
        assert_eq!(new.call_for(1), first, "workers that have heard it do not open twice");
        old.awaits(1);
        assert!(new.call_for(1).is_some_and(|call| Some(call) != first));
    }

    #[test]
    fn the_95th_percentile_is_the_nearest_rank() {
        let millis = |n: u64| Duration::from_millis(n);
        assert_eq!(p95(&mut []), None);
        assert_eq!(p95(&mut [millis(7)]), Some(millis(7)));
        let mut hundred: Vec<Duration> = (1..=100).rev().map(millis).collect();
        assert_eq!(p95(&mut hundred), Some(millis(95)));
    }
}

//! Warming up: a new colour is asked what the live one has just been asked, at a growing rate, until
//! it answers about as quickly. Slow start could not help: all targets of a new colour are equally cold.
//!
//! [`Pace`] is pure: it says how many requests come next and whether that is enough.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header;
use http_body_util::Empty;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::control::probe;
use crate::model::pool::Pool;
use crate::model::warmup::Repeat;
use crate::model::warmup::WarmupSettings;
use crate::model::warmup::p95;
use crate::sync::lease::Lease;

/// How long one step lasts.
pub(crate) const STEP: Duration = Duration::from_millis(500);

/// How long one request may take: what is slower is cold all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// The latest answers of a target by which it is judged: the worst two do not count.
const JUDGED: usize = 40;

/// Below it a difference is the network's or the scheduler's, and no JVM's.
const NOISE: Duration = Duration::from_millis(2);

/// The first step has this part of the full rate …
const FIRST: f64 = 1.0 / 8.0;

/// … and each so much more than the one before: full after six.
const GROWTH: f64 = 1.5;

const USER_AGENT: &str = concat!("proxyd-warmup/", env!("CARGO_PKG_VERSION"));

/// How one target is warmed up.
#[derive(Debug)]
pub(crate) struct Pace {
    enough: Duration,
    /// Requests a second.
    full: f64,
    rate: f64,
    /// The latest answers; a request without one took for ever.
    latest: VecDeque<Duration>,
    /// Requests so far.
    pub(crate) sent: usize,
    /// Those that got no answer, or a 5xx.
    pub(crate) failed: usize,
}

impl Pace {
    /// One of `targets` that share the rate; the live colour's 95th percentile is `live`.
    pub(crate) fn new(settings: &WarmupSettings, live: Duration, targets: usize) -> Self {
        let targets = u32::try_from(targets.max(1)).unwrap_or(u32::MAX);
        let full = (f64::from(settings.rate) / f64::from(targets)).max(1.0);
        let enough = (live * settings.within / 100).max(live + NOISE);
        Self { enough, full, rate: full * FIRST, latest: VecDeque::new(), sent: 0, failed: 0 }
    }

    /// How many requests the next step has: at least one.
    pub(crate) fn next(&self) -> usize {
        let wanted = (self.rate * STEP.as_secs_f64()).ceil().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to half of the rate, which is at most 10,000"
        )]
        let wanted = wanted as usize;
        wanted
    }

    /// A step has come to its end: how long each answer took, `None` for one that failed. A target
    /// that fails is asked no faster.
    pub(crate) fn step(&mut self, took: &[Option<Duration>]) {
        let failed = took.iter().filter(|took| took.is_none()).count();
        self.sent += took.len();
        self.failed += failed;
        self.latest
            .extend(took.iter().map(|took| took.unwrap_or(Duration::MAX)));
        let old = self.latest.len().saturating_sub(JUDGED);
        self.latest.drain(..old);
        if failed == 0 {
            self.rate = (self.rate * GROWTH).min(self.full);
        }
    }

    /// How fast it is asked, in requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// The 95th percentile of the latest answers; `None` while too many failed, or none came.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let mut latest: Vec<Duration> = self.latest.iter().copied().collect();
        p95(&mut latest).filter(|took| *took < Duration::MAX)
    }

    /// Whether it keeps up with the live colour at the full rate.
    pub(crate) fn is_warm(&self) -> bool {
        let is_judged = self.latest.len() == JUDGED && self.rate >= self.full;
        is_judged && self.p95().is_some_and(|took| took <= self.enough)
    }
}

/// One step on one target of a pool: these requests, evenly over [`STEP`], each under an exceptional
/// lease. How long each answer took to begin. Cancel safe: dropping the future ends the requests.
pub(crate) async fn step(
    pool: &Arc<Pool>,
    target: usize,
    repeats: Vec<Repeat>,
) -> Vec<Option<Duration>> {
    let count = u32::try_from(repeats.len()).unwrap_or(u32::MAX);
    let (began, gap) = (Instant::now(), STEP / count.max(1));
    let mut asking = JoinSet::new();
    let mut took = Vec::new();
    for (nth, repeat) in (0..count).zip(repeats) {
        sleep_until(began + gap * nth).await;
        // No worker sends it: the cell of the first one is as good as any.
        let Ok(lease) = Lease::take_exceptional(Arc::clone(pool), 0) else {
            took.push(None);
            continue;
        };
        asking.spawn(async move { ask(lease, target, &repeat).await });
    }
    while let Some(answer) = asking.join_next().await {
        took.push(answer.ok().flatten());
    }
    sleep_until(began + STEP).await;
    took
}

/// Repeats one request. It carries no field of the client's: no cookie, no authorization.
async fn ask(lease: Lease<Arc<Pool>>, target: usize, repeat: &Repeat) -> Option<Duration> {
    let target = lease.holder().targets.get(target)?;
    let request = Request::get(&repeat.target)
        .header(header::HOST, &repeat.host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header("x-forwarded-proto", "https")
        .header("x-warmup", "1")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let (head, took) = probe::ask(target, request, Instant::now() + PATIENCE).await?;
    (!head.status.is_server_error()).then_some(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Duration = Duration::from_millis(100);

    fn settings() -> WarmupSettings {
        WarmupSettings {
            paths: Vec::new(),
            requests: 200,
            rate: 80,
            within: 150,
            timeout: Duration::from_secs(60),
            connections: 4,
        }
    }

    /// Steps until it is warm: how many requests that took, at most 10,000.
    fn steps(pace: &mut Pace, mut answer: impl FnMut(usize) -> Option<Duration>) -> usize {
        while !pace.is_warm() && pace.sent < 10_000 {
            let took: Vec<_> = (0..pace.next())
                .map(|nth| answer(pace.sent + nth))
                .collect();
            pace.step(&took);
        }
        pace.sent
    }

    #[test]
    fn it_grows_to_the_full_rate_and_ends_once_the_latest_are_quick() {
        let mut pace = Pace::new(&settings(), LIVE, 1);
        assert_eq!(pace.next(), 5);
        // Slow for the first 200 requests, as a JVM.
        let cold = |nth: usize| Some(if nth < 200 { LIVE * 10 } else { LIVE });
        let sent = steps(&mut pace, cold);
        assert!((238..300).contains(&sent), "{sent}");
        assert!((pace.rate() - 80.0).abs() < 1e-9);
    }

    #[test]
    fn one_that_is_quick_at_once_is_still_asked_at_the_full_rate() {
        let mut pace = Pace::new(&settings(), LIVE, 1);
        let sent = steps(&mut pace, |_| Some(LIVE));
        assert!((80..200).contains(&sent), "{sent}");
    }

    #[test]
    fn one_that_fails_or_stays_slow_is_never_warm_and_is_asked_no_faster() {
        let mut pace = Pace::new(&settings(), LIVE, 1);
        assert!(steps(&mut pace, |nth| (nth % 10 != 0).then_some(LIVE)) >= 10_000);
        assert!(pace.failed >= 1000);
        let mut pace = Pace::new(&settings(), LIVE, 1);
        assert!(steps(&mut pace, |_| Some(LIVE * 16 / 10)) >= 10_000);
        let mut pace = Pace::new(&settings(), LIVE, 1);
        (0..10).for_each(|_| pace.step(&[None]));
        assert_eq!((pace.next(), pace.p95()), (5, None));
    }

    #[test]
    fn targets_share_the_rate_and_a_difference_below_the_noise_is_none() {
        let pace = Pace::new(&settings(), LIVE, 4);
        assert!((pace.full - 20.0).abs() < 1e-9);
        let mut quick = Pace::new(&settings(), Duration::from_micros(200), 1);
        let sent = steps(&mut quick, |_| Some(Duration::from_micros(2100)));
        assert!(sent < 1000, "{sent}");
    }
}

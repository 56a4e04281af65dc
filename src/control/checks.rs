//! Background health checking: every target of every pool, of both colours, all the time.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::control::gate;
use crate::control::probe::Ask;
use crate::control::probe::probe;
use crate::model::colour::Colour;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::model::settings::HealthSettings;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::upstream::Upstream;

#[cfg(test)]
mod tests;

/// How far an interval strays to either side, as a part of it: targets that were started together do
/// not stay in step.
const JITTER: f64 = 0.1;

/// A target's verdict has changed, or it was ejected, or has come back.
#[derive(Debug, Clone)]
pub struct Flip {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The pool; `None` for a plain one.
    pub colour: Option<Colour>,
    /// The target.
    pub target: Arc<Target>,
    /// Whether it may be sent requests now.
    pub healthy: bool,
    /// What the deciding probe saw.
    pub outcome: String,
    /// Set where this is no news of its verdict.
    pub rest: Option<Rest>,
}

/// What became of a target on which requests fail one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It was ejected, until this moment at least.
    Until(SystemTime),
    /// It is back.
    Over,
}

/// Takes in how long each probe took: upstream, colour (empty for a plain pool), target, time.
type Observe = Arc<dyn Fn(&str, &str, &str, Duration) + Send + Sync>;

/// The probes that run in the background; they end when this is dropped.
pub struct Checks {
    observe: Observe,
    flips: mpsc::UnboundedSender<Flip>,
    followed: HashMap<u64, Followed>,
}

/// One target's task.
struct Followed {
    plan: watch::Sender<Plan>,
    task: AbortHandle,
}

/// How to probe it and whose it is: what a reload may change while the target stays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    upstream: Arc<str>,
    colour: Option<Colour>,
    health: HealthSettings,
    public_host: Option<String>,
}

/// Whom a task probes, and whom it tells.
struct Watcher {
    target: Arc<Target>,
    observe: Observe,
    flips: mpsc::UnboundedSender<Flip>,
    reported: Verdict,
    ejected: bool,
}

impl Checks {
    /// Probes nothing yet. `observe` is told the upstream, the colour (empty for a plain pool), the
    /// target and the duration of each probe; `flips` gets each change of verdict once, whoever
    /// caused it (a gate's probe, too, within one interval), the first one included.
    pub fn new(
        observe: impl Fn(&str, &str, &str, Duration) + Send + Sync + 'static,
        flips: mpsc::UnboundedSender<Flip>,
    ) -> Self {
        Self { observe: Arc::new(observe), flips, followed: HashMap::new() }
    }

    /// Probes exactly the targets of `snapshot` from here on, each as its upstream says now. What
    /// stays the same keeps its rhythm; the first probes of the others are spread over their interval.
    /// Must be called inside a tokio runtime.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut standing = HashSet::new();
        for (upstream, pool) in every_pool(snapshot) {
            for target in &pool.targets {
                standing.insert(target.id);
                self.follow_target(upstream, pool, target);
            }
        }
        self.followed.retain(|id, _| standing.contains(id));
    }

    fn follow_target(&mut self, upstream: &Upstream, pool: &Pool, target: &Arc<Target>) {
        let plan = Plan {
            upstream: Arc::clone(&upstream.name),
            colour: pool.colour,
            health: upstream.health.clone(),
            public_host: upstream.public_host.clone(),
        };
        if let Some(followed) = self.followed.get(&target.id) {
            followed.plan.send_if_modified(|current| {
                let news = *current != plan;
                *current = plan;
                news
            });
            return;
        }
        let watcher = Watcher {
            target: Arc::clone(target),
            observe: Arc::clone(&self.observe),
            flips: self.flips.clone(),
            reported: Verdict::Unknown,
            ejected: false,
        };
        let (plan, plans) = watch::channel(plan);
        let task = tokio::spawn(watcher.run(plans)).abort_handle();
        self.followed.insert(target.id, Followed { plan, task });
    }
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks")
            .field("targets", &self.followed.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// One probe after the other, never two at once; the interval runs from start to start.
    async fn run(mut self, mut plans: watch::Receiver<Plan>) {
        let mut next = Instant::now() + somewhere_in(plans.borrow_and_update().health.interval);
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                changed = plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    next = Instant::now() + somewhere_in(plans.borrow_and_update().health.interval);
                    continue;
                }
            }
            let plan = plans.borrow().clone();
            next = Instant::now() + jittered(plan.health.interval);
            self.probe_once(&plan).await;
        }
    }

    async fn probe_once(&mut self, plan: &Plan) {
        let public_host = plan.public_host.as_deref();
        let health = &plan.health;
        let ask = Ask { health, public_host, build: None, last_addresses: true };
        let kept = probe(&self.target, &ask).await;
        let colour = plan.colour.map_or("", Colour::as_str);
        (self.observe)(&plan.upstream, colour, &self.target.name, kept.record.latency);
        self.target.health.keep(kept, &plan.health);
        self.report(plan);
    }

    /// Compares with what was reported last instead of asking `record` for news: a gate records into
    /// the same cell, and workers eject; their news are to be reported as well.
    fn report(&mut self, plan: &Plan) {
        let verdict = self.target.health.verdict();
        if verdict != self.reported {
            self.reported = verdict;
            self.tell(plan, None);
        }
        let until = self.target.health.ejected_until();
        if until.is_some() != self.ejected {
            self.ejected = until.is_some();
            self.tell(plan, Some(until.map_or(Rest::Over, Rest::Until)));
        }
    }

    fn tell(&self, plan: &Plan, rest: Option<Rest>) {
        let last = self.target.health.last();
        // Nobody listens any more only while the daemon stops.
        drop(
            self.flips.send(Flip {
                upstream: Arc::clone(&plan.upstream),
                colour: plan.colour,
                target: Arc::clone(&self.target),
                healthy: self.reported != Verdict::Unhealthy,
                outcome: last
                    .map(|record| record.outcome.to_string())
                    .unwrap_or_default(),
                rest,
            }),
        );
    }
}

/// Probes every target of every pool once, concurrently, and records the answers. Ends when all have
/// answered or failed: after the longest `health.timeout` and a moment, at the latest.
pub async fn first_round(snapshot: &Snapshot) {
    gate::ask_all(every_pool(snapshot), None).await;
}

fn every_pool(snapshot: &Snapshot) -> impl Iterator<Item = (&Upstream, &Arc<Pool>)> {
    let upstreams = snapshot.upstreams.iter();
    upstreams.flat_map(|upstream| upstream.all_pools().map(move |pool| (upstream, pool)))
}

fn somewhere_in(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64())
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

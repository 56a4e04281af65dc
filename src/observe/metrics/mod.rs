//! Metrics: what happened, as numbers. Each worker counts on cells of its own, and a scrape adds them
//! up; the names stand in `page`, the label words in `words`.

mod cells;
mod exposition;
mod meters;
mod page;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::model::colour::Colour;
use crate::model::fault::Outcome;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::observe::metrics::cells::Count;
use crate::observe::metrics::cells::Slots;
use crate::observe::metrics::cells::Stripes;
use crate::observe::metrics::exposition::Process;
use crate::observe::metrics::meters::RequestCells;
use crate::observe::metrics::tree::Tree;

pub use crate::observe::metrics::meters::Connected;
pub use crate::observe::metrics::meters::HeldMeters;
pub use crate::observe::metrics::meters::ListenerMeters;
pub use crate::observe::metrics::meters::PoolMeters;
pub use crate::observe::metrics::meters::RequestMeters;
pub use crate::observe::metrics::meters::TargetMeters;
pub use crate::observe::metrics::words::ClientError;
pub use crate::observe::metrics::words::ConnectionOutcome;
pub use crate::observe::metrics::words::HandshakeOutcome;
pub use crate::observe::metrics::words::Phase;
pub use crate::observe::metrics::words::PromotionOutcome;
pub use crate::observe::metrics::words::SkewOutcome;
pub use crate::observe::metrics::words::StreamEnd;
pub use crate::observe::metrics::words::UpstreamError;
pub use crate::observe::metrics::words::VerdictOutcome;

/// The media type of [`Metrics::render`]: the answer's Content-Type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of the process. Clones count on the same series.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: String,
    /// Held while a handle is made, an event of the control plane is counted, or a scrape adds up;
    /// never during a request.
    tree: Mutex<Tree>,
    requests: Stripes<RequestCells>,
    outcomes: Slots<{ Outcome::ALL.len() }>,
    reloads_applied: Count,
    reloads_refused: Count,
    last_reload_ok: AtomicBool,
    access_log_dropped: Count,
    history_lost: Count,
    /// When each certificate expires, in seconds since 1970.
    certificates: Mutex<BTreeMap<String, u64>>,
    process: Process,
}

impl Metrics {
    /// Everything at 0; the configuration that the process starts with counts as a good one.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self(Arc::new(Inner {
            version: version.to_owned(),
            tree: Mutex::default(),
            requests: Stripes::default(),
            outcomes: Slots::default(),
            reloads_applied: Count::default(),
            reloads_refused: Count::default(),
            last_reload_ok: AtomicBool::new(true),
            access_log_dropped: Count::default(),
            history_lost: Count::default(),
            certificates: Mutex::default(),
            process: Process::new(),
        }))
    }

    /// What a worker counts every request with that it takes in: make it once a worker, and keep it.
    #[must_use]
    pub fn requests(&self) -> RequestMeters {
        RequestMeters(self.0.requests.stripe())
    }

    /// How many requests were taken in and have no outcome: those in flight, and none once the
    /// workers have ended.
    #[must_use]
    pub fn without_outcome(&self) -> u64 {
        // In this order: a request that ends in between must not seem to end before it began.
        let ended: u64 = Outcome::ALL
            .iter()
            .map(|outcome| self.0.outcomes.get(*outcome as usize))
            .sum();
        self.0.requests.sum().accepted.get().saturating_sub(ended)
    }

    /// What a worker counts this pool's requests with: make it once a worker and pool, and keep it.
    /// Another pool of the same upstream and colour (a reload makes one) continues the same series.
    #[must_use]
    pub fn pool(&self, pool: &Pool) -> PoolMeters {
        let mut tree = self.0.tree();
        PoolMeters(tree.pool(&pool.upstream, pool.colour).requests.stripe())
    }

    /// What a worker counts requests with that belong to no upstream: a redirect, a 404, a 400.
    #[must_use]
    pub fn unrouted(&self) -> PoolMeters {
        PoolMeters(self.0.tree().pool("", None).requests.stripe())
    }

    /// What a worker counts the requests with that pauses of this upstream hold: make it once a worker
    /// and pool, and keep it.
    #[must_use]
    pub fn held(&self, upstream: &str) -> HeldMeters {
        HeldMeters(self.0.tree().upstream(upstream).held.stripe())
    }

    /// What a worker counts a target's errors with: make it once a worker and target, and keep it.
    #[must_use]
    pub fn target(&self, pool: &Pool, target: &Target) -> TargetMeters {
        let mut tree = self.0.tree();
        let series = tree.pool(&pool.upstream, pool.colour);
        TargetMeters(Arc::clone(series.target(&target.name)))
    }

    /// What a worker counts a listener's connections with: make it once a worker and listener, and
    /// keep it. `name` is the listener's `bind` as in the file.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMeters {
        let mut tree = self.0.tree();
        let series = tree.listeners.entry(name.to_owned()).or_default();
        ListenerMeters(series.stripe().shared())
    }

    /// An accepted request has ended: once for each, with or without an upstream.
    pub fn outcome(&self, outcome: Outcome) {
        self.0.outcomes.add(outcome as usize, 1);
    }

    /// A probe of this target has ended, whatever it said.
    pub fn probe(&self, upstream: &str, colour: Option<Colour>, target: &str, took: Duration) {
        let mut tree = self.0.tree();
        let series = tree.pool(upstream, colour);
        series.target(target).probes.observe(took);
    }

    /// A promotion of this colour came so far.
    pub fn promotion(&self, upstream: &str, colour: Colour, outcome: PromotionOutcome) {
        let mut tree = self.0.tree();
        let series = tree.pool(upstream, Some(colour));
        series.promotions.add(outcome.place(), 1);
    }

    /// A bake of this colour has come to this.
    pub fn verdict(&self, upstream: &str, colour: Colour, outcome: VerdictOutcome) {
        let mut tree = self.0.tree();
        let series = tree.pool(upstream, Some(colour));
        series.verdicts.add(outcome.place(), 1);
    }

    /// A phase of a promotion has ended.
    pub fn promotion_phase(&self, upstream: &str, phase: Phase, took: Duration) {
        if let Some(timings) = self.0.tree().upstream(upstream).phases.get(phase.place()) {
            timings.observe(took);
        }
    }

    /// A drain has ended `n` requests of this colour by force, tunnels included.
    pub fn requests_cut(&self, upstream: &str, colour: Option<Colour>, n: u64) {
        self.0.tree().pool(upstream, colour).cut.add(n);
    }

    /// A drain has ended `n` streams of this colour so.
    pub fn streams_closed(&self, upstream: &str, colour: Option<Colour>, end: StreamEnd, n: u64) {
        let mut tree = self.0.tree();
        tree.pool(upstream, colour).closed.add(end.place(), n);
    }

    /// The configuration file was read again, and applied or refused.
    pub fn reload(&self, applied: bool) {
        let count = if applied { &self.0.reloads_applied } else { &self.0.reloads_refused };
        count.add(1);
        self.0.last_reload_ok.store(applied, Ordering::Relaxed);
    }

    /// The certificates in service, by name, with their expiry: replaces all earlier ones. Of two
    /// with one name the one that expires first is told.
    pub fn certificates(&self, certificates: impl Iterator<Item = (String, SystemTime)>) {
        let mut expiries = BTreeMap::new();
        for (name, expiry) in certificates {
            let expiry = expiry
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            expiries
                .entry(name)
                .and_modify(|first: &mut u64| *first = expiry.min(*first))
                .or_insert(expiry);
        }
        *lock(&self.0.certificates) = expiries;
    }

    /// `n` lines of the access log were given up, because it could not be written fast enough.
    pub fn access_log_dropped(&self, n: u64) {
        self.0.access_log_dropped.add(n);
    }

    /// An entry of the history was given up, because it could not be written.
    pub fn history_lost(&self) {
        self.0.history_lost.add(1);
    }

    #[cfg(test)]
    pub(crate) fn histories_lost(&self) -> u64 {
        self.0.history_lost.get()
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.0.access_log_dropped.get()
    }

    /// Makes every series of this snapshot exist, and lets go of those whose upstream, colour or
    /// target is gone. For the supervisor, after each publish.
    pub fn follow(&self, snapshot: &Snapshot) {
        let mut tree = self.0.tree();
        tree.adopt(snapshot);
        tree.prune(snapshot);
    }

    /// The page for `/metrics`, in Prometheus' text format 0.0.4, with the series of `snapshot`, the
    /// one in service: live colours, health and requests in flight are read from it now.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot) -> String {
        exposition::encode(self.0.families(snapshot))
    }
}

impl Inner {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }
}

/// A thread that panicked between two counts has left nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The colour as a label value: empty for a plain pool.
fn label(colour: Option<Colour>) -> &'static str {
    colour.map_or("", Colour::as_str)
}

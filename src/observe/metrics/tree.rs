//! Which series there are: upstreams, their pools, their targets, and the listeners. Cells are found
//! here by name once and then held by their handles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;

use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::observe::metrics::cells::Bounds;
use crate::observe::metrics::cells::Count;
use crate::observe::metrics::cells::Counts;
use crate::observe::metrics::cells::Stripes;
use crate::observe::metrics::cells::Timings;
use crate::observe::metrics::meters::HeldCells;
use crate::observe::metrics::meters::ListenerCells;
use crate::observe::metrics::meters::PoolCells;
use crate::observe::metrics::meters::TargetCells;
use crate::observe::metrics::words::Phase;
use crate::observe::metrics::words::PromotionOutcome;
use crate::observe::metrics::words::StreamEnd;
use crate::observe::metrics::words::VerdictOutcome;

/// A switch is a write to disk, a gate at least one `health.interval`, a drain up to its deadline.
const PHASE_BOUNDS: Bounds<15> = Bounds::in_millis([
    1, 5, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000,
]);

/// Every series that has labels from the configuration, by name.
#[derive(Debug, Default)]
pub(super) struct Tree {
    upstreams: BTreeMap<Arc<str>, UpstreamSeries>,
    pub(super) listeners: BTreeMap<String, Stripes<ListenerCells>>,
}

/// What is counted of one upstream.
#[derive(Debug)]
pub(super) struct UpstreamSeries {
    /// By [`Phase::place`].
    pub(super) phases: [Timings<15>; Phase::ALL.len()],
    pub(super) held: Stripes<HeldCells>,
    /// By colour; `None`: a plain pool.
    pub(super) pools: BTreeMap<Option<Colour>, PoolSeries>,
}

/// What is counted of one colour of one upstream, whichever pool has it.
#[derive(Debug, Default)]
pub(super) struct PoolSeries {
    pub(super) requests: Stripes<PoolCells>,
    pub(super) cut: Count,
    pub(super) closed: Counts<{ StreamEnd::ALL.len() }>,
    pub(super) promotions: Counts<{ PromotionOutcome::ALL.len() }>,
    pub(super) verdicts: Counts<{ VerdictOutcome::ALL.len() }>,
    pub(super) targets: BTreeMap<Arc<str>, Arc<TargetCells>>,
    /// The pools that have, or still drain, this colour: a reload that changes the targets makes a
    /// new one beside the old.
    pools: Vec<Weak<Pool>>,
}

impl Default for UpstreamSeries {
    fn default() -> Self {
        Self {
            phases: std::array::from_fn(|_| Timings::new(&PHASE_BOUNDS)),
            held: Stripes::default(),
            pools: BTreeMap::new(),
        }
    }
}

impl Tree {
    pub(super) fn upstream(&mut self, name: &str) -> &mut UpstreamSeries {
        self.upstreams.entry(name.into()).or_default()
    }

    pub(super) fn pool(&mut self, upstream: &str, colour: Option<Colour>) -> &mut PoolSeries {
        self.upstream(upstream).pools.entry(colour).or_default()
    }

    /// Makes every series of the snapshot exist.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        for pool in snapshot.upstreams.iter().flat_map(Upstream::all_pools) {
            let series = self.pool(&pool.upstream, pool.colour);
            series.adopt(pool);
        }
    }

    /// Lets go of every series that has no place in the snapshot, so that a target that is gone does
    /// not read as a healthy one for ever.
    pub(super) fn prune(&mut self, snapshot: &Snapshot) {
        self.upstreams
            .retain(|name, _| name.is_empty() || snapshot.upstream(name).is_some());
        for upstream in &snapshot.upstreams {
            self.upstream(&upstream.name).prune(upstream);
        }
    }
}

impl UpstreamSeries {
    fn prune(&mut self, upstream: &Upstream) {
        let pool_of = |colour| upstream.all_pools().find(|pool| pool.colour == colour);
        self.pools.retain(|colour, _| pool_of(*colour).is_some());
        for (colour, series) in &mut self.pools {
            if let Some(pool) = pool_of(*colour) {
                series.prune(pool);
            }
        }
    }
}

impl PoolSeries {
    pub(super) fn target(&mut self, name: &str) -> &Arc<TargetCells> {
        self.targets.entry(name.into()).or_default()
    }

    /// Requests in flight on this colour, tunnels included, those of replaced pools too.
    pub(super) fn in_flight(&self) -> usize {
        let held = self.pools.iter().filter_map(Weak::upgrade);
        held.map(|pool| pool.leases().in_flight()).sum()
    }

    fn adopt(&mut self, pool: &Arc<Pool>) {
        self.pools.retain(|known| known.strong_count() > 0);
        if !self
            .pools
            .iter()
            .any(|known| known.as_ptr() == Arc::as_ptr(pool))
        {
            self.pools.push(Arc::downgrade(pool));
        }
        for target in &pool.targets {
            self.target(&target.name);
        }
    }

    fn prune(&mut self, pool: &Pool) {
        self.targets
            .retain(|name, _| pool.targets.iter().any(|target| target.name == *name));
    }
}

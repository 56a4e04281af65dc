//! One worker's view of the published snapshot: the snapshot, and for each pool the meters that this
//! worker counts on. Rebuilt only when a newer snapshot is seen, so a request clones an `Rc` and
//! touches no counter that another worker also changes.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::observe::access::Fixed;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::PoolMeters;
use crate::observe::metrics::TargetMeters;
use crate::sync::lease::Holder;
use crate::sync::lease::Leases;
use crate::sync::published::Published;
use crate::sync::published::Reader;

/// A pool as one worker holds it.
pub(crate) struct WorkerPool {
    pool: Arc<Pool>,
    /// Where this pool's requests are counted.
    pub(crate) meters: PoolMeters,
    /// Where its targets' errors are counted, in the order of the targets.
    pub(crate) target_meters: Vec<TargetMeters>,
    /// How the log names its targets, in the same order, and then no target.
    places: Vec<Fixed>,
}

/// One snapshot as one worker sees it.
pub(crate) struct Seen {
    /// The snapshot.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The pool that a new request gets, by upstream index.
    picks: Vec<Rc<WorkerPool>>,
}

/// Loads the current snapshot; one a worker.
pub(crate) struct View {
    metrics: Metrics,
    state: RefCell<(Reader<Snapshot>, Rc<Seen>)>,
}

impl Deref for WorkerPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl WorkerPool {
    /// How the log names this target, or that none was tried.
    pub(crate) fn place(&self, target: Option<usize>) -> Option<&Fixed> {
        self.places.get(target.unwrap_or(self.targets.len()))
    }

    fn new(pool: &Arc<Pool>, metrics: &Metrics) -> Self {
        let names = pool.targets.iter().map(|target| &*target.name).chain([""]);
        Self {
            pool: Arc::clone(pool),
            meters: metrics.pool(pool),
            target_meters: pool
                .targets
                .iter()
                .map(|target| metrics.target(pool, target))
                .collect(),
            places: names
                .map(|name| Fixed::target(&pool.upstream, pool.colour_label(), name))
                .collect(),
        }
    }
}

impl Holder for WorkerPool {
    fn leases(&self) -> &Leases {
        self.pool.leases()
    }
}

impl Seen {
    /// The pool that a new request to this upstream gets.
    pub(crate) fn pick(&self, upstream: usize) -> Option<&Rc<WorkerPool>> {
        self.picks.get(upstream)
    }
}

impl View {
    /// A view that has seen the current snapshot.
    pub(crate) fn new(published: &Published<Snapshot>, metrics: Metrics) -> Self {
        let mut reader = published.reader();
        let seen = see(reader.load(), None, &metrics);
        Self { metrics, state: RefCell::new((reader, seen)) }
    }

    /// The current snapshot.
    pub(crate) fn load(&self) -> Rc<Seen> {
        let (reader, seen) = &mut *self.state.borrow_mut();
        let current = reader.load();
        if !Arc::ptr_eq(current, &seen.snapshot) {
            *seen = see(current, Some(seen), &self.metrics);
        }
        Rc::clone(seen)
    }
}

fn see(snapshot: &Arc<Snapshot>, before: Option<&Seen>, metrics: &Metrics) -> Rc<Seen> {
    let known = |pool: &Pool| {
        before?
            .picks
            .iter()
            .find(|known| known.id == pool.id)
            .cloned()
    };
    let picks = snapshot
        .upstreams
        .iter()
        .map(|upstream| {
            let pool = upstream.pick();
            known(pool).unwrap_or_else(|| Rc::new(WorkerPool::new(pool, metrics)))
        })
        .collect();
    Rc::new(Seen { snapshot: Arc::clone(snapshot), picks })
}

//! One worker's view of the published snapshot: the snapshot, and for each pool the meters that this
//! worker counts on. Rebuilt only when a newer snapshot is seen, so a request clones an `Rc` and
//! touches no counter that another worker also changes.

use std::cell::Cell;
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::model::choice::Why;
use crate::model::colour::Colour;
use crate::model::fault::Fault;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::observe::access::Fixed;
use crate::observe::metrics::HeldMeters;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::PoolMeters;
use crate::observe::metrics::TargetMeters;
use crate::proxy::budget::Budget;
use crate::proxy::special::Special;
use crate::sync::lease::Holder;
use crate::sync::lease::Leases;
use crate::sync::published::Published;
use crate::sync::published::Reader;

/// How often one worker says that no target of a pool can be reached.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// A pool as one worker holds it.
pub(crate) struct WorkerPool {
    pool: Arc<Pool>,
    /// Where this pool's requests are counted.
    pub(crate) meters: PoolMeters,
    /// Where the requests to its upstream are counted that pauses hold.
    pub(crate) held_meters: HeldMeters,
    /// Where its targets' errors are counted, in the order of the targets.
    pub(crate) target_meters: Vec<TargetMeters>,
    /// How the log names its targets, in the same order, and then no target.
    places: Vec<Fixed>,
    /// What may be sent once more.
    pub(crate) budget: Budget,
    /// More is to be looked at than which target is next: there is a [`special`](Self::special).
    pub(crate) is_special: Cell<bool>,
    special: RefCell<Option<Rc<Special>>>,
    /// For which call connections to it have been opened, because it was about to be live.
    pub(crate) opened_for: Cell<Option<u64>>,
    said: Cell<Option<Instant>>,
}

/// One snapshot as one worker sees it.
pub(crate) struct Seen {
    /// The snapshot.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Where the requests of each upstream go, by its index.
    ways: Vec<Way>,
}

/// Where the requests of one upstream go.
pub(crate) struct Way {
    /// The live pool, or the only one.
    pub(crate) live: Rc<WorkerPool>,
    /// The other one of two.
    pub(crate) standby: Option<Rc<WorkerPool>>,
    /// Every request gets the live one: there is nothing to choose.
    pub(crate) is_plain: bool,
}

impl Way {
    /// The pool of this colour.
    pub(crate) fn pool(&self, colour: Option<Colour>) -> &Rc<WorkerPool> {
        match &self.standby {
            Some(standby) if standby.colour == colour => standby,
            Some(_) | None => &self.live,
        }
    }

    /// The same, counted if it stands in for another.
    pub(crate) fn for_reason(&self, colour: Option<Colour>, why: Why) -> &Rc<WorkerPool> {
        let pool = self.pool(colour);
        if why == Why::StandIn {
            pool.meters.stood_in();
        }
        pool
    }

    /// The pool of the other colour than this one's, if there are two.
    pub(crate) fn other_than(&self, pool: &Pool) -> Option<&Rc<WorkerPool>> {
        self.pools().find(|other| {
            pool.colour
                .is_some_and(|colour| other.colour == Some(colour.other()))
        })
    }

    fn pools(&self) -> impl Iterator<Item = &Rc<WorkerPool>> {
        std::iter::once(&self.live).chain(&self.standby)
    }
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

    /// What its upstream asks for beside passing requests on.
    pub(crate) fn special(&self) -> Option<Rc<Special>> {
        self.special.borrow().clone()
    }

    /// From here on its upstream asks for this.
    fn set_special(&self, special: Option<&Rc<Special>>) {
        self.is_special.set(special.is_some());
        self.special.replace(special.cloned());
    }

    /// A request was answered whole by the target at this place.
    pub(crate) fn served(&self, at: usize) {
        if let Some(target) = self.targets.get(at) {
            target.health.served();
        }
    }

    /// A request failed on the target at this place. One on which too many fail in a row is ejected,
    /// if it can be spared.
    pub(crate) fn failed(&self, at: usize, fault: Fault) {
        let (Some(target), Some(meters)) = (self.targets.get(at), self.target_meters.get(at))
        else {
            return;
        };
        if meters.fault(fault)
            && target.health.failed()
            && let now = SystemTime::now()
            && let Some(until) = self.eject(at, now)
        {
            meters.ejected();
            let rest = until.duration_since(now).unwrap_or_default();
            tracing::warn!(
                upstream = %self.upstream,
                colour = self.colour_label(),
                target = %target.name,
                last = fault.as_str(),
                seconds = rest.as_secs(),
                "target is ejected: too many requests in a row failed on it"
            );
        }
    }

    /// Says that a request could not be sent anywhere, now and then.
    pub(crate) fn is_unreachable(&self, tried: &[(usize, Fault)], now: Instant) {
        let said = self.said.get();
        if said.is_some_and(|said| now.duration_since(said) < SAID_EVERY) {
            return;
        }
        self.said.set(Some(now));
        let one = |(at, fault): &(usize, Fault)| {
            let name = self.targets.get(*at).map_or("", |target| &target.name);
            format!("{name} {}", fault.as_str())
        };
        let tried = tried.iter().map(one).collect::<Vec<_>>().join(", ");
        let (upstream, colour) = (&self.upstream, self.colour_label());
        tracing::warn!(%upstream, colour, tried, "no target can be reached: requests fail");
    }

    fn new(pool: &Arc<Pool>, metrics: &Metrics) -> Self {
        let names = pool.targets.iter().map(|target| &*target.name).chain([""]);
        Self {
            pool: Arc::clone(pool),
            meters: metrics.pool(pool),
            held_meters: metrics.held(&pool.upstream),
            target_meters: pool
                .targets
                .iter()
                .map(|target| metrics.target(pool, target))
                .collect(),
            places: names
                .map(|name| Fixed::target(&pool.upstream, pool.colour_label(), name))
                .collect(),
            budget: Budget::default(),
            is_special: Cell::new(false),
            special: RefCell::new(None),
            opened_for: Cell::new(None),
            said: Cell::new(None),
        }
    }
}

impl Holder for WorkerPool {
    fn leases(&self) -> &Leases {
        self.pool.leases()
    }
}

impl Seen {
    /// Where the requests of this upstream go.
    pub(crate) fn way(&self, upstream: usize) -> Option<&Way> {
        self.ways.get(upstream)
    }

    /// The upstream that this pool belongs to, or to which it belonged. Looks through all of them:
    /// for what is rare.
    pub(crate) fn of(&self, pool: &Pool) -> Option<(&Upstream, &Way)> {
        let mut all = self.snapshot.upstreams.iter().zip(&self.ways);
        all.find(|(upstream, _)| upstream.name == pool.upstream)
    }

    /// Every pool.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Rc<WorkerPool>> {
        self.ways.iter().flat_map(Way::pools)
    }

    /// A second has passed.
    pub(crate) fn tick(&self) {
        self.pools().for_each(|pool| pool.budget.tick());
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
            .ways
            .iter()
            .flat_map(Way::pools)
            .find(|known| known.id == pool.id)
            .cloned()
    };
    let held =
        |pool: &Arc<Pool>| known(pool).unwrap_or_else(|| Rc::new(WorkerPool::new(pool, metrics)));
    let ways = snapshot
        .upstreams
        .iter()
        .map(|upstream| {
            let live = upstream.pick();
            let standby = upstream.all_pools().find(|pool| !Arc::ptr_eq(pool, live));
            let (live, standby) = (held(live), standby.map(held));
            let way = Way { live, standby, is_plain: upstream.is_plain() };
            let special = Special::of(upstream);
            way.pools()
                .for_each(|pool| pool.set_special(special.as_ref()));
            way
        })
        .collect();
    Rc::new(Seen { snapshot: Arc::clone(snapshot), ways })
}

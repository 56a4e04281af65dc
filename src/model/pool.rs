//! All targets of one colour of one upstream, and the leases on them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::model::colour::Colour;
use crate::model::target::Target;
use crate::sync::lease::Holder;
use crate::sync::lease::Leases;

/// A pool in service. A pool whose targets change is a new pool with leases of its own.
#[derive(Debug)]
pub struct Pool {
    /// Unique in this process, never reused: what a worker files its meters under.
    pub id: u64,
    /// The upstream it belongs to.
    pub upstream: Arc<str>,
    /// Its colour; `None` for an upstream with one plain pool.
    pub colour: Option<Colour>,
    /// Its targets, in the order of the file; not empty.
    pub targets: Vec<Arc<Target>>,
    /// The largest weight among them; 1 if none has one.
    pub heaviest: u32,
    leases: Leases,
}

impl Pool {
    /// A pool with nothing in flight, open.
    #[must_use]
    pub fn new(
        upstream: Arc<str>,
        colour: Option<Colour>,
        targets: Vec<Arc<Target>>,
        workers: usize,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let heaviest = targets
            .iter()
            .map(|target| target.weight)
            .max()
            .unwrap_or(1)
            .max(1);
        Self { id, upstream, colour, targets, heaviest, leases: Leases::new(workers) }
    }

    /// What is in flight here.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// A lease for the tests of rooms that may not name `sync`.
    #[cfg(test)]
    pub(crate) fn lease(
        self: &Arc<Self>,
        worker: usize,
    ) -> Result<crate::sync::lease::Lease<Arc<Self>>, crate::sync::lease::Retired> {
        crate::sync::lease::Lease::take(Arc::clone(self), worker)
    }

    /// The colour as a metric label: empty for a plain pool.
    #[must_use]
    pub fn colour_label(&self) -> &'static str {
        self.colour.map_or("", Colour::as_str)
    }
}

impl Holder for Pool {
    fn leases(&self) -> &Leases {
        &self.leases
    }
}

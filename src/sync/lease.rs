//! Counts what is in flight on a pool, and tells when none is left.
//!
//! The rule is *count first, look second*. Taking a lease adds one to the worker's cell and then
//! reads `retired`; a drain sets `retired` and then looks at every cell with a read-modify-write.
//! Both touch the cell, so one of the two comes first in its modification order: either the drain
//! sees the count and waits, or the lease sees `retired` and gives itself back. A pool reported
//! drained can therefore never receive another request until it is reopened.

#[cfg(loom_model)]
use loom::sync::atomic::AtomicBool;
#[cfg(loom_model)]
use loom::sync::atomic::AtomicUsize;
#[cfg(loom_model)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicBool;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicUsize;
#[cfg(not(loom_model))]
use std::sync::atomic::Ordering;

use crate::sync::striped::Striped;

/// The in-flight counts of one pool, and whether it takes work.
#[derive(Debug)]
pub struct Leases {
    /// Requests, tunnels included.
    in_flight: Striped,
    /// The part of `in_flight` that has become a tunnel.
    tunnels: Striped,
    retired: AtomicBool,
    cut: AtomicBool,
    cut_requests: AtomicUsize,
    cut_tunnels: AtomicUsize,
}

/// Leads to the [`Leases`] that a lease counts on; it keeps them alive.
pub trait Holder {
    /// The counts behind this holder: always the same ones.
    fn leases(&self) -> &Leases;
}

/// One unit of in-flight work; ends when dropped.
#[derive(Debug)]
#[must_use = "dropping a lease ends it"]
pub struct Lease<H: Holder> {
    holder: H,
    worker: usize,
    tunnel: bool,
}

/// The pool no longer takes work: load the newer snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Retired;

/// What a drain had to end by force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutCount {
    /// Requests that were not tunnels.
    pub requests: usize,
    /// WebSockets and other upgraded connections.
    pub tunnels: usize,
}

impl Leases {
    /// Open, with nothing in flight.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            in_flight: Striped::new(workers),
            tunnels: Striped::new(workers),
            retired: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            cut_requests: AtomicUsize::new(0),
            cut_tunnels: AtomicUsize::new(0),
        }
    }

    /// Refuses further leases.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes leases again; must happen before the snapshot that needs it is published.
    pub fn reopen(&self) {
        self.cut.store(false, Ordering::Release);
        self.retired.store(false, Ordering::Release);
    }

    /// Whether new leases are refused.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// How many leases are out, tunnels included. Exact for a retired pool: it can only fall.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.look()
    }

    /// How many of them are tunnels.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.read()
    }

    /// Asks every holder of a lease to end now; each sees it at its next look.
    pub fn cut(&self) {
        self.cut_requests.store(0, Ordering::Release);
        self.cut_tunnels.store(0, Ordering::Release);
        self.cut.store(true, Ordering::Release);
    }

    /// Whether holders should end now.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// What has been ended since the last [`cut`](Self::cut).
    #[must_use]
    pub fn cut_count(&self) -> CutCount {
        CutCount {
            requests: self.cut_requests.load(Ordering::Acquire),
            tunnels: self.cut_tunnels.load(Ordering::Acquire),
        }
    }
}

impl<H: Holder> Lease<H> {
    /// Takes a lease for `worker`, unless the pool has been retired.
    ///
    /// # Errors
    ///
    /// [`Retired`] when a newer snapshot no longer sends work here.
    pub fn take(holder: H, worker: usize) -> Result<Self, Retired> {
        let leases = holder.leases();
        leases.in_flight.add(worker);
        if leases.is_retired() {
            leases.in_flight.take_away(worker);
            return Err(Retired);
        }
        Ok(Self { holder, worker, tunnel: false })
    }

    /// What the lease is held on.
    pub fn holder(&self) -> &H {
        &self.holder
    }

    /// Counts this lease as a tunnel from here on.
    pub fn become_tunnel(&mut self) {
        if !self.tunnel {
            self.tunnel = true;
            self.holder.leases().tunnels.add(self.worker);
        }
    }

    /// Ends the lease because the drain asked for it.
    pub fn end_as_cut(self) {
        let leases = self.holder.leases();
        let count = if self.tunnel { &leases.cut_tunnels } else { &leases.cut_requests };
        count.fetch_add(1, Ordering::AcqRel);
    }
}

impl<H: Holder> Drop for Lease<H> {
    fn drop(&mut self) {
        let leases = self.holder.leases();
        if self.tunnel {
            leases.tunnels.take_away(self.worker);
        }
        leases.in_flight.take_away(self.worker);
    }
}

impl<T: Holder> Holder for std::sync::Arc<T> {
    fn leases(&self) -> &Leases {
        T::leases(self)
    }
}

impl<T: Holder> Holder for std::rc::Rc<T> {
    fn leases(&self) -> &Leases {
        T::leases(self)
    }
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    impl Holder for Leases {
        fn leases(&self) -> &Leases {
            self
        }
    }

    #[test]
    fn a_retired_pool_refuses_and_leaves_no_trace() {
        let leases = Arc::new(Leases::new(2));
        let held = Lease::take(Arc::clone(&leases), 0).unwrap();
        leases.retire();
        assert_eq!(Lease::take(Arc::clone(&leases), 1).unwrap_err(), Retired);
        assert_eq!(leases.in_flight(), 1);
        drop(held);
        assert_eq!(leases.in_flight(), 0);
    }

    #[test]
    fn a_reopened_pool_takes_leases_and_forgets_the_cut() {
        let leases = Arc::new(Leases::new(1));
        leases.retire();
        leases.cut();
        leases.reopen();
        assert!(!leases.is_cut());
        assert!(Lease::take(leases, 0).is_ok());
    }

    #[test]
    fn a_cut_is_counted_by_kind_and_gives_everything_back() {
        let leases = Arc::new(Leases::new(1));
        let request = Lease::take(Arc::clone(&leases), 0).unwrap();
        let mut tunnel = Lease::take(Arc::clone(&leases), 0).unwrap();
        tunnel.become_tunnel();
        tunnel.become_tunnel();
        assert_eq!((leases.in_flight(), leases.tunnels()), (2, 1));
        leases.cut();
        request.end_as_cut();
        tunnel.end_as_cut();
        assert_eq!(leases.cut_count(), CutCount { requests: 1, tunnels: 1 });
        assert_eq!((leases.in_flight(), leases.tunnels()), (0, 0));
    }
}

/// Run with `RUSTFLAGS="--cfg loom_model" cargo test --lib --target-dir target/loom loom_`. The name is
/// our own: tokio and others change their shape under plain `--cfg loom`.
#[cfg(all(test, loom_model))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    struct Shared(Arc<Leases>);

    impl Holder for Shared {
        fn leases(&self) -> &Leases {
            &self.0
        }
    }

    #[test]
    fn loom_a_drained_pool_never_receives_another_lease() {
        loom::model(|| {
            let leases = Arc::new(Leases::new(2));
            let working = Arc::new(AtomicBool::new(false));
            let worker = loom::thread::spawn({
                let (leases, working) = (Arc::clone(&leases), Arc::clone(&working));
                move || {
                    if let Ok(lease) = Lease::take(Shared(leases), 1) {
                        working.store(true, Ordering::Release);
                        working.store(false, Ordering::Release);
                        drop(lease);
                    }
                }
            });
            leases.retire();
            if leases.in_flight() == 0 {
                // Drained: whoever had a lease has ended, and nobody gets one any more.
                assert!(!working.load(Ordering::Acquire));
                worker.join().unwrap();
                assert!(!working.load(Ordering::Acquire));
                assert_eq!(leases.in_flight(), 0);
            } else {
                worker.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_after_a_reopen_the_pool_takes_leases() {
        loom::model(|| {
            let leases = Arc::new(Leases::new(1));
            leases.retire();
            let worker = loom::thread::spawn({
                let leases = Arc::clone(&leases);
                move || Lease::take(Shared(leases), 0).is_ok()
            });
            leases.reopen();
            let _ = worker.join().unwrap();
            assert!(Lease::take(Shared(Arc::clone(&leases)), 0).is_ok());
            assert_eq!(leases.in_flight(), 0);
        });
    }
}

//! Who may come in: how many client connections, and how many requests in flight, in all and of each
//! address.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::model::settings::Limits;
use crate::observe::metrics::ConnectionOutcome;
use crate::proxy::share::Pot;
use crate::proxy::share::Share;

/// Locks of the per-address counts: one would be shared by every accept of the process.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 6;

/// How many client connections there are, in all and of each address, and what the workers have taken
/// of the limits of requests. Touched once a connection, seldom by a request.
#[derive(Debug)]
pub struct Admission {
    /// What the file descriptors allow, whatever the file says: of connections, and of requests.
    ceiling: usize,
    workers: usize,
    all: AtomicUsize,
    requests: Arc<Pot>,
    /// Requests that pauses hold.
    held: AtomicUsize,
    by_address: Box<[Mutex<HashMap<IpAddr, OfAddress>>]>,
}

#[derive(Debug, Default)]
struct OfAddress {
    connections: usize,
    requests: Arc<Pot>,
}

/// A connection that was let in; no longer counted once dropped.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
}

/// What one worker has of the limits of requests.
pub(crate) struct Shares {
    /// Of all requests.
    pub(crate) all: Share,
    ceiling: usize,
    /// Of those of each address that is connected to this worker.
    by_address: RefCell<HashMap<IpAddr, Weak<Share>>>,
    /// At how many the map is next looked through for addresses that are gone.
    sweep_at: Cell<usize>,
}

impl Admission {
    /// Counts of zero, for so many workers, and at most `ceiling` connections and as many requests.
    #[must_use]
    pub fn new(ceiling: usize, workers: usize) -> Self {
        Self {
            ceiling,
            workers,
            all: AtomicUsize::new(0),
            requests: Arc::default(),
            held: AtomicUsize::new(0),
            by_address: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether one more request may be held beside all others; if so, it is one of them until
    /// [`let_go`](Self::let_go).
    pub(crate) fn hold(&self, at_most: usize) -> bool {
        let may = self.held.fetch_add(1, Ordering::AcqRel) < at_most;
        if !may {
            self.let_go();
        }
        may
    }

    /// A request is held no longer.
    pub(crate) fn let_go(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// Lets a connection in.
    ///
    /// # Errors
    ///
    /// It is one too many.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Admitted, ConnectionOutcome> {
        // Count first: what is over the limit is given back by the drop of `admitted`.
        let before = self.all.fetch_add(1, Ordering::AcqRel);
        let of_address = self.begin(address);
        let admitted = Admitted { admission: Arc::clone(self), address };
        if before >= limits.connections.min(self.ceiling) {
            return Err(ConnectionOutcome::RefusedLimit);
        }
        if of_address > limits.connections_per_address {
            return Err(ConnectionOutcome::RefusedAddressLimit);
        }
        Ok(admitted)
    }

    /// What a new worker has of the limits of requests: nothing yet.
    pub(crate) fn shares(&self) -> Shares {
        Shares {
            all: Share::new(Arc::clone(&self.requests), self.workers),
            ceiling: self.ceiling,
            by_address: RefCell::default(),
            sweep_at: Cell::new(SHARDS),
        }
    }

    /// Counts one more connection of an address; how many there are.
    fn begin(&self, address: IpAddr) -> usize {
        let Some(mut counts) = self.shard(address) else { return 0 };
        let count = &mut counts.entry(address).or_default().connections;
        *count += 1;
        *count
    }

    /// Counts one less. An address that has none left is forgotten.
    fn end(&self, address: IpAddr) {
        let Some(mut counts) = self.shard(address) else { return };
        if let Entry::Occupied(mut of) = counts.entry(address) {
            let left = of.get().connections.saturating_sub(1);
            if left == 0 {
                of.remove();
            } else {
                of.get_mut().connections = left;
            }
        }
    }

    fn requests_of(&self, address: IpAddr) -> Arc<Pot> {
        let known = self.shard(address);
        let pot = known.and_then(|counts| counts.get(&address).map(|of| Arc::clone(&of.requests)));
        pot.unwrap_or_default()
    }

    fn shard(&self, address: IpAddr) -> Option<MutexGuard<'_, HashMap<IpAddr, OfAddress>>> {
        let shard = self.by_address.get(shard_of(address))?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which shard counts an address, by Fibonacci hashing. Whoever chooses addresses so that they all come
/// to one makes workers wait for each other's few instructions, and no table slow: within a shard the
/// hash is a keyed one.
fn shard_of(address: IpAddr) -> usize {
    let bits = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits() & u128::from(u64::MAX)];
            u64::try_from(high ^ low).unwrap_or_default()
        }
    };
    usize::try_from(bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SHARD_BITS))
        .unwrap_or_default()
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.all.fetch_sub(1, Ordering::AcqRel);
        self.admission.end(self.address);
    }
}

impl Shares {
    /// The share of an address that has been let in: one for all of its connections to this worker.
    pub(crate) fn of(&self, address: IpAddr, admission: &Admission) -> Rc<Share> {
        let mut shares = self.by_address.borrow_mut();
        if shares.len() >= self.sweep_at.get() {
            shares.retain(|_, share| share.strong_count() > 0);
            self.sweep_at.set(2 * shares.len() + SHARDS);
        }
        let known = shares.entry(address).or_default();
        known.upgrade().unwrap_or_else(|| {
            let share = Rc::new(Share::new(admission.requests_of(address), admission.workers));
            *known = Rc::downgrade(&share);
            share
        })
    }

    /// The limits may have changed: what this worker has at hand of old ones would be missed by others.
    pub(crate) fn follow(&self, limits: &Limits) {
        self.all_fit(limits.requests);
        for share in self.by_address.borrow().values() {
            if let Some(share) = share.upgrade() {
                share.fits(limits.requests_per_address);
            }
        }
    }

    /// Whether the requests of all are within the limit.
    pub(crate) fn all_fit(&self, limit: usize) -> bool {
        self.all.fits(limit.min(self.ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_on_all_connections_and_on_those_of_one_address() {
        let admission = Arc::new(Admission::new(usize::MAX, 1));
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = admission.admit(a, &limits).unwrap();
        let _second = admission.admit(a, &limits).unwrap();
        assert_eq!(admission.admit(a, &limits).err(), Some(ConnectionOutcome::RefusedAddressLimit));
        let _third = admission.admit(b, &limits).unwrap();
        assert_eq!(admission.admit(b, &limits).err(), Some(ConnectionOutcome::RefusedLimit));
        drop(first);
        assert!(admission.admit(a, &limits).is_ok());
    }

    #[test]
    fn the_workers_share_the_limit_of_an_address_and_addresses_share_none() {
        let admission = Arc::new(Admission::new(usize::MAX, 2));
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let _open = [a, b].map(|address| admission.admit(address, &Limits::default()).unwrap());
        let workers = [admission.shares(), admission.shares()];
        let [one, other] = [&workers[0], &workers[1]].map(|shares| shares.of(a, &admission));
        assert!(Rc::ptr_eq(&one, &workers[0].of(a, &admission)));
        one.begin();
        assert!(one.fits(1));
        other.begin();
        assert!(!other.fits(1));
        let third = workers[1].of(b, &admission);
        third.begin();
        assert!(third.fits(1));
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let admission = Arc::new(Admission::new(usize::MAX, 1));
        let shares = admission.shares();
        for number in 0..10_000_u32 {
            let address = IpAddr::V4(number.into());
            let _open = admission.admit(address, &Limits::default()).unwrap();
            shares.of(address, &admission);
        }
        assert!(shares.by_address.borrow().len() <= 2 * SHARDS);
        assert_eq!(admission.all.load(Ordering::Relaxed), 0);
    }
}

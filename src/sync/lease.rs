//! Counts what is in flight on a pool, and tells when none is left.
//!
//! The rule is *count first, look second*. Taking a lease adds one to the worker's cell and then
//! reads `retired`; a drain sets `retired` and then looks at every cell with a read-modify-write.
//! Both touch the cell, so one of the two comes first in its modification order: either the drain
//! sees the count and waits, or the lease sees `retired` and gives itself back. A pool reported
//! drained can therefore never receive another request until it is reopened.
//!
//! A pool that is retired is not shut yet: the named exceptions of a release (a rescue, a skewed
//! asset, a preview, a warm-up) may still use it, each under an exceptional lease, counted apart.
//! Whoever is to say that a pool is empty for good shuts it first and then looks at both counts: the
//! same rule, one door further in.

#[cfg(loom_model)]
use loom::sync::atomic::AtomicBool;
#[cfg(loom_model)]
use loom::sync::atomic::AtomicU8;
#[cfg(loom_model)]
use loom::sync::atomic::AtomicUsize;
#[cfg(loom_model)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicBool;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicU8;
#[cfg(not(loom_model))]
use std::sync::atomic::AtomicUsize;
#[cfg(not(loom_model))]
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::striped::Striped;

/// Whom a pool lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Door {
    /// Everybody.
    Open,
    /// Only the exceptions of a release, all of them: it was open until it was retired, and what it
    /// served is held ready behind it.
    Warm,
    /// Only the exceptions that mean this very pool, whatever it was before: a preview, a warm-up.
    Exceptional,
    /// Nobody.
    Shut,
}

/// The in-flight counts of one pool, and whom it lets in.
#[derive(Debug)]
pub struct Leases {
    /// Requests that came while the pool was open, tunnels included.
    plain: Striped,
    /// Those of the exceptions, tunnels included.
    exceptional: Striped,
    /// The part of both that has become a tunnel.
    tunnels: Striped,
    door: AtomicU8,
    cut: AtomicBool,
    /// Over how many milliseconds what can be ended well is spread.
    spread: AtomicUsize,
    cut_requests: AtomicUsize,
    cut_tunnels: AtomicUsize,
    /// The part of `cut_requests` that were HTTP/2 streams with half an answer.
    streams_reset: AtomicUsize,
    websockets_closed: AtomicUsize,
    events_ended: AtomicUsize,
    /// What of each of these was added up already, in the order of [`cut_counts`](Self::cut_counts).
    added_up: [AtomicUsize; 5],
}

/// How long after its turn something that can be ended well may take to come to a place where that is
/// possible: a large frame from a slow client takes its time.
pub const TO_A_BOUNDARY: Duration = Duration::from_secs(2);

/// How long it then waits for the other side's last words.
pub const FOR_AN_ANSWER: Duration = Duration::from_secs(1);

/// How long after its turn it is over in any case.
pub const LAST_WORDS: Duration = TO_A_BOUNDARY.saturating_add(FOR_AN_ANSWER);

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
    exceptional: bool,
}

/// The pool no longer takes work: load the newer snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Retired;

/// How a lease was ended because the drain asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutAs {
    /// By force: its client did not get all of it.
    Force,
    /// The same, by the reset of an HTTP/2 stream whose answer had begun.
    Reset,
    /// Well: a WebSocket, by a Close.
    WebSocket,
    /// Well: a stream of events, after an event.
    Events,
}

/// What a drain had to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutCount {
    /// By force: requests that were not tunnels.
    pub requests: usize,
    /// By force: WebSockets and other upgraded connections.
    pub tunnels: usize,
    /// The part of `requests` that were HTTP/2 streams whose answer had begun.
    pub streams_reset: usize,
    /// Well: WebSockets that got a Close.
    pub websockets_closed: usize,
    /// Well: streams of events that ended after an event.
    pub events_ended: usize,
}

impl CutCount {
    fn of(counts: [usize; 5]) -> Self {
        let [requests, tunnels, streams_reset, websockets_closed, events_ended] = counts;
        Self { requests, tunnels, streams_reset, websockets_closed, events_ended }
    }

    /// How many were ended by force.
    #[must_use]
    pub fn forced(self) -> usize {
        self.requests + self.tunnels
    }
}

impl Leases {
    /// Open, with nothing in flight.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            plain: Striped::new(workers),
            exceptional: Striped::new(workers),
            tunnels: Striped::new(workers),
            door: AtomicU8::new(Door::Open as u8),
            cut: AtomicBool::new(false),
            spread: AtomicUsize::new(0),
            cut_requests: AtomicUsize::new(0),
            cut_tunnels: AtomicUsize::new(0),
            streams_reset: AtomicUsize::new(0),
            websockets_closed: AtomicUsize::new(0),
            events_ended: AtomicUsize::new(0),
            added_up: std::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// Everything that counts what a cut has ended.
    fn cut_counts(&self) -> [&AtomicUsize; 5] {
        [
            &self.cut_requests,
            &self.cut_tunnels,
            &self.streams_reset,
            &self.websockets_closed,
            &self.events_ended,
        ]
    }

    /// Refuses further plain leases. The exceptions of a release are let in, also where the pool was
    /// shut before. A cut is over: it was of what had been taken until then.
    pub fn retire(&self) {
        self.set(Door::Warm);
    }

    /// Lets in the exceptions that mean this pool, which was shut.
    pub fn admit(&self) {
        self.set(Door::Exceptional);
    }

    /// Refuses every further lease. Must come before whatever is to be known of the pool for good.
    pub fn shut(&self) {
        self.door.store(Door::Shut as u8, Ordering::Release);
    }

    /// Takes leases again; must happen before the snapshot that needs it is published.
    pub fn reopen(&self) {
        self.set(Door::Open);
    }

    /// Lets in whom this says.
    pub fn set(&self, door: Door) {
        if door != Door::Shut {
            self.cut.store(false, Ordering::Release);
        }
        self.door.store(door as u8, Ordering::Release);
    }

    /// Whom it lets in.
    #[must_use]
    pub fn door(&self) -> Door {
        match self.door.load(Ordering::Acquire) {
            door if door == Door::Open as u8 => Door::Open,
            door if door == Door::Warm as u8 => Door::Warm,
            door if door == Door::Exceptional as u8 => Door::Exceptional,
            _ => Door::Shut,
        }
    }

    /// Whether new plain leases are refused.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.door.load(Ordering::Acquire) != Door::Open as u8
    }

    /// Whether every new lease is refused.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.door.load(Ordering::Acquire) == Door::Shut as u8
    }

    /// How many leases are out, exceptional ones and tunnels included. Exact for a pool that is shut:
    /// it can only fall.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.plain.look() + self.exceptional.look()
    }

    /// How many plain leases are out. Exact for a retired pool: it can only fall.
    #[must_use]
    pub fn plain(&self) -> usize {
        self.plain.look()
    }

    /// How many exceptional leases one worker has out: cheap, for decisions that need no truth.
    #[must_use]
    pub fn exceptional_of(&self, worker: usize) -> usize {
        self.exceptional.of(worker)
    }

    fn counts(&self, exceptional: bool) -> &Striped {
        if exceptional { &self.exceptional } else { &self.plain }
    }

    /// How many of them are tunnels.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.read()
    }

    /// Asks every holder of a lease to end now; each sees it at its next look. What can be ended well
    /// takes its turn within `spread` (to the millisecond), so that not all come back at once.
    pub fn cut(&self, spread: Duration) {
        for count in self.cut_counts().into_iter().chain(&self.added_up) {
            count.store(0, Ordering::Release);
        }
        let spread = usize::try_from(spread.as_millis()).unwrap_or(usize::MAX);
        self.spread.store(spread, Ordering::Release);
        self.cut.store(true, Ordering::Release);
    }

    /// Within which time from the cut on what can be ended well is to take its turn.
    #[must_use]
    pub fn cut_spread(&self) -> Duration {
        let spread = self.spread.load(Ordering::Acquire);
        Duration::from_millis(u64::try_from(spread).unwrap_or(u64::MAX))
    }

    /// Whether holders should end now.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// What has been ended since the last [`cut`](Self::cut).
    #[must_use]
    pub fn cut_count(&self) -> CutCount {
        CutCount::of(self.cut_counts().map(|count| count.load(Ordering::Acquire)))
    }

    /// The same without what this has told before. For one caller, who adds it up.
    pub fn cut_news(&self) -> CutCount {
        let mut news = self.cut_counts().map(|count| count.load(Ordering::Acquire));
        for (count, told) in news.iter_mut().zip(&self.added_up) {
            *count -= told.swap(*count, Ordering::AcqRel).min(*count);
        }
        CutCount::of(news)
    }
}

impl<H: Holder> Lease<H> {
    /// Takes a lease for `worker`, unless the pool has been retired.
    ///
    /// # Errors
    ///
    /// [`Retired`] when a newer snapshot no longer sends work here.
    pub fn take(holder: H, worker: usize) -> Result<Self, Retired> {
        Self::take_unless(holder, worker, false)
    }

    /// Takes an exceptional lease for `worker`, unless the pool is shut. Only the named exceptions of
    /// a release may: a rescue, a skewed asset, a preview, and a warm-up. Each is asked for by name in
    /// the file or by a command; a request that is none of them takes a plain lease, and is told by
    /// its refusal that there is a newer snapshot.
    ///
    /// # Errors
    ///
    /// [`Retired`] when the pool is shut: its processes may be gone at any moment.
    pub fn take_exceptional(holder: H, worker: usize) -> Result<Self, Retired> {
        Self::take_unless(holder, worker, true)
    }

    fn take_unless(holder: H, worker: usize, exceptional: bool) -> Result<Self, Retired> {
        let leases = holder.leases();
        let counts = leases.counts(exceptional);
        counts.add(worker);
        // Count first, look second.
        let refused = if exceptional { leases.is_shut() } else { leases.is_retired() };
        if refused {
            counts.take_away(worker);
            return Err(Retired);
        }
        Ok(Self { holder, worker, tunnel: false, exceptional })
    }

    /// Whether it was given to an exception.
    pub fn is_exceptional(&self) -> bool {
        self.exceptional
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
    pub fn end_as_cut(self, how: CutAs) {
        let leases = self.holder.leases();
        let count = match how {
            CutAs::WebSocket => &leases.websockets_closed,
            CutAs::Events => &leases.events_ended,
            CutAs::Force | CutAs::Reset if self.tunnel => &leases.cut_tunnels,
            CutAs::Force | CutAs::Reset => &leases.cut_requests,
        };
        if how == CutAs::Reset {
            leases.streams_reset.fetch_add(1, Ordering::AcqRel);
        }
        count.fetch_add(1, Ordering::AcqRel);
    }
}

impl<H: Holder> Drop for Lease<H> {
    fn drop(&mut self) {
        let leases = self.holder.leases();
        if self.tunnel {
            leases.tunnels.take_away(self.worker);
        }
        leases.counts(self.exceptional).take_away(self.worker);
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

#[cfg(all(test, loom_model))]
mod loom_tests;
#[cfg(all(test, not(loom_model)))]
mod tests;

//! The handles that workers count with: made once a worker, then no label, no hash and no lock.

use std::sync::Arc;
use std::time::Duration;

use crate::model::fault::Fault;
use crate::observe::metrics::cells::Bounds;
use crate::observe::metrics::cells::Count;
use crate::observe::metrics::cells::Counts;
use crate::observe::metrics::cells::Fold;
use crate::observe::metrics::cells::Stripe;
use crate::observe::metrics::cells::Timings;
use crate::observe::metrics::words::ClientError;
use crate::observe::metrics::words::ConnectionOutcome;
use crate::observe::metrics::words::HandshakeOutcome;
use crate::observe::metrics::words::SkewOutcome;
use crate::observe::metrics::words::UpstreamError;

/// From what a target in the same rack needs to the longest that most clients wait.
const REQUEST_BOUNDS: Bounds<16> = Bounds::in_micros([
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
]);

/// A probe ends at `health.timeout` (2 s), which is seldom more than 10 s.
const PROBE_BOUNDS: Bounds<14> = Bounds::in_micros([
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000,
]);

/// The statuses that can stand in a status line (RFC 9110 §15).
const STATUS_MIN: u16 = 100;
const STATUSES: usize = 500;

/// Counts the requests of one pool, for one worker. It may move to another thread, but no two can
/// have it at once, so that counting needs no locked instruction:
///
/// ```
/// fn moves<T: Send>() {}
/// moves::<proxyd::observe::metrics::PoolMeters>();
/// ```
///
/// ```compile_fail
/// fn is_shared<T: Sync>() {}
/// is_shared::<proxyd::observe::metrics::PoolMeters>();
/// ```
#[derive(Debug)]
pub struct PoolMeters(pub(super) Stripe<PoolCells>);

/// Counts the requests to one upstream that pauses hold, for one worker.
#[derive(Debug)]
pub struct HeldMeters(pub(super) Stripe<HeldCells>);

/// Counts the requests that one worker takes in. How each ended is [`Metrics::outcome`]'s: the two are
/// counted apart, so that a request which never ends shows.
///
/// [`Metrics::outcome`]: crate::observe::metrics::Metrics::outcome
#[derive(Debug)]
pub struct RequestMeters(pub(super) Stripe<RequestCells>);

/// Counts what one target does wrong.
#[derive(Debug, Clone)]
pub struct TargetMeters(pub(super) Arc<TargetCells>);

/// Counts what happens on one listener, for one worker.
#[derive(Debug)]
pub struct ListenerMeters(pub(super) Arc<ListenerCells>);

/// A client connection as `proxy_connections` counts it; no longer once dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub struct Connected(Arc<ListenerCells>);

impl PoolMeters {
    /// A request was answered with `status` after `took`, from its head to its last byte. A status
    /// outside of 100 to 599 is invalid (RFC 9110 §15) and counts as 599.
    pub fn answered(&self, status: u16, took: Duration) {
        self.0.statuses.add_alone(place_of(status), 1);
        self.0.took.observe_alone(took);
    }

    /// A request was sent once more, to another target or on another connection.
    pub fn retried(&self) {
        self.0.retries.add_alone(1);
    }

    /// A request was not sent once more, because too many others had been.
    pub fn over_budget(&self) {
        self.0.over_budget.add_alone(1);
    }

    /// A request of a canary's user got the live colour, which this is.
    pub fn stood_in(&self) {
        self.0.stood_in.add_alone(1);
    }

    /// A request was sent to a target although none of the pool is healthy.
    pub fn failed_open(&self) {
        self.0.fail_open.add_alone(1);
    }

    /// A request that this pool had failed was answered by the other colour.
    pub fn rescued(&self) {
        self.0.rescued.add_alone(1);
    }

    /// The other colour was asked for what this one does not have.
    pub fn skewed(&self, outcome: SkewOutcome) {
        self.0.skewed.add_alone(outcome.place(), 1);
    }
}

impl HeldMeters {
    /// A pause holds one more request.
    pub fn held(&self) {
        self.0.held.add_alone(1);
    }

    /// It does not any more.
    pub fn let_go(&self) {
        self.0.let_go.add_alone(1);
    }
}

impl RequestMeters {
    /// A request has been taken in: it will have exactly one outcome.
    pub fn accepted(&self) {
        self.0.accepted.add_alone(1);
    }
}

impl TargetMeters {
    /// A request failed on this target.
    pub fn error(&self, error: UpstreamError) {
        self.0.errors.add(error.place(), 1);
    }

    /// A request failed: counted if the target is to blame, and whether it is.
    pub fn fault(&self, fault: Fault) -> bool {
        let error = UpstreamError::of(fault);
        if let Some(error) = error {
            self.error(error);
        }
        error.is_some()
    }

    /// The target was ejected.
    pub fn ejected(&self) {
        self.0.ejections.add(1);
    }
}

impl ListenerMeters {
    /// A connection is served from here until what is returned is dropped.
    pub fn accepted(&self) -> Connected {
        self.0
            .connections
            .add(ConnectionOutcome::Accepted.place(), 1);
        Connected(Arc::clone(&self.0))
    }

    /// A connection came to nothing. ([`Accepted`](ConnectionOutcome::Accepted) is counted by
    /// [`accepted`](Self::accepted) and ignored here.)
    pub fn turned_away(&self, outcome: ConnectionOutcome) {
        if outcome != ConnectionOutcome::Accepted {
            self.0.connections.add(outcome.place(), 1);
        }
    }

    /// A TLS handshake ended.
    pub fn handshake(&self, outcome: HandshakeOutcome) {
        self.0.handshakes.add(outcome.place(), 1);
    }

    /// A client did something wrong.
    pub fn client_error(&self, error: ClientError) {
        self.0.client_errors.add(error.place(), 1);
    }

    /// Fields of a request were dropped because their names hold `_`.
    pub fn underscored(&self, fields: u32) {
        self.0.underscored.add(u64::from(fields));
    }

    /// A request failed: counted if the client caused it.
    pub fn fault(&self, fault: Fault) {
        if let Some(error) = ClientError::of(fault) {
            self.client_error(error);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}

/// What [`PoolMeters`] count on; alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct PoolCells {
    statuses: Counts<STATUSES>,
    pub(super) took: Timings<16>,
    pub(super) retries: Count,
    pub(super) over_budget: Count,
    pub(super) stood_in: Count,
    pub(super) fail_open: Count,
    pub(super) rescued: Count,
    pub(super) skewed: Counts<{ SkewOutcome::ALL.len() }>,
}

impl PoolCells {
    /// How many requests were answered so; 0 for a status that there is not.
    pub(super) fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(place_of(status))
    }

    /// Every status.
    pub(super) fn statuses() -> impl Iterator<Item = u16> {
        (STATUS_MIN..).take(STATUSES)
    }
}

impl Default for PoolCells {
    fn default() -> Self {
        Self {
            statuses: Counts::default(),
            took: Timings::new(&REQUEST_BOUNDS),
            retries: Count::default(),
            over_budget: Count::default(),
            stood_in: Count::default(),
            fail_open: Count::default(),
            rescued: Count::default(),
            skewed: Counts::default(),
        }
    }
}

impl Fold for PoolCells {
    fn fold_into(&self, sum: &Self) {
        self.statuses.fold_into(&sum.statuses);
        self.took.fold_into(&sum.took);
        sum.retries.add(self.retries.get());
        sum.over_budget.add(self.over_budget.get());
        sum.stood_in.add(self.stood_in.get());
        sum.fail_open.add(self.fail_open.get());
        sum.rescued.add(self.rescued.get());
        self.skewed.fold_into(&sum.skewed);
    }
}

/// What [`HeldMeters`] count on; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct HeldCells {
    pub(super) held: Count,
    let_go: Count,
}

impl HeldCells {
    /// How many are held now.
    pub(super) fn now(&self) -> u64 {
        // Read at slightly different moments: one may seem let go before it was held.
        self.held.get().saturating_sub(self.let_go.get())
    }
}

impl Fold for HeldCells {
    fn fold_into(&self, sum: &Self) {
        sum.let_go.add(self.let_go.get());
        sum.held.add(self.held.get());
    }
}

/// What [`RequestMeters`] count on; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct RequestCells {
    pub(super) accepted: Count,
}

impl Fold for RequestCells {
    fn fold_into(&self, sum: &Self) {
        sum.accepted.add(self.accepted.get());
    }
}

/// What [`TargetMeters`] count on. One for all workers: errors and probes are rare.
#[derive(Debug)]
pub(super) struct TargetCells {
    pub(super) errors: Counts<{ UpstreamError::ALL.len() }>,
    pub(super) ejections: Count,
    pub(super) probes: Timings<14>,
}

impl Default for TargetCells {
    fn default() -> Self {
        Self {
            errors: Counts::default(),
            ejections: Count::default(),
            probes: Timings::new(&PROBE_BOUNDS),
        }
    }
}

/// What [`ListenerMeters`] count on; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ListenerCells {
    pub(super) connections: Counts<{ ConnectionOutcome::ALL.len() }>,
    closed: Count,
    pub(super) handshakes: Counts<{ HandshakeOutcome::ALL.len() }>,
    pub(super) client_errors: Counts<{ ClientError::ALL.len() }>,
    pub(super) underscored: Count,
}

impl ListenerCells {
    /// How many connections are open now.
    pub(super) fn open(&self) -> u64 {
        let accepted = self.connections.get(ConnectionOutcome::Accepted.place());
        // Read at slightly different moments: a connection may seem closed before it was opened.
        accepted.saturating_sub(self.closed.get())
    }
}

impl Fold for ListenerCells {
    fn fold_into(&self, sum: &Self) {
        sum.closed.add(self.closed.get());
        self.connections.fold_into(&sum.connections);
        self.handshakes.fold_into(&sum.handshakes);
        self.client_errors.fold_into(&sum.client_errors);
        sum.underscored.add(self.underscored.get());
    }
}

fn place_of(status: u16) -> usize {
    match status.checked_sub(STATUS_MIN) {
        Some(place) => usize::from(place).min(STATUSES - 1),
        None => STATUSES - 1,
    }
}

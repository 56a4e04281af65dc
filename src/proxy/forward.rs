//! The way to a target: which one, over which connection, and what may be tried again.
//!
//! The rule of trying again (docs/ARCHITECTURE.md): a request goes to the next target while nothing
//! of it can have been read. Once a byte may have been, only an idempotent request
//! (RFC 9110 §9.2.2) is sent once more, only once, only while nothing of an answer has come and its
//! body is whole, and only while not too many others were (`budget`). What no target of the pool has
//! answered may still be taken in by the other colour (`rescue`).

use std::future::Future;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::choice::rescue::Plight;
use crate::model::fault::Fault;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::net::dial;
use crate::net::dial::Stream;
use crate::net::limits;
use crate::proxy::call::Call;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::handler::Terms;
use crate::proxy::idle::FRESH_ENOUGH;
use crate::proxy::idle::TargetConnection;
use crate::proxy::rescue;
use crate::proxy::special;
use crate::proxy::tries;
use crate::proxy::tries::Tries;
use crate::proxy::view::WorkerPool;

/// How one attempt went wrong.
#[derive(Clone, Copy)]
enum Missed {
    /// Nothing was sent: any target may be tried.
    Unsent(Fault),
    /// The connection was an old one and is dead. Nothing was sent over it.
    Stale,
    /// It may have been read, and no answer came; but doing it twice is doing it once.
    Unanswered {
        /// Over a connection that the target may have closed meanwhile.
        used: bool,
    },
    /// Something may have been read, or the client is to blame.
    Final(Fault),
    /// No answer came in time; but doing it twice is doing it once. No other target of this pool is
    /// tried: it would have the same time once more.
    Late,
}

/// A request that no target of its pool has answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    /// What to answer with.
    pub(crate) fault: Fault,
    /// Whether it may be sent once more, if there is somebody else ([`Plight`]).
    pub(crate) may_move: bool,
}

impl Failed {
    /// It ends here.
    fn for_good(fault: Fault) -> Self {
        Self { fault, may_move: false }
    }

    /// Nothing of it is lost.
    fn so_far(fault: Fault) -> Self {
        Self { fault, may_move: true }
    }
}

/// Sends a request to a target of its pool; returns once `down` has taken the head of the answer,
/// whose body is to come over the call that is then in `place`.
///
/// # Errors
///
/// The [`Fault`] to answer with.
pub(crate) async fn forward<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
) -> Result<(), Fault> {
    let pool = exchange.pool().ok_or(Fault::Internal)?;
    if pool.is_special.get() {
        return Box::pin(special::forward(exchange, terms, &pool, down, place)).await;
    }
    match within(exchange, terms, &pool, down, place, Tries::default()).await {
        Ok(()) => Ok(()),
        // In a box: what is rare takes no room in the future of every request.
        Err(failed) => Box::pin(elsewhere(exchange, terms, down, place, failed)).await,
    }
}

/// As [`forward`], by the pool and its rescue alone.
///
/// # Errors
///
/// The [`Fault`] to answer with.
pub(crate) async fn plainly<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    pool: &Rc<WorkerPool>,
    down: &mut D,
    place: &mut Option<Call>,
) -> Result<(), Fault> {
    match within(exchange, terms, pool, down, place, Tries::default()).await {
        Ok(()) => Ok(()),
        Err(failed) => Box::pin(elsewhere(exchange, terms, down, place, failed)).await,
    }
}

/// What no target of its pool has answered may be taken in by another.
async fn elsewhere<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
    failed: Failed,
) -> Result<(), Fault> {
    if failed.may_move {
        rescue::rescue(exchange, terms, down, place, failed).await
    } else {
        Err(failed.fault)
    }
}

/// As [`forward`], to no other pool than this one.
///
/// # Errors
///
/// Why no target has answered it.
pub(crate) async fn within<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    pool: &Rc<WorkerPool>,
    down: &mut D,
    place: &mut Option<Call>,
    mut tries: Tries,
) -> Result<(), Failed> {
    pool.budget.request();
    let mut next = follow(exchange, pool, &mut tries);
    while let Some(at) = next {
        if let Some(fault) = exchange.fault() {
            return Err(Failed::for_good(fault));
        }
        if !exchange.use_target(pool, at) {
            next = follow(exchange, pool, &mut tries);
            continue;
        }
        let Some(target) = pool.targets.get(at) else {
            return Err(Failed::for_good(Fault::Internal));
        };
        if !target.health.is_usable() && tries.failed().is_empty() && tries::is_all_sick(pool) {
            pool.meters.failed_open();
        }
        let missed = match attempt(exchange, terms, down, place, target, &mut tries).await {
            Ok(()) => return Ok(()),
            Err(missed) => missed,
        };
        next = again(exchange, pool, &mut tries, at, missed)?;
    }
    let fault = tries.fault(pool);
    if !matches!(fault, Fault::Reset) {
        pool.is_unreachable(tries.failed(), Instant::now());
    }
    Err(Failed::so_far(fault))
}

/// Where the request is sent once more, if it may be.
///
/// # Errors
///
/// Why it is not.
fn again(
    exchange: &Exchange,
    pool: &WorkerPool,
    tries: &mut Tries,
    at: usize,
    missed: Missed,
) -> Result<Option<usize>, Failed> {
    let next = match missed {
        Missed::Stale => {
            tries.fail_stale(at);
            follow(exchange, pool, tries)
        }
        Missed::Unsent(fault) => {
            exchange.count_upstream_error(fault);
            tries.fail(at, fault);
            follow(exchange, pool, tries)
        }
        Missed::Unanswered { used } => {
            if used {
                tries.fail_stale(at);
            } else {
                tries.fail(at, Fault::Reset);
            }
            let repeated = std::mem::replace(&mut tries.repeated, true);
            tries.fresh_only = true;
            let next = follow(exchange, pool, tries).filter(|_| !repeated);
            // A kept connection that its target has closed is used up by this, and was earned by an
            // answer: no more can come of it than a second try for each.
            let may = next.is_some() && (used || is_within_budget(exchange, pool));
            // A target that closes an old connection does nothing wrong.
            if !may || !used {
                exchange.count_upstream_error(Fault::Reset);
            }
            if !may {
                return Err(Failed::so_far(Fault::Reset));
            }
            next
        }
        Missed::Late => {
            exchange.count_upstream_error(Fault::ResponseTimeout);
            return Err(Failed::so_far(Fault::ResponseTimeout));
        }
        Missed::Final(fault) => {
            exchange.count_upstream_error(fault);
            return Err(Failed::for_good(fault));
        }
    };
    if next.is_some() {
        pool.meters.retried();
    }
    Ok(next)
}

fn follow(exchange: &Exchange, pool: &WorkerPool, tries: &mut Tries) -> Option<usize> {
    tries.next(pool, exchange.worker.index, exchange.timeouts().connect)
}

fn is_within_budget(exchange: &Exchange, pool: &WorkerPool) -> bool {
    let may = pool.budget.spend(pool, exchange.worker.clock.second());
    if !may {
        pool.meters.over_budget();
    }
    may
}

async fn attempt<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
    target: &Target,
    tries: &mut Tries,
) -> Result<(), Missed> {
    let age = (!terms.idempotent).then_some(FRESH_ENOUGH);
    let worker = &exchange.worker;
    // An earlier try may have taken its time.
    let now = worker.clock.last().max(exchange.began);
    let reused =
        if tries.fresh_only { None } else { worker.idle.take(target.filed_under(), now, age) };
    let connection = match reused {
        Some(connection) => connection,
        // In a box: most requests find a connection, and none should carry the room for this.
        None => Box::pin(dial(exchange, target, down, tries)).await?,
    };
    let call = place.insert(Call::new(connection, terms.upgrade.is_some()));
    let answered = poll_fn(|cx| call.poll_answer(cx, exchange, down)).await;
    let Err(fault) = answered else { return Ok(()) };
    exchange.rest();
    let Some(call) = place.take() else { return Err(Missed::Final(fault)) };
    let whole = matches!(down.body(), BodyState::Empty | BodyState::Whole);
    let plight = Plight {
        fault,
        begun: call.was_begun(),
        heard: call.was_heard(),
        whole,
        idempotent: terms.idempotent,
    };
    if !plight.may_be_sent_again() {
        return Err(Missed::Final(fault));
    }
    if fault == Fault::ResponseTimeout {
        return Err(Missed::Late);
    }
    // Nothing came back: the connection was dead, or died of the request.
    Err(match (call.was_begun(), call.connection.used) {
        (false, true) => Missed::Stale,
        (false, false) => Missed::Unsent(Fault::Connect),
        (true, used) => Missed::Unanswered { used },
    })
}

/// A new connection, unless the exchange is ended or the client leaves before it stands.
async fn dial<D: Downstream>(
    exchange: &Exchange,
    target: &Target,
    down: &mut D,
    tries: &mut Tries,
) -> Result<TargetConnection, Missed> {
    let began = Instant::now();
    // Before the name is looked up: what it resolves to may change meanwhile.
    let filed_under = target.filed_under();
    let targets = exchange.pool().map_or(1, |pool| pool.targets.len());
    let patience = tries.patience(targets, exchange.timeouts().connect);
    let mut connecting = pin!(connect_within(exchange, target, patience));
    let connected = poll_fn(|cx| {
        if let Poll::Ready(fault) = exchange.poll_ended(cx) {
            return Poll::Ready(Err(Missed::Final(fault)));
        }
        if down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Missed::Final(Fault::ClientGone)));
        }
        let connected = connecting.as_mut().poll(cx);
        connected.map(|connected| connected.map_err(|error| unconnected(&error)))
    });
    let connected = connected.await;
    tries.connected(began.elapsed());
    let stream = connected?;
    exchange.connected(began.elapsed());
    Ok(TargetConnection { stream, used: false, filed_under })
}

/// Connects; for want of a descriptor once more without the idle connections of this worker.
async fn connect_within(
    exchange: &Exchange,
    target: &Target,
    patience: Duration,
) -> std::io::Result<Stream> {
    let connected = connect(target, patience).await;
    if !connected.as_ref().is_err_and(limits::is_out_of_files) {
        return connected;
    }
    exchange.worker.idle.close_all();
    connect(target, patience).await
}

fn unconnected(error: &std::io::Error) -> Missed {
    // No target is to blame, and none could be tried instead.
    if limits::is_out_of_files(error) {
        return Missed::Final(Fault::OutOfFiles);
    }
    let late = error.kind() == ErrorKind::TimedOut;
    Missed::Unsent(if late { Fault::ConnectTimeout } else { Fault::Connect })
}

/// A new connection to a target, whatever its kind.
///
/// # Errors
///
/// There is none, or not in time.
pub(crate) async fn connect(target: &Target, patience: Duration) -> std::io::Result<Stream> {
    match &target.address {
        Address::Unix(path) => dial::connect_unix(path, patience).await,
        Address::Ip(_) => dial::connect(&target.resolved(), patience).await,
        Address::Name { host, port } => {
            let began = Instant::now();
            if target.resolved().is_empty() {
                // Not probed yet: the first request resolves for itself.
                let resolved = timeout(patience, dial::resolve(host, *port)).await;
                target.set_resolved(resolved.map_err(std::io::Error::from)??);
            }
            let left = patience.saturating_sub(began.elapsed());
            dial::connect(&target.resolved(), left).await
        }
    }
}

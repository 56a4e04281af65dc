//! The way to a target: which one, over which connection, and what may be tried again.
//!
//! The rule of trying again (docs/ARCHITECTURE.md): a request goes to the next target while nothing
//! of it can have been read. Once a byte may have been, only an idempotent request
//! (RFC 9110 §9.2.2) is sent once more, only once, only while nothing of an answer has come and its
//! body is whole, and only while not too many others were (`budget`). What no target of the pool has
//! answered may still be taken in by the other colour (`rescue`).

mod connect;

use std::future::poll_fn;
use std::rc::Rc;

use tokio::time::Instant;

use crate::model::choice::rescue::Plight;
use crate::model::fault::Fault;
use crate::model::target::Target;
use crate::proxy::call::Call;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
pub(crate) use crate::proxy::forward::connect::connect;
use crate::proxy::forward::connect::dial;
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
    plainly(exchange, terms, &pool, down, place).await
}

/// What has been tried of a request that [`begin`] has begun.
pub(crate) struct Begun {
    pool: Rc<WorkerPool>,
    tries: Tries,
    /// Whom it was sent to; or is to be sent to next, while there is no call.
    at: Option<usize>,
}

/// Begins as most requests go: to the first choice, over a connection that was kept, so that nothing
/// is waited for. The call is then in `place`. Without one, or if it fails, [`go_on`] knows what next;
/// `None`: more is to be looked at, and [`forward`] is the way.
#[inline]
pub(crate) fn begin(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    place: &mut Option<Call>,
) -> Option<Begun> {
    let pool = exchange.pool().filter(|pool| !pool.is_special.get())?;
    pool.budget.request();
    let mut tries = Tries::default();
    let at = follow(exchange, &pool, &mut tries);
    if let Some(at) = at
        && let Some(target) = pool.targets.get(at)
        && target.health.is_usable()
        && let Some(kept) = kept(exchange, terms, target)
    {
        if exchange.use_target(&pool, at) {
            *place = Some(Call::new(kept, terms.upgrade.is_some()));
        } else {
            // It has begun to drain this very moment: its connections are wanted no more.
            drop(kept);
        }
    }
    Some(Begun { pool, tries, at })
}

/// As [`forward`], for what has been begun; `fault` is what came of the call in `place`, if there is
/// one.
///
/// # Errors
///
/// The [`Fault`] to answer with.
pub(crate) async fn go_on<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
    begun: Begun,
    fault: Option<Fault>,
) -> Result<(), Fault> {
    let Begun { pool, mut tries, at } = begun;
    let next = match (at, fault) {
        (Some(at), Some(fault)) => {
            let missed = missed(exchange, terms, down, place, fault);
            again(exchange, &pool, &mut tries, at, missed)
        }
        (next, _) => Ok(next),
    };
    let sent = match next {
        Ok(next) => to_each(exchange, terms, &pool, down, place, tries, next).await,
        Err(failed) => Err(failed),
    };
    match sent {
        Ok(()) => Ok(()),
        Err(failed) => elsewhere(exchange, terms, down, place, failed).await,
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
        // In a box: what is rare takes no room in the future of every request.
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
    let next = follow(exchange, pool, &mut tries);
    to_each(exchange, terms, pool, down, place, tries, next).await
}

/// Tries the target at `next`, and then each that may be tried after it.
///
/// # Errors
///
/// Why no target has answered it.
async fn to_each<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    pool: &Rc<WorkerPool>,
    down: &mut D,
    place: &mut Option<Call>,
    mut tries: Tries,
    mut next: Option<usize>,
) -> Result<(), Failed> {
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
    let reused = if tries.fresh_only { None } else { kept(exchange, terms, target) };
    let connection = match reused {
        Some(connection) => connection,
        // In a box: most requests find a connection, and none should carry the room for this.
        None => Box::pin(dial(exchange, target, down, tries)).await?,
    };
    let call = place.insert(Call::new(connection, terms.upgrade.is_some()));
    let answered = poll_fn(|cx| call.poll_answer(cx, exchange, down)).await;
    answered.map_err(|fault| missed(exchange, terms, down, place, fault))
}

/// A connection to this target that was kept, if there is one that this request may be sent over.
#[inline]
fn kept(exchange: &Exchange, terms: &Terms, target: &Target) -> Option<TargetConnection> {
    let age = (!terms.idempotent).then_some(FRESH_ENOUGH);
    let worker = &exchange.worker;
    // An earlier try may have taken its time.
    let now = worker.clock.last().max(exchange.began);
    worker.idle.take(target.filed_under(), now, age)
}

/// What `fault` means for the request of the call that it ended, which is given up.
fn missed<D: Downstream>(
    exchange: &Exchange,
    terms: &Terms,
    down: &D,
    place: &mut Option<Call>,
    fault: Fault,
) -> Missed {
    exchange.rest();
    let Some(call) = place.take() else { return Missed::Final(fault) };
    let whole = matches!(down.body(), BodyState::Empty | BodyState::Whole);
    let plight = Plight {
        fault,
        begun: call.was_begun(),
        heard: call.was_heard(),
        whole,
        idempotent: terms.idempotent,
    };
    if !plight.may_be_sent_again() {
        return Missed::Final(fault);
    }
    if fault == Fault::ResponseTimeout {
        return Missed::Late;
    }
    // Nothing came back: the connection was dead, or died of the request.
    match (call.was_begun(), call.connection.used) {
        (false, true) => Missed::Stale,
        (false, false) => Missed::Unsent(Fault::Connect),
        (true, used) => Missed::Unanswered { used },
    }
}

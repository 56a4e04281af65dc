//! What one colour does not have, asked of the other one (`skew` of an upstream). What decides is
//! `model::choice::skew`; the client hears nothing before it is decided.

use std::rc::Rc;

use crate::http1::framing::Framing;
use crate::model::choice::skew::SkewSettings;
use crate::model::choice::skew::is_found;
use crate::model::choice::skew::is_missing;
use crate::model::choice::skew::may_be_asked;
use crate::model::fault::Fault;
use crate::model::fault::Side;
use crate::observe::access::Moved;
use crate::observe::metrics::SkewOutcome;
use crate::proxy::aside::Held;
use crate::proxy::call::Call;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::handler::Terms;
use crate::proxy::rescue;
use crate::proxy::tries::Tries;
use crate::proxy::view::WorkerPool;
use crate::sync::lease::Lease;

/// Whether a 404 of this request may not be the last word.
pub(crate) fn is_covered(
    exchange: &Exchange,
    terms: &Terms,
    pool: &WorkerPool,
    skew: &SkewSettings,
) -> bool {
    let Some(asked) = exchange.asked() else { return false };
    terms.body == Framing::None
        && terms.upgrade.is_none()
        && skew.covers(asked.piece(asked.marks.method), asked.piece(asked.marks.target))
        && !exchange.is_exceptional()
        && other(exchange, pool).is_some()
}

/// As `forward`, for a request that [`is_covered`].
///
/// # Errors
///
/// The [`Fault`] to answer with.
pub(crate) async fn forward<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    pool: &Rc<WorkerPool>,
    down: &mut D,
    place: &mut Option<Call>,
) -> Result<(), Fault> {
    let mut held = Held::new(down, is_missing);
    match forward::within(exchange, terms, pool, &mut held, place, Tries::default()).await {
        Ok(()) => {}
        Err(failed) if failed.may_move => {
            return rescue::rescue(exchange, terms, down, place, failed).await;
        }
        Err(failed) => return Err(failed.fault),
    }
    let Some(missing) = held.into_kept() else { return Ok(()) };
    let call = place.take();
    let worker = exchange.worker.index;
    let other = other(exchange, pool);
    // It may have been shut by now.
    if let Some(Ok(lease)) = other.map(|other| Lease::take_exceptional(other, worker)) {
        let outcome = ask(exchange, terms, lease, down, place).await?;
        pool.meters.skewed(outcome);
        if outcome == SkewOutcome::Found {
            let_go(call, exchange);
            exchange.was_moved(Moved::Skewed, pool.colour);
            return Ok(());
        }
        let_go(place.take(), exchange);
    }
    *place = call;
    missing.release(down, exchange)
}

/// Asks the other colour, once. Where that has not found it, everything is as it was before: the
/// first target's answer still waits, under the lease that it has held all the time.
async fn ask<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    lease: Lease<Rc<WorkerPool>>,
    down: &mut D,
    place: &mut Option<Call>,
) -> Result<SkewOutcome, Fault> {
    let other = Rc::clone(lease.holder());
    let before = exchange.step_over(lease);
    let mut held = Held::new(down, |status| !is_found(status));
    let asked = forward::within(exchange, terms, &other, &mut held, place, Tries::once()).await;
    let outcome = match (asked, held.into_kept()) {
        (Ok(()), None) => return Ok(SkewOutcome::Found),
        (Ok(()), Some(_)) => SkewOutcome::Missing,
        // The client has gone, or it was ended from outside.
        (Err(failed), _) if ends_all(failed.fault) => return Err(failed.fault),
        (Err(_), _) => SkewOutcome::Failed,
    };
    exchange.step_back(before);
    Ok(outcome)
}

/// Whether a fault of the second attempt leaves nobody to answer, or nobody who may.
fn ends_all(fault: Fault) -> bool {
    fault.side() == Side::Downstream || fault == Fault::Cut
}

/// The pool of the other colour, if it may be asked.
fn other(exchange: &Exchange, pool: &WorkerPool) -> Option<Rc<WorkerPool>> {
    let seen = exchange.worker.view.load();
    let (_, way) = seen.of(pool)?;
    let other = way.other_than(pool)?;
    may_be_asked(other.leases().door()).then(|| Rc::clone(other))
}

/// An answer that nobody gets: its connection serves the next request if all of it has come already,
/// and is closed otherwise, which costs less than to read it.
fn let_go(call: Option<Call>, exchange: &Exchange) {
    if let Some(call) = call.filter(Call::may_be_kept) {
        exchange.keep(call.connection);
    }
}

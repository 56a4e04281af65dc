//! A request that its colour has failed, sent to the other one (`promotion.rescue`): the named
//! exception to "a request never changes its colour". What decides is `model::choice::rescue`.

use std::rc::Rc;

use crate::model::choice::rescue::Shelter;
use crate::model::fault::Fault;
use crate::observe::access::Moved;
use crate::proxy::call::Call;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::forward::Failed;
use crate::proxy::handler::Terms;
use crate::proxy::tries::Tries;
use crate::proxy::view::WorkerPool;
use crate::sync::lease::Lease;

/// Sends it to the other colour, if that takes it in; once, for whatever comes of it is the answer.
///
/// # Errors
///
/// What failed it first.
pub(crate) async fn rescue<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
    failed: Failed,
) -> Result<(), Fault> {
    let Some(from) = exchange.pool() else { return Err(failed.fault) };
    let Some(lease) = shelter(exchange, &from) else { return Err(failed.fault) };
    let pool = Rc::clone(lease.holder());
    exchange.move_to(lease, failed.fault);
    match forward::within(exchange, terms, &pool, down, place, Tries::once()).await {
        Ok(()) => {
            from.meters.rescued();
            exchange.was_moved(Moved::Rescued, from.colour);
            Ok(())
        }
        // Neither has served it. A fault of the client or of the proxy is worth more than the first.
        Err(again) if again.may_move => {
            exchange.is_not_late();
            Err(failed.fault)
        }
        Err(again) => Err(again.fault),
    }
}

/// A lease on the pool that takes it in.
fn shelter(exchange: &Exchange, from: &WorkerPool) -> Option<Lease<Rc<WorkerPool>>> {
    let worker = &exchange.worker;
    let seen = worker.view.load();
    let (upstream, way) = seen.of(from)?;
    // A preview shows what its colour does; and nobody is taken in twice.
    if !upstream.promotion.rescue || exchange.is_exceptional() {
        return None;
    }
    // A pool whose targets were replaced meanwhile has a successor of its own colour.
    let own = way.pool(from.colour);
    let other = if own.id == from.id { way.other_than(from)? } else { own };
    let shelter = Shelter {
        live: Rc::ptr_eq(other, &way.live),
        door: other.leases().door(),
        usable: other.targets.iter().any(|target| target.is_fit()),
        in_flight: other.leases().exceptional_of(worker.index),
    };
    if !shelter.takes_in() {
        return None;
    }
    Lease::take_exceptional(Rc::clone(other), worker.index).ok()
}

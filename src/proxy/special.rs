//! What an upstream asks for beside passing requests on: another colour for what one does not have
//! (`skew`), and a memory of what is asked (`promotion.warmup`). Other upstreams pay one branch.

use std::rc::Rc;
use std::sync::Arc;

use crate::http1::framing::Framing;
use crate::model::choice::skew::SkewSettings;
use crate::model::fault::Fault;
use crate::model::upstream::Upstream;
use crate::model::warmup::Warmup;
use crate::proxy::call::Call;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::handler::Terms;
use crate::proxy::skew;
use crate::proxy::view::WorkerPool;

/// The status of a request that is worth repeating.
const OK: u16 = 200;

/// What an upstream asks for.
pub(crate) struct Special {
    /// Which paths may be asked of the other colour.
    pub(crate) skew: Option<Arc<SkewSettings>>,
    /// What is remembered.
    pub(crate) warmup: Option<Arc<Warmup>>,
}

impl Special {
    /// What this upstream asks for, if anything.
    pub(crate) fn of(upstream: &Upstream) -> Option<Rc<Self>> {
        let (skew, warmup) = (upstream.skew.clone(), upstream.warmup.clone());
        let any = upstream.live().is_some() && (skew.is_some() || warmup.is_some());
        any.then(|| Rc::new(Self { skew, warmup }))
    }
}

/// As [`forward::forward`], with what is special.
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
    let Some(special) = pool.special() else {
        return forward::plainly(exchange, terms, pool, down, place).await;
    };
    let skew = special.skew.as_ref();
    if skew.is_some_and(|skew| skew::is_covered(exchange, terms, pool, skew)) {
        skew::forward(exchange, terms, pool, down, place).await?;
    } else {
        forward::plainly(exchange, terms, pool, down, place).await?;
    }
    if let Some(warmup) = &special.warmup {
        remember(exchange, terms, warmup);
    }
    Ok(())
}

/// Remembers a request that may be repeated: a GET that was answered well, by the colour that it was
/// meant for, and that brought no right of its own along.
fn remember(exchange: &Exchange, terms: &Terms, warmup: &Warmup) {
    let Some(asked) = exchange.asked() else { return };
    let target = asked.piece(asked.marks.target);
    let is_plain = asked.piece(asked.marks.method) == b"GET"
        && terms.body == Framing::None
        && terms.upgrade.is_none()
        && exchange.status() == OK
        && !exchange.is_exceptional();
    if is_plain
        && warmup.covers(target)
        && asked.field("authorization").is_none()
        && let Some(took) = exchange.first_byte()
    {
        let host = asked.piece(asked.marks.host);
        warmup.remember(exchange.worker.index, host, target, took);
    }
}

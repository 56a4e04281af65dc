//! A request that is held: it waits, and is decided about again, over either protocol. Its body is not
//! read meanwhile.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use crate::model::fault::Fault;
use crate::proxy::exchange::Exchange;
use crate::proxy::handler::Next;
use crate::proxy::handler::Terms;
use crate::proxy::hold::Freed;
use crate::proxy::hold::Held;
use crate::proxy::reply;
use crate::proxy::reply::Reply;

/// What happens to a request that is not held, or not any more.
pub(super) enum Go {
    /// It is sent to a target of its exchange's pool.
    Forward(Terms),
    /// The proxy answers by itself.
    Reply(Reply),
}

/// Waits until the request is let go, and until what `decide` says of it then is not to wait once more;
/// who has to wait once more is told of its place, and keeps it.
/// `gone` is ready once the client has left.
///
/// # Errors
///
/// What ended it while it waited.
pub(super) async fn wait(
    mut held: Box<Held>,
    exchange: &Rc<Exchange>,
    mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    decide: impl Fn(Box<Held>) -> Next,
) -> Result<Go, Fault> {
    loop {
        let freed = poll_fn(|cx| {
            if let Poll::Ready(fault) = exchange.poll_ended(cx) {
                return Poll::Ready(Err(fault));
            }
            if gone(cx).is_ready() {
                return Poll::Ready(Err(Fault::ClientGone));
            }
            held.poll(cx).map(Ok)
        });
        let freed = freed.await?;
        if freed == Freed::TooLong {
            return Ok(Go::Reply(reply::paused(held.over_at, exchange)));
        }
        match decide(held) {
            Next::Hold(once_more) => held = once_more,
            Next::Forward(terms) => return Ok(Go::Forward(terms)),
            Next::Reply(reply) => return Ok(Go::Reply(reply)),
        }
    }
}

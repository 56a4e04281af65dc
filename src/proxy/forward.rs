//! The way to a target: which one, over which connection, and what may be tried again.
//!
//! The rule of trying again (docs/ARCHITECTURE.md): a request goes to the next target while nothing
//! of it can have been read. Once a byte may have been, only an idempotent request
//! (RFC 9110 §9.2.2) is sent once more, only if the connection had been used before (so that the
//! target may simply have closed it), and only while its body is whole.

use std::future::Future;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::fault::Fault;
use crate::model::health::Verdict;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::net::dial;
use crate::net::dial::Stream;
use crate::proxy::balance;
use crate::proxy::call::Call;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::handler::Terms;
use crate::proxy::idle::FRESH_ENOUGH;
use crate::proxy::idle::TargetConnection;
use crate::proxy::view::WorkerPool;

/// How one attempt went wrong.
enum Missed {
    /// Nothing was sent: any target may be tried.
    Unsent(Fault),
    /// The connection was an old one and is dead; the request may be sent over a new one.
    Stale,
    /// Something may have been read, or the client is to blame.
    Final(Fault),
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
    let mut tried: Vec<usize> = Vec::new();
    let mut replayed = false;
    let mut last = Fault::NoHealthyTarget;
    while let Some(at) = balance::pick(&pool, exchange.worker.index, &tried) {
        if let Some(fault) = exchange.fault() {
            return Err(fault);
        }
        exchange.use_target(&pool, at);
        let Some(target) = pool.targets.get(at) else { return Err(Fault::Internal) };
        match attempt(exchange, terms, down, place, target, replayed).await {
            Ok(()) => return Ok(()),
            Err(Missed::Stale) => {
                replayed = true;
                pool.meters.retried();
            }
            Err(Missed::Unsent(fault)) => {
                exchange.count_upstream_error(fault);
                last = fault;
                tried.push(at);
                // A retry is counted only if there is a target left to retry on.
                if tried.len() < pool.targets.len() {
                    pool.meters.retried();
                }
            }
            Err(Missed::Final(fault)) => {
                exchange.count_upstream_error(fault);
                return Err(fault);
            }
        }
    }
    Err(if is_all_sick(&pool) { Fault::NoHealthyTarget } else { last })
}

fn is_all_sick(pool: &WorkerPool) -> bool {
    let unhealthy = |target: &Target| target.health.verdict() == Verdict::Unhealthy;
    pool.targets.iter().all(|target| unhealthy(target))
}

async fn attempt<D: Downstream>(
    exchange: &Rc<Exchange>,
    terms: &Terms,
    down: &mut D,
    place: &mut Option<Call>,
    target: &Target,
    fresh_only: bool,
) -> Result<(), Missed> {
    let age = (!terms.idempotent).then_some(FRESH_ENOUGH);
    let idle = &exchange.worker.idle;
    let reused = if fresh_only { None } else { idle.take(target.id, exchange.began, age) };
    let connection = match reused {
        Some(connection) => connection,
        // In a box: most requests find a connection, and none should carry the room for this.
        None => Box::pin(dial(exchange, target, down)).await?,
    };
    let call = place.insert(Call::new(connection, terms.upgrade.is_some()));
    let answered = poll_fn(|cx| call.poll_answer(cx, exchange, down)).await;
    let Err(fault) = answered else { return Ok(()) };
    exchange.rest();
    let Some(call) = place.take() else { return Err(Missed::Final(fault)) };
    if fault != Fault::Reset || call.was_heard() {
        return Err(Missed::Final(fault));
    }
    // Nothing came back: the connection was dead, or died of the request.
    let again = !call.was_begun() || (terms.idempotent && call.connection.used);
    let whole = matches!(down.body(), BodyState::Empty | BodyState::Whole);
    match (again && whole, call.connection.used) {
        (true, true) => Err(Missed::Stale),
        (true, false) => Err(Missed::Unsent(Fault::Connect)),
        (false, _) => Err(Missed::Final(fault)),
    }
}

/// A new connection, unless the exchange is ended or the client leaves before it stands.
async fn dial<D: Downstream>(
    exchange: &Exchange,
    target: &Target,
    down: &mut D,
) -> Result<TargetConnection, Missed> {
    let began = Instant::now();
    let mut connecting = pin!(connect(target, exchange.timeouts().connect));
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
    let stream = connected.await?;
    exchange.connected(began.elapsed());
    Ok(TargetConnection { stream, used: false })
}

fn unconnected(error: &std::io::Error) -> Missed {
    let late = error.kind() == ErrorKind::TimedOut;
    Missed::Unsent(if late { Fault::ConnectTimeout } else { Fault::Connect })
}

async fn connect(target: &Target, patience: Duration) -> std::io::Result<Stream> {
    match &target.address {
        Address::Unix(path) => dial::connect_unix(path, patience).await,
        Address::Ip(_) => dial::connect(&target.resolved(), patience).await,
        Address::Name { host, port } => {
            let known = target.resolved();
            if known.is_empty() {
                // Not probed yet: the first request resolves for itself.
                let resolved = timeout(patience, dial::resolve(host, *port)).await;
                target.set_resolved(resolved.map_err(std::io::Error::from)??);
            }
            dial::connect(&target.resolved(), patience).await
        }
    }
}

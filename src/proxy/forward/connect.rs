//! A new connection to a target: within its time, and no longer than anybody waits for it.

use std::future::Future;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::fault::Fault;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::net::dial;
use crate::net::dial::Stream;
use crate::net::limits;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::Missed;
use crate::proxy::idle::TargetConnection;
use crate::proxy::tries::Tries;

/// A new connection, unless the exchange is ended or the client leaves before it stands.
pub(super) async fn dial<D: Downstream>(
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

//! One HTTP/1.1 connection of the control plane, with the limits that keep a stuck peer harmless.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::control::answer::Answer;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

/// For the whole head of a request, and for the next one on a connection that stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request's head, and of what is buffered for a peer that reads slowly.
const BUFFER_MAX: usize = 16 * 1024;

/// Answers requests until the peer leaves, or until the stop comes to `last`: then the answer under
/// way is finished, and once it says now, nothing is.
pub(super) async fn connection<I, F, R>(io: I, stopping: Stopping, last: Stage, respond: F)
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = respond(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let (mut graceful, mut now) = (stopping.clone(), stopping);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = graceful.reached(last) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => served,
                () = now.reached(Stage::Now) => Ok(()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a control connection ended early");
    }
}

//! The admin listener: `/metrics`, `/healthz`, `/readyz` and `/status`, over plain HTTP. Reads only;
//! never on a public address.

use std::io;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::control::answer;
use crate::control::answer::Answer;
use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::serve;
use crate::control::supervisor::handle::Handle;
use crate::control::supervisor::refusal::refusal;
use crate::observe::metrics;
use crate::observe::metrics::Metrics;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

/// Scrapers and load balancers are few.
const CONNECTIONS_MAX: usize = 64;

/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// Serves until the stop comes to its end, so that `/readyz` can say meanwhile that it is under way.
///
/// # Errors
///
/// The listener cannot be taken over.
pub async fn serve(
    listener: std::net::TcpListener,
    handle: Handle,
    metrics: Metrics,
    stopping: Stopping,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut now = stopping.clone();
    loop {
        let accepted = tokio::select! {
            () = now.reached(Stage::Now) => return Ok(()),
            Some(_ended) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                tracing::warn!(CONNECTIONS_MAX, "admin: too many connections");
            }
            Ok((stream, _)) => {
                let (handle, metrics) = (handle.clone(), metrics.clone());
                connections.spawn(connection(stream, handle, metrics, stopping.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, handle: Handle, metrics: Metrics, stopping: Stopping) {
    let stage = stopping.clone();
    let answer = |request: Request<Incoming>| {
        let stopping = stage.stage() != Stage::Running;
        std::future::ready(respond(&request, &handle, &metrics, stopping))
    };
    serve::connection(stream, stopping, Stage::Now, answer).await;
}

fn respond<B>(request: &Request<B>, handle: &Handle, metrics: &Metrics, stopping: bool) -> Answer {
    let path = request.uri().path();
    let known = ["/metrics", "/healthz", "/readyz", "/status"].contains(&path);
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = format!("{path} takes GET only");
        let mut answer = answer::problem(&refusal(405, Code::Unknown, "wrong method", detail));
        let headers = answer.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => {
            let page = metrics.render(&handle.snapshot());
            answer::whole(StatusCode::OK, metrics::CONTENT_TYPE, page)
        }
        "/healthz" => answer::whole(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" if stopping => answer::whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n"),
        "/readyz" if handle.is_ready() => answer::whole(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => answer::whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n"),
        "/status" => answer::json(&handle.status()),
        _ => {
            let detail = format!("there is nothing at {path}");
            let unknown = refusal(404, Code::Unknown, "unknown path", detail);
            let hint = Some("/metrics /healthz /readyz /status".to_owned());
            answer::problem(&Refusal { hint, ..unknown })
        }
    }
}

#[cfg(test)]
mod tests;

//! Example targets: two blue and two green, in this process, on ports that the kernel chooses.

use std::convert::Infallible;
use std::future::Future;
use std::future::ready;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::StreamExt;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::model::colour::Colour;

/// The header in which a target says its colour.
pub(crate) const COLOUR: &str = "x-demo-colour";

/// Starts a target of that colour.
///
/// # Errors
///
/// No port of loopback can be had.
pub(crate) async fn start(colour: Colour, number: u32) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("demo: no port for a target")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |request| answer(colour, number, request));
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .with_upgrades();
            // The proxy closes idle connections when it likes.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(address)
}

fn answer(
    colour: Colour,
    number: u32,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> {
    let response = match request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() {
        Some(key) => {
            let accept = derive_accept_key(key.as_bytes());
            tokio::spawn(echo(request));
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        }
        None => Response::builder().header(header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    };
    let text = format!("hello from {colour}, target {number}\n");
    let switching = response
        .headers_ref()
        .is_some_and(|h| h.contains_key(header::UPGRADE));
    let body = if switching { Bytes::new() } else { Bytes::from(text) };
    let response = response
        .header(COLOUR, colour.as_str())
        .body(Full::new(body))
        .unwrap_or_else(|_unreachable| Response::new(Full::default()));
    ready(Ok(response))
}

/// Sends every message back.
async fn echo(request: Request<Incoming>) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}

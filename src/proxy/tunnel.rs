//! A connection that has been upgraded: bytes both ways until one side ends, nothing moves for too
//! long, or a drain ends it: a WebSocket by a Close, any other by force.

mod frames;
mod websocket;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::io::copy_bidirectional_with_sizes;

use crate::model::fault::Fault;
use crate::net::dial::Stream;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Kind;
use crate::proxy::tunnel::websocket::WebSocket;

/// Read buffer of each direction: a WebSocket's frames are mostly small.
const BUFFER: usize = 16 * 1024;

/// A target that has agreed to an upgrade.
pub(crate) struct Target {
    /// Its bytes.
    pub(crate) stream: Stream,
    /// The first of them.
    pub(crate) came: Vec<u8>,
}

/// Runs a tunnel to its end. `early` is what the client sent right behind its request.
pub(crate) async fn run<S>(exchange: &Exchange, target: Target, client: &mut S, early: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    exchange.become_tunnel();
    let mut target_io = Moving { inner: target.stream, exchange };
    exchange.wait(Fault::ResponseTimeout, exchange.timeouts().tunnel);
    exchange.has_received(early.len());
    exchange.has_sent(target.came.len());
    if exchange.kind() == Some(Kind::WebSocket) {
        let mut socket = WebSocket::new(early, &target.came);
        poll_fn(|cx| {
            if exchange.poll_ended(cx).is_ready() {
                return Poll::Ready(());
            }
            socket.poll(cx, exchange, client, &mut target_io)
        })
        .await;
        return exchange.complete();
    }
    let moved = async {
        target_io.write_all(early).await?;
        client.write_all(&target.came).await?;
        client.flush().await?;
        copy_bidirectional_with_sizes(client, &mut target_io, BUFFER, BUFFER).await
    };
    let mut moved = pin!(moved);
    poll_fn(|cx| {
        if exchange.poll_ended(cx).is_ready() {
            return Poll::Ready(());
        }
        // Either side may end a tunnel at any time, also by a reset: that is how tunnels end.
        moved.as_mut().poll(cx).map(drop)
    })
    .await;
    exchange.complete();
}

/// The target's side of a tunnel: whatever passes it, in either direction, counts as a sign of life.
struct Moving<'a, S> {
    inner: S,
    exchange: &'a Exchange,
}

impl<S> Moving<'_, S> {
    fn moved(&self) {
        self.exchange
            .wait(Fault::ResponseTimeout, self.exchange.timeouts().tunnel);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.exchange
            .has_sent(buffer.filled().len().saturating_sub(before));
        self.moved();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.exchange.has_received(written);
        self.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

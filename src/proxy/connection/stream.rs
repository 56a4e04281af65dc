//! A client's bytes, as its connection watches them: whether they move.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::stream::Transport;
use crate::proxy::connection::Connection;

/// Writes to a client's stream. One in doubt is insisted on with what the stream holds back: it takes
/// more then, until the client takes nothing more.
pub(crate) fn insisting<S: Transport, T>(
    connection: &Connection,
    stream: &mut S,
    mut write: impl FnMut(Pin<&mut S>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    loop {
        let wrote = write(Pin::new(stream));
        let is_over = wrote.is_ready() || !connection.is_in_doubt();
        if is_over || stream.insist(&[]).is_pending() {
            return wrote;
        }
        connection.has_written();
    }
}

/// A client's byte stream, telling its [`Connection`] what moves.
pub(crate) struct ClientStream<S> {
    inner: S,
    /// What the stream held back when it was last looked at.
    unsent: usize,
    connection: Rc<Connection>,
}

impl<S> ClientStream<S> {
    /// Watches `inner` for `connection`.
    pub(crate) fn new(inner: S, connection: Rc<Connection>) -> Self {
        Self { inner, unsent: 0, connection }
    }
}

impl<S: Transport> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> ClientStream<S> {
    fn note<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.connection.has_written();
            return result;
        }
        // What it holds back is sent piece by piece, and each is a sign of life.
        let unsent = self.inner.unsent();
        if unsent < std::mem::replace(&mut self.unsent, unsent) {
            self.connection.has_written();
        }
        self.connection.waits_to_write();
        result
    }
}

impl<S: Transport> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, connection, .. } = &mut *self;
        let result = insisting(connection, inner, |inner| inner.poll_write(cx, bytes));
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, connection, .. } = &mut *self;
        let result = insisting(connection, inner, |inner| inner.poll_write_vectored(cx, slices));
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, connection, .. } = &mut *self;
        let result = insisting(connection, inner, |inner| inner.poll_flush(cx));
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

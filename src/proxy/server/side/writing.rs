//! What is written to an HTTP/1 client, and whether it takes it.

use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use crate::model::fault::Fault;
use crate::net::stream::Transport;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::connection::insisting;
use crate::proxy::server::side::Side;

/// Writes to a client. One in doubt is insisted on.
pub(in crate::proxy::server) fn offer<S: Transport>(
    connection: &Connection,
    stream: &mut S,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<std::io::Result<usize>> {
    let wrote = insisting(connection, stream, |to| to.poll_write(cx, bytes));
    if wrote.is_pending() && connection.is_in_doubt() {
        return stream.insist(bytes).map(Ok);
    }
    wrote
}

impl<S: Transport> Side<S> {
    /// Sends what is written; whether the client took it.
    pub(in crate::proxy::server) async fn send(&mut self) -> bool {
        let sent = poll_fn(|cx| {
            if let Poll::Ready(fault) = self.poll_patience(cx) {
                return Poll::Ready(Err(fault));
            }
            self.poll_send(cx)
        });
        sent.await.is_ok()
    }

    /// Ready once the client has taken nothing for too long.
    pub(in crate::proxy::server) fn poll_patience(&mut self, cx: &Context<'_>) -> Poll<Fault> {
        while let Poll::Ready(ending) = self.connection.poll_ending(cx) {
            match ending {
                Ending::SendTimeout => return Poll::Ready(Fault::SendTimeout),
                Ending::Shutdown | Ending::Idle | Ending::HeadTimeout => self.goes_on = false,
            }
        }
        Poll::Pending
    }

    /// Sends what is written.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub(in crate::proxy::server) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        ready!(self.poll_out(cx))?;
        self.poll_flush(cx)
    }

    /// Hands what is written to the stream.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub(in crate::proxy::server) fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while self.out_sent < self.out.len() {
            let rest = self.out.get(self.out_sent..).unwrap_or_default();
            let wrote = offer(&self.connection, &mut self.stream, cx, rest);
            self.out_sent += ready!(self.note(wrote))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the stream holds back.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub(in crate::proxy::server) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let flushed = insisting(&self.connection, &mut self.stream, |to| to.poll_flush(cx));
        self.note(flushed)
    }

    /// Watches whether the client takes what it is sent.
    pub(in crate::proxy::server) fn note<T>(
        &mut self,
        moved: Poll<std::io::Result<T>>,
    ) -> Poll<Result<T, Fault>> {
        match moved {
            Poll::Ready(done) => {
                self.connection.has_written();
                Poll::Ready(done.map_err(|_gone| Fault::ClientGone))
            }
            Poll::Pending => {
                // A stream that holds bytes back sends them piece by piece, and each is a sign of life.
                let unsent = self.stream.unsent();
                if unsent < std::mem::replace(&mut self.unsent, unsent) {
                    self.connection.has_written();
                }
                self.connection.waits_to_write();
                if self.connection.is_in_doubt() {
                    self.appetite.is_lost(self.stream.socket());
                }
                Poll::Pending
            }
        }
    }
}

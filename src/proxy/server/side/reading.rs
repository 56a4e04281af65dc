//! The body of an HTTP/1 request, as it is read from its client.

use std::task::Context;
use std::task::Poll;
use std::task::ready;

use crate::model::fault::Fault;
use crate::net::stream::Transport;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::downstream::BodyState;
use crate::proxy::exchange::Exchange;
use crate::proxy::server::side::Side;

/// What a record of TLS of which a part has come carries of a body at most (RFC 8446 §5.1).
const RECORD: u64 = 16 * 1024;

impl<S: Transport> Side<S> {
    /// Takes more of the body, as [`poll_body`](crate::proxy::downstream::Downstream::poll_body) says.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
        by_pipe: bool,
    ) -> Poll<Result<(), Fault>> {
        let Self { stream, pending, body, .. } = self;
        if !pending.is_empty() {
            let used = body.take(pending, exchange, out)?;
            pending.drain(..used);
        }
        if let (true, true, Some(from)) = (by_pipe, out.is_empty(), stream.plain())
            && let Some(filled) = body.poll_fill(cx, from, exchange)
        {
            return filled;
        }
        while out.is_empty() && body.state != BodyState::Taken {
            let read = poll_read_scratch(stream, cx, |bytes| {
                body.take_read(bytes, exchange, out, pending)
            });
            ready!(read).map_err(|_gone| Fault::BodyBroken)??;
        }
        Poll::Ready(Ok(()))
    }

    /// Whatever the client still sends is awaited, however little.
    pub(in crate::proxy::server) fn awaits_all(&mut self) {
        // One that was never waited for awaits everything.
        if let Some(socket) = self.stream.socket().known() {
            self.strides.end(socket);
        }
    }

    /// Sees how a body comes of which `before` bytes were left, and how more of it is to be awaited.
    pub(super) fn stride(&mut self, before: Option<u64>, waits: bool, exchange: &Exchange) {
        let (Some(before), Some(left)) = (before, self.body.left()) else { return };
        let Some(socket) = self.stream.socket().known() else { return };
        if waits {
            // Of what is left a part may have come already, sealed.
            let sealed = if self.stream.plain().is_some() { 0 } else { RECORD };
            self.strides
                .wait(socket, left.saturating_sub(sealed), exchange);
        } else {
            self.strides.took(socket, before, left);
        }
    }
}

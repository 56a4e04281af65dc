//! A TLS stream as the rest of the proxy sees it.

use std::mem;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::ReadBuf;

use crate::net::socket::ClientSocket;
use crate::net::stream::Hangup;
use crate::net::stream::Transport;
use crate::net::stream::tls::Received;
use crate::net::stream::tls::TlsStream;

impl Transport for TlsStream {
    fn socket(&self) -> &ClientSocket {
        &self.socket
    }

    fn plain(&self) -> Option<&ClientSocket> {
        None
    }

    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        let filled = ready!(self.poll_fill(cx, &mut ReadBuf::new(&mut [])));
        let sent = filled.is_ok() && !self.received.ready.is_empty();
        Poll::Ready(if sent { Hangup::Sent } else { Hangup::Gone })
    }

    fn unsent(&self) -> usize {
        self.out.unsent()
    }

    fn insist(&mut self, _bytes: &[u8]) -> Poll<usize> {
        self.out.insist(&self.socket)
    }

    fn last_words(&mut self) {
        self.ends = true;
    }

    fn farewell(&mut self) {
        let Self { session, out, .. } = self;
        // Where that fails, so does the flush.
        session.close(out).ok();
    }

    fn rest(&mut self) {
        let Received { mut bytes, ready, next } = mem::take(&mut self.received);
        let from = if ready.is_empty() { next } else { ready.start };
        bytes.drain(..from.min(bytes.len()));
        bytes.shrink_to_fit();
        self.received = Received { bytes, ready: 0..ready.len(), next: next - from };
    }
}

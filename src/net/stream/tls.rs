//! The server's end of a TLS connection: decrypts where it reads, encrypts where it is written to,
//! sends once for each flush, and owns no buffer while idle.

mod transport;

use std::io;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustls::server::UnbufferedServerConnection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::direct;
use crate::net::socket::ClientSocket;
use crate::net::stream::outgoing::Outgoing;
use crate::net::stream::outgoing::with_scratch;
use crate::net::stream::records::Broken;
use crate::net::stream::records::OVERHEAD_MAX;
use crate::net::stream::records::PLAIN_MAX;
use crate::net::stream::records::WIRE_MAX;
use crate::net::stream::session::Found;
use crate::net::stream::session::Session;

/// A TLS connection with a client, its handshake done.
pub struct TlsStream {
    socket: ClientSocket,
    session: Session,
    out: Outgoing,
    received: Received,
    /// How the client's stream ended, once it has.
    end: Option<End>,
    /// The socket took nothing, or not all, when it was last written to.
    blocked: bool,
    /// Something in `out` was not written by our user, who may therefore never flush it.
    unasked: bool,
    /// What is sent is the last, and the stream's end follows at once.
    ends: bool,
    alpn_protocol: Option<Box<[u8]>>,
    server_name: Option<Box<str>>,
}

/// What was read from the socket and not yet by our user.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    /// Plaintext in `bytes`.
    ready: Range<usize>,
    /// Where the next record begins.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Closed,
    /// The end of the stream without a `close_notify`: somebody may have cut it (RFC 8446 §6.1).
    Cut,
    Broken,
}

impl TlsStream {
    /// Takes over after the handshake. `received` came after it, `unsent` is left of it.
    ///
    /// # Errors
    /// The keys cannot be taken over, or `unsent` is too long.
    pub(in crate::net) fn new(
        socket: ClientSocket,
        connection: UnbufferedServerConnection,
        mut received: Vec<u8>,
        unsent: &[u8],
        server_name: Option<Box<str>>,
    ) -> io::Result<Self> {
        received.shrink_to_fit();
        let alpn_protocol = connection.alpn_protocol().map(Box::from);
        Ok(Self {
            socket,
            session: Session::new(connection).map_err(io::Error::other)?,
            out: Outgoing::sealed_before(unsent)?,
            received: Received { bytes: received, ready: 0..0, next: 0 },
            end: None,
            blocked: false,
            unasked: !unsent.is_empty(),
            ends: false,
            alpn_protocol,
            server_name,
        })
    }

    /// The protocol agreed on by ALPN (RFC 7301), `None` where the client offered none of ours.
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.alpn_protocol.as_deref()
    }

    /// The name that the client asked for (RFC 6066 §3), in lower case.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Bytes of memory kept for data, in either direction.
    #[cfg(test)]
    pub(in crate::net) fn buffered(&self) -> usize {
        self.received.bytes.capacity() + self.out.unsent()
    }

    /// Sends as much of what is sealed as the socket takes. Ready once it took all.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.sealed().is_empty() {
            let sent = if self.ends {
                direct::poll_write_last(&self.socket, cx, self.out.sealed())
            } else {
                direct::poll_write(&self.socket, cx, self.out.sealed())
            };
            self.blocked = sent.is_pending();
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.out.sent(sent),
            }
        }
        self.blocked = false;
        Poll::Ready(Ok(()))
    }

    /// Sends what nobody may come to flush. Without a waker: the one of our user's own writes stays.
    fn send_unasked(&mut self) {
        if mem::take(&mut self.unasked)
            && !self.out.sealed().is_empty()
            && let Ok(sent) = direct::write_now(&self.socket, self.out.sealed())
        {
            self.out.sent(sent);
        }
    }

    /// Room for one more write: made by the socket taking something, where it refused before.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.blocked || self.out.is_full() {
            let before = self.out.unsent();
            let sent = self.poll_send(cx)?;
            if sent.is_pending() && (self.out.unsent() == before || self.out.is_full()) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// After a write: sends early where nothing more fits.
    fn overflow(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.out.is_full() && !self.blocked {
            // Pending is for the next write, whose waker is then this one.
            let _later: Poll<()> = self.poll_send(cx)?;
        }
        Ok(())
    }

    /// Opens what was received before, into `buffer`.
    fn open_received(&mut self, buffer: &mut ReadBuf<'_>) -> Result<(), Broken> {
        if self.received.bytes.is_empty() {
            return Ok(());
        }
        let mut received = mem::take(&mut self.received);
        let opened = self.open(&mut received.bytes, received.next, received.ready, buffer);
        let (next, ready) = opened?;
        if next < received.bytes.len() || !ready.is_empty() {
            self.received = Received { bytes: received.bytes, next, ready };
        }
        Ok(())
    }

    /// Opens records of `bytes` from `next` on, until `buffer` is full, none is whole any more, or
    /// the stream has ended. Returns where the next one begins and what of the last did not fit.
    fn open(
        &mut self,
        bytes: &mut [u8],
        mut next: usize,
        mut ready: Range<usize>,
        buffer: &mut ReadBuf<'_>,
    ) -> Result<(usize, Range<usize>), Broken> {
        loop {
            let plain = bytes.get(ready.clone()).unwrap_or_default();
            let fits = plain.len().min(buffer.remaining());
            buffer.put_slice(plain.get(..fits).unwrap_or_default());
            ready.start += fits;
            if !ready.is_empty() || (buffer.remaining() == 0 && buffer.capacity() > 0) {
                return Ok((next, ready));
            }
            let rest = bytes.get_mut(next..).unwrap_or_default();
            let Some(length) = self.session.whole(rest)? else { return Ok((next, 0..0)) };
            let record = rest.get_mut(..length).unwrap_or_default();
            match self.session.open(record, &mut self.out)? {
                Found::Data(plain) => ready = next + plain.start..next + plain.end,
                Found::Nothing => self.unasked = true,
                Found::Closed => {
                    self.end = Some(End::Closed);
                    // Whatever follows must be ignored (RFC 8446 §6.1).
                    return Ok((bytes.len(), 0..0));
                }
            }
            next += length;
        }
    }

    /// Takes what was just read from the socket.
    fn receive(&mut self, mut fresh: &mut [u8], buffer: &mut ReadBuf<'_>) -> Result<(), Broken> {
        // First what an unfinished record lacks, so that no more than that is copied.
        while !self.received.bytes.is_empty() && !fresh.is_empty() {
            let begun = self
                .received
                .bytes
                .get(self.received.next..)
                .unwrap_or_default();
            let lacks = self.session.lacks(begun)?;
            if lacks == 0 || !self.received.ready.is_empty() {
                self.received.bytes.extend_from_slice(fresh);
                return Ok(());
            }
            let (now, later) = fresh.split_at_mut(lacks.min(fresh.len()));
            self.received.bytes.extend_from_slice(now);
            fresh = later;
            self.open_received(buffer)?;
        }
        if fresh.is_empty() || self.end.is_some() {
            return Ok(());
        }
        let (next, ready) = self.open(fresh, 0, 0..0, buffer)?;
        let from = if ready.is_empty() { next } else { ready.start };
        if let Some(rest) = fresh.get(from..)
            && !rest.is_empty()
        {
            self.received = Received {
                bytes: rest.to_vec(),
                next: next - from,
                ready: ready.start.saturating_sub(from)..ready.end.saturating_sub(from),
            };
        }
        Ok(())
    }

    /// Reads the socket once, as much as `buffer` can use and at least one whole record.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let records = buffer.remaining() / PLAIN_MAX + 1;
        let useful = (buffer.remaining() + records * OVERHEAD_MAX).max(WIRE_MAX);
        with_scratch(|scratch| {
            let limit = useful.min(scratch.len());
            let mut fresh = ReadBuf::new(scratch.get_mut(..limit).unwrap_or_default());
            ready!(direct::poll_read(&self.socket, cx, &mut fresh))?;
            if fresh.filled().is_empty() {
                self.end = Some(End::Cut);
                return Poll::Ready(Ok(()));
            }
            let taken = self.receive(fresh.filled_mut(), buffer);
            Poll::Ready(taken.map_err(|broken| self.give_up(broken)))
        })
    }

    fn give_up(&mut self, broken: Broken) -> io::Error {
        self.end = Some(End::Broken);
        self.received = Received::default();
        if let Broken::Violation(alert, _) = broken
            && self.session.refuse(alert, &mut self.out).is_ok()
        {
            self.unasked = true;
            self.send_unasked();
        }
        io::Error::new(io::ErrorKind::InvalidData, broken)
    }

    /// Data for `buffer`, or the stream's end; with a buffer of no size, data that waits in
    /// `received`.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Err(broken) = self.open_received(buffer) {
            let error = self.give_up(broken);
            if buffer.filled().len() == before {
                return Poll::Ready(Err(error));
            }
        }
        loop {
            if buffer.filled().len() > before || !self.received.ready.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.end {
                None => {}
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Cut) => {
                    let what = "the client's stream ended without a close_notify";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, what)));
                }
                Some(End::Broken) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let received = self.poll_receive(cx, buffer);
            if received.is_pending() {
                self.send_unasked();
            }
            match ready!(received) {
                // What was good before it is delivered first; the next read fails again.
                Err(_) if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                other => other?,
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_fill(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.as_mut()
            .poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let Self { session, out, .. } = &mut *self;
        let mut taken = 0;
        for slice in slices {
            let now = session.push(slice, out)?;
            taken += now;
            if now < slice.len() {
                break;
            }
        }
        self.overflow(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { session, out, .. } = &mut *self;
        session.seal(out)?;
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { session, out, .. } = &mut *self;
        session.close(out)?;
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

//! A tunnel of WebSocket frames: bytes both ways as in any other, and at a drain's deadline a Close
//! between two frames of each direction.
//!
//! A direction first finishes the frame at hand, and every frame that has come whole behind it. Then
//! it says Close, and whatever comes after that is only looked through for the Close that answers.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::model::fault::Fault;
use crate::proxy::exchange::Exchange;
use crate::proxy::tunnel::BUFFER;
use crate::proxy::tunnel::frames::Frames;

/// The head of a Close with a code: FIN, opcode 8, two bytes (RFC 6455 §5.5.1).
const CLOSE: [u8; 2] = [0x88, 0x02];

/// Service Restart, "the client may reconnect" (IANA, WebSocket Close Code Number Registry).
const SERVICE_RESTART: [u8; 2] = 1012_u16.to_be_bytes();

/// Both directions of a WebSocket.
pub(super) struct WebSocket {
    up: Flow,
    down: Flow,
}

/// One direction.
struct Flow {
    /// Where the frames stand after what has been written.
    frames: Frames,
    masked: bool,
    /// What has been read and not been written.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// What is left of our own Close, once it is said.
    goodbye: Option<(Vec<u8>, usize)>,
    unflushed: bool,
    is_read_up: bool,
    is_over: bool,
}

impl WebSocket {
    /// `early` came from the client behind its request, `came` from the target behind its 101.
    pub(super) fn new(early: &[u8], came: &[u8]) -> Self {
        Self { up: Flow::new(true, early), down: Flow::new(false, came) }
    }

    /// Runs it. Ready once it is over.
    pub(super) fn poll<C, T>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        client: &mut C,
        target: &mut T,
    ) -> Poll<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let parting = exchange.is_parting();
        if parting && (self.up.is_lost() || self.down.is_lost()) {
            exchange.end(Fault::Cut);
            return Poll::Ready(());
        }
        // A handshake that one side has begun is left to the two.
        let theirs = |flow: &Flow| flow.frames.has_closed() && flow.goodbye.is_none();
        let speak = parting && !theirs(&self.up) && !theirs(&self.down);
        let up = self.up.poll(cx, client, target, parting, speak);
        let down = self.down.poll(cx, target, client, parting, speak);
        if parting {
            return self.poll_parting(exchange);
        }
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            // Either side may end a tunnel at any time, also by a reset: that is how tunnels end.
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_parting(&self, exchange: &Exchange) -> Poll<()> {
        if self.up.has_said_all() && self.down.has_said_all() {
            exchange.has_said_goodbye();
        }
        if !self.up.is_over || !self.down.is_over {
            return Poll::Pending;
        }
        // Else they parted by themselves, or the client left before it could be told.
        let ours = self.up.goodbye.is_some() || self.down.goodbye.is_some();
        if ours && self.down.is_closed() {
            exchange.end(Fault::Closed);
        }
        Poll::Ready(())
    }
}

impl Flow {
    fn new(masked: bool, first: &[u8]) -> Self {
        let mut buffer = first.to_vec();
        buffer.resize(first.len().max(BUFFER), 0);
        Self {
            frames: Frames::new(masked),
            masked,
            buffer,
            from: 0,
            to: first.len(),
            goodbye: None,
            unflushed: false,
            is_read_up: false,
            is_over: false,
        }
    }

    /// Whether it cannot be told where a frame ends, and so where a Close could stand.
    fn is_lost(&self) -> bool {
        self.frames.is_broken() && self.goodbye.is_none()
    }

    /// Whether its reader has been sent a whole Close, ours or the other side's.
    fn is_closed(&self) -> bool {
        match &self.goodbye {
            Some((bytes, sent)) => *sent == bytes.len() && !self.unflushed,
            None => self.frames.has_closed(),
        }
    }

    /// Whether nothing of our own is left to say in this direction.
    fn has_said_all(&self) -> bool {
        self.is_over || (self.goodbye.is_some() && self.is_closed())
    }

    /// Passes on what comes. While the two part, an error is the end of this direction and no more.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        parting: bool,
        speak: bool,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        let moved = self.poll_move(cx, source, sink, parting, speak);
        self.is_over = moved.is_ready();
        moved
    }

    fn poll_move<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        parting: bool,
        speak: bool,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            let waiting = self.buffer.get(self.from..self.to).unwrap_or_default();
            let whole = if parting { self.frames.whole(waiting) } else { 0 };
            // No frame follows a Close, whoever said it (RFC 6455 §5.5.1).
            let may_speak = speak && !self.frames.has_closed();
            if self.goodbye.is_some() {
                return self.poll_answer(cx, source, sink);
            } else if may_speak && whole == 0 && self.frames.is_between() {
                self.goodbye = Some((close(self.masked), 0));
            } else if !waiting.is_empty() {
                let all = waiting.len();
                let most = Some(whole).filter(|whole| *whole > 0);
                ready!(self.poll_write(cx, sink, most.unwrap_or(all)))?;
            } else if parting && self.frames.has_closed() {
                // The one who was told answers before it is done.
                return self.poll_flush(cx, sink);
            } else if self.is_read_up {
                ready!(self.poll_flush(cx, sink))?;
                return Pin::new(&mut *sink).poll_shutdown(cx);
            } else {
                ready!(self.poll_read(cx, source, sink))?;
            }
        }
    }

    /// Says our own Close and waits for the one that answers it.
    fn poll_answer<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        ready!(self.poll_goodbye(cx, sink))?;
        loop {
            self.look_through();
            let answered = self.frames.has_closed() || self.frames.is_broken();
            if answered || self.is_read_up {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx, source, sink))?;
        }
    }

    /// Reads anew, when nothing waits. What was written is sent while there is nothing to read.
    fn poll_read<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let Poll::Ready(read) = Pin::new(source).poll_read(cx, &mut buffer) else {
            ready!(self.poll_flush(cx, sink))?;
            return Poll::Pending;
        };
        (self.from, self.to) = (0, buffer.filled().len());
        self.is_read_up = self.to == 0;
        Poll::Ready(read)
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let waiting = self.buffer.get(self.from..self.from + most);
        let waiting = waiting.unwrap_or_default();
        let wrote = ready!(Pin::new(sink).poll_write(cx, waiting))?;
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.frames.pass(waiting.get(..wrote).unwrap_or_default());
        self.from += wrote;
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says our own Close.
    fn poll_goodbye<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some((bytes, sent)) = &mut self.goodbye
            && let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty())
        {
            let wrote = ready!(Pin::new(&mut *sink).poll_write(cx, rest))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent += wrote;
            self.unflushed = true;
        }
        self.poll_flush(cx, sink)
    }

    /// Follows what nobody is sent any more.
    fn look_through(&mut self) {
        let waiting = self.buffer.get(self.from..self.to).unwrap_or_default();
        self.frames.pass(waiting);
        self.from = self.to;
    }
}

/// A Close 1012, masked for a target (§5.3). The mask must not be foreseen by whoever chooses the
/// payload, so that nobody can make a proxy in between read it as something else (§10.3); nobody but
/// us chooses this one.
fn close(masked: bool) -> Vec<u8> {
    let [head, length] = CLOSE;
    if !masked {
        return [&CLOSE[..], &SERVICE_RESTART].concat();
    }
    let mask = fastrand::u32(..).to_be_bytes();
    let code = SERVICE_RESTART.iter().zip(mask);
    let code: Vec<u8> = code.map(|(byte, mask)| byte ^ mask).collect();
    [&[head, length | 0x80], &mask[..], &code].concat()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

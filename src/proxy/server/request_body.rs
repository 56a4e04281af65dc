//! A request's body over HTTP/1: out of the client's framing, into the one for the target.

use std::task::Context;
use std::task::Poll;

use crate::http1::chunked::Decoder;
use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::net::socket::ClientSocket;
use crate::proxy::downstream::BodyState;
use crate::proxy::exchange::Exchange;
use crate::proxy::server::deliver::SPLICE_MIN;

/// A request's body: as it comes, and as it is sent on.
pub(super) struct RequestBody {
    source: Decoder,
    onward: Encoder,
    /// How large it may be.
    limit: Option<u64>,
    /// How far it has come.
    pub(super) state: BodyState,
    /// What goes on by splice(2).
    pub(super) pipe: Option<Pipe>,
}

impl RequestBody {
    /// A body that is framed so, of at most `limit` bytes.
    pub(super) fn new(framing: Framing, limit: Option<u64>) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => BodyState::Empty,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => BodyState::Whole,
        };
        let (source, onward) = (Decoder::new(framing), Encoder::new(framing));
        Self { source, onward, limit, state, pipe: None }
    }

    /// Takes more of a body of which much is left into the empty pipe. `None`: it does not go on as
    /// it is, or not much of it is left, or no descriptor.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &ClientSocket,
        exchange: &Exchange,
    ) -> Option<Poll<Result<(), Fault>>> {
        let left = self.source.left().filter(|left| *left >= SPLICE_MIN)?;
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            None => self.pipe.insert(Pipe::take().ok()?),
        };
        let Poll::Ready(moved) = pipe.poll_fill(cx, from, left) else { return Some(Poll::Pending) };
        let Ok(moved @ 1..) = moved else { return Some(Poll::Ready(Err(Fault::BodyBroken))) };
        self.source.skip(moved);
        self.state = if self.source.is_done() { BodyState::Taken } else { BodyState::Begun };
        let moved = usize::try_from(moved).unwrap_or(usize::MAX);
        Some(Poll::Ready(self.count(moved, exchange)))
    }

    /// How many bytes of its content are still to be taken, where its length is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.source.left()
    }

    fn pass_on(
        &mut self,
        data: &[u8],
        exchange: &Exchange,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        self.count(data.len(), exchange)?;
        self.onward.push(data, out);
        Ok(())
    }

    fn count(&self, bytes: usize, exchange: &Exchange) -> Result<(), Fault> {
        let sum = exchange.has_received(bytes);
        if self.limit.is_some_and(|limit| sum > limit) {
            return Err(Fault::BodyTooLarge);
        }
        Ok(())
    }

    /// Takes what has been read: keeps what is not of the body.
    pub(super) fn take_read(
        &mut self,
        bytes: &[u8],
        exchange: &Exchange,
        out: &mut Vec<u8>,
        pending: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Err(Fault::BodyBroken);
        }
        let used = self.take(bytes, exchange, out)?;
        pending.extend_from_slice(bytes.get(used..).unwrap_or_default());
        Ok(())
    }

    /// Takes more of the body out of `bytes`: how many of them belong to it.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        exchange: &Exchange,
        out: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        self.state = BodyState::Begun;
        while !self.source.is_done() {
            let rest = bytes.get(used..).unwrap_or_default();
            let piece = self.source.next(rest).map_err(|_bad| Fault::BodyBroken)?;
            if piece.consumed == 0 {
                return Ok(used);
            }
            if let Some(data) = rest.get(piece.data).filter(|data| !data.is_empty()) {
                self.pass_on(data, exchange, out)?;
            }
            used += piece.consumed;
        }
        self.onward.finish(self.source.trailers(), out);
        self.state = BodyState::Taken;
        Ok(used)
    }
}

//! A request's body over HTTP/1: out of the client's framing, into the one for the target.

use crate::http1::chunked::Decoder;
use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::model::fault::Fault;
use crate::proxy::downstream::BodyState;
use crate::proxy::exchange::Exchange;

/// A request's body: as it comes, and as it is sent on.
pub(super) struct RequestBody {
    source: Decoder,
    onward: Encoder,
    /// How large it may be.
    limit: Option<u64>,
    /// How far it has come.
    pub(super) state: BodyState,
}

impl RequestBody {
    /// A body that is framed so, of at most `limit` bytes.
    pub(super) fn new(framing: Framing, limit: Option<u64>) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => BodyState::Empty,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => BodyState::Whole,
        };
        Self { source: Decoder::new(framing), onward: Encoder::new(framing), limit, state }
    }

    fn pass_on(
        &mut self,
        data: &[u8],
        exchange: &Exchange,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let sum = exchange.has_received(data.len());
        if self.limit.is_some_and(|limit| sum > limit) {
            return Err(Fault::BodyTooLarge);
        }
        self.onward.push(data, out);
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

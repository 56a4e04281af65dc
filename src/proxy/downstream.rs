//! The client's side of one exchange, as the way to the target sees it: a body that comes, and an
//! answer that is taken, in whichever protocol.

use std::task::Context;
use std::task::Poll;

use crate::http1::head::ResponseHead;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::proxy::exchange::Exchange;

/// How far a request's body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyState {
    /// There is none.
    Empty,
    /// Nothing of it has been taken: it may still go to any target.
    Whole,
    /// A part of it has been taken.
    Begun,
    /// All of it has.
    Taken,
}

/// The client's side of one exchange.
pub(crate) trait Downstream {
    /// How far the request's body has come.
    fn body(&self) -> BodyState;

    /// Appends more of the request's body to `out`, framed for the target. For a target that takes it
    /// from a pipe, much content that goes on as it is fills [`pipe`](Self::pipe) instead.
    ///
    /// # Errors
    ///
    /// It is too large, broke off, or breaks its framing.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
        by_pipe: bool,
    ) -> Poll<Result<(), Fault>>;

    /// The pipe that holds content for the target, as long as it does.
    fn pipe(&mut self) -> Option<&mut Pipe>;

    /// Ready once the client has gone. Only asked while nothing more of its body is awaited.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Passes on an interim answer (1xx), where the protocol lets us.
    fn inform(&mut self, head: &ResponseHead<'_, '_>);

    /// Sends what [`inform`](Self::inform) has left to send.
    fn poll_inform(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes the head of the final answer, or of the 101 that was asked for.
    fn answer(&mut self, head: &ResponseHead<'_, '_>, exchange: &Exchange);

    /// Takes content that came together with the head.
    fn content(&mut self, data: &[u8], exchange: &Exchange);

    /// The answer's body has come to its end, with these trailers.
    fn end(&mut self, trailers: &[u8]);
}

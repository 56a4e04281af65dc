//! A client that is not told of some answers yet: their heads are kept here, and it is decided later
//! whether it gets to see them.

use std::task::Context;
use std::task::Poll;

use tokio::time::Instant;

use crate::http1::head;
use crate::http1::head::Asked;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::head::ResponseHead;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::proxy::buffers::with_fields;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange;
use crate::proxy::exchange::Exchange;

/// What was within the limits once is so again.
const LIMITS: HeadLimits = HeadLimits { bytes: usize::MAX, fields: usize::MAX, target: usize::MAX };

/// A client's side, in front of it somebody who holds answers back.
pub(crate) struct Held<'d, D> {
    down: &'d mut D,
    holds: fn(u16) -> bool,
    kept: Option<Kept>,
}

/// The beginning of an answer that was held back: its head, and what came together with it. The rest
/// is still with the target.
pub(crate) struct Kept {
    head: Vec<u8>,
    content: Vec<u8>,
    trailers: Option<Vec<u8>>,
    /// When the head had come.
    came: Instant,
}

impl<'d, D: Downstream> Held<'d, D> {
    /// Holds back the answers whose status `holds` names. Interim answers are not passed on: what
    /// they belong to may never be.
    pub(crate) fn new(down: &'d mut D, holds: fn(u16) -> bool) -> Self {
        Self { down, holds, kept: None }
    }

    /// What was held back; `None` if the answer went through.
    pub(crate) fn into_kept(self) -> Option<Kept> {
        self.kept
    }
}

impl Kept {
    /// Passes it on after all.
    ///
    /// # Errors
    ///
    /// None that could be expected: it has been read before.
    pub(crate) fn release<D: Downstream>(
        self,
        down: &mut D,
        exchange: &Exchange,
    ) -> Result<(), Fault> {
        let to_head = exchange.asked().is_some_and(exchange::Asked::is_head);
        let to = if to_head { Asked::Head } else { Asked::Other };
        with_fields(|room| match head::response(&self.head, room, &LIMITS, to)? {
            Parsed::Whole(head) => {
                down.answer(&head, exchange);
                // Whoever was asked in between is not to its account.
                exchange.was_answered_at(self.came);
                Ok(())
            }
            Parsed::Partial => Err(Fault::Internal),
        })?;
        if !self.content.is_empty() {
            down.content(&self.content, exchange);
        }
        if let Some(trailers) = self.trailers {
            down.end(&trailers);
        }
        Ok(())
    }
}

impl<D: Downstream> Downstream for Held<'_, D> {
    fn body(&self) -> BodyState {
        self.down.body()
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
        by_pipe: bool,
    ) -> Poll<Result<(), Fault>> {
        self.down.poll_body(cx, exchange, out, by_pipe)
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        self.down.pipe()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.down.poll_gone(cx)
    }

    fn inform(&mut self, _head: &ResponseHead<'_, '_>) {}

    fn poll_inform(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.down.poll_inform(cx)
    }

    fn answer(&mut self, head: &ResponseHead<'_, '_>, exchange: &Exchange) {
        if (self.holds)(head.status) {
            let (head, content) = (head.bytes().to_vec(), Vec::new());
            let came = Instant::now();
            self.kept = Some(Kept { head, content, trailers: None, came });
        } else {
            self.down.answer(head, exchange);
        }
    }

    fn content(&mut self, data: &[u8], exchange: &Exchange) {
        match &mut self.kept {
            // No more than what was read in one piece with the head.
            Some(kept) => kept.content.extend_from_slice(data),
            None => self.down.content(data, exchange),
        }
    }

    fn end(&mut self, trailers: &[u8]) {
        match &mut self.kept {
            Some(kept) => kept.trailers = Some(trailers.to_vec()),
            None => self.down.end(trailers),
        }
    }
}

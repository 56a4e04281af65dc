//! An answer's body on its way to an HTTP/1 client: by splice(2) where both ends are plain TCP and
//! much is to come, else through one buffer that belongs to the worker.

use std::io;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::net::stream::LITTLE;
use crate::net::stream::Transport;
use crate::proxy::buffers::Transfer;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::call::Call;
use crate::proxy::exchange::Exchange;
use crate::proxy::server::side::Side;
use crate::proxy::server::side::offer;

/// How much must be to come for splice(2) to be worth its pipe.
pub(super) const SPLICE_MIN: u64 = 64 * 1024;

impl<S: Transport> Side<S> {
    /// Passes the answer on to its last byte. `call` is let go of as soon as the target has said
    /// everything: its connection is free while the client still reads.
    ///
    /// # Errors
    ///
    /// The fault that ended it: the client must not take what it got for whole.
    pub(super) fn poll_deliver(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Option<Call>,
        exchange: &Rc<Exchange>,
    ) -> Poll<Result<(), Fault>> {
        // A tick may have found it over, and none comes before we have been waiting.
        if let Poll::Ready(fault) = exchange.poll_ended(cx) {
            return Poll::Ready(Err(fault));
        }
        if let Poll::Ready(fault) = self.poll_patience(cx) {
            return Poll::Ready(Err(fault));
        }
        loop {
            if let Some(call) = call.as_mut().filter(|call| call.is_uploading()) {
                // What it waits for is looked at again when it moves, whatever else we wait for.
                let _moved: Poll<()> = self.upload(cx, call, exchange)?;
            }
            self.part(call, exchange);
            self.let_go(call, exchange);
            if self.out_sent < self.out.len() || self.has_transfer() {
                ready!(self.poll_write(cx, call.is_none(), exchange))?;
                continue;
            }
            let Some(call) = call.as_mut() else { return self.poll_end(cx, exchange) };
            let before = call.answer.body.left();
            let more = self.poll_more(cx, call, exchange);
            call.stride(before, more.is_pending(), exchange);
            let Poll::Ready(more) = more else {
                exchange.wait_on(Fault::ResponseTimeout, exchange.timeouts().response);
                ready!(self.poll_flush(cx))?;
                return Poll::Pending;
            };
            more?;
        }
    }

    /// Sends the end of the answer, which may be an early one.
    fn poll_end(&mut self, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<Result<(), Fault>> {
        if !self.goes_on {
            // A packet less than if the end of the connection said it.
            self.stream.farewell();
        }
        ready!(self.poll_flush(cx))?;
        if self.has_parted() {
            exchange.end(Fault::Closed);
        }
        Poll::Ready(Ok(()))
    }

    fn upload(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call,
        exchange: &Exchange,
    ) -> Result<Poll<()>, Fault> {
        match call.poll_upload(cx, exchange, self) {
            Poll::Ready(done) => done.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// The target has said everything: its connection serves the next request.
    fn let_go(&mut self, call: &mut Option<Call>, exchange: &Exchange) {
        let said_all = |call: &mut Call| call.answer.body.is_done();
        let Some(call) = call.take_if(said_all) else { return };
        exchange.rest();
        if call.may_be_kept() {
            exchange.keep(call.connection);
        }
    }

    fn has_transfer(&self) -> bool {
        let buffered = |transfer: &Transfer| !transfer.waiting().is_empty();
        self.transfer.as_ref().is_some_and(buffered)
            || self.pipe.as_ref().is_some_and(|pipe| pipe.holds() > 0)
    }

    /// The client takes nothing more at the moment.
    fn is_sated(&mut self, exchange: &Exchange) {
        let transfer = self.transfer.as_ref().map_or(0, |it| it.waiting().len());
        let waits = transfer + self.pipe.as_ref().map_or(0, Pipe::holds);
        let taken = exchange
            .sent()
            .saturating_sub(u64::try_from(waits).unwrap_or(u64::MAX));
        let tick = exchange.worker.clock.last();
        self.appetite.is_sated(self.stream.socket(), tick, taken);
    }

    /// Writes what has been taken from the target; `is_all`: no more is to come.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        is_all: bool,
        exchange: &Exchange,
    ) -> Poll<Result<(), Fault>> {
        if is_all && !self.goes_on {
            self.stream.last_words();
        }
        let wrote = self.poll_write_all(cx, exchange);
        if wrote.is_pending() {
            self.is_sated(exchange);
        }
        wrote
    }

    fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Result<(), Fault>> {
        // Whoever waits for the client is watched by its connection.
        exchange.rest();
        ready!(self.poll_out(cx))?;
        self.out.clear();
        self.out_sent = 0;
        if let Some(mut transfer) = self.transfer.take() {
            let wrote = self.poll_write_transfer(cx, &mut transfer);
            self.transfer = Some(transfer);
            ready!(wrote)?;
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.holds() > 0)
            && let Some(socket) = self.stream.plain()
        {
            let wrote = pipe.poll_drain(cx, socket);
            if wrote.is_pending() && self.connection.is_in_doubt() {
                // What is offered must be at hand, and what is at hand goes first.
                pipe.read(LITTLE, &mut self.out);
                ready!(self.poll_out(cx))?;
                self.out.clear();
                self.out_sent = 0;
                continue;
            }
            ready!(self.note(wrote))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_transfer(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer,
    ) -> Poll<Result<(), Fault>> {
        while !transfer.waiting().is_empty() {
            let wrote = offer(&self.connection, &mut self.stream, cx, transfer.waiting());
            transfer.advance(ready!(self.note(wrote))?);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes more of the body from the target.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call,
        exchange: &Exchange,
    ) -> Poll<Result<(), Fault>> {
        if !self.passes_as_it_is() {
            return self.poll_recode(cx, call, exchange);
        }
        if let Some(left) = call.answer.body.left().filter(|left| *left >= SPLICE_MIN)
            && let (Some(_), Some(from)) = (self.stream.plain(), call.connection.stream.tcp())
        {
            let pipe = match &mut self.pipe {
                Some(pipe) => pipe,
                None => match Pipe::take() {
                    Ok(pipe) => self.pipe.insert(pipe),
                    // No descriptor left: it goes through a buffer.
                    Err(_none) => return self.poll_transfer(cx, call, exchange),
                },
            };
            let moved = ready!(pipe.poll_fill(cx, from, left));
            let moved = moved.map_err(|_broken| Fault::Reset)?;
            if moved == 0 {
                return Poll::Ready(Err(Fault::Reset));
            }
            call.answer.body.skip(moved);
            exchange.has_sent(usize::try_from(moved).unwrap_or(usize::MAX));
            return Poll::Ready(Ok(()));
        }
        self.poll_transfer(cx, call, exchange)
    }

    /// Takes as much as comes, unchanged.
    fn poll_transfer(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call,
        exchange: &Exchange,
    ) -> Poll<Result<(), Fault>> {
        let transfer = self.transfer.get_or_insert_with(Transfer::take);
        let read = ready!(transfer.poll_fill(&mut call.connection.stream, cx));
        let read = read.map_err(|_broken| Fault::Reset)?;
        if read == 0 {
            return Poll::Ready(self.at_eof(call));
        }
        let piece = call.answer.body.next(transfer.waiting());
        let piece = piece.map_err(|_bad| Fault::Protocol)?;
        transfer.truncate(piece.consumed);
        call.answer.has_more_than_its_answer(piece.consumed < read);
        exchange.has_sent(piece.consumed);
        Poll::Ready(Ok(()))
    }

    /// Takes as much as comes, out of one framing and into another.
    fn poll_recode(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call,
        exchange: &Exchange,
    ) -> Poll<Result<(), Fault>> {
        let (stream, answer) = (&mut call.connection.stream, &mut call.answer);
        let read = poll_read_scratch(stream, cx, |bytes| {
            let fed = answer.feed(bytes, exchange, self);
            fed.map(|()| bytes.is_empty())
        });
        let read: io::Result<Result<bool, Fault>> = ready!(read);
        match read {
            Err(_broken) => Poll::Ready(Err(Fault::Reset)),
            Ok(Err(fault)) => Poll::Ready(Err(fault)),
            Ok(Ok(true)) => Poll::Ready(self.at_eof(call)),
            Ok(Ok(false)) => Poll::Ready(Ok(())),
        }
    }

    fn at_eof(&mut self, call: &mut Call) -> Result<(), Fault> {
        call.answer.at_eof(self)
    }
}

//! A target's answer on its way to an HTTP/2 client.

use std::future::Future;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use h2::Reason;
use h2::SendStream;
use http::HeaderMap;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::model::fault::Fault;
use crate::proxy::body::StreamSide;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::call::Call;
use crate::proxy::exchange::Exchange;

/// A stream is handed no more than this at once (the size of its frames): each piece that is taken
/// from it shows that the client has taken one.
const PIECE: usize = 16 * 1024;

/// How much is read at once of content that goes on as it is.
const READ: usize = 32 * 1024;

/// How much of it must be to come for that.
const AS_IT_IS_MIN: u64 = 8 * 1024;

/// The part of an answer that goes next.
enum Part {
    /// Content, and whether it is the last.
    Content(Bytes, bool),
    /// The end, with these trailers.
    Trailers(HeaderMap),
    /// The end alone.
    End,
}

/// Waits until a client takes more on a stream, of which some has been reserved; whether it does.
fn poll_open(cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<bool> {
    while stream.capacity() == 0 {
        if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
            return Poll::Ready(false);
        }
    }
    Poll::Ready(true)
}

/// Whether a client takes so much on a stream at once.
fn takes(stream: &mut SendStream<Bytes>, length: usize) -> bool {
    stream.reserve_capacity(length);
    stream.capacity() >= length
}

/// The end of an answer that its client does not take yet. Nobody but the client waits for it.
///
/// It could wait in `h2`, but for as long as the client likes; and where not all of the request has
/// come `h2` would reset the stream behind it, and not be rid of that stream if its connection ended
/// first.
pub(crate) struct Last {
    stream: SendStream<Bytes>,
    content: Bytes,
    patience: Duration,
}

impl Last {
    /// Sends it, or the part of it that the client takes before it takes nothing for too long.
    pub(crate) async fn send(mut self) {
        loop {
            // All of it: what is reserved is kept from all other streams, and is used at once.
            self.stream.reserve_capacity(self.content.len());
            let open = poll_fn(|cx| poll_open(cx, &mut self.stream));
            match timeout(self.patience, open).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_elapsed) => return self.stream.send_reset(Reason::CANCEL),
            }
            let length = self.content.len().min(self.stream.capacity());
            let piece = self.content.split_to(length);
            let is_end = self.content.is_empty();
            if self.stream.send_data(piece, is_end).is_err() || is_end {
                return;
            }
        }
    }
}

/// Sends the end of an answer; what of it must wait for the client. `has_all`: of the request, all has
/// come. `patience`: how long its client may take nothing.
///
/// # Errors
///
/// The stream is no more.
pub(crate) fn end(
    mut stream: SendStream<Bytes>,
    content: Bytes,
    has_all: bool,
    patience: Duration,
) -> Result<Option<Last>, h2::Error> {
    if has_all && takes(&mut stream, content.len()) {
        return stream.send_data(content, true).map(|()| None);
    }
    Ok(Some(Last { stream, content, patience }))
}

/// Why an answer goes no further.
enum Ended {
    /// For this fault: the client must not take what came for whole.
    Fault(Fault),
    /// The stream is no more.
    Gone,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An answer's body on its way to the client.
pub(super) struct Delivery<'s, 'r> {
    side: &'s mut StreamSide<'r>,
    /// `None` once the target has said everything.
    call: Option<Call>,
    /// Where content is read to. Its bytes are used again once the client has taken them.
    room: BytesMut,
    /// What has come and waits for its turn.
    left: Bytes,
    /// A piece that waits for the client's window.
    waiting: Option<Bytes>,
    exchange: Rc<Exchange>,
}

impl<'s, 'r> Delivery<'s, 'r> {
    /// The body to come over `call`, behind what came with the head.
    pub(super) fn new(
        side: &'s mut StreamSide<'r>,
        call: Option<Call>,
        exchange: Rc<Exchange>,
    ) -> Self {
        let left = Bytes::from(std::mem::take(&mut side.came));
        let room = BytesMut::new();
        let mut delivery = Self { side, call, room, left, waiting: None, exchange };
        delivery.let_go();
        delivery
    }

    /// Whether nothing is to come.
    pub(super) fn is_end(&self) -> bool {
        self.call.is_none() && self.left.is_empty() && self.side.trailers.is_none()
    }

    /// What is to come, if it is all there and fits into one frame.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        let fits = !self.left.is_empty() && self.left.len() <= PIECE;
        let ends = self.side.has_all_of_body() && self.side.trailers.is_none();
        let is_whole = self.call.is_none() && ends && fits;
        is_whole.then(|| {
            self.exchange.has_sent(self.left.len());
            std::mem::take(&mut self.left)
        })
    }

    /// Whether nothing of the request is to come.
    pub(super) fn has_all_of_request(&self) -> bool {
        self.side.has_all_of_body()
    }

    /// The last byte is on its way, in the turn in which the head came.
    pub(super) fn finish_at_once(&self) {
        self.part_for_good();
        self.exchange.complete_at_once();
    }

    /// The last byte is on its way: the lease ends.
    pub(super) fn finish(&self) {
        self.part_for_good();
        self.exchange.complete();
    }

    fn part_for_good(&self) {
        if self.side.has_parted() {
            self.exchange.end(Fault::Closed);
        }
    }

    /// The target has said everything: its connection is free for the next request.
    fn let_go(&mut self) {
        let said_all = |call: &mut Call| call.answer.body.is_done();
        if let Some(call) = self.call.take_if(said_all)
            && call.may_be_kept()
        {
            self.exchange.keep(call.connection);
        }
    }

    /// Sends all of it but the last content, which is returned, or resets the stream.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<Bytes>,
    ) -> Poll<Option<Bytes>> {
        // Ended from outside, and nobody else would tell the client: its window may be closed.
        if let Poll::Ready(_fault) = self.exchange.poll_ended(cx) {
            stream.send_reset(Reason::CANCEL);
            return Poll::Ready(None);
        }
        match ready!(self.poll_all(cx, stream)) {
            // Whoever is no more is told nothing, and the exchange says so when it drops.
            Ok(last) => Poll::Ready(last),
            Err(Ended::Gone) => Poll::Ready(None),
            Err(Ended::Fault(fault)) => {
                self.exchange.end(fault);
                self.exchange.count_upstream_error(fault);
                self.call = None;
                stream.send_reset(Reason::INTERNAL_ERROR);
                Poll::Ready(None)
            }
        }
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<Bytes>,
    ) -> Poll<Result<Option<Bytes>, Ended>> {
        loop {
            // First: while the client takes nothing, it is what is waited for, whatever it sends.
            ready!(self.poll_window(cx, stream))?;
            if let Some(call) = self.call.as_mut().filter(|call| call.is_uploading()) {
                // What it waits for is looked at again when it moves, whatever else we wait for.
                let _moved: Poll<()> = call.poll_upload(cx, &self.exchange, self.side)?;
            }
            let Poll::Ready(next) = self.poll_next(cx) else {
                return stream.poll_reset(cx).map(|_reset| Err(Ended::Gone));
            };
            let sent = match next? {
                Part::Content(content, false) => {
                    self.exchange.wait_for_client();
                    self.exchange.has_sent(content.len());
                    self.waiting = Some(content);
                    continue;
                }
                Part::Content(content, true) => {
                    self.exchange.has_sent(content.len());
                    self.finish();
                    return Poll::Ready(Ok(Some(content)));
                }
                Part::Trailers(trailers) => stream.send_trailers(trailers),
                Part::End => stream.send_data(Bytes::new(), true),
            };
            sent.map_err(|_closed| Ended::Gone)?;
            self.finish();
            return Poll::Ready(Ok(None));
        }
    }

    /// Sends the piece at hand once the client's window is open.
    fn poll_window(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Ended>> {
        let Some(piece) = self.waiting.take() else { return Poll::Ready(Ok(())) };
        if stream.capacity() == 0 {
            // No more than is needed: what is reserved is kept from all other streams.
            stream.reserve_capacity(1);
        }
        match poll_open(cx, stream) {
            Poll::Ready(true) => {}
            Poll::Ready(false) => return Poll::Ready(Err(Ended::Gone)),
            Poll::Pending => {
                self.waiting = Some(piece);
                return Poll::Pending;
            }
        }
        let sent = stream.send_data(piece, false);
        Poll::Ready(sent.map_err(|_closed| Ended::Gone))
    }

    /// Takes the next part from what has come, or from the target.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Fault>> {
        loop {
            self.side.part(&mut self.call, &self.exchange);
            if !self.left.is_empty() {
                let piece = self.left.split_to(self.left.len().min(PIECE));
                let is_end = self.is_end();
                return Poll::Ready(Ok(Part::Content(piece, is_end)));
            }
            let Some(call) = &mut self.call else {
                let trailers = self.side.trailers.take();
                return Poll::Ready(Ok(trailers.map_or(Part::End, Part::Trailers)));
            };
            let left = call.answer.body.left();
            let taken = if left.is_some_and(|left| left >= AS_IT_IS_MIN) {
                poll_take_as_it_is(cx, call, &mut self.room)
            } else {
                poll_take(cx, call, self.side, &self.exchange)
            };
            let Poll::Ready(taken) = taken else {
                let patience = self.exchange.timeouts().response;
                self.exchange.wait_on(Fault::ResponseTimeout, patience);
                return Poll::Pending;
            };
            self.left = taken?;
            self.let_go();
        }
    }
}

/// Takes more of the body from the target, out of its framing.
fn poll_take(
    cx: &mut Context<'_>,
    call: &mut Call,
    side: &mut StreamSide<'_>,
    exchange: &Exchange,
) -> Poll<Result<Bytes, Fault>> {
    let (stream, answer) = (&mut call.connection.stream, &mut call.answer);
    let read = poll_read_scratch(stream, cx, |bytes| match bytes {
        [] => answer.at_eof(side),
        _ => answer.feed(bytes, exchange, side),
    });
    let taken = ready!(read).unwrap_or(Err(Fault::Reset));
    Poll::Ready(taken.map(|()| Bytes::from(std::mem::take(&mut side.came))))
}

/// Takes more of a body that has a length and is long: read to where it stays until it is sent.
fn poll_take_as_it_is(
    cx: &mut Context<'_>,
    call: &mut Call,
    room: &mut BytesMut,
) -> Poll<Result<Bytes, Fault>> {
    let (stream, answer) = (&mut call.connection.stream, &mut call.answer);
    room.reserve(READ);
    let read = ready!(pin!(stream.read_buf(room)).poll(cx));
    match read {
        Ok(1..) => {}
        // It was to be longer.
        Ok(0) | Err(_) => return Poll::Ready(Err(Fault::Reset)),
    }
    let mut came = room.split().freeze();
    let piece = answer.body.next(&came).map_err(|_bad| Fault::Protocol)?;
    answer.has_more_than_its_answer(piece.consumed < came.len());
    came.truncate(piece.consumed);
    Poll::Ready(Ok(came))
}

//! The client's side of an exchange over HTTP/2: the request's body as it comes, the answer's as it is
//! sent.

mod answer;
mod fields;
mod head;
mod trailers;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::HeaderMap;
use http::Response;

use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::proxy::body::answer::Delivery;
pub(crate) use crate::proxy::body::answer::Last;
pub(crate) use crate::proxy::body::answer::end;
pub(crate) use crate::proxy::body::head::own;
use crate::proxy::call::Call;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::events::Events;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Kind;
use crate::proxy::handler::Terms;
use crate::proxy::server::ahead::Upload;

/// How much of a request's body is taken before its client is told that there is room for more: each
/// telling takes a look at the stream, and the windows are many times as wide.
const RELEASE: usize = 64 * 1024;

/// The client's side of one HTTP/2 stream.
pub(crate) struct StreamSide<'r> {
    respond: &'r RefCell<SendResponse<Bytes>>,
    source: RecvStream,
    /// What was taken of the body without telling its client.
    unreleased: usize,
    /// While content may come.
    upload: Option<Upload>,
    onward: Encoder,
    limit: Option<u64>,
    state: BodyState,
    /// The head of the answer, once it has come.
    head: Option<Response<()>>,
    /// Content of the answer that nobody has asked for yet.
    came: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// The answer is a stream of events that can be ended early.
    events: Option<Events>,
}

impl<'r> StreamSide<'r> {
    /// A stream of which the head has come.
    pub(crate) fn new(
        respond: &'r RefCell<SendResponse<Bytes>>,
        source: RecvStream,
        terms: &Terms,
        upload: Option<Upload>,
    ) -> Self {
        let state = match terms.body {
            Framing::None => BodyState::Empty,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => BodyState::Whole,
        };
        Self {
            respond,
            source,
            unreleased: 0,
            upload,
            onward: Encoder::new(terms.body),
            limit: terms.body_max,
            state,
            head: None,
            came: Vec::new(),
            trailers: None,
            events: None,
        }
    }

    /// Sends the answer whose head has come, with its body to come over `call`; what of it is still to
    /// be sent when all else is done.
    pub(crate) async fn deliver(
        &mut self,
        call: Option<Call>,
        exchange: Rc<Exchange>,
    ) -> Option<Last> {
        let head = self.head.take()?;
        let (respond, patience) = (self.respond, exchange.timeouts().send);
        let mut delivery = Delivery::new(self, call, exchange);
        let is_end = delivery.is_end();
        // Where that fails, the stream is no more: the exchange says so when it drops.
        let mut stream = respond.borrow_mut().send_response(head, is_end).ok()?;
        if is_end {
            delivery.finish_at_once();
            return None;
        }
        if let Some(whole) = delivery.take_whole() {
            let last = end(stream, whole, true, patience).ok()?;
            if last.is_some() {
                delivery.finish();
            } else {
                delivery.finish_at_once();
            }
            return last;
        }
        let rest = poll_fn(|cx| delivery.poll(cx, &mut stream)).await?;
        let has_all = delivery.has_all_of_request();
        end(stream, rest, has_all, patience).ok()?
    }

    /// Whether nothing of the request's body is left with the client.
    pub(crate) fn has_all_of_body(&self) -> bool {
        matches!(self.state, BodyState::Empty | BodyState::Taken)
    }

    /// Whether a stream of events has been ended early, between two of them.
    fn has_parted(&self) -> bool {
        self.events.is_some_and(|events| events.is_over())
    }

    /// Ends a stream of events whose turn has come, if it stands between two: nothing more of it is
    /// taken from the target.
    fn part(&mut self, call: &mut Option<Call>, exchange: &Exchange) {
        if let Some(events) = &mut self.events
            && exchange.is_parting()
            && call.is_some()
        {
            events.part();
            if events.is_over() {
                *call = None;
            }
        }
    }

    fn take_content(
        &mut self,
        data: &[u8],
        exchange: &Exchange,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if let Some(upload) = &self.upload {
            upload.taken(data.len());
        }
        self.unreleased += data.len();
        let sum = exchange.has_received(data.len());
        if self.limit.is_some_and(|limit| sum > limit) {
            return Err(Fault::BodyTooLarge);
        }
        self.onward.push(data, out);
        if self.source.is_end_stream() {
            self.finish_body(&[], out);
        } else if self.unreleased >= RELEASE {
            self.release();
        }
        Ok(())
    }

    /// Tells the client that there is room for more.
    fn release(&mut self) {
        let taken = std::mem::take(&mut self.unreleased);
        if taken > 0 {
            // It can only fail for more than has come.
            drop(self.source.flow_control().release_capacity(taken));
        }
    }

    /// Takes the trailers, if there are any.
    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<(), Fault>> {
        let trailers = ready!(self.source.poll_trailers(cx)).map_err(|_gone| Fault::BodyBroken)?;
        let lines = trailers::to_lines(trailers.as_ref()).ok_or(Fault::BodyBroken)?;
        self.finish_body(&lines, out);
        Poll::Ready(Ok(()))
    }

    fn finish_body(&mut self, trailers: &[u8], out: &mut Vec<u8>) {
        self.onward.finish(trailers, out);
        self.state = BodyState::Taken;
        self.upload = None;
        self.release();
    }
}

impl Downstream for StreamSide<'_> {
    fn body(&self) -> BodyState {
        self.state
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
        _by_pipe: bool,
    ) -> Poll<Result<(), Fault>> {
        while out.is_empty() && self.state != BodyState::Taken {
            let Poll::Ready(data) = self.source.poll_data(cx) else {
                self.release();
                return Poll::Pending;
            };
            self.state = BodyState::Begun;
            match data {
                Some(Ok(data)) => self.take_content(&data, exchange, out)?,
                // However it was reset: the target must not take what came for whole.
                Some(Err(_broken)) => return Poll::Ready(Err(Fault::BodyBroken)),
                None => ready!(self.poll_trailers(cx, out))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        None
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // Whoever runs the stream ends it, and this with it, when the client resets it.
        Poll::Pending
    }

    fn inform(&mut self, head: &ResponseHead<'_, '_>) {
        // A stream that is no more is seen by whoever runs it.
        drop(
            self.respond
                .borrow_mut()
                .send_informational(head::interim(head)),
        );
    }

    fn poll_inform(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn answer(&mut self, head: &ResponseHead<'_, '_>, exchange: &Exchange) {
        exchange.answer(head.status, true);
        self.head = Some(head::final_one(head, exchange));
        self.events = Events::of(head);
        if self.events.is_some() {
            exchange.can_part(Kind::Events);
        }
    }

    fn content(&mut self, data: &[u8], exchange: &Exchange) {
        let mut data = data;
        if let Some(events) = &mut self.events {
            data = events.pass(data, exchange.is_parting());
        }
        self.came.extend_from_slice(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        // What ends early ends without them.
        if !self.has_parted() {
            self.trailers = trailers::from_lines(trailers);
        }
    }
}

//! The client's side of an exchange over HTTP/2, in hyper's types: the request's body as it comes,
//! the answer's as it is asked for.

mod answer;
mod names;
mod trailers;

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http_body::Body;
use http_body::Frame;
use hyper::body::Incoming;

use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::http1::rewrite::response_fields;
use crate::model::extras::Extras;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::proxy::call::Call;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::events::Events;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Kind;
use crate::proxy::server::ahead::Upload;

pub(crate) use crate::proxy::body::answer::AnswerBody;

/// How much room is made for content that may come with the head.
const CONTENT_MAX: u64 = 1024;

/// The client's side of one HTTP/2 stream.
pub(crate) struct StreamSide {
    source: Incoming,
    /// While content may come.
    upload: Option<Upload>,
    onward: Encoder,
    limit: Option<u64>,
    state: BodyState,
    status: u16,
    /// The answer's fields, as places in `came`.
    fields: Vec<(HeaderName, usize, usize)>,
    /// Bytes of the answer: the values of its fields, then content that nobody has asked for yet.
    came: Vec<u8>,
    content_from: usize,
    trailers: Option<HeaderMap>,
    /// The answer is a stream of events that can be ended early.
    events: Option<Events>,
}

impl StreamSide {
    /// A stream of which the head has come.
    pub(crate) fn new(
        source: Incoming,
        framing: Framing,
        limit: Option<u64>,
        upload: Option<Upload>,
    ) -> Self {
        let state = match framing {
            Framing::None => BodyState::Empty,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => BodyState::Whole,
        };
        Self {
            source,
            upload,
            onward: Encoder::new(framing),
            limit,
            state,
            status: 0,
            fields: Vec::new(),
            came: Vec::new(),
            content_from: 0,
            trailers: None,
            events: None,
        }
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

    fn take_frame(
        &mut self,
        frame: Frame<Bytes>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match frame.into_data() {
            Ok(data) => {
                if let Some(upload) = &self.upload {
                    upload.taken(data.len());
                }
                let sum = exchange.has_received(data.len());
                if self.limit.is_some_and(|limit| sum > limit) {
                    return Err(Fault::BodyTooLarge);
                }
                self.onward.push(&data, out);
                if self.source.is_end_stream() {
                    self.finish_body(&[], out);
                }
            }
            Err(frame) => {
                let lines = trailers::to_lines(frame.trailers_ref()).ok_or(Fault::BodyBroken)?;
                self.finish_body(&lines, out);
            }
        }
        Ok(())
    }

    fn finish_body(&mut self, trailers: &[u8], out: &mut Vec<u8>) {
        self.onward.finish(trailers, out);
        self.state = BodyState::Taken;
        self.upload = None;
    }
}

impl Downstream for StreamSide {
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
            let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
            self.state = BodyState::Begun;
            match frame {
                Some(Ok(frame)) => self.take_frame(frame, exchange, out)?,
                Some(Err(_broken)) => return Poll::Ready(Err(Fault::BodyBroken)),
                None => self.finish_body(&[], out),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        None
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // hyper drops a stream that the client resets, and this with it.
        Poll::Pending
    }

    fn inform(&mut self, _head: &ResponseHead<'_, '_>) {
        // hyper has no way to send an interim answer over HTTP/2; a client must do without any
        // (RFC 9110 §15.2).
    }

    fn poll_inform(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn answer(&mut self, head: &ResponseHead<'_, '_>, exchange: &Exchange) {
        exchange.answer(head.status, true);
        self.status = head.status;
        self.fields.reserve(head.fields.len());
        // The head's length is more than its values need.
        let content = match head.body {
            Framing::Length(length) => usize::try_from(length.min(CONTENT_MAX)).unwrap_or(0),
            Framing::None | Framing::Chunked | Framing::UntilClose => 0,
        };
        self.came.reserve(head.length + content);
        let extras = exchange.extras();
        let passing = response_fields(head.status, head.nominates, head.pairs())
            .filter(|(name, _)| !extras.is_some_and(|extras| extras.drops(name)));
        let added = extras.into_iter().flat_map(Extras::added);
        let added = added.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        for (name, value) in passing.chain(added) {
            let Some(name) = names::name(name) else { continue };
            let from = self.came.len();
            self.came.extend_from_slice(value);
            self.fields.push((name, from, self.came.len()));
        }
        self.content_from = self.came.len();
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

//! The answer's body on its way to an HTTP/2 client, as hyper asks for it.

use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use tokio::io::AsyncReadExt;

use crate::model::extras::Extras;
use crate::model::fault::Fault;
use crate::proxy::body::StreamSide;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::call::Call;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;
use crate::proxy::reply::Reply;

/// A stream is handed no more than this at once (the size of its frames): each piece that is asked
/// for shows that the client has taken one.
const PIECE: usize = 16 * 1024;

/// How much is read at once of content that goes on as it is.
const READ: usize = 32 * 1024;

/// How much of it must be to come for that.
const AS_IT_IS_MIN: u64 = 8 * 1024;

/// The exchange ended for this fault; the reader of the body must not take what came for whole.
#[derive(Debug, thiserror::Error)]
#[error("the exchange ended: {}", .0.as_str())]
pub(crate) struct Ended(pub(crate) Fault);

impl StreamSide {
    /// The answer whose head has come, with its body to come over `call`.
    pub(crate) fn into_response(
        mut self,
        call: Option<Call>,
        exchange: Rc<Exchange>,
    ) -> Response<AnswerBody> {
        let came = Bytes::from(std::mem::take(&mut self.came));
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 1);
        for (name, from, to) in self.fields.drain(..) {
            if let Ok(value) = HeaderValue::from_maybe_shared(came.slice(from..to)) {
                headers.append(name, value);
            }
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let left = came.slice(self.content_from..);
        self.content_from = 0;
        let room = BytesMut::new();
        let mut body = Streamed { side: self, call, room, left, exchange: Some(exchange) };
        body.let_go();
        if body.is_end() {
            body.finish();
        }
        let mut response = Response::new(AnswerBody::Streamed(Box::new(body)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// An answer's body on its way to the client.
pub(crate) enum AnswerBody {
    /// The proxy's own words.
    Own {
        /// What is left to send.
        text: Option<Bytes>,
        /// The exchange that they answer; `None` once hyper has all of it. A client that does not take
        /// it then holds nothing but its own connection.
        exchange: Option<Rc<Exchange>>,
    },
    /// The target's.
    Streamed(Box<Streamed>),
}

/// A body that comes from a target.
pub(crate) struct Streamed {
    side: StreamSide,
    /// `None` once the target has said everything.
    call: Option<Call>,
    /// Where content is read to. Its bytes are used again once the client has taken them.
    room: BytesMut,
    /// What has come and waits for its turn.
    left: Bytes,
    /// `None` once the last byte is on its way.
    exchange: Option<Rc<Exchange>>,
}

impl AnswerBody {
    /// One of the proxy's own answers, as hyper takes it.
    pub(crate) fn own(reply: Reply, exchange: &Rc<Exchange>) -> Response<Self> {
        let mut headers = HeaderMap::with_capacity(reply.fields.len() + 2);
        let length = reply.text.len();
        for (name, value) in reply.fields {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_maybe_shared(Bytes::from(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.insert(name, value);
            }
        }
        if let Some(extras) = exchange.extras() {
            add(&mut headers, extras);
        }
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        let to_head = exchange.asked().is_some_and(Asked::is_head);
        let text = (!to_head && length > 0).then(|| Bytes::from(reply.text));
        if text.is_none() {
            exchange.complete();
        }
        let held = text.as_ref().map(|_| Rc::clone(exchange));
        let mut response = Response::new(Self::Own { text, exchange: held });
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }
}

/// Adds to one of the proxy's own answers, and leaves out of it, what is ordered.
fn add(headers: &mut HeaderMap, extras: &Extras) {
    let dropped = |name: &&HeaderName| extras.drops(name.as_str().as_bytes());
    let dropped: Vec<HeaderName> = headers.keys().filter(dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    for (name, value) in extras.added() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
}

impl Streamed {
    /// The target has said everything: its connection is free for the next request.
    fn let_go(&mut self) {
        let said_all = |call: &mut Call| call.answer.body.is_done();
        if let (Some(call), Some(exchange)) = (self.call.take_if(said_all), &self.exchange)
            && call.may_be_kept()
        {
            exchange.keep(call.connection);
        }
    }

    /// The last byte is on its way: the lease ends.
    fn finish(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            if self.side.has_parted() {
                exchange.end(Fault::Closed);
            }
            exchange.complete();
        }
    }

    fn is_end(&self) -> bool {
        self.call.is_none() && self.left.is_empty() && self.side.trailers.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let Some(exchange) = self.exchange.clone() else { return Poll::Ready(None) };
        match ready!(self.poll_next(cx, &exchange)) {
            Ok(Some(frame)) => {
                exchange.wait_for_client();
                exchange.has_sent(frame.data_ref().map_or(0, Bytes::len));
                if self.is_end() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Err(fault) => {
                let first = exchange.fault().is_none();
                exchange.end(fault);
                if first {
                    exchange.count_upstream_error(fault);
                }
                self.call = None;
                Poll::Ready(Some(Err(Ended(exchange.fault().unwrap_or(fault)))))
            }
        }
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Result<Option<Frame<Bytes>>, Fault>> {
        loop {
            if let Poll::Ready(fault) = exchange.poll_ended(cx) {
                return Poll::Ready(Err(fault));
            }
            if let Some(call) = self.call.as_mut().filter(|call| call.is_uploading()) {
                // What it waits for is looked at again when it moves, whatever else we wait for.
                let _moved: Poll<()> = call.poll_upload(cx, exchange, &mut self.side)?;
            }
            self.side.part(&mut self.call, exchange);
            if !self.left.is_empty() {
                let piece = self.left.split_to(self.left.len().min(PIECE));
                return Poll::Ready(Ok(Some(Frame::data(piece))));
            }
            let Some(call) = &mut self.call else {
                return Poll::Ready(Ok(self.side.trailers.take().map(Frame::trailers)));
            };
            let as_it_is = call
                .answer
                .body
                .left()
                .is_some_and(|left| left >= AS_IT_IS_MIN);
            let taken = if as_it_is {
                poll_take_as_it_is(cx, call, &mut self.room)
            } else {
                poll_take(cx, call, &mut self.side, exchange)
            };
            let Poll::Ready(taken) = taken else {
                exchange.wait_on(Fault::ResponseTimeout, exchange.timeouts().response);
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
    side: &mut StreamSide,
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

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        match &mut *self {
            Self::Own { text, exchange } => {
                let text = text.take();
                if let (Some(text), Some(exchange)) = (&text, exchange.take()) {
                    exchange.has_sent(text.len());
                    exchange.complete();
                }
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
            Self::Streamed(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, .. } => text.is_none(),
            Self::Streamed(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            // What the target says about the length is among its fields.
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}

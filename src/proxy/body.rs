//! Both bodies of an exchange, streamed: each frame is passed on as it comes, none is kept, and a
//! frame is only asked for when the other side can take it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;

use crate::model::fault::Fault;
use crate::proxy::exchange::Exchange;
use crate::proxy::idle::TargetConnection;

/// A stream of HTTP/2 is handed no more than this at once (the size of its frames): each piece that
/// is asked for shows that the client has taken one.
const PIECE: usize = 16 * 1024;

/// The exchange ended for this fault; the reader of the body must not take what came for whole.
#[derive(Debug, thiserror::Error)]
#[error("the exchange ended: {}", .0.as_str())]
pub(crate) struct Ended(pub(crate) Fault);

/// A client's body that has not been touched yet can be taken back, to be sent over another
/// connection.
#[derive(Clone)]
pub(crate) struct Untouched(Rc<RefCell<Option<Incoming>>>);

impl Untouched {
    /// Wraps a body.
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Rc::new(RefCell::new(Some(body))))
    }

    /// Whether nothing of it has been read yet.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// The client's body on its way to the target.
pub(crate) struct RequestBody {
    untouched: Untouched,
    source: Option<Incoming>,
    empty: bool,
    size: SizeHint,
    limit: Option<u64>,
    exchange: Rc<Exchange>,
}

impl RequestBody {
    /// The body of `exchange`, of at most `limit` bytes.
    pub(crate) fn new(untouched: Untouched, exchange: &Rc<Exchange>, limit: Option<u64>) -> Self {
        let (empty, size) = match untouched.0.borrow().as_ref() {
            Some(body) => (body.is_end_stream(), body.size_hint()),
            None => (true, SizeHint::with_exact(0)),
        };
        if empty {
            exchange.pass_body_on();
        }
        Self { untouched, source: None, empty, size, limit, exchange: Rc::clone(exchange) }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.source.is_none() {
            self.source = self.untouched.0.take();
        }
        match &mut self.source {
            Some(source) => Pin::new(source).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn passed_on(&self, frame: &Frame<Bytes>) -> Result<(), Ended> {
        let sum = self
            .exchange
            .has_received(frame.data_ref().map_or(0, Bytes::len));
        if self.limit.is_some_and(|limit| sum > limit) {
            self.exchange.fail(Fault::BodyTooLarge);
            return Err(Ended(Fault::BodyTooLarge));
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if self.empty {
            return Poll::Ready(None);
        }
        let timeouts = self.exchange.timeouts();
        let polled = self.poll_source(cx);
        match polled {
            Poll::Pending => {
                self.exchange
                    .wait_on(Fault::BodyTimeout, timeouts.request_body);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange
                    .wait(Fault::ResponseTimeout, timeouts.response);
                let at_end = self.source.as_ref().is_some_and(Incoming::is_end_stream);
                if at_end || frame.is_trailers() {
                    self.exchange.pass_body_on();
                }
                Poll::Ready(Some(self.passed_on(&frame).map(|()| frame)))
            }
            Poll::Ready(Some(Err(_broken))) => {
                self.exchange.fail(Fault::BodyBroken);
                Poll::Ready(Some(Err(Ended(Fault::BodyBroken))))
            }
            Poll::Ready(None) => {
                self.exchange
                    .wait(Fault::ResponseTimeout, timeouts.response);
                self.exchange.pass_body_on();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.empty || self.source.as_ref().is_some_and(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.source.as_ref().map_or(self.size, Incoming::size_hint)
    }
}

/// An answer's body on its way to the client.
pub(crate) enum AnswerBody {
    /// The proxy's own words.
    Own {
        /// What is left to send.
        text: Option<Bytes>,
        /// The exchange that they answer.
        exchange: Rc<Exchange>,
    },
    /// The target's.
    Streamed(Box<Streamed>),
    /// None: what follows is a tunnel, which holds the exchange.
    Switched,
}

/// A body that comes from a target.
pub(crate) struct Streamed {
    source: Incoming,
    /// What has come and waits for its turn.
    left: Bytes,
    connection: Option<TargetConnection>,
    target: u64,
    exchange: Option<Rc<Exchange>>,
}

impl AnswerBody {
    /// The proxy's own words.
    pub(crate) fn own(text: Bytes, exchange: &Rc<Exchange>) -> Self {
        let text = (!text.is_empty()).then_some(text);
        let exchange = Rc::clone(exchange);
        if text.is_none() {
            exchange.complete();
        }
        Self::Own { text, exchange }
    }

    /// The empty body of a 101.
    pub(crate) fn switched() -> Self {
        Self::Switched
    }

    /// The target's body; its connection becomes idle under the id of the target when it ends.
    pub(crate) fn streamed(
        source: Incoming,
        connection: TargetConnection,
        target: u64,
        exchange: Rc<Exchange>,
    ) -> Self {
        let mut body = Streamed {
            source,
            left: Bytes::new(),
            connection: Some(connection),
            target,
            exchange: Some(exchange),
        };
        if body.source.is_end_stream() {
            body.finish();
        }
        Self::Streamed(Box::new(body))
    }
}

impl Streamed {
    /// The last byte is on its way: the connection is free for the next request, the lease ends.
    fn finish(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.complete();
            match self.connection.take() {
                Some(connection) if exchange.is_body_passed_on() => {
                    exchange.worker.idle.put(self.target, connection);
                }
                // The target answered without waiting for the upload: what is left of it would hold
                // the lease for as long as the client likes, and must not meet the next request.
                Some(connection) => connection.driver.abort(),
                None => {}
            }
        }
    }

    fn is_end(&self) -> bool {
        self.left.is_empty() && self.source.is_end_stream()
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.left.is_empty() {
            return Pin::new(&mut self.source).poll_frame(cx);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.left)))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let polled = self.poll_source(cx);
        let Some(exchange) = &self.exchange else { return Poll::Ready(None) };
        match polled {
            Poll::Pending => {
                exchange.wait_on(Fault::ResponseTimeout, exchange.timeouts().response);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let mut frame = frame;
                if let Some(data) = frame.data_mut().filter(|_| exchange.is_http2()) {
                    self.left = data.split_off(data.len().min(PIECE));
                }
                exchange.wait_for_client();
                exchange.has_sent(frame.data_ref().map_or(0, Bytes::len));
                if self.is_end() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // Not after a fault: what was taken away must never look whole, whatever hyper says of it.
            Poll::Ready(None) if exchange.fault().is_none() => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(None | Some(Err(_))) => {
                let first = exchange.fault().is_none();
                exchange.end(Fault::Reset);
                if first {
                    exchange.count_upstream_error(Fault::Reset);
                }
                Poll::Ready(Some(Err(Ended(exchange.fault().unwrap_or(Fault::Reset)))))
            }
        }
    }
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
                let frame = text.take().map(|text| {
                    exchange.has_sent(text.len());
                    exchange.complete();
                    Ok(Frame::data(text))
                });
                Poll::Ready(frame)
            }
            Self::Streamed(body) => body.poll(cx),
            Self::Switched => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, .. } => text.is_none(),
            Self::Streamed(body) => body.is_end(),
            Self::Switched => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Streamed(body) => body.source.size_hint(),
            Self::Switched => SizeHint::with_exact(0),
        }
    }
}

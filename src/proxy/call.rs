//! One request over one connection to a target: its head and its body on their way there, the head
//! of the answer on its way back.

mod answer;

use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncWrite;

use crate::http1::chunked::Decoder;
use crate::http1::framing::Framing;
use crate::http1::head::HeadLimits;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::proxy::buffers::Buffer;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;
use crate::proxy::idle::TargetConnection;
use crate::proxy::strides::Strides;

/// What a target may send before the body of its answer.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 1000, target: 64 * 1024 };

/// How many interim answers may come before the final one. Real ones are one or two.
const INTERIM_MAX: u32 = 16;

/// How the request's body fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// There is more to send.
    Going,
    /// The target has been sent all of it.
    Passed,
    /// The target takes no more. It may have answered all the same.
    Broken,
}

/// One request over one connection to a target.
pub(crate) struct Call {
    /// The connection.
    pub(crate) connection: TargetConnection,
    /// What comes back over it.
    pub(crate) answer: Answer,
    upload: Upload,
    head_sent: usize,
    /// The part of the request's body that waits for the target.
    out: Buffer,
    out_sent: usize,
    /// In which a large answer is read.
    strides: Strides,
}

/// An answer as it comes.
pub(crate) struct Answer {
    /// Follows its body, once its head has come.
    pub(crate) body: Decoder,
    /// A head of which a part has come; behind a 101, the tunnel's first bytes.
    pub(crate) came: Vec<u8>,
    heard: bool,
    interim: u32,
    upgrade_asked: bool,
    asked_whole: bool,
    reusable: bool,
}

impl Call {
    /// A request of which nothing has been sent. `upgrade_asked`: a 101 may answer it.
    pub(crate) fn new(connection: TargetConnection, upgrade_asked: bool) -> Self {
        Self {
            connection,
            answer: Answer {
                body: Decoder::new(Framing::None),
                came: Vec::new(),
                heard: false,
                interim: 0,
                upgrade_asked,
                asked_whole: false,
                reusable: true,
            },
            upload: Upload::Going,
            head_sent: 0,
            out: Buffer::default(),
            out_sent: 0,
            strides: Strides::default(),
        }
    }

    /// Whether the target can have read anything of the request.
    pub(crate) fn was_begun(&self) -> bool {
        self.head_sent > 0
    }

    /// Whether the target has said anything.
    pub(crate) fn was_heard(&self) -> bool {
        self.answer.heard
    }

    /// Whether more of the request's body is to be sent.
    pub(crate) fn is_uploading(&self) -> bool {
        self.upload == Upload::Going
    }

    /// Whether the connection may carry another request.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.answer.reusable && self.upload == Upload::Passed && self.answer.body.is_done()
    }

    /// Sees how an answer's body comes of which `before` bytes were left, and how more of it is to be
    /// awaited.
    pub(crate) fn stride(&mut self, before: Option<u64>, waits: bool, exchange: &Exchange) {
        let left = (before, self.answer.body.left(), self.connection.stream.tcp());
        let (Some(before), Some(left), Some(socket)) = left else { return };
        if waits {
            self.strides.wait(socket, left, exchange);
        } else {
            self.strides.took(socket, before, left);
        }
    }

    /// Sends the request and waits for the head of its answer, which `down` takes.
    ///
    /// # Errors
    ///
    /// The fault that ended it.
    pub(crate) fn poll_answer<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
    ) -> Poll<Result<(), Fault>> {
        if let Poll::Ready(fault) = exchange.poll_ended(cx) {
            return Poll::Ready(Err(fault));
        }
        let sent = self.poll_upload(cx, exchange, down)?;
        self.answer.asked_whole = self.upload == Upload::Passed;
        if let Poll::Ready(done) = self.poll_head(cx, exchange, down) {
            return Poll::Ready(done);
        }
        let _later: Poll<()> = down.poll_inform(cx);
        if sent.is_ready() {
            exchange.wait_on(Fault::ResponseTimeout, exchange.timeouts().response);
            if exchange.is_slow() && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Fault::ClientGone));
            }
        }
        Poll::Pending
    }

    /// Sends more of the request. Ready once nothing is left to send, or the target takes no more.
    ///
    /// # Errors
    ///
    /// What the client did wrong with its body.
    pub(crate) fn poll_upload<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
    ) -> Poll<Result<(), Fault>> {
        let Some(asked) = exchange.asked() else { return Poll::Ready(Err(Fault::Internal)) };
        while self.upload == Upload::Going {
            if self.has_unsent(asked) {
                ready!(self.poll_send(cx, exchange, asked));
            } else if let Some(pipe) = down.pipe() {
                ready!(self.poll_drain(cx, exchange, pipe));
            } else if matches!(down.body(), BodyState::Empty | BodyState::Taken) {
                self.passed(exchange, down.body());
            } else {
                ready!(self.poll_body(cx, exchange, down))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The target has been sent all of it. How long the client took for its body is not its time.
    fn passed(&mut self, exchange: &Exchange, body: BodyState) {
        if body == BodyState::Taken {
            exchange.is_theirs();
        }
        self.upload = Upload::Passed;
        self.out = Buffer::default();
    }

    /// Waits for the target to take more of what there is.
    fn poll_send(&mut self, cx: &mut Context<'_>, exchange: &Exchange, asked: &Asked) -> Poll<()> {
        let wrote = self.poll_write(cx, asked);
        self.took(wrote, exchange)
    }

    /// Waits for the target to take more of what a pipe holds.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        pipe: &mut Pipe,
    ) -> Poll<()> {
        let moved = match self.connection.stream.tcp() {
            Some(to) => pipe.poll_drain(cx, to).map(|moved| moved.is_ok()),
            None => Poll::Ready(false),
        };
        self.took(moved, exchange)
    }

    /// Whether the target took something is a sign of its life.
    fn took(&mut self, took: Poll<bool>, exchange: &Exchange) -> Poll<()> {
        let Poll::Ready(took) = took else {
            exchange.wait_on(Fault::ResponseTimeout, exchange.timeouts().response);
            return Poll::Pending;
        };
        if took {
            exchange.rest();
        } else {
            self.upload = Upload::Broken;
        }
        Poll::Ready(())
    }

    /// Waits for the client to send more of its body.
    fn poll_body<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
    ) -> Poll<Result<(), Fault>> {
        self.next_of_body();
        let by_pipe = self.connection.stream.tcp().is_some();
        let Poll::Ready(came) = down.poll_body(cx, exchange, &mut self.out, by_pipe) else {
            exchange.wait_on(Fault::BodyTimeout, exchange.timeouts().request_body);
            return Poll::Pending;
        };
        exchange.rest();
        Poll::Ready(came)
    }

    fn has_unsent(&self, asked: &Asked) -> bool {
        self.head_sent < asked.head.len() || self.out_sent < self.out.len()
    }

    fn next_of_body(&mut self) {
        if self.out.capacity() == 0 {
            self.out = Buffer::take();
        }
        self.out.clear();
        self.out_sent = 0;
    }

    /// Whether the target took something.
    fn poll_write(&mut self, cx: &mut Context<'_>, asked: &Asked) -> Poll<bool> {
        let head = asked.head.get(self.head_sent..).unwrap_or_default();
        let body = self.out.get(self.out_sent..).unwrap_or_default();
        let stream = Pin::new(&mut self.connection.stream);
        let wrote = match (head.is_empty(), body.is_empty()) {
            (_, true) => ready!(stream.poll_write(cx, head)),
            (true, false) => ready!(stream.poll_write(cx, body)),
            (false, false) => {
                let both = [IoSlice::new(head), IoSlice::new(body)];
                ready!(stream.poll_write_vectored(cx, &both))
            }
        };
        let Ok(wrote) = wrote else { return Poll::Ready(false) };
        let of_head = wrote.min(head.len());
        self.head_sent += of_head;
        self.out_sent += wrote - of_head;
        Poll::Ready(wrote > 0)
    }

    fn poll_head<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
    ) -> Poll<Result<(), Fault>> {
        loop {
            let (stream, answer) = (&mut self.connection.stream, &mut self.answer);
            let read = poll_read_scratch(stream, cx, |bytes| answer.take_in(bytes, exchange, down));
            match ready!(read) {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => return Poll::Ready(Ok(())),
                Ok(Err(fault)) => return Poll::Ready(Err(fault)),
                Err(_broken) => return Poll::Ready(Err(Fault::Reset)),
            }
        }
    }
}

//! The client's side of an exchange over HTTP/1: its body as it comes, its answer as it is written.

mod reading;
mod writing;

use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::http1::head::Version;
use crate::http1::rewrite;
use crate::http1::rewrite::ConnectionLine;
use crate::http1::rewrite::Homeward;
use crate::model::fault::Fault;
use crate::net::pipe::Pipe;
use crate::net::stream::Hangup;
use crate::net::stream::Transport;
use crate::proxy::buffers::Buffer;
use crate::proxy::buffers::Transfer;
use crate::proxy::call::Call;
use crate::proxy::connection::Connection;
use crate::proxy::downstream::BodyState;
use crate::proxy::downstream::Downstream;
use crate::proxy::events::Events;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Kind;
use crate::proxy::reply::Reply;
use crate::proxy::server::appetite::Appetite;
use crate::proxy::server::http1::Manner;
use crate::proxy::server::request_body::RequestBody;
pub(super) use crate::proxy::server::side::writing::offer;
use crate::proxy::strides::Strides;

/// The client's side of the exchange at hand, and what stays between two of them.
pub(super) struct Side<S> {
    /// The client's bytes.
    pub(super) stream: S,
    /// What was read and not used: a part of a head, of a body, of the next request.
    pub(super) pending: Vec<u8>,
    /// Nobody has looked for a request in `pending` yet.
    pub(super) is_unseen: bool,
    /// Whether the connection goes on after this exchange, as far as is known.
    pub(super) goes_on: bool,
    pub(super) connection: Rc<Connection>,
    manner: Manner,
    body: RequestBody,
    /// The client was seen sending more than its request, and is left alone until that has its turn.
    sends_more: bool,
    /// The answer, as it is sent on.
    answer: Encoder,
    as_it_is: bool,
    /// The answer is a stream of events that can be ended early.
    events: Option<Events>,
    /// What the stream held back when it was last looked at.
    unsent: usize,
    pub(super) out: Buffer,
    pub(super) out_sent: usize,
    /// Where in `out` the final answer begins.
    answer_at: Option<usize>,
    pub(super) transfer: Option<Transfer>,
    pub(super) pipe: Option<Pipe>,
    pub(super) appetite: Appetite,
    /// In which its large bodies are read.
    strides: Strides,
}

impl<S: Transport> Side<S> {
    /// A connection on which nothing has been asked yet.
    pub(super) fn new(stream: S, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            pending: Vec::new(),
            is_unseen: false,
            goes_on: true,
            connection,
            manner: Manner::default(),
            body: RequestBody::new(Framing::None, None),
            sends_more: false,
            answer: Encoder::new(Framing::None),
            as_it_is: true,
            events: None,
            unsent: 0,
            out: Buffer::default(),
            out_sent: 0,
            answer_at: None,
            transfer: None,
            pipe: None,
            appetite: Appetite::default(),
            strides: Strides::default(),
        }
    }

    /// An exchange begins.
    pub(super) fn begin(&mut self, manner: Manner, limit: Option<u64>, goes_on: bool) {
        self.manner = manner;
        self.goes_on = goes_on;
        self.body = RequestBody::new(manner.body, limit);
        self.sends_more = false;
        self.out = Buffer::take();
        self.out_sent = 0;
        self.answer_at = None;
        self.appetite.begin();
        self.strides.begin();
    }

    /// Nothing is in flight: gives back what an idle connection needs none of.
    pub(super) fn rest(&mut self) {
        self.out = Buffer::default();
        self.transfer = None;
        self.pipe = None;
        self.body.pipe = None;
        self.awaits_all();
        self.is_unseen = !self.pending.is_empty();
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        self.stream.rest();
    }

    /// Whether nothing of the request's body is left with the client.
    pub(super) fn has_all_of_body(&self) -> bool {
        matches!(self.body.state, BodyState::Empty | BodyState::Taken)
    }

    /// Whether nothing that the client sent is known to be unread.
    pub(super) fn is_read_up(&self) -> bool {
        self.pending.is_empty() && !self.sends_more
    }

    /// Takes the body of a request that nobody forwards, as far as it has come already.
    pub(super) fn skip_body(&mut self, exchange: &Exchange) {
        if !self.has_all_of_body() {
            let mut nowhere = Buffer::take();
            let pending = std::mem::take(&mut self.pending);
            // What is wrong with it shows in what is left of it: then the connection ends.
            if let Ok(used) = self.body.take(&pending, exchange, &mut nowhere) {
                self.pending = pending.get(used..).unwrap_or_default().to_vec();
            }
        }
    }

    /// Writes one of our own answers and sends it; whether the client took it.
    pub(super) async fn say(&mut self, reply: &Reply, exchange: &Exchange) -> bool {
        let to_head = exchange.asked().is_some_and(Asked::is_head);
        let length = reply.text.len().to_string();
        let own = [("Content-Length", length.as_str())];
        let fields = reply
            .fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let lines = own
            .into_iter()
            .chain(fields)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let status = reply.status;
        let reason = status.canonical_reason().unwrap_or_default().as_bytes();
        let connection = self.connection_line();
        let head = Homeward {
            status: status.as_u16(),
            reason,
            framing: Some(Framing::Length(0)),
            connection,
            nominates: false,
            extras: exchange.extras(),
        };
        // Nothing has been sent of an answer that broke off with its head: ours stands in its place.
        self.out.truncate(self.answer_at.unwrap_or(usize::MAX));
        rewrite::response(&mut self.out, &head, lines);
        if !to_head {
            self.out.extend_from_slice(reply.text.as_bytes());
            exchange.has_sent(reply.text.len());
        }
        let sent = self.send().await;
        if sent {
            exchange.complete();
        }
        sent
    }

    fn connection_line(&self) -> ConnectionLine<'static> {
        match (self.goes_on, self.manner.version) {
            (false, _) => ConnectionLine::Close,
            (true, Version::Http10) => ConnectionLine::KeepAlive,
            (true, Version::Http11) => ConnectionLine::None,
        }
    }

    /// Whether what comes from the target is what goes to the client, byte for byte.
    pub(super) fn passes_as_it_is(&self) -> bool {
        self.as_it_is
    }

    /// Whether a stream of events has been ended early, between two of them.
    pub(super) fn has_parted(&self) -> bool {
        self.events.is_some_and(|events| events.is_over())
    }

    /// Ends a stream of events whose turn has come, if it stands between two: nothing more of it is
    /// taken from the target.
    pub(super) fn part(&mut self, call: &mut Option<Call>, exchange: &Exchange) {
        if let Some(events) = &mut self.events
            && exchange.is_parting()
            && call.is_some()
        {
            events.part();
            if events.is_over() {
                *call = None;
                self.answer.finish(&[], &mut self.out);
            }
        }
    }
}

impl<S: Transport> Downstream for Side<S> {
    fn body(&self) -> BodyState {
        self.body.state
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        out: &mut Vec<u8>,
        by_pipe: bool,
    ) -> Poll<Result<(), Fault>> {
        let before = self.body.left();
        let came = self.poll_take(cx, exchange, out, by_pipe);
        self.stride(before, came.is_pending(), exchange);
        came
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        self.body.pipe.as_mut().filter(|pipe| pipe.holds() > 0)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_read_up() || !self.has_all_of_body() {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_hangup(cx)) {
            Hangup::Gone => Poll::Ready(()),
            Hangup::Sent => {
                self.sends_more = true;
                Poll::Pending
            }
        }
    }

    fn inform(&mut self, head: &ResponseHead<'_, '_>) {
        // HTTP/1.0 knows no interim answers (RFC 9110 §15.2).
        if self.manner.version == Version::Http11 {
            let homeward = Homeward {
                status: head.status,
                reason: head.reason,
                framing: None,
                connection: ConnectionLine::None,
                nominates: head.nominates,
                extras: None,
            };
            rewrite::response(&mut self.out, &homeward, head.fields.clone());
        }
    }

    fn poll_inform(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out_sent == self.out.len() {
            return Poll::Ready(());
        }
        // That the client has gone shows elsewhere.
        self.poll_send(cx).map(drop)
    }

    fn answer(&mut self, head: &ResponseHead<'_, '_>, exchange: &Exchange) {
        exchange.answer(head.status, true);
        let framing = match (head.body, self.manner.version) {
            (Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (same, _) => same,
        };
        // What is left of the upload may never come: the client is told not to wait for more.
        self.goes_on &= framing != Framing::UntilClose
            && self.has_all_of_body()
            && !self.connection.is_stopping();
        let connection = match head.upgrade {
            Some(protocol) if head.status == 101 => ConnectionLine::Upgrade(protocol),
            Some(_) | None => self.connection_line(),
        };
        self.answer = Encoder::new(framing);
        self.events = Events::of(head);
        if self.events.is_some() {
            exchange.can_part(Kind::Events);
        }
        let as_it_is = framing == head.body && framing != Framing::Chunked;
        self.as_it_is = as_it_is && self.events.is_none();
        let homeward = Homeward {
            status: head.status,
            reason: head.reason,
            framing: (head.status != 101).then_some(framing),
            connection,
            nominates: head.nominates,
            extras: exchange.extras(),
        };
        if head
            .upgrade
            .is_some_and(|to| to.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        {
            exchange.can_part(Kind::WebSocket);
        }
        // One head an answer, whoever was asked for it.
        let at = self.answer_at.unwrap_or(self.out.len());
        self.out.truncate(at);
        self.answer_at = Some(at);
        rewrite::response(&mut self.out, &homeward, head.fields.clone());
    }

    fn content(&mut self, data: &[u8], exchange: &Exchange) {
        let mut data = data;
        if let Some(events) = &mut self.events {
            data = events.pass(data, exchange.is_parting());
        }
        exchange.has_sent(data.len());
        self.answer.push(data, &mut self.out);
    }

    fn end(&mut self, trailers: &[u8]) {
        // One that is over is ended without them, once.
        if !self.has_parted() {
            self.answer.finish(trailers, &mut self.out);
        }
    }
}

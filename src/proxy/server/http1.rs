//! HTTP/1 with a client, by our own engine: one request after another, until the connection ends or
//! turns into a tunnel.

mod apart;

use std::future::Future;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::task::coop::poll_proceed;

use crate::http1::framing::Framing;
use crate::http1::head;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::head::Version;
use crate::model::fault::Fault;
use crate::model::settings::Limits;
use crate::model::settings::REQUEST_LINE_MAX;
use crate::net::stream::Transport;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::buffers::with_fields;
use crate::proxy::call::Call;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::forward::Begun;
use crate::proxy::handler;
use crate::proxy::handler::Arrival;
use crate::proxy::handler::Next;
use crate::proxy::handler::Terms;
use crate::proxy::server::side::Side;
use crate::proxy::worker::Worker;

/// The status that agrees to an upgrade.
const SWITCHING_PROTOCOLS: u16 = 101;

/// How a connection ends.
enum Over {
    /// Regularly.
    Quiet,
    /// With the client perhaps still sending: closing on unread bytes resets the connection, and a
    /// reset takes the answer away from a client that has not read it yet (RFC 9112 §9.6).
    Lingering,
    /// In the middle of an answer. A regular end could say that it is whole.
    Broken,
    /// The other side is gone already, or not worth a goodbye.
    Dropped,
}

/// What comes next on a connection.
enum Came {
    /// A request that goes to a target: it is in its place.
    Request(Manner),
    /// Anything else.
    Else(Turn),
}

/// What the usual way of a request leads to, which is looked at by one function alone: it is the way of
/// nearly all, and a future within a future for each of its steps costs more than the steps.
enum Turn {
    /// The connection ends.
    Over(Over),
    /// This was no request.
    Refused(Fault),
    /// About this request something else was decided.
    Other(Box<Arrival>, Manner),
    /// The request in its place has no kept connection to go over, or this came of it.
    GoOn(Option<Fault>),
    /// The target has agreed to an upgrade.
    Tunnel,
}

/// A request on its way to a target.
struct Going {
    exchange: Rc<Exchange>,
    terms: Terms,
    /// The client's side has the head of the answer.
    answered: bool,
    /// What followed did so in the same turn.
    at_once: bool,
}

/// What the connection itself must know of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// How its body is framed.
    pub(super) body: Framing,
    /// The version that the client speaks.
    pub(super) version: Version,
    /// Whether the client wants to go on afterwards.
    pub(super) keep_alive: bool,
}

impl Going {
    /// One that has just come.
    fn new(exchange: Rc<Exchange>, terms: Terms) -> Self {
        Self { exchange, terms, answered: false, at_once: true }
    }
}

impl Default for Manner {
    fn default() -> Self {
        Self { body: Framing::None, version: Version::Http11, keep_alive: true }
    }
}

/// One HTTP/1 connection with a client.
struct Http1<S> {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    limits: HeadLimits,
    side: Side<S>,
    /// The request that goes the usual way. What belongs to it is beside it: it is moved to its place.
    going: Option<Going>,
    begun: Option<Begun>,
    call: Option<Call>,
}

/// Serves HTTP/1 until the connection ends, or turns into a tunnel and that ends; lets go of `held`
/// then.
// A block and not a function that is `async`: of what a function is given its future holds two, and
// each idle connection is one of these.
pub(crate) fn serve<S: Transport, H>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    limits: &Limits,
    held: H,
) -> impl Future<Output = ()> + use<S, H> {
    let limits = HeadLimits {
        bytes: limits.request_header,
        // One more than the limit: the handler counts, so that its answer carries the request's id.
        fields: limits.request_headers.saturating_add(1),
        target: REQUEST_LINE_MAX,
    };
    let side = Side::new(stream, Rc::clone(&connection));
    let mut http = Http1 { worker, connection, limits, side, going: None, begun: None, call: None };
    async move {
        let over = http.run().await;
        http.end(over).await;
        drop(held);
    }
}

impl<S: Transport> Http1<S> {
    async fn run(&mut self) -> Over {
        loop {
            // In boxes: what is rare takes no room in the future of every connection.
            let over = match poll_fn(|cx| self.poll_turn(cx)).await {
                Turn::Over(over) => return over,
                Turn::Refused(fault) => return Box::pin(self.refuse(fault)).await,
                Turn::Other(arrival, manner) => Box::pin(self.serve_other(*arrival, manner)).await,
                Turn::GoOn(fault) => Box::pin(self.go_on(fault)).await,
                Turn::Tunnel => Box::pin(self.tunnel()).await,
            };
            if let Some(over) = over {
                return over;
            }
            self.side.rest();
        }
    }

    /// One request after another, as long as they go the usual way: over a kept connection, and well.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        loop {
            if self.going.is_none() {
                match ready!(self.poll_request(cx)) {
                    Came::Request(manner) => self.set_out(manner),
                    Came::Else(turn) => return Poll::Ready(turn),
                }
            }
            if let Some(turn) = ready!(self.poll_going(cx)) {
                return Poll::Ready(turn);
            }
            self.side.rest();
        }
    }

    /// Begins the way of the request in its place.
    #[inline]
    fn set_out(&mut self, manner: Manner) {
        if let Some(Going { exchange, terms, .. }) = &self.going {
            self.side.begin(manner, terms.body_max, manner.keep_alive);
            self.begun = forward::begin(exchange, terms, &mut self.call);
        }
    }

    /// Passes the request in its place on, and its answer back. Nothing once the connection can go on.
    #[inline]
    fn poll_going(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let Some(going) = &mut self.going else { return Poll::Ready(None) };
        let Going { exchange, answered, at_once, .. } = going;
        if !*answered {
            let Some(call) = &mut self.call else { return Poll::Ready(Some(Turn::GoOn(None))) };
            if let Err(fault) = ready!(call.poll_answer(cx, exchange, &mut self.side)) {
                return Poll::Ready(Some(Turn::GoOn(Some(fault))));
            }
            if exchange.status() == SWITCHING_PROTOCOLS {
                return Poll::Ready(Some(Turn::Tunnel));
            }
            *answered = true;
        }
        let Poll::Ready(delivered) = self.side.poll_deliver(cx, &mut self.call, exchange) else {
            *at_once = false;
            return Poll::Pending;
        };
        let over = match delivered {
            Ok(()) => completed(&self.side, exchange, *at_once),
            Err(fault) => Some(broken(exchange, fault)),
        };
        // It ends here, and not with the goodbye to its client.
        self.begun = None;
        self.call = None;
        self.going = None;
        Poll::Ready(over.map(Turn::Over))
    }

    /// Waits for a whole head, or for the end of the connection.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        if self.side.is_unseen {
            // A client that sends many at once must let others have their turn: to read is a turn of
            // many of them, and who is answered by ourselves waits for nothing else.
            ready!(poll_proceed(cx)).made_progress();
            if let Some(came) = self.take_pending() {
                return Poll::Ready(came);
            }
        }
        let mut closing = false;
        while let Poll::Ready(ending) = self.connection.poll_ending(cx) {
            match ending {
                Ending::HeadTimeout if !self.side.pending.is_empty() => {
                    return Poll::Ready(Came::Else(Turn::Refused(Fault::HeadTimeout)));
                }
                Ending::HeadTimeout | Ending::SendTimeout => {
                    self.connection.listener.count_ending(ending);
                    return Poll::Ready(Came::Else(Turn::Over(Over::Dropped)));
                }
                // A request of which a part has come is still served.
                Ending::Shutdown if !self.side.pending.is_empty() => {}
                Ending::Idle | Ending::Shutdown => closing = true,
            }
        }
        loop {
            let Self { worker, connection, limits, side, going, .. } = self;
            let (stream, pending) = (&mut side.stream, &mut side.pending);
            let read = poll_read_scratch(stream, cx, |bytes| {
                receive(worker, connection, limits, pending, bytes, going)
            });
            let read = match read {
                Poll::Ready(read) => read,
                // Not before it has been looked whether a request has come: closing on one would
                // reset the connection.
                Poll::Pending if closing && self.side.pending.is_empty() => {
                    return Poll::Ready(Came::Else(Turn::Over(Over::Quiet)));
                }
                Poll::Pending => return Poll::Pending,
            };
            match read {
                Ok(None) => {}
                Ok(Some(came)) => return Poll::Ready(came),
                Err(_gone) => return Poll::Ready(Came::Else(Turn::Over(Over::Dropped))),
            }
        }
    }

    /// The request that came right behind the one before, if it is whole.
    fn take_pending(&mut self) -> Option<Came> {
        self.side.is_unseen = false;
        let mut pending = std::mem::take(&mut self.side.pending);
        let Self { worker, connection, limits, going, .. } = self;
        let taken = take_in(worker, connection, limits, &pending, going);
        if let Some((_, used)) = &taken {
            pending.drain(..*used);
        } else {
            // Its first byte has come: from now on it must come in time.
            self.connection.has_read();
        }
        self.side.pending = pending;
        taken.map(|(came, _)| came)
    }
}

/// Takes in what has been read; what it makes whole.
fn receive(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    limits: &HeadLimits,
    pending: &mut Vec<u8>,
    bytes: &[u8],
    place: &mut Option<Going>,
) -> Option<Came> {
    if bytes.is_empty() {
        // A goodbye of TLS asks for one of ours (RFC 8446 section 6.1).
        return Some(Came::Else(Turn::Over(Over::Quiet)));
    }
    connection.has_read();
    if pending.is_empty() {
        let taken = take_in(worker, connection, limits, bytes, place);
        let used = taken.as_ref().map_or(0, |(_, used)| *used);
        pending.extend_from_slice(bytes.get(used..).unwrap_or_default());
        return taken.map(|(came, _)| came);
    }
    let seen = pending.len();
    pending.extend_from_slice(bytes);
    if !head::may_be_whole(pending, seen, limits) {
        return None;
    }
    let (came, used) = take_in(worker, connection, limits, pending, place)?;
    pending.drain(..used);
    Some(came)
}

/// Reads a head and lets the handler decide; with how many bytes it took. A request that goes to a target
/// is put in its `place`. Nothing if the head is not whole.
fn take_in(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    limits: &HeadLimits,
    bytes: &[u8],
    place: &mut Option<Going>,
) -> Option<(Came, usize)> {
    with_fields(|room| match head::request(bytes, room, limits) {
        Ok(Parsed::Partial) => None,
        Ok(Parsed::Whole(head)) => {
            let manner =
                Manner { body: head.body, version: head.version, keep_alive: head.keep_alive };
            let came = match handler::arrive(worker, connection, &head) {
                Arrival { exchange, next: Next::Forward(terms) } => {
                    *place = Some(Going::new(exchange, terms));
                    Came::Request(manner)
                }
                mut other => {
                    if let Next::Hold(held) = &mut other.next {
                        held.head = bytes.get(..head.length).unwrap_or_default().to_vec();
                    }
                    Came::Else(Turn::Other(Box::new(other), manner))
                }
            };
            Some((came, head.length))
        }
        Err(fault) => Some((Came::Else(Turn::Refused(fault)), bytes.len())),
    })
}

/// The whole answer is with the client. Whether its connection goes on.
#[inline]
fn completed<S: Transport>(side: &Side<S>, exchange: &Exchange, at_once: bool) -> Option<Over> {
    if at_once {
        exchange.complete_at_once();
    } else {
        exchange.complete();
    }
    whether_over(side)
}

/// Whether a connection goes on behind an answer.
#[inline]
fn whether_over<S: Transport>(side: &Side<S>) -> Option<Over> {
    match (side.goes_on, side.has_all_of_body()) {
        (true, true) => None,
        (false, true) => Some(Over::Quiet),
        (_, false) => Some(Over::Lingering),
    }
}

/// The answer broke off.
#[cold]
fn broken(exchange: &Exchange, fault: Fault) -> Over {
    let first = exchange.fault().is_none();
    exchange.end(fault);
    if first {
        exchange.count_upstream_error(fault);
    }
    if fault == Fault::ClientGone { Over::Dropped } else { Over::Broken }
}

#[cfg(test)]
mod tests;

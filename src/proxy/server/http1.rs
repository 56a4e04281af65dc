//! HTTP/1 with a client, by our own engine: one request after another, until the connection ends or
//! turns into a tunnel.

use std::future::Future;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use crate::http1::framing::Framing;
use crate::http1::head;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::head::Version;
use crate::model::fault::Fault;
use crate::model::settings::Limits;
use crate::model::settings::REQUEST_LINE_MAX;
use crate::net::stream::Transport;
use crate::net::stream::has_hung_up;
use crate::proxy::buffers::poll_read_scratch;
use crate::proxy::buffers::with_fields;
use crate::proxy::call::Call;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::handler;
use crate::proxy::handler::Arrival;
use crate::proxy::handler::Next;
use crate::proxy::hold::Held;
use crate::proxy::reply;
use crate::proxy::reply::Reply;
use crate::proxy::server::farewell::goodbye;
use crate::proxy::server::farewell::linger;
use crate::proxy::server::held;
use crate::proxy::server::held::Go;
use crate::proxy::server::side::Side;
use crate::proxy::tunnel;
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
    /// A request.
    Request(Arrival, Manner),
    /// Something that is none.
    Refused(Fault),
    /// Nothing more.
    Over(Over),
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
    let mut http = Http1 { worker, connection, limits, side };
    async move {
        let over = http.run().await;
        http.end(over).await;
        drop(held);
    }
}

impl<S: Transport> Http1<S> {
    /// Says goodbye as the end asks for.
    async fn end(&mut self, over: Over) {
        let side = &mut self.side;
        match over {
            // Nothing of the client's is unread: closing says goodbye.
            Over::Quiet if side.stream.plain().is_some() && side.is_read_up() => {}
            Over::Quiet => goodbye(&mut side.stream).await,
            Over::Lingering => {
                goodbye(&mut side.stream).await;
                linger(&mut side.stream).await;
            }
            // A refusal means that the connection is gone already.
            Over::Broken => drop(side.stream.socket().set_zero_linger()),
            Over::Dropped => {}
        }
    }

    async fn run(&mut self) -> Over {
        loop {
            let over = match poll_fn(|cx| self.poll_request(cx)).await {
                Came::Request(arrival, manner) => self.serve_one(arrival, manner).await,
                Came::Refused(fault) => Some(self.refuse(fault).await),
                Came::Over(over) => Some(over),
            };
            if let Some(over) = over {
                return over;
            }
            self.side.rest();
        }
    }

    /// Answers a head that cannot be understood, or did not come in time.
    async fn refuse(&mut self, fault: Fault) -> Over {
        let (exchange, reply) = handler::refuse(&self.worker, &self.connection, fault);
        self.side.begin(Manner::default(), None, false);
        self.side.say(&reply, &exchange).await;
        // One that drips has had its time.
        if fault == Fault::HeadTimeout { Over::Quiet } else { Over::Lingering }
    }

    /// Waits for a whole head, or for the end of the connection.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        if let Some(came) = self.take_pending() {
            return Poll::Ready(came);
        }
        let mut closing = false;
        while let Poll::Ready(ending) = self.connection.poll_ending(cx) {
            match ending {
                Ending::HeadTimeout if !self.side.pending.is_empty() => {
                    return Poll::Ready(Came::Refused(Fault::HeadTimeout));
                }
                Ending::HeadTimeout | Ending::SendTimeout => {
                    self.connection.listener.count_ending(ending);
                    return Poll::Ready(Came::Over(Over::Dropped));
                }
                // A request of which a part has come is still served.
                Ending::Shutdown if !self.side.pending.is_empty() => {}
                Ending::Idle | Ending::Shutdown => closing = true,
            }
        }
        loop {
            let Self { worker, connection, limits, side } = self;
            let (stream, pending) = (&mut side.stream, &mut side.pending);
            let read = poll_read_scratch(stream, cx, |bytes| {
                receive(worker, connection, limits, pending, bytes)
            });
            let read = match read {
                Poll::Ready(read) => read,
                // Not before it has been looked whether a request has come: closing on one would
                // reset the connection.
                Poll::Pending if closing && self.side.pending.is_empty() => {
                    return Poll::Ready(Came::Over(Over::Quiet));
                }
                Poll::Pending => return Poll::Pending,
            };
            match read {
                Ok(None) => {}
                Ok(Some(came)) => return Poll::Ready(came),
                Err(_gone) => return Poll::Ready(Came::Over(Over::Dropped)),
            }
        }
    }

    /// The request that came right behind the one before, if there is one.
    fn take_pending(&mut self) -> Option<Came> {
        if !std::mem::take(&mut self.side.is_unseen) {
            return None;
        }
        let mut pending = std::mem::take(&mut self.side.pending);
        let taken = take_in(&self.worker, &self.connection, &self.limits, &pending);
        if let Some((_, used)) = &taken {
            pending.drain(..*used);
        } else {
            // Its first byte has come: from now on it must come in time.
            self.connection.has_read();
        }
        self.side.pending = pending;
        taken.map(|(came, _)| came)
    }

    async fn serve_one(&mut self, arrival: Arrival, manner: Manner) -> Option<Over> {
        let Arrival { exchange, next } = arrival;
        let goes_on = manner.keep_alive;
        let next = match next {
            // In a box: no other connection should carry the room for this.
            Next::Hold(held) => Box::pin(self.wait(held, &exchange)).await,
            Next::Forward(terms) => Ok(Go::Forward(terms)),
            Next::Reply(reply) => Ok(Go::Reply(reply)),
        };
        match next {
            Err(fault) => {
                self.side.begin(manner, None, goes_on);
                self.fail(fault, exchange).await
            }
            Ok(Go::Reply(reply)) => {
                self.side.begin(manner, None, goes_on);
                self.side.skip_body(&exchange);
                self.reply(&reply, exchange).await
            }
            Ok(Go::Forward(terms)) => {
                self.side.begin(manner, terms.body_max, goes_on);
                let mut call = None;
                let sent = forward::forward(&exchange, &terms, &mut self.side, &mut call).await;
                match sent {
                    Ok(()) => self.deliver(&mut call, exchange).await,
                    Err(fault) => self.fail(fault, exchange).await,
                }
            }
        }
    }

    /// Waits until a request is let go. Its head is read again then, from a copy.
    async fn wait(&mut self, mut held: Box<Held>, exchange: &Rc<Exchange>) -> Result<Go, Fault> {
        let bytes = std::mem::take(&mut held.head);
        let socket = self.side.stream.socket();
        let gone = |_: &mut Context<'_>| {
            if has_hung_up(socket) { Poll::Ready(()) } else { Poll::Pending }
        };
        let decide = |held| {
            with_fields(|room| match head::request(&bytes, room, &self.limits) {
                Ok(Parsed::Whole(head)) => handler::again(exchange, &head, held),
                // It was read before.
                Ok(Parsed::Partial) | Err(_) => {
                    Next::Reply(reply::to_fault(Fault::Internal, exchange))
                }
            })
        };
        held::wait(held, exchange, gone, decide).await
    }

    async fn fail(&mut self, fault: Fault, exchange: Rc<Exchange>) -> Option<Over> {
        if fault == Fault::ClientGone {
            exchange.end(fault);
            return Some(Over::Dropped);
        }
        let reply = reply::to_fault(fault, &exchange);
        self.reply(&reply, exchange).await
    }

    /// Answers by ourselves.
    async fn reply(&mut self, reply: &Reply, exchange: Rc<Exchange>) -> Option<Over> {
        self.side.goes_on &=
            !reply.apart && self.side.has_all_of_body() && !self.connection.is_stopping();
        if !self.side.say(reply, &exchange).await {
            return Some(Over::Dropped);
        }
        self.after(exchange)
    }

    /// Passes an answer on whose head has come.
    async fn deliver(&mut self, call: &mut Option<Call>, exchange: Rc<Exchange>) -> Option<Over> {
        if exchange.status() == SWITCHING_PROTOCOLS {
            // In a box: no other connection should carry the room for this.
            return Box::pin(self.tunnel(call.take()?, exchange)).await;
        }
        let mut at_once = true;
        let delivered = poll_fn(|cx| {
            let delivered = self.side.poll_deliver(cx, call, &exchange);
            at_once &= delivered.is_ready();
            delivered
        });
        match delivered.await {
            Ok(()) => {
                if at_once {
                    exchange.complete_at_once();
                } else {
                    exchange.complete();
                }
                self.after(exchange)
            }
            Err(fault) => {
                let first = exchange.fault().is_none();
                exchange.end(fault);
                if first {
                    exchange.count_upstream_error(fault);
                }
                let gone = fault == Fault::ClientGone;
                Some(if gone { Over::Dropped } else { Over::Broken })
            }
        }
    }

    /// The answer is with the client. Whether the connection goes on.
    fn after(&mut self, exchange: Rc<Exchange>) -> Option<Over> {
        drop(exchange);
        match (self.side.goes_on, self.side.has_all_of_body()) {
            (true, true) => None,
            (false, true) => Some(Over::Quiet),
            (_, false) => Some(Over::Lingering),
        }
    }

    async fn tunnel(&mut self, call: Call, exchange: Rc<Exchange>) -> Option<Over> {
        if !self.side.send().await {
            exchange.end(Fault::ClientGone);
            return Some(Over::Dropped);
        }
        let early = std::mem::take(&mut self.side.pending);
        let target = tunnel::Target { stream: call.connection.stream, came: call.answer.came };
        tunnel::run(&exchange, target, &mut self.side.stream, &early).await;
        // Who got our Close may still be sending.
        Some(if exchange.is_parting() { Over::Lingering } else { Over::Quiet })
    }
}

/// Takes in what has been read; what it makes whole.
fn receive(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    limits: &HeadLimits,
    pending: &mut Vec<u8>,
    bytes: &[u8],
) -> Option<Came> {
    if bytes.is_empty() {
        // A goodbye of TLS asks for one of ours (RFC 8446 section 6.1).
        return Some(Came::Over(Over::Quiet));
    }
    connection.has_read();
    if pending.is_empty() {
        let taken = take_in(worker, connection, limits, bytes);
        let used = taken.as_ref().map_or(0, |(_, used)| *used);
        pending.extend_from_slice(bytes.get(used..).unwrap_or_default());
        return taken.map(|(came, _)| came);
    }
    let seen = pending.len();
    pending.extend_from_slice(bytes);
    if !head::may_be_whole(pending, seen, limits) {
        return None;
    }
    let (came, used) = take_in(worker, connection, limits, pending)?;
    pending.drain(..used);
    Some(came)
}

/// Reads a head and lets the handler decide; with how many bytes it took. Nothing if it is not whole.
fn take_in(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    limits: &HeadLimits,
    bytes: &[u8],
) -> Option<(Came, usize)> {
    with_fields(|room| match head::request(bytes, room, limits) {
        Ok(Parsed::Partial) => None,
        Ok(Parsed::Whole(head)) => {
            let manner =
                Manner { body: head.body, version: head.version, keep_alive: head.keep_alive };
            let mut arrival = handler::arrive(worker, connection, &head);
            if let Next::Hold(held) = &mut arrival.next {
                held.head = bytes.get(..head.length).unwrap_or_default().to_vec();
            }
            Some((Came::Request(arrival, manner), head.length))
        }
        Err(fault) => Some((Came::Refused(fault), bytes.len())),
    })
}

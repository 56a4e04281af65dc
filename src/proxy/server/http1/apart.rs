//! What an HTTP/1 connection does seldom: everything but a request that goes to a target over a kept
//! connection, and its answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use crate::http1::head;
use crate::http1::head::Parsed;
use crate::model::fault::Fault;
use crate::net::stream::Transport;
use crate::net::stream::has_hung_up;
use crate::proxy::buffers::with_fields;
use crate::proxy::call::Call;
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
use crate::proxy::server::http1::Going;
use crate::proxy::server::http1::Http1;
use crate::proxy::server::http1::Manner;
use crate::proxy::server::http1::Over;
use crate::proxy::server::http1::SWITCHING_PROTOCOLS;
use crate::proxy::server::http1::broken;
use crate::proxy::server::http1::completed;
use crate::proxy::server::http1::whether_over;
use crate::proxy::tunnel;

impl<S: Transport> Http1<S> {
    /// Says goodbye as the end asks for.
    pub(super) async fn end(&mut self, over: Over) {
        let side = &mut self.side;
        match over {
            // Nothing of the client's is unread, and nothing waits for its end: closing says goodbye.
            Over::Quiet if side.stream.plain().is_some() && side.goes_on && side.is_read_up() => {}
            Over::Quiet => goodbye(&mut side.stream).await,
            Over::Lingering => {
                side.awaits_all();
                goodbye(&mut side.stream).await;
                linger(&mut side.stream).await;
            }
            Over::Broken => side.stream.socket().reset_at_the_end(),
            Over::Dropped => {}
        }
    }

    /// Answers a head that cannot be understood, or did not come in time.
    pub(super) async fn refuse(&mut self, fault: Fault) -> Over {
        let (exchange, reply) = handler::refuse(&self.worker, &self.connection, fault);
        self.side.begin(Manner::default(), None, false);
        self.side.say(&reply, &exchange).await;
        // One that drips has had its time.
        if fault == Fault::HeadTimeout { Over::Quiet } else { Over::Lingering }
    }

    /// Serves a request that does not go to a target, or not at once.
    pub(super) async fn serve_other(&mut self, arrival: Arrival, manner: Manner) -> Option<Over> {
        let Arrival { exchange, next } = arrival;
        let go = match next {
            Next::Hold(held) => self.wait(held, &exchange).await,
            Next::Forward(terms) => Ok(Go::Forward(terms)),
            Next::Reply(reply) => Ok(Go::Reply(reply)),
        };
        if let Ok(Go::Forward(terms)) = go {
            self.side.begin(manner, terms.body_max, manner.keep_alive);
            self.going = Some(Going::new(exchange, terms));
            return self.go_on(None).await;
        }
        self.side.begin(manner, None, manner.keep_alive);
        match go {
            Ok(Go::Reply(reply)) => {
                self.side.skip_body(&exchange);
                self.reply(&reply, exchange).await
            }
            Ok(Go::Forward(_)) => None,
            Err(fault) => self.fail(fault, exchange).await,
        }
    }

    /// Goes on with the request in its place, wherever its way leads. `fault` is what came of its call,
    /// if it was begun with one.
    pub(super) async fn go_on(&mut self, fault: Option<Fault>) -> Option<Over> {
        let Going { exchange, terms, .. } = self.going.take()?;
        let (mut call, side) = (self.call.take(), &mut self.side);
        let sent = match self.begun.take() {
            Some(begun) => forward::go_on(&exchange, &terms, side, &mut call, begun, fault).await,
            None => forward::forward(&exchange, &terms, side, &mut call).await,
        };
        match sent {
            Ok(()) if exchange.status() == SWITCHING_PROTOCOLS => {
                self.run_tunnel(call, exchange).await
            }
            Ok(()) => self.deliver(&mut call, exchange).await,
            Err(fault) => self.fail(fault, exchange).await,
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
        drop(exchange);
        whether_over(&self.side)
    }

    /// Passes an answer on whose head has come.
    async fn deliver(&mut self, call: &mut Option<Call>, exchange: Rc<Exchange>) -> Option<Over> {
        let mut at_once = true;
        let delivered = poll_fn(|cx| {
            let delivered = self.side.poll_deliver(cx, call, &exchange);
            at_once &= delivered.is_ready();
            delivered
        });
        match delivered.await {
            Ok(()) => completed(&self.side, &exchange, at_once),
            Err(fault) => Some(broken(&exchange, fault)),
        }
    }

    /// Carries what comes after an upgrade of the request in its place.
    pub(super) async fn tunnel(&mut self) -> Option<Over> {
        let Going { exchange, .. } = self.going.take()?;
        let call = self.call.take();
        self.begun = None;
        self.run_tunnel(call, exchange).await
    }

    async fn run_tunnel(&mut self, call: Option<Call>, exchange: Rc<Exchange>) -> Option<Over> {
        let call = call?;
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

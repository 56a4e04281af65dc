//! One request over HTTP/2, from its head to the last byte of its answer.

use std::cell::RefCell;
use std::future::Future;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::task::spawn_local;

use crate::model::fault::Fault;
use crate::proxy::body;
use crate::proxy::body::Last;
use crate::proxy::body::StreamSide;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward;
use crate::proxy::handler;
use crate::proxy::handler::Arrival;
use crate::proxy::handler::Next;
use crate::proxy::handler::Terms;
use crate::proxy::head::HttpHead;
use crate::proxy::hold::Held;
use crate::proxy::reply;
use crate::proxy::reply::Reply;
use crate::proxy::server::ahead::Ahead;
use crate::proxy::server::ahead::Upload;
use crate::proxy::server::held;
use crate::proxy::server::held::Go;
use crate::proxy::server::seats::Seats;
use crate::proxy::worker::Worker;

thread_local! {
    static SEATS: Seats<Job> = const { Seats::new() };
}

/// A stream whose answer has not begun.
struct Stream {
    exchange: Rc<Exchange>,
    respond: SendResponse<Bytes>,
    upload: Option<Upload>,
}

/// A stream that a target is to answer.
struct Job {
    stream: Stream,
    terms: Terms,
    source: RecvStream,
}

/// Takes a request in, and sees to it that it is answered. All that is known of it at once is worked
/// out before there is a task for it: what that holds, every stream holds until its answer begins.
pub(super) fn begin(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    ahead: &Rc<Ahead>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let upload = (!request.body().is_end_stream()).then(|| ahead.begin());
    let view = view(&request, upload.is_some());
    if let Some(fault) = view.fault() {
        let (exchange, reply) = handler::refuse(worker, connection, fault);
        return say_later(say(reply, &exchange, &mut respond, upload.is_none()));
    }
    let Arrival { exchange, next } = handler::arrive(worker, connection, &view);
    match next {
        Next::Reply(reply) => {
            say_later(say(reply, &exchange, &mut respond, upload.is_none()));
        }
        Next::Forward(terms) => {
            let stream = Stream { exchange, respond, upload };
            Seats::take(&SEATS, Job { stream, terms, source: request.into_body() }, answer);
        }
        Next::Hold(held) => {
            let stream = Stream { exchange, respond, upload };
            drop(spawn_local(wait(held, stream, request)));
        }
    }
}

async fn send(last: Option<Last>) {
    if let Some(last) = last {
        last.send().await;
    }
}

fn say_later(last: Option<Last>) {
    if let Some(last) = last {
        drop(spawn_local(last.send()));
    }
}

fn view(request: &Request<RecvStream>, has_body: bool) -> HttpHead<'_> {
    HttpHead::new(request.method(), request.uri(), request.headers(), has_body)
}

/// Answers in the proxy's own words; what of them must wait for the client (see [`body::end`]), which
/// holds nothing but the client's own stream. `has_all`: of the request, all has come.
fn say(
    reply: Reply,
    exchange: &Exchange,
    respond: &mut SendResponse<Bytes>,
    has_all: bool,
) -> Option<Last> {
    let (head, text) = body::own(reply, exchange);
    let is_end = text.is_empty();
    // Where that fails, the stream is no more: the exchange says so when it drops.
    let stream = respond.send_response(head, is_end).ok()?;
    exchange.has_sent(text.len());
    exchange.complete();
    if is_end {
        return None;
    }
    body::end(stream, text, has_all, exchange.connection.send_timeout()).ok()?
}

/// Answers one request once it is let go.
async fn wait(held: Box<Held>, mut stream: Stream, request: Request<RecvStream>) {
    let has_body = stream.upload.is_some();
    let decide = |held| handler::again(&stream.exchange, &view(&request, has_body), held);
    let respond = &mut stream.respond;
    let waiting =
        held::wait(held, &stream.exchange, |cx| respond.poll_reset(cx).map(|_reset| ()), decide);
    let reply = match waiting.await {
        Ok(Go::Forward(terms)) => {
            return answer(Job { stream, terms, source: request.into_body() }).await;
        }
        Ok(Go::Reply(reply)) => reply,
        Err(Fault::ClientGone) => return,
        Err(fault) => reply::to_fault(fault, &stream.exchange),
    };
    let last = say(reply, &stream.exchange, &mut stream.respond, !has_body);
    // What came of the body is the client's, too.
    drop((stream, request));
    send(last).await;
}

/// Answers one request by what a target answers.
async fn answer(job: Job) {
    let Job { stream: Stream { exchange, respond, upload }, terms, source } = job;
    let respond = RefCell::new(respond);
    let mut side = StreamSide::new(&respond, source, &terms, upload);
    let mut call = None;
    let answered = {
        let mut forwarding = pin!(forward::forward(&exchange, &terms, &mut side, &mut call));
        poll_fn(|cx| match forwarding.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            // A client that resets its stream has gone. Until a tick has found the request waiting,
            // nobody looks: `h2` would wake this task once more for each answer.
            Poll::Pending if exchange.is_slow() => {
                respond.borrow_mut().poll_reset(cx).map(|_reset| None)
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    let fault = match answered {
        Some(Ok(())) => {
            let last = side.deliver(call, exchange).await;
            // Nothing is held for a client that takes its time: not what came of its body, either.
            drop((side, terms));
            drop(respond);
            return send(last).await;
        }
        Some(Err(fault)) => fault,
        None => return,
    };
    // What went wrong with the request may be that its client has reset the stream.
    if poll_fn(|cx| Poll::Ready(respond.borrow_mut().poll_reset(cx).is_ready())).await {
        return;
    }
    let has_all = side.has_all_of_body();
    // All that it held but its stream is given back before its client takes the last of it.
    drop((side, call));
    let reply = reply::to_fault(fault, &exchange);
    let last = say(reply, &exchange, &mut respond.borrow_mut(), has_all);
    drop((exchange, terms, respond));
    send(last).await;
}

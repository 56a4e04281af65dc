//! HTTP/2 with a client, by hyper.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::future::ready;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use http::Response;
use http::request::Parts;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::model::settings::Limits;
use crate::net::stream::Transport;
use crate::proxy::body::AnswerBody;
use crate::proxy::body::StreamSide;
use crate::proxy::connection::ClientStream;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::StreamTask;
use crate::proxy::forward;
use crate::proxy::handler;
use crate::proxy::handler::Arrival;
use crate::proxy::handler::Next;
use crate::proxy::handler::Terms;
use crate::proxy::head::HttpHead;
use crate::proxy::hold::Held;
use crate::proxy::reply;
use crate::proxy::server::ahead::Ahead;
use crate::proxy::server::ahead::Upload;
use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::goaway;
use crate::proxy::server::farewell;
use crate::proxy::server::gather::Gathering;
use crate::proxy::server::gather::Turns;
use crate::proxy::server::gather::gather;
use crate::proxy::server::held;
use crate::proxy::server::held::Go;
use crate::proxy::server::metered::Conduct;
use crate::proxy::server::metered::Metered;
use crate::proxy::worker::Worker;

/// How long an HTTP/2 connection may stay open after it was told to go away while idle.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// How far a stream and its connection may be ahead of the targets. An upload takes a round trip for
/// each window: with 4 MiB, 84 MB a second over a link of 50 ms, what the kernel's own receive buffer
/// (`tcp_rmem`, 6 MiB) gives an upload over HTTP/1. 32 MB over such a link took 0.49 s so, 6.5 s with
/// windows of 256 KiB and 1 MiB, and 0.11 s over HTTP/1 when nothing bounded what was under way.
///
/// Four streams whose targets take nothing fill a connection's window, and not fewer. That is why
/// hyper's adaptive windows (0.25 to 0.3 s once they had grown, which each connection begins anew at
/// 64 KiB) were not chosen: they are of one size for both, so that one such stream stops every other
/// upload beside it; and the flood budget of `h2`, derived from the connection's window, begins at a
/// sixteenth of what 1 MiB gives. What the windows may cost is bounded in `ahead`.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What of one answer waits for its client beside the piece at hand.
const SEND_BUFFER: usize = 64 * 1024;

/// How many errors of streams may be a client's in the life of a connection, each of which ends a
/// request that may have begun on its way ("MadeYouReset").
const RESETS_MAX: usize = 100;

/// How the serving of a connection ended.
enum Ended {
    /// Whatever hyper said.
    Served(hyper::Result<()>),
    /// The client must be told why; with the last stream that it began.
    Broken(Broken, u32),
    /// It takes nothing, or had its time.
    Dropped,
}

/// One connection's requests, for hyper.
struct Requests {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    streams: Streams,
    ahead: Rc<Ahead>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stream = self.streams.begin();
        let (head, body) = request.into_parts();
        let upload = (!body.is_end_stream()).then(|| self.ahead.begin());
        let view = HttpHead::new(&head.method, &head.uri, &head.headers, upload.is_some());
        if view.is_malformed() {
            let (exchange, reply) =
                handler::refuse(&self.worker, &self.connection, Fault::Malformed, Some(stream));
            return Box::pin(ready(Ok(AnswerBody::own(reply, &exchange))));
        }
        let arrival = handler::arrive(&self.worker, &self.connection, &view, Some(stream));
        let Arrival { exchange, next } = arrival;
        match next {
            Next::Reply(reply) => Box::pin(ready(Ok(AnswerBody::own(reply, &exchange)))),
            Next::Forward(terms) => {
                let side = StreamSide::new(body, terms.body, terms.body_max, upload);
                Box::pin(answer(exchange, terms, side))
            }
            Next::Hold(held) => Box::pin(wait(held, exchange, head, body, upload)),
        }
    }
}

/// Answers one request once it is let go.
async fn wait(
    held: Box<Held>,
    exchange: Rc<Exchange>,
    head: Parts,
    body: Incoming,
    upload: Option<Upload>,
) -> Result<Response<AnswerBody>, Infallible> {
    let decide = |held| {
        let view = HttpHead::new(&head.method, &head.uri, &head.headers, upload.is_some());
        handler::again(&exchange, &view, held)
    };
    // hyper drops a stream that the client resets, and this with it.
    let next = held::wait(held, &exchange, |_| Poll::Pending, decide).await;
    let reply = match next {
        Ok(Go::Forward(terms)) => {
            let side = StreamSide::new(body, terms.body, terms.body_max, upload);
            return answer(exchange, terms, side).await;
        }
        Ok(Go::Reply(reply)) => reply,
        Err(fault) => reply::to_fault(fault, &exchange),
    };
    Ok(AnswerBody::own(reply, &exchange))
}

/// Answers one request by what a target answers. All that is known of it at once is worked out
/// before: what this future holds, every stream holds until its answer begins.
async fn answer(
    exchange: Rc<Exchange>,
    terms: Terms,
    mut side: StreamSide,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut call = None;
    let answered = forward::forward(&exchange, &terms, &mut side, &mut call).await;
    Ok(match answered {
        Ok(()) => side.into_response(call, exchange),
        Err(fault) => {
            let reply = reply::to_fault(fault, &exchange);
            AnswerBody::own(reply, &exchange)
        }
    })
}

/// Runs the streams of one HTTP/2 connection, on its worker, and tells each request its task: hyper
/// spawns a stream's task right after it has called for the answer.
#[derive(Clone, Default)]
struct Streams {
    begun: Rc<Cell<Option<StreamTask>>>,
}

impl Streams {
    fn begin(&self) -> StreamTask {
        let task = StreamTask::default();
        self.begun.set(Some(Rc::clone(&task)));
        task
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future).abort_handle();
        if let Some(begun) = self.begun.take() {
            begun.get_or_init(|| task);
        }
    }
}

/// A client's bytes as `h2` sees them.
type Stream<S> = TokioIo<Metered<Gathering<ClientStream<S>>>>;

/// One connection, as hyper serves it.
type Http<S> = http2::Connection<Stream<S>, Requests, Streams>;

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn serve<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    limits: &Limits,
) where
    S: Transport,
{
    let streams = Streams::default();
    let ahead = Ahead::new(STREAM_WINDOW);
    let requests = Requests {
        worker,
        connection: Rc::clone(&connection),
        streams: streams.clone(),
        ahead: Rc::clone(&ahead),
    };
    let (stream, turns) = gather(ClientStream::new(stream, Rc::clone(&connection)));
    let (stream, conduct) = Metered::new(stream, ahead);
    let http = http2::Builder::new(streams)
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.request_header).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_local_error_reset_streams(Some(RESETS_MAX))
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), requests);
    // Not in this function's own future: its streams go before the last word is said.
    let ended = run(http, &connection, &turns, &conduct).await;
    match ended {
        Ended::Dropped | Ended::Served(Ok(())) => return,
        Ended::Served(Err(ref error)) => connection.listener.count_error(error),
        Ended::Broken(broken, _) => connection.listener.count_broken(broken),
    }
    let Some(mut stream) = turns.into_stream() else { return };
    if let Ended::Broken(broken, last) = ended {
        farewell::goodbye_with(&mut stream, &goaway(broken, last)).await;
    }
    farewell::linger(&mut stream).await;
}

/// Runs the connection until it ends, or its client is to be told why it must.
async fn run<S: Transport>(
    http: Http<S>,
    connection: &Connection,
    turns: &Turns<ClientStream<S>>,
    conduct: &Conduct,
) -> Ended {
    let mut http = pin!(http);
    let mut gone_by: Option<Instant> = None;
    poll_fn(|cx| {
        while let Poll::Ready(ending) = connection.poll_ending(cx) {
            let waited_out = gone_by.is_some_and(|at| at <= Instant::now());
            match ending {
                Ending::HeadTimeout | Ending::SendTimeout => {
                    connection.listener.count_ending(ending);
                    return Poll::Ready(Ended::Dropped);
                }
                Ending::Idle if waited_out => return Poll::Ready(Ended::Dropped),
                Ending::Idle => {
                    gone_by = Some(Instant::now() + GOAWAY_GRACE);
                    connection.idle_until(GOAWAY_GRACE);
                    http.as_mut().graceful_shutdown();
                }
                Ending::Shutdown => http.as_mut().graceful_shutdown(),
            }
        }
        let served = http.as_mut().poll(cx);
        turns.end(cx);
        match (served, conduct.broken()) {
            (Poll::Ready(served), _) => Poll::Ready(Ended::Served(served)),
            (Poll::Pending, Some((broken, last))) => Poll::Ready(Ended::Broken(broken, last)),
            (Poll::Pending, None) => Poll::Pending,
        }
    })
    .await
}

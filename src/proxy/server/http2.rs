//! HTTP/2 with a client, by `h2`.

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use h2::server;
use tokio::time::Instant;

use crate::model::settings::Limits;
use crate::net::stream::Transport;
use crate::proxy::connection::ClientStream;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::server::ahead::Ahead;
use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::goaway;
use crate::proxy::server::farewell;
use crate::proxy::server::gather::Gathering;
use crate::proxy::server::gather::Turns;
use crate::proxy::server::gather::gather;
use crate::proxy::server::metered::Conduct;
use crate::proxy::server::metered::Metered;
use crate::proxy::server::stream;
use crate::proxy::worker::Worker;

/// How long an HTTP/2 connection may stay open after it was told to go away while idle.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// How far a stream and its connection may be ahead of the targets. An upload takes a round trip for
/// each window: with 4 MiB, 84 MB a second over a link of 50 ms, what the kernel's own receive buffer
/// (`tcp_rmem`, 6 MiB) gives an upload over HTTP/1. 32 MB over such a link took 0.49 s so, 6.5 s with
/// windows of 256 KiB and 1 MiB, and 0.11 s over HTTP/1 when nothing bounded what was under way.
///
/// Four streams whose targets take nothing fill a connection's window, and not fewer. That is why
/// adaptive windows (0.25 to 0.3 s once they had grown, which each connection begins anew at
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
    /// Whatever `h2` said.
    Served(Result<(), h2::Error>),
    /// The client must be told why; with the last stream that it began.
    Broken(Broken, u32),
    /// It takes nothing, or had its time.
    Dropped,
}

/// A client's bytes as `h2` sees them.
type Stream<S> = Metered<Gathering<ClientStream<S>>>;

/// How far a connection has come.
enum State<S> {
    /// The client's preface is awaited.
    Greeting(server::Handshake<Stream<S>, Bytes>),
    /// Requests are.
    Open(server::Connection<Stream<S>, Bytes>),
}

/// One connection, as `h2` serves it.
struct Http<S> {
    state: State<S>,
    /// The client was told to go away, or is to be once it has greeted.
    leaves: bool,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    ahead: Rc<Ahead>,
}

impl<S: Transport> Http<S> {
    /// Takes no further requests than those that are on their way (RFC 9113 §6.8).
    fn leave(&mut self) {
        if let (State::Open(open), false) = (&mut self.state, self.leaves) {
            open.graceful_shutdown();
        }
        self.leaves = true;
    }

    /// Serves requests, each in a task of its own, until there is no connection any more.
    fn poll(&mut self, cx: &mut Context<'_>, conduct: &Conduct) -> Poll<Result<(), h2::Error>> {
        if let State::Greeting(greeting) = &mut self.state {
            let mut open = ready!(Pin::new(greeting).poll(cx))?;
            if self.leaves {
                open.graceful_shutdown();
            }
            self.state = State::Open(open);
        }
        while let State::Open(open) = &mut self.state
            && let Some(accepted) = ready!(open.poll_accept(cx))
        {
            let (request, respond) = accepted?;
            let stream = u32::from(respond.stream_id());
            stream::begin(&self.worker, &self.connection, &self.ahead, request, respond);
            // `h2` looks at everything before it gives out a request: it waits for more already, and
            // there is none that it could give out.
            if stream == conduct.last() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn serve<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    limits: &Limits,
) where
    S: Transport,
{
    let ahead = Ahead::new(STREAM_WINDOW);
    let (stream, turns) = gather(ClientStream::new(stream, Rc::clone(&connection)));
    let (stream, conduct) = Metered::new(stream, Rc::clone(&ahead));
    let greeting = server::Builder::new()
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.request_header).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_local_error_reset_streams(Some(RESETS_MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(stream);
    let state = State::Greeting(greeting);
    let http = Http { state, leaves: false, worker, connection: Rc::clone(&connection), ahead };
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
    mut http: Http<S>,
    connection: &Connection,
    turns: &Turns<ClientStream<S>>,
    conduct: &Conduct,
) -> Ended {
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
                    http.leave();
                }
                Ending::Shutdown => http.leave(),
            }
        }
        let served = http.poll(cx, conduct);
        turns.end(cx);
        match (served, conduct.broken()) {
            (Poll::Ready(served), _) => Poll::Ready(Ended::Served(served)),
            (Poll::Pending, Some((broken, last))) => Poll::Ready(Ended::Broken(broken, last)),
            (Poll::Pending, None) => Poll::Pending,
        }
    })
    .await
}

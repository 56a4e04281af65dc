//! Speaks HTTP/1.1 or HTTP/2 to the client, by hyper, and watches the connection's patience.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::settings::Limits;
use crate::proxy::body::AnswerBody;
use crate::proxy::connection::Breakable;
use crate::proxy::connection::ClientStream;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::exchange::StreamTask;
use crate::proxy::handler;
use crate::proxy::tunnel;
use crate::proxy::worker::Worker;

/// How long the client may take to acknowledge our goodbye (TLS close_notify, FIN).
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a client may go on sending a body that nobody reads, so that it sees its answer.
const LINGER: Duration = Duration::from_secs(5);

/// How long an HTTP/2 connection may stay open after it was told to go away while idle.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// Windows as nginx and Envoy's edge guide have them; the connection's must stay at 1 MiB or above,
/// because the flood budget of `h2` is derived from it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

/// One connection's requests, for hyper.
struct Requests {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    streams: Option<Streams>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stream = self.streams.as_ref().map(Streams::begin);
        let (worker, connection) = (Rc::clone(&self.worker), Rc::clone(&self.connection));
        let answer = handler::handle(worker, connection, request, stream);
        Box::pin(async move { Ok(answer.await) })
    }
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

/// Serves HTTP/1.1 until the connection ends, or turns into a tunnel and that ends.
pub(crate) async fn serve_http1<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    limits: &Limits,
) where
    S: AsyncRead + AsyncWrite + Breakable + Unpin,
{
    let requests = Requests { worker, connection: Rc::clone(&connection), streams: None };
    let stream = TokioIo::new(ClientStream::new(stream, Rc::clone(&connection)));
    let mut http = http1::Builder::new()
        .half_close(false)
        // One more than the limit: the handler counts, so that its answer carries the request's id.
        .max_headers(limits.request_headers.saturating_add(1))
        .max_header_size(limits.request_header)
        .serve_connection(stream, requests);
    let mut over: Option<Ending> = None;
    let served = poll_fn(|cx| {
        while let Poll::Ready(ending) = connection.poll_ending(cx) {
            match ending {
                Ending::HeadTimeout | Ending::SendTimeout => {
                    over = Some(ending);
                    return Poll::Ready(Ok(()));
                }
                Ending::Idle | Ending::Shutdown => Pin::new(&mut http).graceful_shutdown(),
            }
        }
        http.poll_without_shutdown(cx)
    })
    .await;
    let parts = http.into_parts();
    let mut stream = parts.io.into_inner();
    // Taken in any case: it holds the exchange, which holds the connection, which holds it.
    let tunnel = connection.tunnel.take();
    match (over, served) {
        (Some(ending), _) => {
            connection.listener.count_ending(ending);
            if ending == Ending::SendTimeout {
                stream.break_on_close();
            }
        }
        (None, Ok(())) => {
            if let Some(start) = tunnel {
                tunnel::run(start, &mut stream, parts.read_buf).await;
            }
            // Whether the client is still there to read it makes no difference any more.
            drop(timeout(GOODBYE, stream.shutdown()).await);
            if connection.is_left_unread() {
                linger(&mut stream).await;
            }
        }
        // The answer broke off. To a client of HTTP/1.0 a regular end would say that it is whole.
        (None, Err(error)) if error.is_user() => {
            connection.listener.count_error(&error);
            stream.break_on_close();
        }
        (None, Err(error)) => {
            connection.listener.count_error(&error);
            if error.is_parse() {
                drop(timeout(GOODBYE, stream.shutdown()).await);
                linger(&mut stream).await;
            }
        }
    }
}

/// Takes what a client still sends after its answer. Closing on unread bytes resets the connection,
/// and a reset takes the answer away from a client that has not read it yet (RFC 9112 §9.6).
async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut unread = vec![0; 16 * 1024];
    let all = async {
        while stream
            .read(&mut unread)
            .await
            .is_ok_and(|length| length > 0)
        {}
    };
    drop(timeout(LINGER, all).await);
}

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn serve_http2<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    limits: &Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let streams = Streams::default();
    let requests =
        Requests { worker, connection: Rc::clone(&connection), streams: Some(streams.clone()) };
    let stream = TokioIo::new(ClientStream::new(stream, Rc::clone(&connection)));
    let http = http2::Builder::new(streams)
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.request_header).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(stream, requests);
    let mut http = pin!(http);
    let mut gone_by: Option<Instant> = None;
    let served = poll_fn(|cx| {
        while let Poll::Ready(ending) = connection.poll_ending(cx) {
            let waited_out = gone_by.is_some_and(|at| at <= Instant::now());
            match ending {
                Ending::HeadTimeout | Ending::SendTimeout => {
                    connection.listener.count_ending(ending);
                    return Poll::Ready(Ok(()));
                }
                Ending::Idle if waited_out => return Poll::Ready(Ok(())),
                Ending::Idle => {
                    gone_by = Some(Instant::now() + GOAWAY_GRACE);
                    connection.idle_until(GOAWAY_GRACE);
                    http.as_mut().graceful_shutdown();
                }
                Ending::Shutdown => http.as_mut().graceful_shutdown(),
            }
        }
        http.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = served {
        connection.listener.count_error(&error);
    }
}

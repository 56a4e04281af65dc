//! A worker without a thread of its own, for tests that run its parts by hand.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::model::route::Routes;
use crate::model::settings::AccessLog as AccessLogSettings;
use crate::model::settings::ControlSettings;
use crate::model::settings::Limits;
use crate::model::settings::LogDestination;
use crate::model::settings::Settings;
use crate::model::settings::Timeouts;
use crate::model::snapshot::Snapshot;
use crate::net::listen::ListenerSpec;
use crate::net::listen::Listeners;
use crate::net::socket::ClientSocket;
use crate::net::stream::Hangup;
use crate::net::stream::Transport;
use crate::net::stream::plain::PlainStream;
use crate::observe::access::AccessLog;
use crate::observe::metrics::Metrics;
use crate::proxy::accept::ListenerContext;
use crate::proxy::client::Client;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::server::http1;
use crate::proxy::worker::Admission;
use crate::proxy::worker::Worker;
use crate::sync::published::Publisher;

/// A worker that serves one listener and knows no route: it answers everything itself.
pub(crate) struct Alone {
    pub(crate) worker: Rc<Worker>,
    pub(crate) metrics: Metrics,
    pub(crate) snapshot: Arc<Snapshot>,
    context: Rc<ListenerContext>,
    socket: TcpListener,
    _listeners: Listeners,
}

impl Alone {
    pub(crate) fn new() -> Self {
        let settings = settings();
        let log = AccessLog::open(&settings.access_log, Metrics::new("test")).unwrap();
        let snapshot = Arc::new(Snapshot {
            generation: 1,
            routes: Routes::new(Vec::new()),
            upstreams: Vec::new(),
            settings: settings.into(),
        });
        let (metrics, admission) = (Metrics::new("test"), Arc::new(Admission::new(usize::MAX, 1)));
        let published = Publisher::new(Arc::clone(&snapshot)).published();
        let worker = Worker::new(0, &published, admission, metrics.clone(), log.writer());
        let listeners = Listeners::new(1);
        let bind = "127.0.0.1:0".parse().unwrap();
        let spec = ListenerSpec { bind, certificates: None, redirect_to_https: false };
        listeners.commit(listeners.prepare(&[spec]).unwrap());
        let listener = Arc::clone(&listeners.current()[0]);
        let meters = metrics.listener("test");
        Self {
            context: Rc::new(ListenerContext::new(&listener, meters, None)),
            socket: TcpListener::from_std(listener.accept_socket(0).unwrap()).unwrap(),
            worker: Rc::new(worker),
            metrics,
            snapshot,
            _listeners: listeners,
        }
    }

    /// A client, and the task that serves it over what `wrap` makes of its socket. Within a
    /// `LocalSet`.
    pub(crate) async fn client<S: Transport + 'static>(
        &self,
        wrap: impl FnOnce(PlainStream) -> S,
    ) -> (TcpStream, JoinHandle<()>) {
        let connecting = TcpStream::connect(self.context.address());
        let (client, accepted) = tokio::join!(connecting, self.socket.accept());
        let (stream, peer) = accepted.unwrap();
        let facts = Client::new(peer.ip(), peer.port(), false, &[]);
        let context = Rc::clone(&self.context);
        let connection = Connection::open(&self.worker, context, facts, None, false);
        let worker = Rc::clone(&self.worker);
        let limits = Limits::default();
        let served =
            http1::serve(worker, connection, wrap(PlainStream::new(stream.into())), &limits, ());
        (client.unwrap(), tokio::task::spawn_local(served))
    }

    /// A request that has come over a connection of its own, whose stream a test has.
    pub(crate) fn exchange(&self) -> Rc<Exchange> {
        let facts = Client::new("127.0.0.1".parse().unwrap(), 1, false, &[]);
        let context = Rc::clone(&self.context);
        let connection = Connection::open(&self.worker, context, facts, None, false);
        Exchange::begin(&self.worker, &connection)
    }

    /// The value of a series, written as on the metrics page.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let page = self.metrics.render(&self.snapshot);
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }
}

/// Sends a request and reads to the end of the connection.
pub(crate) async fn ask(client: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.ok();
    answer
}

/// A client's stream that panics as soon as something is written to it.
pub(crate) struct Faulty(pub(crate) PlainStream);

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        panic!("on purpose: a fault of our own in the middle of a request")
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Transport for Faulty {
    fn socket(&self) -> &ClientSocket {
        self.0.socket()
    }

    fn plain(&self) -> Option<&ClientSocket> {
        None
    }

    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        self.0.poll_hangup(cx)
    }

    fn unsent(&self) -> usize {
        0
    }

    fn insist(&mut self, _bytes: &[u8]) -> Poll<usize> {
        Poll::Pending
    }

    fn last_words(&mut self) {}

    fn farewell(&mut self) {}

    fn rest(&mut self) {}
}

fn settings() -> Settings {
    Settings {
        listeners: Vec::new(),
        routes: Vec::new(),
        upstreams: BTreeMap::new(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        workers: None,
        trusted_proxies: Vec::new(),
        control: ControlSettings::default(),
        admin: None,
        access_log: AccessLogSettings { to: LogDestination::Off, ..AccessLogSettings::default() },
        state_dir: PathBuf::new(),
        user: None,
    }
}

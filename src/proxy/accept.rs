//! How a connection comes to a worker: accepted, admitted, its TLS handshake done, its protocol known.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::net::TcpStream as Socket;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::net::handshake;
use crate::net::incoming::Incoming;
use crate::net::limits;
use crate::net::listen::Listener;
use crate::net::socket::ClientSocket;
use crate::net::stream::plain::PlainStream;
use crate::net::stream::tls::TlsStream;
use crate::net::tls::Tls;
use crate::observe::access::Fixed;
use crate::observe::metrics::ClientError;
use crate::observe::metrics::ConnectionOutcome;
use crate::observe::metrics::HandshakeOutcome;
use crate::observe::metrics::ListenerMeters;
use crate::proxy::client::Client;
use crate::proxy::connection::Connection;
use crate::proxy::connection::Ending;
use crate::proxy::connection::Secured;
use crate::proxy::server;
use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;
use crate::proxy::worker::Worker;

/// How long accepting pauses when the kernel has no descriptor left: connections wait in the accept
/// queue meanwhile, and the worker serves what it has instead of spinning.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the log says that accepting fails, and how long it must not have failed to be over.
const SAID_EVERY: Duration = Duration::from_secs(10);
const OVER_AFTER: Duration = Duration::from_secs(1);

/// A listener as one worker knows it. A reload may change what stands behind it, never its name.
pub(crate) struct ListenerContext {
    /// As in the file: the metric label.
    pub(crate) name: String,
    /// How the access log names it.
    pub(crate) logged: Fixed,
    /// Where its connections are counted.
    pub(crate) meters: ListenerMeters,
    address: SocketAddr,
    redirect_to_https: Cell<bool>,
    tls: RefCell<Option<Arc<Tls>>>,
    https_port: Cell<Option<u16>>,
}

impl ListenerContext {
    /// A listener, and the port of the first one with TLS.
    pub(crate) fn new(listener: &Listener, meters: ListenerMeters, https: Option<u16>) -> Self {
        let name = listener.bind.to_string();
        Self {
            logged: Fixed::listener(&name),
            name,
            meters,
            address: listener.address,
            redirect_to_https: Cell::new(listener.redirect_to_https),
            tls: RefCell::new(listener.tls.clone()),
            https_port: Cell::new(https),
        }
    }

    /// What a reload has made of it: counts for connections accepted from now on. The listener
    /// itself is not kept, because it keeps its sockets open.
    pub(crate) fn update(&self, listener: &Listener, https: Option<u16>) {
        self.redirect_to_https.set(listener.redirect_to_https);
        self.tls.replace(listener.tls.clone());
        self.https_port.set(https);
    }

    /// Where it really listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether requests are sent to https.
    pub(crate) fn redirect_to_https(&self) -> bool {
        self.redirect_to_https.get()
    }

    /// The port of the first listener with TLS.
    pub(crate) fn https_port(&self) -> Option<u16> {
        self.https_port.get()
    }

    /// Counts a connection that was ended for its client's fault.
    pub(crate) fn count_ending(&self, ending: Ending) {
        match ending {
            Ending::HeadTimeout => self.meters.client_error(ClientError::Timeout),
            Ending::SendTimeout => self.meters.client_error(ClientError::SendTimeout),
            Ending::Idle | Ending::Shutdown => {}
        }
    }

    /// Counts an HTTP/2 connection that `h2` gave up.
    pub(crate) fn count_error(&self, error: &h2::Error) {
        // What the client said of its own accord is not counted against it.
        if error.is_library() && error.is_go_away() {
            let is_flood = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
            let error = if is_flood { ClientError::Flood } else { ClientError::Malformed };
            self.meters.client_error(error);
        }
        tracing::debug!(listener = %self.name, %error, "connection ended");
    }

    /// Counts an HTTP/2 connection that had to end for what its client sent.
    pub(crate) fn count_broken(&self, broken: Broken) {
        let error = match broken.code {
            Code::EnhanceYourCalm => ClientError::Flood,
            Code::Protocol
            | Code::FlowControl
            | Code::StreamClosed
            | Code::FrameSize
            | Code::Compression => ClientError::Malformed,
        };
        self.meters.client_error(error);
        tracing::debug!(listener = %self.name, why = broken.why, "connection ended");
    }

    fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.borrow().clone()
    }
}

/// Accepts until told to stop, then empties the accept queue and closes the socket.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    context: Rc<ListenerContext>,
    mut incoming: Incoming,
    mut stop: oneshot::Receiver<()>,
) {
    let mut trouble = Trouble::default();
    while let Some(accepted) = next(&mut incoming, &mut stop).await {
        match accepted {
            Ok((stream, _)) if limits::is_reserved(&stream) => {
                trouble.begin(&context, &limits::out_of_files());
                turn_away(&worker, &context, stream, ConnectionOutcome::RefusedFiles);
            }
            Ok((stream, peer)) => {
                trouble.end(&context);
                take(&worker, &context, stream, peer);
            }
            Err(error) => {
                context.meters.turned_away(ConnectionOutcome::Failed);
                // A connection that was reset while it waited concerns nobody else (accept(2)).
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    trouble.begin(&context, &error);
                    sleep(PAUSE).await;
                }
            }
        }
    }
    empty(&worker, &context, incoming);
}

/// The next connection, unless accepting is to stop.
async fn next(
    incoming: &mut Incoming,
    stop: &mut oneshot::Receiver<()>,
) -> Option<io::Result<(Socket, SocketAddr)>> {
    poll_fn(|cx| {
        // Before, and not only where nobody waits: under a flood somebody always does.
        if !matches!(stop.try_recv(), Err(TryRecvError::Empty)) {
            return Poll::Ready(None);
        }
        match incoming.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Pin::new(&mut *stop).poll(cx).map(|_stopped| None),
        }
    })
    .await
}

/// Connections that the kernel completed before the socket closes would be reset: serve them.
fn empty(worker: &Rc<Worker>, context: &Rc<ListenerContext>, incoming: Incoming) {
    let Ok(listener) = incoming.into_listener() else { return };
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // One of those that waited has gone; the others are still there (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_empty) => return,
        };
        if stream.set_nonblocking(true).is_ok() {
            take(worker, context, stream, peer);
        }
    }
}

/// Accepting that fails, and what the log says of it: little, however often it fails.
#[derive(Default)]
struct Trouble {
    last: Option<Instant>,
    said: Option<Instant>,
    /// The log still has to say that it is over.
    open: bool,
}

impl Trouble {
    /// It has failed.
    fn begin(&mut self, context: &ListenerContext, error: &io::Error) {
        let now = Instant::now();
        self.last = Some(now);
        if self.said.is_none_or(|said| now - said >= SAID_EVERY) {
            self.said = Some(now);
            self.open = true;
            tracing::warn!(listener = %context.name, %error, "cannot accept; those served go on");
        }
    }

    /// It has not failed.
    fn end(&mut self, context: &ListenerContext) {
        let Some(last) = self.last else { return };
        if last.elapsed() >= OVER_AFTER {
            self.last = None;
            if std::mem::take(&mut self.open) {
                tracing::info!(listener = %context.name, "accepts again");
            }
        }
    }
}

/// A connection that is one too many.
fn turn_away(
    worker: &Worker,
    context: &ListenerContext,
    stream: Socket,
    outcome: ConnectionOutcome,
) {
    context.meters.turned_away(outcome);
    // Before its handshake a client of TLS would understand nothing.
    if context.tls.borrow().is_none() {
        worker.refused.add(stream, worker.clock.last());
    }
}

fn take(worker: &Rc<Worker>, context: &Rc<ListenerContext>, stream: Socket, peer: SocketAddr) {
    let seen = worker.view.load();
    let settings = &seen.snapshot.settings;
    let address = peer.ip().to_canonical();
    let admitted = match worker.admission.admit(address, &settings.limits) {
        Ok(admitted) => admitted,
        Err(outcome) => return turn_away(worker, context, stream, outcome),
    };
    let tls = context.tls();
    let (port, trusted) = (context.address().port(), &settings.trusted_proxies);
    let client = Client::new(address, port, tls.is_some(), trusted);
    let socket = ClientSocket::new(stream);
    let connected = context.meters.accepted();
    let (worker, context) = (Rc::clone(worker), Rc::clone(context));
    let held = (Open::count(&worker), connected, admitted);
    let Some(tls) = tls else {
        let connection = Connection::open(&worker, context, client, None, false);
        let stream = PlainStream::new(socket);
        let served = server::http1::serve(worker, connection, stream, &settings.limits, held);
        // In a box: the runtime would move it, which is large, from place to place, and again at its end.
        drop(tokio::task::spawn_local(Box::pin(served)));
        return;
    };
    let (limits, handshake) = (settings.limits.clone(), settings.timeouts.tls_handshake);
    tokio::task::spawn_local(async move {
        // Boxed one by one: a connection keeps room only for what it has become.
        let securing = Box::pin(secure(&worker, context, client, socket, &tls, handshake));
        match securing.await {
            None => {}
            Some((connection, stream)) if connection.is_multiplexed() => {
                Box::pin(server::http2::serve(worker, connection, stream, &limits)).await;
                drop(held);
            }
            Some((connection, stream)) => {
                Box::pin(server::http1::serve(worker, connection, stream, &limits, held)).await;
            }
        }
    });
}

/// A connection task that has not ended; counted on its worker.
struct Open(Rc<Worker>);

impl Open {
    fn count(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// Does the TLS handshake; nothing if it fails.
async fn secure(
    worker: &Rc<Worker>,
    context: Rc<ListenerContext>,
    client: Client,
    socket: ClientSocket,
    tls: &Tls,
    patience: Duration,
) -> Option<(Rc<Connection>, TlsStream)> {
    let certificates = tls.certificates.load();
    let handshake = handshake::accept(socket, Arc::clone(&tls.config), &worker.turns);
    let stream = match timeout(patience, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(listener = %context.name, client = %client.address, %error, "tls handshake failed");
            context.meters.handshake(HandshakeOutcome::Failed);
            return None;
        }
        Err(_elapsed) => {
            context.meters.handshake(HandshakeOutcome::Timeout);
            return None;
        }
    };
    context.meters.handshake(HandshakeOutcome::Ok);
    let http2 = stream.alpn_protocol() == Some(b"h2");
    let sni = stream.server_name().map(str::to_ascii_lowercase);
    let secured = Secured { sni, certificates };
    Some((Connection::open(worker, context, client, Some(secured), http2), stream))
}

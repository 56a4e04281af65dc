//! The demo's own traffic: real clients over TLS, in HTTP/1.1, HTTP/2 and over a WebSocket, that
//! check every answer and keep a tally.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::StreamExt;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::daemon::demo::targets::COLOUR;

/// The authority that signed the demo's certificate.
const AUTHORITY: &[u8] = include_bytes!("../../../certs-example/ca.pem");

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    WebSocket,
}

/// What the traffic has seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    blue: AtomicU64,
    green: AtomicU64,
    http1: AtomicU64,
    http2: AtomicU64,
    websocket: AtomicU64,
    failed: AtomicU64,
    first_failures: Mutex<Vec<String>>,
}

/// Clients at work.
pub(crate) struct Traffic {
    /// What they have seen.
    pub(crate) tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// How one client works.
#[derive(Clone)]
struct Client {
    protocol: Protocol,
    address: SocketAddr,
    connector: TlsConnector,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    pause: Duration,
}

impl Tally {
    /// Requests answered as they should be.
    pub(crate) fn answered(&self) -> u64 {
        self.blue.load(Ordering::Relaxed) + self.green.load(Ordering::Relaxed)
    }

    /// Requests that were not.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Answers of each colour: blue, green.
    pub(crate) fn by_colour(&self) -> (u64, u64) {
        (self.blue.load(Ordering::Relaxed), self.green.load(Ordering::Relaxed))
    }

    /// The first failures, for whoever must find out why.
    pub(crate) fn first_failures(&self) -> Vec<String> {
        self.first_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, protocol: Protocol, colour: &[u8]) {
        let by_colour = if colour == b"blue" { &self.blue } else { &self.green };
        by_colour.fetch_add(1, Ordering::Relaxed);
        let by_protocol = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
            Protocol::WebSocket => &self.websocket,
        };
        by_protocol.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, protocol: Protocol, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut first = self
            .first_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if first.len() < 5 {
            first.push(format!("{protocol:?}: {error:#}"));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        writeln!(f, "requests  {:>7}", self.answered() + self.failed())?;
        writeln!(f, "  blue    {:>7}", read(&self.blue))?;
        writeln!(f, "  green   {:>7}", read(&self.green))?;
        writeln!(
            f,
            "  over h1 {}, h2 {}, a WebSocket {}",
            read(&self.http1),
            read(&self.http2),
            read(&self.websocket)
        )?;
        writeln!(f, "failed    {:>7}", self.failed())
    }
}

impl Traffic {
    /// Starts clients against the TLS listener at `address`, each pausing between requests.
    ///
    /// # Errors
    ///
    /// The embedded authority cannot be read.
    pub(crate) fn start(address: SocketAddr, pause: Duration) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let mix = [(Protocol::Http1, 4), (Protocol::Http2, 4), (Protocol::WebSocket, 2)];
        for (protocol, count) in mix {
            let connector = connector(protocol)?;
            for _ in 0..count {
                let client = Client {
                    protocol,
                    address,
                    connector: connector.clone(),
                    tally: Arc::clone(&tally),
                    stop: Arc::clone(&stop),
                    pause,
                };
                clients.spawn(client.work());
            }
        }
        Ok(Self { tally, stop, clients })
    }

    /// Waits until that many more requests have been answered or have failed.
    pub(crate) async fn more(&self, requests: u64) {
        let seen = || self.tally.answered() + self.tally.failed();
        let goal = seen() + requests;
        while seen() < goal {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets every client finish the request it is at.
    pub(crate) async fn stop(mut self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.tally
    }
}

fn connector(protocol: Protocol) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY).context("certs-example/ca.pem")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match protocol {
        Protocol::Http2 => vec![b"h2".to_vec()],
        Protocol::Http1 | Protocol::WebSocket => vec![b"http/1.1".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Client {
    /// Works until told to stop. A connection that fails is a failed request, and is replaced.
    async fn work(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let worked = match self.protocol {
                Protocol::Http1 => self.over_http1().await,
                Protocol::Http2 => self.over_http2().await,
                Protocol::WebSocket => self.over_websocket().await,
            };
            if let Err(error) = worked {
                self.tally.fail(self.protocol, &error);
                sleep(self.pause.max(Duration::from_millis(10))).await;
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        self.connector.connect(name, stream).await.context("tls")
    }

    fn on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn over_http1(&self) -> anyhow::Result<()> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let driver = tokio::spawn(connection);
        while self.on() {
            let request = Request::get("/")
                .header(header::HOST, "localhost")
                .body(Empty::<Bytes>::new())?;
            sender.ready().await.context("the connection was closed")?;
            self.check(sender.send_request(request).await?).await?;
            sleep(self.pause).await;
        }
        drop(sender);
        Ok(driver.await??)
    }

    async fn over_http2(&self) -> anyhow::Result<()> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        let driver = tokio::spawn(connection);
        while self.on() {
            let request = Request::get("https://localhost/").body(Empty::<Bytes>::new())?;
            sender.ready().await.context("the connection was closed")?;
            self.check(sender.send_request(request).await?).await?;
            sleep(self.pause).await;
        }
        drop(sender);
        Ok(driver.await??)
    }

    async fn over_websocket(&self) -> anyhow::Result<()> {
        let stream = self.connect().await?;
        let (mut socket, answer) = client_async("wss://localhost/echo", stream).await?;
        let colour = answer
            .headers()
            .get(COLOUR)
            .context("no colour")?
            .as_bytes()
            .to_vec();
        // A tunnel stays on the colour that it began on: a few messages, then a new one.
        for number in 0..20_u32 {
            let sent = Message::text(format!("message {number}"));
            socket.send(sent.clone()).await?;
            let Some(echoed) = socket.next().await else { bail!("the tunnel ended") };
            ensure!(echoed? == sent, "another message came back");
            self.tally.count(self.protocol, &colour);
            sleep(self.pause).await;
            if !self.on() {
                break;
            }
        }
        socket.close(None).await?;
        // The other side's goodbye, so that the tunnel ends with nothing on its way.
        while let Some(Ok(_)) = socket.next().await {}
        Ok(())
    }

    async fn check(&self, response: Response<Incoming>) -> anyhow::Result<()> {
        ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
        let colour = response.headers().get(COLOUR).context("no colour")?.clone();
        let body = response
            .into_body()
            .collect()
            .await
            .context("body")?
            .to_bytes();
        let says = format!("hello from {}", colour.to_str()?);
        ensure!(body.starts_with(says.as_bytes()), "the body is not what {says} sends");
        self.tally.count(self.protocol, colour.as_bytes());
        Ok(())
    }
}

//! HTTP/2 clients over TLS: hyper's for requests, and a raw one that shows the frames.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certs;
use super::hpack;
use super::http::Answer;
use super::wait::DEADLINE;
use super::wire::Wire;

/// One HTTP/2 connection; clones send on the same one.
#[derive(Debug, Clone)]
pub struct H2 {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl H2 {
    pub fn connect(address: SocketAddr, host: &str) -> io::Result<Self> {
        let host = host.to_owned();
        tests_runtime().block_on(async move {
            let io = TokioIo::new(dial(address, &host).await?);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok(Self { sender, host })
        })
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.try_request("GET", target, &[], b"")
            .unwrap_or_else(|e| panic!("{target}: {e}"))
    }

    pub fn try_request(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let uri = format!("https://{}{target}", self.host);
        let mut request = hyper::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let mut sender = self.sender.clone();
        let exchange = async move {
            sender.ready().await.map_err(|e| format!("{e:?}"))?;
            let answer = sender
                .send_request(request)
                .await
                .map_err(|e| format!("{e:?}"))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|e| format!("{e:?}"))?;
            let trailers = body.trailers().map(fields_of).unwrap_or_default();
            Ok(Answer {
                status: head.status.as_u16(),
                fields: fields_of(&head.headers),
                body: body.to_bytes().to_vec(),
                trailers,
                interim: Vec::new(),
            })
        };
        let timed = async { tokio::time::timeout(DEADLINE, exchange).await };
        tests_runtime()
            .block_on(timed)
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// Whether the other side has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A TLS connection on which HTTP/2 is spoken.
pub async fn dial(address: SocketAddr, host: &str) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let tls = TlsConnector::from(certs::client_config(&["h2"]))
        .connect(name, tcp)
        .await?;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()), "ALPN");
    Ok(tls)
}

fn fields_of(map: &hyper::HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    map.iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

/// The runtime on which the tests' own asynchronous clients run.
pub fn tests_runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    })
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What every client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of one frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// An HTTP/2 connection of which every frame is seen.
#[derive(Debug)]
pub struct Frames {
    wire: Wire,
}

impl Frames {
    /// Connects and greets.
    pub fn connect(address: SocketAddr, host: &str) -> io::Result<Self> {
        let mut frames = Self::open(address, host)?;
        frames.raw(PREFACE)?;
        frames.send(SETTINGS, 0, 0, &[])?;
        Ok(frames)
    }

    /// Connects and says nothing.
    pub fn open(address: SocketAddr, host: &str) -> io::Result<Self> {
        Ok(Self { wire: Wire::tls(address, host, &["h2"])? })
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.raw(&frame(kind, flags, stream, payload))
    }

    /// How long the next frame may take, in either direction.
    pub fn patience(&self, time: Duration) {
        self.wire.patience(time);
        self.wire.tcp().set_write_timeout(Some(time)).unwrap();
    }

    /// A GET without a body.
    pub fn get(&mut self, stream: u32, host: &str, target: &str) -> io::Result<()> {
        self.head("GET", END_STREAM, stream, host, target)
    }

    /// The head of a POST whose body is still to come.
    pub fn post(&mut self, stream: u32, host: &str, target: &str) -> io::Result<()> {
        self.head("POST", 0, stream, host, target)
    }

    /// A head in literal fields that use no table.
    fn head(
        &mut self,
        method: &str,
        end: u8,
        stream: u32,
        host: &str,
        target: &str,
    ) -> io::Result<()> {
        let block = hpack::request(method, host, target);
        self.send(HEADERS, end | END_HEADERS, stream, &block)
    }

    /// The next frame; SETTINGS and PING are acknowledged in passing and returned.
    pub fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.wire.read_exact(&mut head)?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.wire.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes(rest) & 0x7fff_ffff;
        let acknowledged = flags & 1 == 1;
        if kind == SETTINGS && !acknowledged {
            self.send(SETTINGS, 1, 0, &[])?;
        }
        if kind == PING && !acknowledged {
            self.send(PING, 1, 0, &payload)?;
        }
        Ok(Frame { kind, flags, stream, payload })
    }

    /// What a stream brings, and the frame that ends it; panics if the connection is to end.
    #[track_caller]
    pub fn content(&mut self, stream: u32) -> (Vec<u8>, Frame) {
        let mut content = Vec::new();
        loop {
            let frame = self.next().unwrap();
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                content.extend_from_slice(&frame.payload);
            }
            let ends = frame.kind == DATA && frame.flags & END_STREAM != 0;
            if ends || frame.kind == RST_STREAM {
                return (content, frame);
            }
        }
    }

    /// Every frame until the other side closes.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next().ok()).collect()
    }
}

impl Frame {
    /// The last stream that a GOAWAY admits to.
    pub fn last_stream(&self) -> u32 {
        assert_eq!(self.kind, GOAWAY);
        u32::from_be_bytes(self.payload[..4].try_into().unwrap()) & 0x7fff_ffff
    }

    /// The error code of a GOAWAY or RST_STREAM.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

//! One client connection, plain or TLS, that asks and waits for the whole answer.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::DigitallySignedStruct;
use rustls::HandshakeKind;
use rustls::SignatureScheme;
use rustls::StreamOwned;
use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use crate::Failure;
use crate::args::Args;

/// The longest answer that is read, head included: these loads ask for 100 bytes.
const ANSWER: usize = 64 * 1024;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to connect.
#[derive(Clone)]
pub(crate) struct Dialer {
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// An open connection.
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Dialer {
    /// By `--port`, `--tls`, `--tls12` and `--resume`; each has a session store of its own.
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        let tls = args.has("tls").then(|| config(args)).transpose()?;
        Ok(Self { port: args.port()?, tls })
    }

    pub(crate) fn connect(&self) -> io::Result<Client> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let session = ClientConnection::new(Arc::clone(config), name);
                let session = session.map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(session, tcp)))
            }
        };
        Ok(Client { stream, buffer: Vec::new() })
    }
}

impl Client {
    /// Sends a request and reads its answer to the end. Anything but a 200 is an error.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => {
                stream.write_all(request)?;
                read_answer(stream, &mut self.buffer)
            }
            Stream::Tls(stream) => {
                stream.write_all(request)?;
                read_answer(stream, &mut self.buffer)
            }
        }
    }

    pub(crate) fn resumed(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Closes as a browser does, with a close_notify. The peer may have gone already.
    pub(crate) fn close(self) {
        if let Stream::Tls(mut stream) = self.stream {
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
    }

    /// Gives its buffer back: ten thousand idle connections need none.
    pub(crate) fn rest(mut self) -> Self {
        self.buffer = Vec::new();
        self
    }
}

/// Reads one answer, by its Content-Length or to the last chunk.
fn read_answer(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(ANSWER, 0);
    let mut filled = 0;
    let mut end = None;
    loop {
        let free = buffer.get_mut(filled..).filter(|free| !free.is_empty());
        let free = free.ok_or_else(|| io::Error::other("the answer is too long"))?;
        let got = stream.read(free)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += got;
        let answer = buffer.get(..filled).unwrap_or_default();
        if end.is_none() {
            end = end_of(answer)?;
        }
        match end {
            Some(End::At(length)) if filled >= length => return Ok(()),
            Some(End::Chunked) if answer.ends_with(b"0\r\n\r\n") => return Ok(()),
            _ => {}
        }
    }
}

/// How an answer ends.
enum End {
    At(usize),
    Chunked,
}

/// Known once the head is there.
fn end_of(answer: &[u8]) -> io::Result<Option<End>> {
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(answer.get(..at).unwrap_or_default()).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        let status = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("answered {status}")));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok());
    Ok(Some(length.map_or(End::Chunked, |length| End::At(at + 4 + length))))
}

fn config(args: &Args) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let version = if args.has("tls12") { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = if args.has("resume") {
        Resumption::in_memory_sessions(64)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// Believes everybody: what a client's checks cost is not what is measured.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

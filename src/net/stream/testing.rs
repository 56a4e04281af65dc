//! A TLS client for tests that sees every record, and a connection between it and our own end.

use std::io::Read;
use std::io::Write;
use std::mem;
use std::sync::Arc;

use rcgen::KeyPair;
use rcgen::PKCS_RSA_SHA256;
use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::ContentType;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::yield_now;

use crate::net::certs::CertificateSet;
use crate::net::handshake;
use crate::net::stream::outgoing::Outgoing;
use crate::net::stream::records::Sealer;
use crate::net::stream::tls::TlsStream;
use crate::net::testing::Folder;
use crate::net::testing::params;
use crate::net::tls::Tls;
use crate::net::turns::Turns;

pub(crate) const NAME: &str = "shop.example";

/// Our side's configuration, and a client's that trusts it.
pub(crate) struct Site {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: ClientConfig,
}

pub(crate) fn site() -> Site {
    of(&[&TLS13, &TLS12], aws_lc_rs::ALL_CIPHER_SUITES, aws_lc_rs::DEFAULT_KX_GROUPS)
}

pub(crate) fn tls12() -> Site {
    of(&[&TLS12], aws_lc_rs::ALL_CIPHER_SUITES, aws_lc_rs::DEFAULT_KX_GROUPS)
}

/// A client that speaks only `suite`.
pub(crate) fn only(suite: SupportedCipherSuite) -> Site {
    let version = if matches!(suite, SupportedCipherSuite::Tls13(_)) { &TLS13 } else { &TLS12 };
    of(&[version], &[suite], aws_lc_rs::DEFAULT_KX_GROUPS)
}

/// A client that offers a key of a group that we do not have, and knows another one.
pub(crate) fn wrong_guess() -> Site {
    of(&[&TLS13], aws_lc_rs::ALL_CIPHER_SUITES, &[kx_group::MLKEM768, kx_group::X25519])
}

/// Suites that fit the certificate: every record layout and key length there is.
pub(crate) fn suites() -> Vec<SupportedCipherSuite> {
    let rsa = [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let fits = |suite: &SupportedCipherSuite| !rsa.contains(&suite.suite());
    aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .copied()
        .filter(fits)
        .collect()
}

/// A client that speaks only `suite`, and a server with an RSA key.
pub(crate) fn with_rsa(suite: SupportedCipherSuite) -> Site {
    let version = if matches!(suite, SupportedCipherSuite::Tls13(_)) { &TLS13 } else { &TLS12 };
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    trusted(&key, &[version], &[suite], aws_lc_rs::DEFAULT_KX_GROUPS)
}

fn of(
    versions: &[&'static SupportedProtocolVersion],
    cipher_suites: &[SupportedCipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> Site {
    trusted(&KeyPair::generate().unwrap(), versions, cipher_suites, groups)
}

fn trusted(
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
    cipher_suites: &[SupportedCipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> Site {
    let folder = Folder::new();
    let paths = folder.certified("site", &params(&[NAME]), key);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&paths.cert).unwrap())
        .unwrap();
    let certificates = CertificateSet::load(&[paths]).unwrap();
    let server = Tls::new(Arc::new(certificates)).unwrap().config;
    let provider = CryptoProvider {
        cipher_suites: cipher_suites.to_vec(),
        kx_groups: groups.to_vec(),
        ..aws_lc_rs::default_provider()
    };
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Site { server, client }
}

/// Two ends of a TCP connection on loopback.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

/// A client with its handshake done, and our end.
pub(crate) async fn connected(site: &Site) -> (Client, TlsStream) {
    let (far, near) = sockets().await;
    let turns = Turns::new(8);
    let accepted = handshake::accept(near.into(), Arc::clone(&site.server), &turns);
    let (client, server) = tokio::join!(Client::connect(far, &site.client), accepted);
    (client, server.unwrap())
}

/// A client that sees the records.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) tls: ClientConnection,
    /// What came: content type on the wire, and length without the head.
    pub(crate) records: Vec<(u8, usize)>,
    unparsed: Vec<u8>,
    data: Vec<u8>,
}

impl Client {
    pub(crate) fn new(socket: TcpStream, config: &ClientConfig) -> Self {
        let name = ServerName::try_from(NAME).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        tls.set_buffer_limit(None);
        Self { socket, tls, records: Vec::new(), unparsed: Vec::new(), data: Vec::new() }
    }

    pub(crate) async fn connect(socket: TcpStream, config: &ClientConfig) -> Self {
        let mut client = Self::new(socket, config);
        client.handshake().await;
        client
    }

    pub(crate) async fn handshake(&mut self) {
        while self.tls.is_handshaking() {
            self.send().await;
            if self.receive().await == 0 {
                break;
            }
        }
        self.send().await;
    }

    /// The same, each byte by itself.
    pub(crate) async fn connect_slowly(&mut self) {
        while self.tls.is_handshaking() {
            self.send_slowly().await;
            self.receive().await;
        }
        self.send_slowly().await;
    }

    pub(crate) async fn send_slowly(&mut self) {
        for byte in self.pending() {
            self.socket.write_u8(byte).await.unwrap();
            yield_now().await;
        }
    }

    /// What the library wants sent.
    pub(crate) fn pending(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// What the library wants sent next, once it has heard enough for that.
    pub(crate) async fn next_flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while flight.is_empty() && self.receive().await > 0 {
            flight = self.pending();
        }
        flight
    }

    pub(crate) async fn send(&mut self) {
        let bytes = self.pending();
        self.socket.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn write(&mut self, data: &[u8]) {
        self.tls.writer().write_all(data).unwrap();
        self.send().await;
    }

    /// One read of the socket. Returns how much came.
    pub(crate) async fn receive(&mut self) -> usize {
        let mut bytes = vec![0; 1 << 16];
        let count = self.socket.read(&mut bytes).await.unwrap_or(0);
        let mut bytes = &bytes[..count];
        self.unparsed.extend_from_slice(bytes);
        while let [kind, _, _, high, low, ..] = *self.unparsed.as_slice() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.unparsed.len() < 5 + length {
                break;
            }
            self.unparsed.drain(..5 + length);
            self.records.push((kind, length));
        }
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).unwrap();
            if self.tls.process_new_packets().is_err() {
                break;
            }
            // Ends with "nothing yet", which is no error here.
            self.tls.reader().read_to_end(&mut self.data).ok();
        }
        count
    }

    /// Reads until there are `length` bytes of data, or the end.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        while self.data.len() < length && self.receive().await > 0 {}
        let rest = self.data.split_off(length.min(self.data.len()));
        mem::replace(&mut self.data, rest)
    }

    /// The same client, free to send what no library would.
    pub(crate) fn wild(self) -> Wild {
        let suite = self.tls.negotiated_cipher_suite().unwrap();
        let secrets = self.tls.dangerous_extract_secrets().unwrap();
        Wild { socket: self.socket, sealer: Sealer::new(suite, secrets.tx).unwrap() }
    }
}

/// A client without manners.
pub(crate) struct Wild {
    pub(crate) socket: TcpStream,
    sealer: Sealer,
}

impl Wild {
    pub(crate) async fn send(&mut self, kind: ContentType, content: &[u8]) {
        let mut out = Outgoing::default();
        out.control(&mut self.sealer, kind, content).unwrap();
        self.socket.write_all(out.sealed()).await.unwrap();
    }
}

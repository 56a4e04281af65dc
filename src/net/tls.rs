//! How we speak TLS to clients: one rustls configuration per listener, whose certificates can be
//! swapped under it without touching tickets and sessions.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::OnceLock;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::ClientHello;
use rustls::server::ProducesTickets;
use rustls::server::ResolvesServerCert;
use rustls::server::ServerSessionMemoryCache;
use rustls::server::StoresServerSessions;
use rustls::sign::CertifiedKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::net::certs::CertificateSet;
use crate::sync::published::Published;
use crate::sync::published::Publisher;

/// Sessions remembered in the process for TLS 1.2 clients that know no tickets.
const SESSIONS: usize = 4096;

thread_local! {
    /// The name in the client's hello that this thread has just answered.
    static ASKED_FOR: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The TLS side of one listener. It outlives reloads: only the certificates inside change.
#[derive(Debug)]
pub struct Tls {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    /// The certificates of the moment.
    pub certificates: Published<CertificateSet>,
    publisher: Publisher<CertificateSet>,
}

impl Tls {
    /// # Errors
    /// The crypto library refuses our settings or gives no random bytes.
    pub(super) fn new(certificates: Arc<CertificateSet>) -> Result<Self, rustls::Error> {
        let publisher = Publisher::new(certificates);
        let resolver = Resolver { certificates: publisher.published() };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Our order, AES-128 first: the client's own usually ends in SHA-384, a quarter of a
        // handshake's CPU time.
        config.ignore_client_order = true;
        // One ticket instead of two: a full handshake takes 67 instead of 85 microseconds.
        config.send_tls13_tickets = 1;
        config.ticketer = ticketer()?;
        config.session_storage = sessions();
        // Early data can be replayed (RFC 8446 §8); a proxy cannot know which request minds.
        config.max_early_data_size = 0;
        // Our own record layer takes the keys over after the handshake.
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), certificates: publisher.published(), publisher })
    }

    /// Gives every later handshake `certificates`. Tickets and sessions stay good.
    pub(super) fn swap(&self, certificates: Arc<CertificateSet>) {
        self.publisher.publish(certificates);
    }
}

fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite as suite;
    let cipher_suites = vec![
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

/// The one ticket maker of the process: a client may resume on any listener, and after any reload.
/// Only for listeners that ask no client certificate: rustls does not check that on resumption.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(ticketer) = TICKETER.get() {
        return Ok(Arc::clone(ticketer));
    }
    let made = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::clone(TICKETER.get_or_init(|| made)))
}

/// The one memory of sessions of the process, for the same reason.
fn sessions() -> Arc<dyn StoresServerSessions> {
    static SESSIONS_MADE: OnceLock<Arc<dyn StoresServerSessions>> = OnceLock::new();
    Arc::clone(SESSIONS_MADE.get_or_init(|| ServerSessionMemoryCache::new(SESSIONS)))
}

/// The name (RFC 6066 §3) in the hello that was answered last on this thread, by any configuration
/// made here; asked once. The library tells it to the resolver only.
pub(super) fn take_name_asked_for() -> Option<Box<str>> {
    ASKED_FOR.take()
}

/// Chooses a certificate by the name in the client's hello.
#[derive(Debug)]
struct Resolver {
    certificates: Published<CertificateSet>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED_FOR.set(hello.server_name().map(Box::from));
        self.certificates.load().resolve(hello.server_name())
    }
}

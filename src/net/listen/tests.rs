//! Listeners on real sockets: what a commit keeps, swaps, closes and refuses.

use super::*;
use crate::net::testing::Folder;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;

fn plain(bind: SocketAddr) -> ListenerSpec {
    ListenerSpec { bind, certificates: None, redirect_to_https: false }
}

fn secure(certificates: &[CertificatePaths]) -> ListenerSpec {
    ListenerSpec { certificates: Some(certificates.to_vec()), ..plain(any_port()) }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Prepares and commits; returns the listener of each spec.
fn apply(listeners: &Listeners, specs: &[ListenerSpec]) -> Vec<Arc<Listener>> {
    listeners.commit(listeners.prepare(specs).unwrap());
    listeners.current().to_vec()
}

fn accept(listener: &Listener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept_socket(0)?.accept()?;
    Ok(stream)
}

fn der(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn client(trusted: &[&CertificatePaths]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for paths in trusted {
        roots.add(der(&paths.cert)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    config
}

struct Shaken {
    kind: HandshakeKind,
    leaf: CertificateDer<'static>,
    protocol: Option<Vec<u8>>,
    suite: String,
}

/// One handshake with the only worker of `listener`, up to the first byte (the ticket comes before).
async fn shake(listener: &Listener, client: &Arc<ClientConfig>, name: &str) -> Shaken {
    let tls = listener.tls.as_ref().unwrap();
    let socket = tokio::net::TcpListener::from_std(listener.accept_socket(0).unwrap()).unwrap();
    let server = async {
        let (stream, _) = socket.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let client = async {
        let stream = tokio::net::TcpStream::connect(listener.address)
            .await
            .unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        let mut stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        let (_, session) = stream.get_ref();
        Shaken {
            kind: session.handshake_kind().unwrap(),
            leaf: session.peer_certificates().unwrap()[0].clone(),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            suite: format!("{:?}", session.negotiated_cipher_suite().unwrap().suite()),
        }
    };
    tokio::join!(server, client).1
}

#[test]
fn another_process_on_the_port_is_found_and_named() {
    let (ours, theirs) = (Listeners::new(2), Listeners::new(2));
    let address = apply(&ours, &[plain(any_port())])[0].address;
    let errors = theirs.prepare(&[plain(address)]).unwrap_err();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    let start = format!("listeners[0].bind: {address}: already in use\n");
    assert!(text.starts_with(&start), "{text}");
    assert!(theirs.current().is_empty());
}

#[test]
fn the_unspecified_ipv6_address_listens_on_both_families() {
    let Ok(_ipv6) = TcpListener::bind("[::1]:0") else { return };
    let listeners = Listeners::new(1);
    let listener = apply(&listeners, &[plain("[::]:0".parse().unwrap())]).remove(0);
    for host in ["127.0.0.1", "::1"] {
        let _client = TcpStream::connect((host, listener.address.port())).unwrap();
        accept(&listener).unwrap();
    }
}

#[test]
fn a_waiting_connection_survives_commits_because_its_socket_does() {
    let listeners = Listeners::new(1);
    let mut subscribed = listeners.subscribe();
    let spec = plain(any_port());
    let before = apply(&listeners, std::slice::from_ref(&spec)).remove(0);
    assert!(subscribed.has_changed().unwrap());
    assert_eq!(subscribed.borrow_and_update().len(), 1);
    let _waiting = TcpStream::connect(before.address).unwrap();

    let other = ListenerSpec { redirect_to_https: true, ..plain("127.0.0.2:0".parse().unwrap()) };
    let same = apply(&listeners, &[other, spec.clone()]).remove(1);
    assert!(Arc::ptr_eq(&before, &same), "an unchanged listener is the same listener");

    let folder = Folder::new();
    let certificates = Some(vec![folder.certificate("a", &["a.test"])]);
    let changed = ListenerSpec { certificates, redirect_to_https: true, ..spec };
    let changed = apply(&listeners, &[changed]).remove(0);
    assert!(changed.redirect_to_https && changed.tls.is_some());
    assert_eq!(changed.address, before.address);
    drop((before, same));
    accept(&changed).unwrap();
}

#[test]
fn a_listener_that_is_gone_closes_and_can_come_back_while_it_does() {
    let listeners = Listeners::new(2);
    let closing = apply(&listeners, &[plain(any_port())]).remove(0);
    let address = closing.address;
    apply(&listeners, &[]);
    drop(closing);
    assert!(TcpStream::connect(address).is_err());

    let closing = apply(&listeners, &[plain(address)]).remove(0);
    apply(&listeners, &[]);
    let back = apply(&listeners, &[plain(address)]).remove(0);
    assert!(!Arc::ptr_eq(&closing, &back), "the workers must see a new one");
    assert!(Arc::ptr_eq(&closing.sockets, &back.sockets));
}

#[test]
fn a_listener_may_widen_to_every_address_in_one_commit() {
    let listeners = Listeners::new(2);
    let narrow = apply(&listeners, &[plain(any_port())]).remove(0);
    let wide = SocketAddr::new("0.0.0.0".parse().unwrap(), narrow.address.port());
    let wide = apply(&listeners, &[plain(wide)]).remove(0);
    drop(narrow);
    TcpStream::connect(("127.0.0.1", wide.address.port())).unwrap();
}

#[test]
fn what_was_prepared_and_not_committed_closes_again() {
    let listeners = Listeners::new(2);
    let prepared = listeners.prepare(&[plain(any_port())]).unwrap();
    let address = prepared.listeners()[0].address;
    TcpStream::connect(address).unwrap();
    drop(prepared);
    assert!(TcpStream::connect(address).is_err());
    assert!(listeners.current().is_empty());
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let folder = Folder::new();
    let missing = CertificatePaths { cert: folder.path("no.pem"), key: folder.path("no.key") };
    let good = folder.certificate("good", &["good.test"]);
    let taken = TcpListener::bind(any_port()).unwrap();
    let taken = taken.local_addr().map(plain).unwrap();
    let foreign: SocketAddr = "192.0.2.1:8080".parse().unwrap(); // RFC 5737: nobody's
    let mut broken = secure(&[good, missing]);
    broken.bind = foreign;
    let errors = Listeners::new(1)
        .prepare(&[broken, taken.clone(), taken])
        .unwrap_err();
    let paths: Vec<String> = errors.iter().map(ListenError::path).collect();
    assert_eq!(
        paths,
        [
            "listeners[0].tls.certificates[1].cert",
            "listeners[0].tls.certificates[1].key",
            "listeners[0].bind",
            "listeners[1].bind",
            "listeners[2].bind",
        ],
    );
    assert_eq!(errors[2].what, "192.0.2.1:8080: this machine has no such address");
    assert!(errors[3].what.ends_with("already in use"), "{}", errors[3]);
    assert!(errors[4].what.ends_with("listeners[1] has this address"), "{}", errors[4]);
}

#[tokio::test]
async fn a_swapped_certificate_is_served_and_old_tickets_still_resume() {
    let folder = Folder::new();
    let names = ["app.test"];
    let [live, next] = ["live", "next"].map(|stem| folder.certificate(stem, &names));
    let client = Arc::new(client(&[&live, &next]));
    let old = der(&live.cert);
    let listeners = Listeners::new(1);
    let spec = [secure(std::slice::from_ref(&live))];
    let listener = apply(&listeners, &spec).remove(0);
    let first = shake(&listener, &client, "app.test").await;
    assert_eq!((first.kind, &first.leaf), (HandshakeKind::Full, &old));
    assert_eq!(first.protocol.as_deref(), Some(&b"h2"[..]), "h2 goes first, whatever they prefer");
    assert_eq!(first.suite, "TLS13_AES_128_GCM_SHA256");

    fs::copy(&next.cert, &live.cert).unwrap();
    fs::copy(&next.key, &live.key).unwrap();
    let prepared = listeners.prepare(&spec).unwrap();
    let untouched = Arc::new(self::client(&[&next]));
    listeners.commit(prepared);
    let same = Arc::clone(&listeners.current()[0]);
    assert!(Arc::ptr_eq(&listener, &same));
    let resumed = shake(&same, &client, "app.test").await;
    assert_eq!(resumed.kind, HandshakeKind::Resumed);
    let fresh = shake(&same, &untouched, "app.test").await;
    assert_eq!((fresh.kind, fresh.leaf), (HandshakeKind::Full, der(&next.cert)));
}

#[tokio::test]
async fn the_name_a_client_sends_chooses_its_certificate() {
    let folder = Folder::new();
    // The first also answers for the name that no certificate carries, so clients here trust it for
    // that name too.
    let first = folder.certificate("first", &["first.test", "127.0.0.1"]);
    let wild = folder.certificate("wild", &["*.example.test"]);
    let exact = folder.certificate("exact", &["app.example.test"]);
    let listeners = Listeners::new(1);
    let specs = [secure(&[first.clone(), wild.clone(), exact.clone()])];
    let listener = apply(&listeners, &specs).remove(0);
    let client = Arc::new(client(&[&first, &wild, &exact]));
    for (name, expected) in [
        ("first.test", &first),
        ("api.example.test", &wild),
        ("app.example.test", &exact),
        ("127.0.0.1", &first), // sends no name at all
    ] {
        assert_eq!(shake(&listener, &client, name).await.leaf, der(&expected.cert), "{name}");
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_too() {
    let folder = Folder::new();
    let paths = folder.certificate("a", &["a.test"]);
    let mut roots = RootCertStore::empty();
    roots.add(der(&paths.cert)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let listeners = Listeners::new(1);
    let listener = apply(&listeners, &[secure(&[paths])]).remove(0);
    let first = shake(&listener, &client, "a.test").await;
    assert_eq!(first.suite, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_eq!(shake(&listener, &client, "a.test").await.kind, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_key_that_does_not_fit_swaps_nothing() {
    let folder = Folder::new();
    let live = folder.certificate("live", &["app.test"]);
    let other = folder.certificate("other", &["other.test"]);
    let client = Arc::new(client(&[&live]));
    let served = der(&live.cert);
    let listeners = Listeners::new(1);
    let spec = [secure(std::slice::from_ref(&live))];
    let listener = apply(&listeners, &spec).remove(0);
    fs::copy(&other.key, &live.key).unwrap();
    let errors = listeners.prepare(&spec).unwrap_err();
    assert_eq!(errors[0].place, Place::Key(0));
    assert_eq!(shake(&listener, &client, "app.test").await.leaf, served);
}

#[test]
fn warnings_come_with_their_place() {
    let folder = Folder::new();
    let mut expired = crate::net::testing::params(&["old.test"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let paths = folder.signed("old", &expired);
    let prepared = Listeners::new(1).prepare(&[secure(&[paths])]).unwrap();
    let warning = &prepared.warnings()[0];
    assert!(warning.starts_with("listeners[0].tls.certificates[0].cert: "), "{warning}");
}

/// Ten years pass: `certs-example/make.sh` then makes new ones.
#[tokio::test]
async fn the_example_certificates_are_trusted_under_all_their_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs-example");
    let authority = folder.join("ca.pem");
    let authority = CertificatePaths { cert: authority.clone(), key: authority };
    let client = Arc::new(client(&[&authority]));
    let paths = CertificatePaths {
        cert: folder.join("localhost.pem"),
        key: folder.join("localhost-key.pem"),
    };
    let listeners = Listeners::new(1);
    let prepared = listeners.prepare(&[secure(&[paths])]).unwrap();
    assert!(prepared.warnings().is_empty(), "{:?}", prepared.warnings());
    listeners.commit(prepared);
    let listener = Arc::clone(&listeners.current()[0]);
    for name in ["localhost", "api.example.test", "app.example.test", "127.0.0.1", "::1"] {
        shake(&listener, &client, name).await;
    }
}

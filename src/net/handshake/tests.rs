//! Handshakes with clients of every kind, on real sockets.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::ServerConfig;
use rustls::client::Resumption;
use rustls::client::Tls12Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::ANSWER_TO_HTTP;
use super::accept;
use super::holds_message;
use super::speaks_http;
use crate::net::stream::testing::Client;
use crate::net::stream::testing::Site;
use crate::net::stream::testing::connected;
use crate::net::stream::testing::site;
use crate::net::stream::testing::sockets;
use crate::net::stream::testing::tls12;
use crate::net::stream::testing::with_rsa;
use crate::net::stream::testing::wrong_guess;
use crate::net::turns::Turns;

const PATIENCE: Duration = Duration::from_secs(20);

/// What our end says to a client that sends `bytes`, and what that client reads.
async fn answer(site: &Site, bytes: &[u8]) -> (std::io::Error, Vec<u8>) {
    let (mut far, near) = sockets().await;
    let turns = Turns::new(1);
    let client = async {
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        read
    };
    let refused = accept(near.into(), Arc::clone(&site.server), &turns);
    let both = async { tokio::join!(refused, client) };
    let (refused, read) = timeout(PATIENCE, both).await.unwrap();
    (refused.map(|_| ()).unwrap_err(), read)
}

async fn kind(site: &Site) -> (Option<ProtocolVersion>, Option<HandshakeKind>) {
    let (mut client, mut server) = connected(site).await;
    server.write_all(b"hello").await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(client.read(5).await, b"hello");
    (client.tls.protocol_version(), client.tls.handshake_kind())
}

#[tokio::test]
async fn a_session_is_resumed_with_a_ticket_and_without() {
    for site in [site(), tls12()] {
        let first = kind(&site).await;
        assert_eq!(first.1, Some(HandshakeKind::Full));
        for _ in 0..3 {
            assert_eq!(kind(&site).await, (first.0, Some(HandshakeKind::Resumed)));
        }
    }
    let mut by_id = tls12();
    by_id.client.resumption =
        Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    assert_eq!(kind(&by_id).await.1, Some(HandshakeKind::Full));
    assert_eq!(kind(&by_id).await.1, Some(HandshakeKind::Resumed));
    // Another listener of this process knows the session too, if it serves the same name.
    let other = Site { server: site().server, client: by_id.client.clone() };
    assert_eq!(kind(&other).await.1, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_client_that_guessed_another_key_exchange_is_asked_again() {
    let retried = Some(HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(kind(&wrong_guess()).await.1, retried);
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_understood() {
    for site in [site(), tls12(), wrong_guess()] {
        let (far, near) = sockets().await;
        far.set_nodelay(true).unwrap();
        let turns = Turns::new(1);
        let mut client = Client::new(far, &site.client);
        let accepted = accept(near.into(), Arc::clone(&site.server), &turns);
        let ((), accepted) = tokio::join!(client.connect_slowly(), accepted);
        accepted.unwrap();
    }
}

#[tokio::test]
async fn a_hello_in_many_small_records_is_understood() {
    for mut site in [site(), tls12(), wrong_guess()] {
        site.client.max_fragment_size = Some(50);
        let (mut client, mut server) = connected(&site).await;
        client.write(&[7; 300]).await;
        let mut got = [0; 300];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [7; 300]);
    }
}

#[tokio::test]
async fn a_mutilated_hello_never_does_more_than_fail() {
    let site = site();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..200 {
        let (far, _near) = sockets().await;
        let mut hello = Client::new(far, &site.client).pending();
        let cut = if round % 4 == 0 { random.usize(..hello.len()) } else { hello.len() };
        hello.truncate(cut);
        for _ in 0..random.usize(1..4) {
            let (at, to) = (random.usize(..hello.len().max(1)), random.u8(..));
            hello.get_mut(at).into_iter().for_each(|byte| *byte = to);
        }
        answer(&site, &hello).await;
    }
}

#[tokio::test]
async fn a_mutilated_second_flight_never_does_more_than_fail() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let site = if round % 2 == 0 { site() } else { tls12() };
        let (far, near) = sockets().await;
        let turns = Turns::new(1);
        let client = async {
            let mut client = Client::new(far, &site.client);
            client.send().await;
            let mut flight = client.next_flight().await;
            let at = random.usize(..flight.len().max(1));
            flight
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte = random.u8(..));
            client.socket.write_all(&flight).await.ok();
            client.socket.shutdown().await.ok();
        };
        let accepted = accept(near.into(), Arc::clone(&site.server), &turns);
        let both = async { tokio::join!(client, accepted) };
        // Now and then the byte was what it is, or one that nobody looks at.
        timeout(PATIENCE, both).await.unwrap().1.ok();
    }
}

#[tokio::test]
async fn an_rsa_certificate_serves_too() {
    let rsa = [
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS13_AES_128_GCM_SHA256,
    ];
    for suite in rsa {
        let site = with_rsa(suite);
        assert_eq!(kind(&site).await.1, Some(HandshakeKind::Full));
        assert_eq!(kind(&site).await.1, Some(HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn http_without_tls_is_told_so() {
    let site = site();
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PROPFIND /x HTTP/1.0\r\n\r\n"] {
        let (error, read) = answer(&site, request.as_bytes()).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(read, ANSWER_TO_HTTP);
    }
    let text = String::from_utf8(ANSWER_TO_HTTP.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_gets_an_alert() {
    let site = site();
    let garbage: [&[u8]; 6] = [
        b"\x00\x01\x02\x03\x04\x05",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        &[23, 3, 3, 0, 3, 1, 2, 3],
        &[22, 3, 1, 0xff, 0xff, 1, 0, 0],
        &[22, 3, 1, 0, 4, 99, 0, 0, 0],
    ];
    for bytes in garbage {
        let (error, read) = answer(&site, bytes).await;
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}: {error}");
        assert!(error.downcast::<rustls::Error>().is_ok());
        assert_eq!(read.first(), Some(&21), "{bytes:?} is answered by {read:?}");
    }
}

#[tokio::test]
async fn a_client_that_no_certificate_or_version_suits_is_told_so() {
    let mut site = site();
    site.client.alpn_protocols = vec![b"gopher".to_vec()];
    let (far, near) = sockets().await;
    let turns = Turns::new(1);
    let mut client = Client::new(far, &site.client);
    let client = async {
        client.send().await;
        while client.receive().await > 0 {}
        client.tls.process_new_packets().unwrap_err()
    };
    let refused = accept(near.into(), Arc::clone(&site.server), &turns);
    let (alert, refused) = tokio::join!(client, refused);
    assert_eq!(refused.map(|_| ()).unwrap_err().kind(), ErrorKind::InvalidData);
    let told = AlertDescription::NoApplicationProtocol;
    assert_eq!(alert, rustls::Error::AlertReceived(told));
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_is_an_early_end() {
    let site = site();
    for bytes in [&b""[..], b"GE", &[22, 3, 1, 2, 0, 1, 0]] {
        let (error, read) = answer(&site, bytes).await;
        assert_eq!((error.kind(), read.as_slice()), (ErrorKind::UnexpectedEof, &b""[..]));
    }
}

#[tokio::test]
async fn a_hello_without_end_is_given_up() {
    let record = [&[22, 3, 1, 0x40, 0][..], &[1; 0x4000]].concat();
    let (error, _) = answer(&site(), &record.repeat(5)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_slow_client_holds_no_turn() {
    let site = site();
    let turns = Turns::new(0);
    let (mut slow, near) = sockets().await;
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let waits = accept(near.into(), Arc::clone(&site.server), &turns);
    let quick = async {
        for _ in 0..3 {
            let (far, near) = sockets().await;
            let accepted = accept(near.into(), Arc::clone(&site.server), &turns);
            let (_client, accepted) = tokio::join!(Client::connect(far, &site.client), accepted);
            accepted.unwrap();
        }
    };
    tokio::select! {
        _ = waits => panic!("half a hello is no handshake"),
        done = timeout(PATIENCE, quick) => done.unwrap(),
    }
}

/// Notes when a handshake does its heavy step, of which the choice of a certificate is a part.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn ResolvesServerCert>,
    order: Arc<Mutex<Vec<&'static str>>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.order.lock().unwrap().push("handshake");
        self.inner.resolve(hello)
    }
}

async fn note_for_ever(order: Arc<Mutex<Vec<&'static str>>>) {
    loop {
        order.lock().unwrap().push("request");
        yield_now().await;
    }
}

async fn handshake(
    client: Client,
    near: TcpStream,
    config: Arc<ServerConfig>,
    turns: Turns,
) -> ErrorKind {
    let ended = accept(near.into(), config, &turns).await;
    drop(client);
    ended.map(|_| ()).unwrap_err().kind()
}

#[tokio::test]
async fn between_two_handshakes_everything_else_runs() {
    let site = site();
    let order = Arc::new(Mutex::new(Vec::new()));
    let inner = Arc::clone(&site.server.cert_resolver);
    let mut config = site.server.as_ref().clone();
    config.cert_resolver = Arc::new(Noting { inner, order: Arc::clone(&order) });
    let config = Arc::new(config);
    let turns = Turns::new(100);
    let work = async {
        let other = spawn_local(note_for_ever(Arc::clone(&order)));
        let mut all = Vec::new();
        for _ in 0..8 {
            let (far, near) = sockets().await;
            let mut client = Client::new(far, &site.client);
            client.send().await;
            client.socket.shutdown().await.unwrap();
            let one = handshake(client, near, Arc::clone(&config), turns.clone());
            all.push(spawn_local(one));
        }
        for handshake in all {
            let ended = timeout(PATIENCE, handshake).await.unwrap().unwrap();
            assert_eq!(ended, ErrorKind::UnexpectedEof);
        }
        other.abort();
    };
    LocalSet::new().run_until(work).await;
    let order = order.lock().unwrap();
    let count = |what: &[&str]| {
        order
            .windows(what.len())
            .filter(|some| *some == what)
            .count()
    };
    assert_eq!(count(&["handshake"]), 8);
    assert_eq!(count(&["handshake", "handshake"]), 0, "{order:?}");
}

#[test]
fn a_request_line_is_told_from_anything_else_by_its_first_bytes() {
    for (bytes, is_http) in [
        ("G", None),
        ("GET", None),
        ("GET ", Some(true)),
        ("PRI * HTTP/2.0", Some(true)),
        ("GET/", Some(false)),
        ("Get ", Some(false)),
        ("ABCDEFGHIJKLMNOPQ", Some(false)),
    ] {
        assert_eq!(speaks_http(bytes.as_bytes()), is_http, "{bytes}");
    }
}

#[test]
fn a_message_is_whole_once_all_its_records_are() {
    // A hello of six bytes, cut in every way into records of one to three bytes.
    let hello = [1, 0, 0, 2, 7, 7];
    for piece in 1..=6 {
        let records: Vec<u8> = hello
            .chunks(piece)
            .flat_map(|part| [&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()], part].concat())
            .collect();
        assert!(holds_message(&records));
        for cut in 0..records.len() {
            assert!(!holds_message(&records[..cut]), "{cut} of {records:?}");
        }
    }
    // What cannot become a message is for the library to refuse.
    assert!(holds_message(&[22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 1, 9]));
    assert!(holds_message(&[22, 3, 1, 0, 0]));
    assert!(holds_message(&[22, 3, 1, 0, 4, 1, 255, 255, 255]));
}

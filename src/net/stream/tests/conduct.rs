//! What a peer may send beside data, and what it may not.

use std::io;
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::CipherSuiteCommon;
use rustls::ContentType;
use rustls::ServerConfig;
use rustls::SupportedCipherSuite;
use rustls::Tls13CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::version::TLS13;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::net::stream::testing::Client;
use crate::net::stream::testing::Site;
use crate::net::stream::testing::Wild;
use crate::net::stream::testing::connected;
use crate::net::stream::testing::site;
use crate::net::stream::testing::tls12;
use crate::net::stream::tests::PATIENCE;
use crate::net::stream::tests::pattern;
use crate::net::stream::tls::TlsStream;

async fn echo(client: &mut Client, server: &mut TlsStream) {
    client.write(b"still there?").await;
    let mut got = [0; 12];
    server.read_exact(&mut got).await.unwrap();
    server.write_all(&got).await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(client.read(12).await, b"still there?");
}

#[tokio::test]
async fn a_client_may_change_its_key_and_ask_for_ours() {
    let (mut client, mut server) = connected(&site()).await;
    for _ in 0..3 {
        client.tls.refresh_traffic_keys().unwrap();
        echo(&mut client, &mut server).await;
        echo(&mut client, &mut server).await;
    }
    // One after the other without an answer of ours between them: one answer is enough.
    for _ in 0..3 {
        client.tls.refresh_traffic_keys().unwrap();
        client.send().await;
    }
    echo(&mut client, &mut server).await;
}

#[tokio::test]
async fn our_key_changes_before_it_has_sealed_too_much() {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        panic!("a 1.3 suite")
    };
    let common = CipherSuiteCommon {
        suite: suite.common.suite,
        hash_provider: suite.common.hash_provider,
        confidentiality_limit: 100,
    };
    let short = Tls13CipherSuite {
        common,
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: None,
    };
    let short = SupportedCipherSuite::Tls13(Box::leak(Box::new(short)));
    let provider = CryptoProvider { cipher_suites: vec![short], ..aws_lc_rs::default_provider() };
    let Site { server, client } = site();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&server.cert_resolver));
    config.enable_secret_extraction = true;
    let site = Site { server: Arc::new(config), client };
    let (mut client, mut server) = connected(&site).await;
    for round in 0..300 {
        server.write_all(b"tick").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read(4).await, b"tick", "round {round}");
    }
    let updates = client
        .records
        .iter()
        .filter(|(_, length)| *length == 5 + 17)
        .count();
    assert!((5..20).contains(&updates), "{updates} key updates for 300 records");
}

#[tokio::test]
async fn what_is_harmless_is_passed_over() {
    let (client, mut server) = connected(&site()).await;
    let mut client = client.wild();
    client.send(ContentType::ApplicationData, b"").await;
    client.send(ContentType::Alert, &[1, 90]).await; // user_canceled
    client.send(ContentType::ApplicationData, b"data").await;
    expect(&mut server, b"data").await;

    let (client, mut server) = connected(&tls12()).await;
    let mut client = client.wild();
    client.send(ContentType::ApplicationData, b"").await;
    client.send(ContentType::Alert, &[1, 100]).await;
    // A renegotiation is declined, once.
    client.send(ContentType::Handshake, &[1, 0, 0, 0]).await;
    client.send(ContentType::ApplicationData, b"data").await;
    expect(&mut server, b"data").await;
}

async fn expect(server: &mut TlsStream, data: &[u8]) {
    let mut got = vec![0; data.len()];
    timeout(PATIENCE, server.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, data);
}

/// What our end says to `records`, of which each but the last is tolerated.
async fn refused(site: &Site, records: &[(ContentType, &[u8])]) -> String {
    let (client, mut server) = connected(site).await;
    let mut client = client.wild();
    for (kind, content) in records {
        client.send(*kind, content).await;
    }
    refusal(&mut client, &mut server).await.to_string()
}

async fn refusal(client: &mut Wild, server: &mut TlsStream) -> io::Error {
    let mut got = Vec::new();
    let error = timeout(PATIENCE, server.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(server.write_all(b"no more").await.is_err(), "after an alert nothing follows");
    // The client is told: one more record, and it is the alert's.
    let mut bytes = vec![0; 4096];
    assert_ne!(client.socket.read(&mut bytes).await.unwrap(), 0);
    error
}

fn named(alert: AlertDescription) -> String {
    format!("{alert:?}")
}

#[tokio::test]
async fn a_message_that_has_no_place_after_the_handshake_is_refused() {
    use ContentType::Alert;
    use ContentType::ApplicationData;
    use ContentType::ChangeCipherSpec;
    use ContentType::Handshake;
    let unexpected = named(AlertDescription::UnexpectedMessage);
    let new = site();
    let illegal: [&[(ContentType, &[u8])]; 6] = [
        &[(Handshake, &[1, 0, 0, 0])],
        &[(Handshake, &[24, 0, 0, 2, 0])],
        &[(Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0])],
        &[(Handshake, &[24, 0]), (ApplicationData, b"inside")],
        &[(ChangeCipherSpec, &[1])],
        &[(ContentType::Unknown(99), b"?")],
    ];
    for records in illegal {
        let said = refused(&new, records).await;
        assert!(said.contains(&unexpected), "{records:?}: {said}");
    }
    let said = refused(&new, &[(Handshake, &[24, 0, 0, 1, 9])]).await;
    assert!(said.contains(&named(AlertDescription::IllegalParameter)), "{said}");
    let said = refused(&new, &[(Alert, &[1])]).await;
    assert!(said.contains(&named(AlertDescription::DecodeError)), "{said}");
    let old = tls12();
    let hello: (ContentType, &[u8]) = (Handshake, &[1, 0, 0, 0]);
    let illegal: [&[(ContentType, &[u8])]; 3] =
        [&[hello, hello], &[(Handshake, &[24, 0, 0, 1, 0])], &[(ChangeCipherSpec, &[1])]];
    for records in illegal {
        let said = refused(&old, records).await;
        assert!(said.contains(&unexpected), "{records:?}: {said}");
    }
}

#[tokio::test]
async fn a_key_update_split_over_two_records_is_understood() {
    let (client, mut server) = connected(&site()).await;
    let mut client = client.wild();
    client.send(ContentType::Handshake, &[24, 0, 0]).await;
    client.send(ContentType::Handshake, &[1, 0]).await;
    // Under the old key, which is the wrong one from here on.
    client.send(ContentType::ApplicationData, b"old").await;
    let error = refusal(&mut client, &mut server).await;
    assert!(
        error
            .to_string()
            .contains(&named(AlertDescription::BadRecordMac)),
        "{error}"
    );
}

#[tokio::test]
async fn records_that_bring_nothing_are_taken_only_so_often() {
    let nothing: (ContentType, &[u8]) = (ContentType::ApplicationData, b"");
    let said = refused(&site(), &[nothing; 33]).await;
    assert!(said.contains("empty"), "{said}");
    let warning: (ContentType, &[u8]) = (ContentType::Alert, &[1, 90]);
    let said = refused(&site(), &[warning; 5]).await;
    assert!(said.contains("warnings"), "{said}");
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_refused_after_what_came_before_it() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        io::Write::write_all(&mut client.tls.writer(), b"good").unwrap();
        let mut bytes = client.pending();
        io::Write::write_all(&mut client.tls.writer(), &pattern(50)).unwrap();
        bytes.extend(client.pending());
        *bytes.last_mut().unwrap() ^= 1;
        client.socket.write_all(&bytes).await.unwrap();
        expect(&mut server, b"good").await;
        let error = server.read(&mut [0; 99]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn what_is_no_record_is_refused_by_its_head() {
    let heads: [(&[u8], AlertDescription); 3] = [
        (&[23, 3, 3, 0x48, 0x01], AlertDescription::RecordOverflow),
        (b"GET / HTTP/1.1\r\n\r\n", AlertDescription::DecodeError),
        (&[21, 3, 3, 0, 2, 2, 80], AlertDescription::UnexpectedMessage),
    ];
    for (head, alert) in heads {
        let (client, mut server) = connected(&site()).await;
        let mut client = client.wild();
        client.socket.write_all(head).await.unwrap();
        let error = refusal(&mut client, &mut server).await;
        assert!(error.to_string().contains(&named(alert)), "{error}");
    }
}

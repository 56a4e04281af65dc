//! What a TLS stream promises, against a client that is not ours.

mod conduct;
mod endings;
mod writing;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::net::handshake;
use crate::net::stream::Transport;
use crate::net::stream::testing::Client;
use crate::net::stream::testing::connected;
use crate::net::stream::testing::only;
use crate::net::stream::testing::site;
use crate::net::stream::testing::sockets;
use crate::net::stream::testing::suites;
use crate::net::stream::testing::tls12;
use crate::net::stream::tls::TlsStream;
use crate::net::turns::Turns;

/// Far more than any of these takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

/// Polls once, with a waker that nobody hears.
pub(super) fn write_once(stream: &mut TlsStream, data: &[u8]) -> Poll<std::io::Result<usize>> {
    Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), data)
}

#[tokio::test]
async fn data_goes_both_ways_with_every_cipher() {
    for suite in suites() {
        let (mut client, mut server) = connected(&only(suite)).await;
        let (small, big) = (pattern(100), pattern(100_000));
        for data in [&small, &big, &small] {
            client.write(data).await;
            let mut got = vec![0; data.len()];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, data, "{suite:?}");
            server.write_all(data).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(client.read(data.len()).await, *data, "{suite:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_understood() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        client.socket.set_nodelay(true).unwrap();
        let data = pattern(700);
        std::io::Write::write_all(&mut client.tls.writer(), &data).unwrap();
        let mut got = vec![0; data.len()];
        let ((), read) = tokio::join!(client.send_slowly(), server.read_exact(&mut got));
        read.unwrap();
        assert_eq!(got, data);
    }
}

#[tokio::test]
async fn a_reader_with_a_small_buffer_loses_nothing() {
    let (mut client, mut server) = connected(&site()).await;
    let data = pattern(150_000);
    let (sent, got) = tokio::join!(client.write(&data), async {
        let mut got = Vec::new();
        let mut piece = [0; 777];
        while got.len() < data.len() {
            let count = server.read(&mut piece).await.unwrap();
            assert_ne!(count, 0);
            got.extend_from_slice(&piece[..count]);
            server.rest();
        }
        got
    });
    assert_eq!(((), data), (sent, got));
}

#[tokio::test]
async fn what_follows_the_handshake_at_once_is_not_lost() {
    for site in [site(), tls12()] {
        let (far, near) = sockets().await;
        let turns = Turns::new(1);
        let accepted = handshake::accept(near.into(), Arc::clone(&site.server), &turns);
        let mut client = Client::new(far, &site.client);
        // Written before the handshake is done: leaves with its last flight.
        std::io::Write::write_all(&mut client.tls.writer(), b"early bird").unwrap();
        let ((), server) = tokio::join!(client.handshake(), accepted);
        let mut got = [0; 10];
        timeout(PATIENCE, server.unwrap().read_exact(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&got, b"early bird");
    }
}

#[tokio::test]
async fn the_name_and_the_protocol_that_were_agreed_on_are_known() {
    for site in [site(), tls12()] {
        let (_client, server) = connected(&site).await;
        assert_eq!(server.server_name(), Some("shop.example"));
        assert_eq!(server.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let mut plain = site();
    plain.client.enable_sni = false;
    plain.client.alpn_protocols.clear();
    let (_client, server) = connected(&plain).await;
    assert_eq!((server.server_name(), server.alpn_protocol()), (None, None));
    let mut two = site();
    two.client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (_client, server) = connected(&two).await;
    assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]), "ours is the order");
}

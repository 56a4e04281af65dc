//! What leaves the machine, and when.

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::Poll;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::net::direct::Socket;
use crate::net::stream::Transport;
use crate::net::stream::testing::connected;
use crate::net::stream::testing::site;
use crate::net::stream::testing::tls12;
use crate::net::stream::tests::pattern;
use crate::net::stream::tests::write_once;

/// What TLS 1.3 adds inside a record: the content type and the tag.
const INSIDE: usize = 17;

#[tokio::test]
async fn what_is_written_before_a_flush_leaves_as_one_record() {
    let (mut client, mut server) = connected(&site()).await;
    server.write_all(b"head").await.unwrap();
    server.flush().await.unwrap();
    client.read(4).await;
    client.records.clear();
    server.write_all(&pattern(150)).await.unwrap();
    server.write_all(&pattern(100)).await.unwrap();
    assert_eq!(server.unsent(), 250, "nothing leaves before the flush");
    server.flush().await.unwrap();
    assert_eq!(server.unsent(), 0);
    client.read(250).await;
    assert_eq!(client.records, [(23, 250 + INSIDE)]);
}

#[tokio::test]
async fn a_ticket_leaves_with_the_first_answer_or_else_as_soon_as_nothing_is_asked() {
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let (mut client, mut server) = connected(&site()).await;
    assert!(server.unsent() > 0);
    assert!(server.poll_hangup(cx).is_pending());
    assert_eq!(server.unsent(), 0);
    client.receive().await;
    assert_eq!(client.tls.tls13_tickets_received(), 1);

    let (mut client, mut server) = connected(&site()).await;
    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    client.read(6).await;
    assert_eq!(client.tls.tls13_tickets_received(), 1);
}

#[tokio::test]
async fn slices_written_together_share_a_record() {
    let (mut client, mut server) = connected(&site()).await;
    client.records.clear();
    let slices = [IoSlice::new(b"a head, "), IoSlice::new(b""), IoSlice::new(b"a body")];
    assert!(tokio::io::AsyncWrite::is_write_vectored(&server));
    assert_eq!(server.write_vectored(&slices).await.unwrap(), 14);
    server.flush().await.unwrap();
    assert_eq!(client.read(14).await, b"a head, a body");
    assert_eq!(client.records.last(), Some(&(23, 14 + INSIDE)));
}

#[tokio::test]
async fn a_megabyte_leaves_in_full_records_however_it_is_cut() {
    let data = pattern(1 << 20);
    for (head, piece) in [(0, 1 << 20), (150, 1 << 16), (9, 16_384), (200, 1000)] {
        let (mut client, mut server) = connected(&site()).await;
        client.records.clear();
        let head = &data[..head];
        let (got, ()) = tokio::join!(client.read(head.len() + data.len()), async {
            server.write_all(head).await.unwrap();
            for piece in data.chunks(piece) {
                server.write_all(piece).await.unwrap();
            }
            server.flush().await.unwrap();
        });
        assert_eq!(got, [head, &data].concat());
        let data: Vec<_> = client
            .records
            .iter()
            .filter(|(_, length)| *length > 1000)
            .collect();
        assert_eq!(data.len(), 64, "{:?}", client.records);
        assert!(data.iter().all(|record| **record == (23, 16_384 + INSIDE)));
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_gets_a_bounded_amount_written_ahead() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        let data = pattern(16 << 20);
        let mut written = 0;
        while let Poll::Ready(count) = write_once(&mut server, &data[written..]) {
            written += count.unwrap();
            assert!(written < data.len(), "the socket took sixteen megabytes");
        }
        assert!(server.unsent() <= 4 * (16_384 + 30), "{} wait", server.unsent());
        let waits = server.unsent();
        assert!(write_once(&mut server, b"more").is_pending());
        assert_eq!(server.unsent(), waits);
        // As soon as the client takes something there is room again, and nothing was lost.
        let (got, ()) = tokio::join!(client.read(data.len()), async {
            server.write_all(&data[written..]).await.unwrap();
            server.flush().await.unwrap();
        });
        assert_eq!(got, data);
    }
}

#[tokio::test]
async fn a_refused_write_makes_even_a_small_one_wait() {
    let (_client, mut server) = connected(&site()).await;
    let data = pattern(16_384);
    while write_once(&mut server, &data).is_ready() {}
    assert!(server.unsent() > 0);
    assert!(write_once(&mut server, b"x").is_pending(), "the socket took nothing since");
}

#[tokio::test]
async fn an_idle_connection_keeps_no_buffer() {
    let (mut client, mut server) = connected(&site()).await;
    let mut got = [0; 5];
    client.write(b"hello").await;
    server.read_exact(&mut got).await.unwrap();
    server.write_all(b"hello").await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(server.buffered(), 0);
    // Half a record must be kept, and no more than that.
    std::io::Write::write_all(&mut client.tls.writer(), &pattern(300)).unwrap();
    let bytes = client.pending();
    client.socket.write_all(&bytes[..20]).await.unwrap();
    poll_fn(|cx| server.socket().poll_read_ready(cx))
        .await
        .unwrap();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(server.poll_hangup(cx).is_pending());
    server.rest();
    assert_eq!(server.buffered(), 20);
    client.socket.write_all(&bytes[20..]).await.unwrap();
    let mut got = [0; 300];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!((got.to_vec(), server.buffered()), (pattern(300), 0));
}

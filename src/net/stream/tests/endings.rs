//! How a connection ends, and how that is told apart.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Context;
use std::task::Waker;

use rustls::AlertDescription;
use rustls::ContentType;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::net::stream::Hangup;
use crate::net::stream::Transport;
use crate::net::stream::plain::PlainStream;
use crate::net::stream::testing::connected;
use crate::net::stream::testing::site;
use crate::net::stream::testing::sockets;
use crate::net::stream::testing::tls12;
use crate::net::stream::tests::PATIENCE;

async fn hangup(stream: &mut impl Transport) -> Hangup {
    timeout(PATIENCE, poll_fn(|cx| stream.poll_hangup(cx)))
        .await
        .unwrap()
}

fn nothing_happened(stream: &mut impl Transport) -> bool {
    stream
        .poll_hangup(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

#[tokio::test]
async fn a_client_that_says_goodbye_can_still_be_answered() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        std::io::Write::write_all(&mut client.tls.writer(), b"question").unwrap();
        client.tls.send_close_notify();
        client.send().await;
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(client.read(100).await, b"answer");
        assert!(
            client.tls.peer_certificates().is_some() && !client.tls.wants_read(),
            "our goodbye came too"
        );
    }
}

#[tokio::test]
async fn a_farewell_goes_with_the_last_bytes_and_is_said_once() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        server.write_all(b"answer").await.unwrap();
        server.farewell();
        server.flush().await.unwrap();
        assert_eq!(client.read(6).await, b"answer");
        assert!(!client.tls.wants_read(), "it came with the answer");
        let records = client.records.len();
        server.farewell();
        server.shutdown().await.unwrap();
        client.receive().await;
        assert_eq!(client.records.len(), records, "nothing but the end of the stream came");
    }
}

#[tokio::test]
async fn a_stream_that_was_cut_is_not_taken_for_one_that_ended() {
    let (mut client, mut server) = connected(&site()).await;
    client.write(b"ques").await;
    drop(client);
    let mut got = Vec::new();
    let error = server.read_to_end(&mut got).await.unwrap_err();
    assert_eq!((got.as_slice(), error.kind()), (&b"ques"[..], ErrorKind::UnexpectedEof));
    let again = server.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn nothing_can_be_written_after_our_goodbye() {
    let (_client, mut server) = connected(&site()).await;
    server.shutdown().await.unwrap();
    let error = server.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    server.shutdown().await.ok();
}

#[tokio::test]
async fn a_hangup_is_seen_however_it_comes_and_data_is_kept() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        assert!(nothing_happened(&mut server));
        client.write(b"hello").await;
        assert_eq!(hangup(&mut server).await, Hangup::Sent);
        assert_eq!(hangup(&mut server).await, Hangup::Sent, "it stays so until it is read");
        let mut got = [0; 5];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        assert!(nothing_happened(&mut server));
        client.tls.send_close_notify();
        client.send().await;
        assert_eq!(hangup(&mut server).await, Hangup::Gone);
        assert_eq!(hangup(&mut server).await, Hangup::Gone);

        let (client, mut server) = connected(&site).await;
        drop(client);
        assert_eq!(hangup(&mut server).await, Hangup::Gone);

        let (client, mut server) = connected(&site).await;
        client.socket.set_zero_linger().unwrap();
        drop(client);
        assert_eq!(hangup(&mut server).await, Hangup::Gone, "a reset");
        assert!(server.plain().is_none());
    }
}

#[tokio::test]
async fn a_hangup_wakes_who_waits_for_it() {
    let (client, mut server) = connected(&site()).await;
    let waits = hangup(&mut server);
    let (seen, ()) = tokio::join!(waits, async {
        tokio::task::yield_now().await;
        drop(client);
    });
    assert_eq!(seen, Hangup::Gone);
}

#[tokio::test]
async fn on_plaintext_a_hangup_is_the_same() {
    let (mut far, near) = sockets().await;
    let mut near = PlainStream::new(near.into());
    assert!(nothing_happened(&mut near));
    far.write_all(b"x").await.unwrap();
    assert_eq!(hangup(&mut near).await, Hangup::Sent);
    let mut got = [0; 1];
    near.read_exact(&mut got).await.unwrap();
    assert!(nothing_happened(&mut near));
    drop(far);
    assert_eq!(hangup(&mut near).await, Hangup::Gone);
    assert_eq!(near.plain().map(|same| same as *const _), Some(near.socket() as *const _));
    assert_eq!(near.unsent(), 0);
    near.rest();
}

#[tokio::test]
async fn a_clients_alert_ends_the_connection_and_is_named() {
    for site in [site(), tls12()] {
        let (client, mut server) = connected(&site).await;
        let mut client = client.wild();
        client.send(ContentType::Alert, &[2, 80]).await;
        let error = server.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let said = format!("{:?}", AlertDescription::InternalError);
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(hangup(&mut server).await, Hangup::Gone);
    }
}

/// Asks the kernel, whatever the runtime has heard.
fn waits_at(client: &tokio::net::TcpStream) -> bool {
    rustix::net::recv(client, &mut [0; 1], rustix::net::RecvFlags::PEEK).is_ok()
}

#[tokio::test]
async fn the_last_words_on_plaintext_go_with_the_end_of_the_stream() {
    let (mut far, near) = sockets().await;
    let mut near = PlainStream::new(near.into());
    near.write_all(b"hello, ").await.unwrap();
    assert!(waits_at(&far), "what is not the last is not held back");
    let mut first = [0; 7];
    far.read_exact(&mut first).await.unwrap();
    near.last_words();
    near.write_all(b"bye").await.unwrap();
    assert!(!waits_at(&far), "it waits for the end");
    near.shutdown().await.unwrap();
    assert!(waits_at(&far));
    let mut all = String::new();
    far.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "bye");
}

#[tokio::test]
async fn the_last_words_over_tls_go_with_the_end_of_the_stream() {
    for site in [site(), tls12()] {
        let (mut client, mut server) = connected(&site).await;
        server.last_words();
        server.write_all(b"bye").await.unwrap();
        server.farewell();
        server.flush().await.unwrap();
        assert!(!waits_at(&client.socket), "it waits for the end");
        server.shutdown().await.unwrap();
        drop(server);
        assert_eq!(client.read(3).await, b"bye");
    }
}

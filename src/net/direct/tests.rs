//! Bytes over real sockets, by attempts first.

use super::*;
use std::future::poll_fn;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::yield_now;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

async fn read(socket: &TcpStream, room: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; room];
    let mut buffer = ReadBuf::new(&mut bytes);
    poll_fn(|cx| poll_read(socket, cx, &mut buffer)).await?;
    let read = buffer.filled().to_vec();
    Ok(read)
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let sent = poll_fn(|cx| poll_write(socket, cx, bytes)).await.unwrap();
        bytes = &bytes[sent..];
    }
}

#[tokio::test]
async fn bytes_come_in_order_whether_they_fill_the_room_or_not_and_then_the_end() {
    let (near, mut far) = pair().await;
    let (seen, ()) = tokio::join!(read(&near, 4), async {
        far.write_all(b"abcdefg").await.unwrap();
    });
    let mut all = seen.unwrap();
    while all.len() < 7 {
        all.extend(read(&near, 4).await.unwrap());
    }
    assert_eq!(all, b"abcdefg");
    far.write_all(b"h").await.unwrap();
    assert_eq!(read(&near, 4).await.unwrap(), b"h");
    drop(far);
    assert_eq!(read(&near, 4).await.unwrap(), b"");
    assert_eq!(read(&near, 4).await.unwrap(), b"");
}

#[tokio::test]
async fn a_socket_that_takes_no_more_is_waited_for() {
    let (near, mut far) = pair().await;
    let bytes = vec![b'x'; 16 << 20];
    let mut came = vec![0; bytes.len()];
    let (_, read) = tokio::join!(write_all(&near, &bytes), far.read_exact(&mut came));
    read.unwrap();
    assert!(came == bytes);
}

#[tokio::test]
async fn a_peer_that_always_has_something_lets_others_have_their_turn() {
    let (near, mut far) = pair().await;
    far.write_all(&[0; 4096]).await.unwrap();
    let mut turns = 0;
    let reading = tokio::spawn(async move { read_one_by_one(&near, 4096).await });
    while !reading.is_finished() {
        turns += 1;
        yield_now().await;
    }
    assert!(turns > 4, "{turns} turns");
}

async fn read_one_by_one(socket: &TcpStream, count: usize) {
    for _ in 0..count {
        read(socket, 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (near, far) = pair().await;
    drop(far);
    while poll_fn(|cx| poll_write(&near, cx, b"x")).await.is_ok() {
        yield_now().await;
    }
}

//! A thousand WebSockets across one switch, each of them in the middle of something. Both ends read
//! and write frames by a reader and a writer of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::address;
use crate::harness::eventually;
use crate::harness::h2::tests_runtime;
use crate::many::raise_files;

const MANY: usize = 1000;

/// From one frame to the next, and between the two halves of one.
const EVERY: Duration = Duration::from_millis(1000);
const HALF: Duration = Duration::from_millis(60);

const SERVICE_RESTART: u16 = 1012;

/// What one end saw of the other.
#[derive(Debug, Default)]
struct Seen {
    /// Whole frames, each with the number that was its turn.
    frames: u32,
    /// The code of the Close, and when it had come.
    close: Option<(u16, Instant)>,
}

/// One frame with this payload, under a mask if it is a client's.
fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    let flag = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(flag | short as u8),
        long => {
            bytes.push(flag | 126);
            bytes.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
    let mask = mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// The payload of the frame with this number: of all lengths around the one that needs two bytes.
fn payload(number: u32) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(4 + (number as usize * 61) % 250, number as u8);
    payload
}

/// Reads one frame. `None` at an end between two frames; an end within one is an error.
async fn read(
    from: &mut (impl AsyncRead + Unpin),
    masked: bool,
) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    assert_eq!(head[1] & 0x80 != 0, masked, "masked as it must be");
    let length = match head[1] & 0x7f {
        126 => from.read_u16().await?.into(),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    if masked {
        from.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    payload
        .iter_mut()
        .zip(mask.iter().cycle())
        .for_each(|(b, m)| *b ^= m);
    Ok(Some((head[0], payload)))
}

/// Reads to the end: numbered frames without a gap, then one Close, then nothing.
async fn listen(
    mut from: impl AsyncRead + Unpin,
    masked: bool,
    told: tokio::sync::watch::Sender<bool>,
) -> Seen {
    let mut seen = Seen::default();
    while let Some((first, bytes)) = read(&mut from, masked)
        .await
        .expect("no end within a frame")
    {
        assert!(seen.close.is_none(), "a frame after the Close");
        if first == 0x88 {
            let code = u16::from_be_bytes(bytes[..2].try_into().unwrap());
            seen.close = Some((code, Instant::now()));
            told.send_replace(true);
        } else {
            assert_eq!((first, &bytes), (0x82, &payload(seen.frames)), "frame by frame");
            seen.frames += 1;
        }
    }
    told.send_replace(true);
    seen
}

/// Writes numbered frames, each in two halves, until it is told that the other side has closed; then
/// finishes the frame at hand and answers.
async fn speak(
    mut to: impl AsyncWrite + Unpin,
    mask: Option<[u8; 4]>,
    mut told: tokio::sync::watch::Receiver<bool>,
    begun: Arc<AtomicUsize>,
) {
    tokio::time::sleep(EVERY.mul_f64(fastrand::f64())).await;
    for number in 0.. {
        if *told.borrow() {
            break;
        }
        let bytes = frame(2, &payload(number), mask);
        let (first, second) = bytes.split_at(fastrand::usize(1..bytes.len()));
        let halves = async {
            to.write_all(first).await?;
            tokio::time::sleep(HALF).await;
            to.write_all(second).await
        };
        // Who has been answered to the end is gone.
        if halves.await.is_err() {
            return;
        }
        if number == 0 {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = told.changed() => {}
        }
    }
    to.write_all(&frame(8, &SERVICE_RESTART.to_be_bytes(), mask))
        .await
        .ok();
}

/// One end of a WebSocket that stands.
async fn hold(stream: TcpStream, mask: Option<[u8; 4]>, begun: Arc<AtomicUsize>) -> Seen {
    let (reader, writer) = stream.into_split();
    let (tell, told) = tokio::sync::watch::channel(false);
    let speaking = tokio::spawn(speak(writer, mask, told, begun));
    let seen = listen(reader, mask.is_none(), tell).await;
    speaking.await.unwrap();
    seen
}

/// Reads a head, byte by byte: nothing behind it is taken.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A target that is healthy and upgrades everything else.
async fn serve(
    listener: TcpListener,
    begun: Arc<AtomicUsize>,
    ends: Arc<std::sync::Mutex<Vec<JoinHandle<Seen>>>>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (begun, ends) = (Arc::clone(&begun), Arc::clone(&ends));
        tokio::spawn(async move {
            if head(&mut stream).await.starts_with("GET /health ") {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                return drop(stream.write_all(answer.as_bytes()).await);
            }
            let answer =
                "HTTP/1.1 101 Whatever\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            ends.lock()
                .unwrap()
                .push(tokio::spawn(hold(stream, None, begun)));
        });
    }
}

async fn connect(address: SocketAddr, begun: Arc<AtomicUsize>) -> JoinHandle<Seen> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let ask =
        "GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    tokio::spawn(hold(stream, Some([0x5a, 0xa5, 0x0f, 0xf0]), begun))
}

#[test]
fn a_thousand_websockets_get_a_whole_close_each_and_none_loses_a_byte_of_a_frame() {
    assert!(raise_files() > 4 * MANY as u64, "not enough files may be open");
    let runtime = tests_runtime();
    let begun = Arc::new(AtomicUsize::new(0));
    let ends = Arc::default();
    let blue: SocketAddr = format!("{}:{}", address::own(), address::TARGET_PORT)
        .parse()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind(blue)).unwrap();
    runtime.spawn(serve(listener, Arc::clone(&begun), Arc::clone(&ends)));
    let green = Origin::start("green-1");
    let limits = json!({ "connections_per_address": 3000, "requests_per_address": 3000 });
    let promotion = json!({ "close_jitter": "2s", "gate_timeout": "10s" });
    let app = json!({ "blue": [blue.to_string()], "promotion": promotion });
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({ "upstreams": { "app": app }, "limits": limits }))
        .start();
    let address = proxy.plain_address();
    let clients: Vec<JoinHandle<Seen>> = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..MANY {
            clients.push(connect(address, Arc::clone(&begun)).await);
        }
        clients
    });
    let tunnels = || proxy.app()["pools"]["blue"]["tunnels"] == MANY;
    eventually("all are open", tunnels);
    eventually("both sides of each have said something", || {
        begun.load(Ordering::Relaxed) == 2 * MANY
    });

    let output = proxy
        .ctl(["promote", "green", "--drain-timeout", "100ms", "--json"])
        .expect(0);
    let cut = json!({ "requests": 0, "tunnels": 0, "websockets_closed": MANY });
    assert_eq!(output.receipt()["cut"], cut);
    assert_eq!(output.receipt()["safe_to_kill"], "blue");

    let theirs: Vec<Seen> = runtime.block_on(async {
        let mut seen = Vec::new();
        for client in clients {
            seen.push(client.await.unwrap());
        }
        let targets = std::mem::take(&mut *ends.lock().unwrap());
        for target in targets {
            let target = target.await.unwrap();
            assert_eq!(target.close.map(|(code, _)| code), Some(SERVICE_RESTART), "{target:?}");
        }
        seen
    });
    assert!(theirs.iter().all(|seen| seen.frames > 0));
    let mut times: Vec<Instant> = theirs
        .iter()
        .map(|seen| {
            let (code, at) = seen.close.expect("a Close");
            assert_eq!(code, SERVICE_RESTART);
            at
        })
        .collect();
    times.sort_unstable();
    // Spread over the two seconds: a late machine makes it more, never less.
    let middle = times[MANY * 3 / 4] - times[MANY / 4];
    assert!(middle > Duration::from_millis(500), "half of them within {middle:?}");
}

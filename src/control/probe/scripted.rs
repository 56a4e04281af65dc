//! A target that plays a script, for tests of probes, gates and checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::time::Duration;

use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::settings::HealthSettings;
use crate::model::settings::PromotionSettings;
use crate::model::settings::TargetSettings;
use crate::model::signed::SigningKey;
use crate::model::split::Split;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;

/// What a scripted target does once it has read a request's head.
#[derive(Debug, Clone)]
pub(in crate::control) enum Act {
    /// Writes these bytes, then closes.
    Say(Vec<u8>),
    /// Writes these bytes and keeps the connection open.
    SayAndStay(Vec<u8>),
    /// Writes these bytes for ever.
    Flood(&'static [u8]),
    /// Writes one byte of an answer every few milliseconds, for ever.
    Drip,
    /// Answers 200 to the first so many connections, 503 to the others.
    GoodFor(usize),
}

/// A running one; stops listening when dropped.
#[derive(Debug)]
pub(in crate::control) struct Scripted {
    pub(in crate::control) address: SocketAddr,
    /// The head of every request, in the order in which they came.
    pub(in crate::control) heads: mpsc::UnboundedReceiver<String>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An answer without a body.
pub(in crate::control) fn status(status: u16) -> Act {
    Act::Say(answer(status))
}

fn answer(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

impl Scripted {
    pub(in crate::control) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (head, heads) = mpsc::unbounded_channel();
        let came = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let nth = came.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(play(stream, act.clone(), nth, head.clone()));
            }
        });
        Self { address, heads, accepting }
    }

    pub(in crate::control) fn target(&self) -> Arc<Target> {
        target(Address::Ip(self.address))
    }
}

pub(in crate::control) fn target(address: Address) -> Arc<Target> {
    Arc::new(Target::new(&TargetSettings { address, weight: 1, backup: false }, 1))
}

fn pool(name: &str, colour: Option<Colour>, targets: &[&Scripted]) -> Arc<Pool> {
    let targets = targets.iter().map(|scripted| scripted.target());
    Arc::new(Pool::new(name.into(), colour, targets.collect(), 1))
}

fn upstream(name: &str, health: HealthSettings, pools: Pools) -> Upstream {
    let promotion = PromotionSettings::default();
    let orders = Arc::default();
    Upstream {
        name: name.into(),
        pools,
        health,
        public_host: None,
        promotion,
        skew: None,
        canary: Arc::default(),
        preview_host: None,
        key: Arc::new(SigningKey::new(&[0; 32])),
        warmup: None,
        orders,
    }
}

/// An upstream with two pools, blue live.
pub(in crate::control) fn coloured(
    name: &str,
    health: HealthSettings,
    blue: &[&Scripted],
    green: &[&Scripted],
) -> Upstream {
    let pools = Pools::Coloured {
        blue: pool(name, Some(Colour::Blue), blue),
        green: pool(name, Some(Colour::Green), green),
        split: Split::AllTo(Colour::Blue),
        since: std::time::SystemTime::UNIX_EPOCH,
        previous: None,
    };
    upstream(name, health, pools)
}

/// An upstream with a plain pool.
pub(in crate::control) fn single(
    name: &str,
    health: HealthSettings,
    targets: &[&Scripted],
) -> Upstream {
    upstream(name, health, Pools::Single(pool(name, None, targets)))
}

/// An address on which nobody listens, and what keeps others from listening there.
pub(in crate::control) fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub(in crate::control) async fn play(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    act: Act,
    nth: usize,
    heads: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    // The test may have stopped listening to what was asked.
    drop(heads.send(String::from_utf8(head).unwrap()));
    match act {
        Act::Say(bytes) => drop(stream.write_all(&bytes).await),
        Act::GoodFor(times) => {
            let bytes = answer(if nth < times { 200 } else { 503 });
            drop(stream.write_all(&bytes).await);
        }
        Act::SayAndStay(bytes) => {
            stream.write_all(&bytes).await.unwrap();
            // Until the other side leaves.
            drop(stream.read_u8().await);
        }
        Act::Flood(bytes) => while stream.write_all(bytes).await.is_ok() {},
        Act::Drip => {
            let line = b"HTTP/1.1 200 OK\r\nx-drip: ";
            let endless = line.iter().chain(std::iter::repeat(&b'x'));
            for byte in endless {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

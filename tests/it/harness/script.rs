//! A target that a test plays by hand, byte for byte: only the probes are answered for it.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use socket2::SockRef;

use super::Origin;
use super::Proxy;

/// How long a step of the play may take.
const STEP: Duration = Duration::from_secs(10);

/// A target whose answers the test writes itself.
#[derive(Debug)]
pub struct Script {
    pub address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
}

/// The first request on a connection, and that connection.
#[derive(Debug)]
pub struct Asked {
    pub stream: TcpStream,
    /// The head, and whatever came with it.
    pub bytes: Vec<u8>,
}

impl Script {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A target for whose unread bytes the kernel keeps as little room as it can.
    pub fn narrow() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(1).unwrap();
        Self::on(listener)
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || meet(stream, &sender));
            }
        });
        Self { address, asked }
    }

    /// A proxy whose blue pool is this target alone, with `change` over the quick defaults.
    pub fn behind(&self, change: &Value) -> (Origin, Proxy) {
        let green = Origin::start("green-1");
        let blue = json!({ "upstreams": { "app": { "blue": [self.address.to_string()] } } });
        let proxy = Proxy::setup()
            .green(&[&green])
            .with(&blue)
            .with(change)
            .start();
        (green, proxy)
    }

    /// The next connection on which a request comes.
    #[track_caller]
    pub fn asked(&self) -> Asked {
        self.asked
            .recv_timeout(STEP)
            .expect("a request over a new connection")
    }
}

impl Asked {
    /// Sends bytes as they are.
    #[track_caller]
    pub fn say(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).unwrap();
    }

    /// Reads on until `what` has come.
    pub fn read_until(&mut self, what: &str) -> String {
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&self.bytes).contains(what) {
            match self.stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(length) => self.bytes.extend_from_slice(&part[..length]),
            }
        }
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Whether the other side ends the connection in time; keeps what came before that.
    pub fn is_closed(&mut self) -> bool {
        let mut part = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return true,
                Ok(length) => self.bytes.extend_from_slice(&part[..length]),
                Err(e) => return !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}

fn meet(stream: TcpStream, sender: &mpsc::Sender<Asked>) {
    stream.set_read_timeout(Some(STEP)).unwrap();
    let mut asked = Asked { stream, bytes: Vec::new() };
    let head = asked.read_until("\r\n\r\n");
    if head.starts_with("GET /health") {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        asked.stream.write_all(answer).ok();
    } else if !head.is_empty() {
        sender.send(asked).ok();
    }
}

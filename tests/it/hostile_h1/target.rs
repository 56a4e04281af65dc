//! A target that records every whole request, and answers as a case says.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::corpus::Play;
use super::message;
use super::message::Kind;
use super::message::Message;

/// A target that runs until the test ends.
#[derive(Debug)]
pub struct Target {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

/// A request, or what could be read in two ways.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which of the connections it came on.
    pub connection: usize,
    pub message: Result<Message, String>,
}

/// How a case answers.
#[derive(Debug, Clone)]
pub struct Part {
    pub play: Play,
    pub end: End,
}

/// What a target does behind its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Open,
    Close,
    Reset,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Vec<Seen>,
    part: Option<Part>,
    connections: usize,
    played: usize,
    closed: Vec<usize>,
}

impl Target {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let for_all = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&for_all);
                thread::spawn(move || meet(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// What came since this was last asked, but for what the tests themselves ask beside a case.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.lock().unwrap().seen)
    }

    /// On which connections `/a` was asked for since anything was last taken.
    pub fn take_asked(&self) -> Vec<usize> {
        let is_a = |seen: &Seen| {
            seen.message
                .as_ref()
                .is_ok_and(|message| message.line.contains(" /a "))
        };
        let seen = self.take_seen();
        seen.iter()
            .filter(|seen| is_a(seen))
            .map(|seen| seen.connection)
            .collect()
    }

    /// From now on, `/a` is answered so.
    pub fn answer(&self, part: Part) {
        let mut shared = self.shared.lock().unwrap();
        shared.part = Some(part);
        shared.played = 0;
    }

    /// Whether the part has been played to its end, or to where nobody listened any more.
    pub fn has_played(&self) -> bool {
        self.shared.lock().unwrap().played > 0
    }

    /// Whether this connection has ended.
    pub fn is_closed(&self, connection: usize) -> bool {
        self.shared.lock().unwrap().closed.contains(&connection)
    }
}

fn meet(stream: TcpStream, shared: &Mutex<Shared>) {
    let number = {
        let mut shared = shared.lock().unwrap();
        shared.connections += 1;
        shared.connections
    };
    serve(stream, number, shared).ok();
    shared.lock().unwrap().closed.push(number);
}

/// Answers requests one after the other until the connection ends.
fn serve(mut stream: TcpStream, number: usize, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut came = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = message::read(&came, Kind::Request);
        let (message, used) = match read {
            Ok(Some(whole)) => whole,
            Ok(None) => match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => {
                    came.extend_from_slice(&buffer[..length]);
                    continue;
                }
            },
            Err(why) => {
                shared
                    .lock()
                    .unwrap()
                    .seen
                    .push(Seen { connection: number, message: Err(why) });
                return Ok(());
            }
        };
        came.drain(..used);
        let line = message.line.clone();
        if line.starts_with("GET /health ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let part = {
            let mut shared = shared.lock().unwrap();
            shared
                .seen
                .push(Seen { connection: number, message: Ok(message) });
            shared.part.clone().filter(|_| line.contains(" /a "))
        };
        if let Some(part) = part {
            let played = part.play.to(&stream);
            shared.lock().unwrap().played += 1;
            if part.end != End::Open {
                return end(&stream, part.end);
            }
            played?;
        } else {
            let body = if line.starts_with("HEAD ") { "" } else { "ok" };
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}")?;
        }
    }
}

fn end(stream: &TcpStream, end: End) -> io::Result<()> {
    if end == End::Reset {
        SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

//! A control socket for tests: HTTP/1.1 by hand, so that what is tested is not what it is tested with.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::cli::args::Args;
use crate::cli::run::Hand;
use crate::cli::screen::Screen;
use crate::cli::signals::Signals;

/// What the daemon answers to one path.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A whole body.
    Whole(u16, String),
    /// Lines, and then the end.
    Lines(Vec<String>),
    /// Lines, and then the connection breaks.
    Broken(Vec<String>),
    /// Lines, and then nothing until the client closes, or the daemon is told to die.
    Held(Vec<String>),
}

/// What the daemon saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A request: its method and path, and its body.
    Asked(String, String),
    /// A held connection was closed by the client.
    Closed(String),
}

/// A daemon that plays a part.
pub(super) struct Fake {
    folder: TempDir,
    /// What it has seen so far.
    pub(super) seen: UnboundedReceiver<Seen>,
    /// Breaks held connections.
    pub(super) die: Arc<Notify>,
    _task: JoinSet<()>,
}

/// How a command went.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: u8,
    pub(super) out: String,
    pub(super) err: String,
}

impl Fake {
    /// A daemon that answers as `part` says for `METHOD path`; anything else is a 404.
    pub(super) fn new(part: &[(&str, Reply)]) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let part: Vec<(String, Reply)> = part
            .iter()
            .map(|(path, reply)| ((*path).to_owned(), reply.clone()))
            .collect();
        let (sender, seen) = mpsc::unbounded_channel();
        let die = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        let told = Arc::clone(&die);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (part, sender, told) = (part.clone(), sender.clone(), Arc::clone(&told));
                connections.spawn(play(stream, part, sender, told));
            }
        });
        Self { folder, seen, die, _task: task }
    }

    /// Its control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Runs a command, words separated by spaces.
    pub(super) async fn run(&self, line: &str) -> Ran {
        self.run_with(line, quiet()).await
    }

    /// Runs a command that is sent signals.
    pub(super) async fn run_with(&self, line: &str, signals: Signals) -> Ran {
        let words: Vec<&str> = line.split(' ').collect();
        run(self.socket(), &words, signals).await
    }

    /// The next request that is not for the state.
    pub(super) async fn asked(&mut self) -> (String, String) {
        loop {
            match self.seen.recv().await {
                Some(Seen::Asked(line, body)) if line != "GET /v1/status" => return (line, body),
                Some(_) => {}
                None => panic!("the fake daemon ended"),
            }
        }
    }

    /// Waits until the client has closed a held connection.
    pub(super) async fn closed(&mut self) -> String {
        loop {
            match self.seen.recv().await {
                Some(Seen::Closed(line)) => return line,
                Some(Seen::Asked(..)) => {}
                None => panic!("the fake daemon ended"),
            }
        }
    }
}

/// Signals that never come: the test process itself keeps its own.
pub(super) fn quiet() -> Signals {
    Signals::Scripted(mpsc::unbounded_channel().1)
}

/// Runs `proxyctl` with `words` against `socket`.
pub(super) async fn run(socket: PathBuf, words: &[&str], signals: Signals) -> Ran {
    let words = std::iter::once("proxyctl").chain(words.iter().copied());
    let args = Args::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut hand = Hand::new(socket, Screen::plain(&mut out), Screen::plain(&mut err));
    hand.signals = signals;
    let code = hand.run(args).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

/// A problem as the daemon words it.
pub(super) fn problem(status: u16, code: &str, detail: &str) -> Reply {
    let body = serde_json::json!({
        "status": status, "title": "no", "detail": detail, "code": code, "hint": "the way out",
    });
    Reply::Whole(status, body.to_string())
}

/// Lines of NDJSON.
pub(super) fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

async fn play(
    stream: UnixStream,
    part: Vec<(String, Reply)>,
    seen: UnboundedSender<Seen>,
    die: Arc<Notify>,
) {
    let mut stream = BufReader::new(stream);
    let Some((line, body)) = request(&mut stream).await else { return };
    seen.send(Seen::Asked(line.clone(), body)).ok();
    let reply = part
        .into_iter()
        .find(|(path, _)| *path == line)
        .map(|(_, reply)| reply);
    match reply.unwrap_or_else(|| Reply::Whole(404, "what?".to_owned())) {
        Reply::Whole(status, body) => {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
            send(&mut stream, &(head + &body)).await;
        }
        Reply::Lines(lines) => {
            chunked(&mut stream, &lines).await;
            send(&mut stream, "0\r\n\r\n").await;
        }
        Reply::Broken(lines) => chunked(&mut stream, &lines).await,
        Reply::Held(lines) => {
            chunked(&mut stream, &lines).await;
            let mut byte = [0];
            tokio::select! {
                read = stream.read(&mut byte) => {
                    assert!(matches!(read, Ok(0) | Err(_)), "the client said more");
                    seen.send(Seen::Closed(line)).ok();
                }
                () = die.notified() => {}
            }
        }
    }
}

/// The method and path, and the body.
async fn request(stream: &mut BufReader<UnixStream>) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("host: localhost\r\n"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let line = head.lines().next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    Some((line, String::from_utf8(body).unwrap()))
}

/// Each line in two chunks, for a line need not come in one piece.
async fn chunked(stream: &mut BufReader<UnixStream>, lines: &[String]) {
    send(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for line in lines {
        let (head, tail) = line.split_at(line.len() / 2);
        for piece in [head.to_owned(), format!("{tail}\n")] {
            send(stream, &format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        }
    }
}

/// A client that has gone away has heard enough.
async fn send(stream: &mut BufReader<UnixStream>, text: &str) {
    stream.write_all(text.as_bytes()).await.ok();
    stream.flush().await.ok();
}

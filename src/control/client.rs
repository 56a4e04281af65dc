//! The other end of the control socket: one HTTP/1.1 request over a Unix socket, its answer whole or
//! line by line. Knows no command.

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http1::Connection;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;

use crate::control::command::history::COMMAND_HEADER;
use crate::control::command::history::said;

/// The longest answer taken in, in bytes: what answers may not be a daemon of ours.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// A way to ask the daemon. Each request is a connection of its own, so that closing it says "never
/// mind" about that request and no other.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    /// What it says it is, for the history of the daemon.
    command: Option<HeaderValue>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Nobody could be asked.
    #[error("no daemon answers on {}: {why}", .socket.display())]
    Unreachable {
        /// The control socket.
        socket: PathBuf,
        /// What is the matter with it.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// The daemon was asked and went away.
    #[error("the daemon on {} went away: {why}", .socket.display())]
    Broken {
        /// The control socket.
        socket: PathBuf,
        /// How that showed.
        why: String,
    },
}

/// An answer whose body is still to come. Dropping it closes the connection.
pub struct Answer {
    status: StatusCode,
    body: Incoming,
    /// Received, not handed out.
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no end of a line.
    searched: usize,
    link: Link,
}

/// The connection, polled by whoever waits for the answer: no task that could outlive it.
struct Link {
    socket: PathBuf,
    connection: Pin<Box<Connection<TokioIo<UnixStream>, Full<Bytes>>>>,
    ended: bool,
    /// The connection ends with its sender.
    _sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// A client of the daemon behind `socket`. Connects only when asked something.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, command: None }
    }

    /// Says to the daemon which command line asks.
    pub fn say_command(&mut self, words: &str) {
        self.command = HeaderValue::from_str(&said(words)).ok();
    }

    /// Where the daemon is looked for.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks `GET path`.
    ///
    /// # Errors
    /// [`Lost`] if nobody answers; a refusal is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, Lost> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Asks `POST path` with `command` as JSON.
    ///
    /// # Errors
    /// [`Lost`] if nobody answers; a refusal is an answer.
    pub async fn post<T: Serialize>(&self, path: &str, command: &T) -> Result<Answer, Lost> {
        let body = serde_json::to_vec(command).map_err(|error| self.broken(&error))?;
        self.ask(Method::POST, path, Bytes::from(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Lost> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        let mut connection = Box::pin(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost"); // RFC 9112 section 3.2 asks for one
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(command) = &self.command {
            request = request.header(COMMAND_HEADER, command);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))?;
        let mut answer = Box::pin(sender.send_request(request));
        let mut ended = false;
        let answer = poll_fn(|context| {
            if !ended {
                ended = connection.as_mut().poll(context).is_ready();
            }
            answer.as_mut().poll(context)
        })
        .await
        .map_err(|error| self.broken(&error))?;
        Ok(Answer {
            status: answer.status(),
            body: answer.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            link: Link { socket: self.socket.clone(), connection, ended, _sender: sender },
        })
    }

    fn broken(&self, error: &dyn std::error::Error) -> Lost {
        Lost::Broken { socket: self.socket.clone(), why: in_full(error) }
    }

    fn unreachable(&self, error: &io::Error) -> Lost {
        let running = "is proxyd running? name its socket with --socket or PROXYCTL_SOCKET";
        let kind = error.kind();
        let (why, hint) = if kind == io::ErrorKind::NotFound {
            ("there is no such socket".to_owned(), running)
        } else if kind == io::ErrorKind::ConnectionRefused {
            ("nothing listens there".to_owned(), running)
        } else if kind == io::ErrorKind::PermissionDenied {
            (
                "permission denied".to_owned(),
                "who may open the socket may promote: join its group (control.mode), or use sudo",
            )
        } else {
            (error.to_string(), running)
        };
        Lost::Unreachable { socket: self.socket.clone(), why, hint }
    }
}

impl Lost {
    /// The way out, where one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { hint, .. } => Some(hint),
            Self::Broken { .. } => None,
        }
    }
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Lost::Broken`] if the daemon goes away before its end.
    pub async fn whole(mut self) -> Result<Bytes, Lost> {
        while self.more().await? {}
        Ok(self.buffer.freeze())
    }

    /// The next line, without its end; `None` after the last. May be dropped and asked again:
    /// nothing is lost.
    ///
    /// # Errors
    /// [`Lost::Broken`] if the daemon goes away before the end.
    pub async fn line(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            let mut unseen = self.buffer.iter().skip(self.searched);
            if let Some(ahead) = unseen.position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + ahead + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if !self.more().await? {
                self.searched = 0;
                let rest = self.buffer.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// Takes in one more piece; false at the end.
    async fn more(&mut self) -> Result<bool, Lost> {
        let Self { body, link, buffer, .. } = self;
        let piece = poll_fn(|context| {
            link.drive(context);
            Pin::new(&mut *body).poll_frame(context)
        })
        .await;
        let broken = |why: String| Lost::Broken { socket: link.socket.clone(), why };
        match piece {
            None => Ok(false),
            Some(Err(error)) => Err(broken(in_full(&error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    buffer.extend_from_slice(&data);
                }
                if buffer.len() > ANSWER_MAX {
                    return Err(broken(format!("it said more than {ANSWER_MAX} bytes")));
                }
                Ok(true)
            }
        }
    }
}

impl Link {
    fn drive(&mut self, context: &mut std::task::Context<'_>) {
        // How it ended shows in the body, which says more.
        if !self.ended && matches!(self.connection.as_mut().poll(context), Poll::Ready(_)) {
            self.ended = true;
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The error and everything that it says caused it: hyper's own words are only half the story.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

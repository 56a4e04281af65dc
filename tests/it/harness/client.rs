//! An HTTP/1.1 client that sends what it is told, byte for byte, over one connection.

use std::fmt::Write as _;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::http;
use super::http::Answer;
use super::http::Framing;
use super::http::Head;
use super::wire::Wire;

/// One connection. Requests follow each other on it while it stays open.
#[derive(Debug)]
pub struct Client {
    pub wire: Wire,
    host: String,
    spare: Vec<u8>,
    method: String,
}

impl Client {
    pub fn over(wire: Wire, host: &str) -> Self {
        Self { wire, host: host.to_owned(), spare: Vec::new(), method: "GET".to_owned() }
    }

    pub fn plain(address: SocketAddr, host: &str) -> io::Result<Self> {
        Ok(Self::over(Wire::plain(address)?, host))
    }

    pub fn tls(address: SocketAddr, host: &str) -> io::Result<Self> {
        Ok(Self::over(Wire::tls(address, host, &["http/1.1"])?, host))
    }

    /// Asks for another host than it connected for.
    pub fn name_host(&mut self, host: &str) {
        host.clone_into(&mut self.host);
    }

    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::over(Wire::unix(path)?, "proxyd"))
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    #[track_caller]
    pub fn post(&mut self, target: &str, body: &[u8]) -> Answer {
        self.request("POST", target, &[], body)
    }

    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_request(method, target, fields, body)
            .unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    }

    pub fn try_get(&mut self, target: &str) -> io::Result<Answer> {
        self.try_request("GET", target, &[], b"")
    }

    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.try_send(method, target, fields, body)?;
        self.try_answer()
    }

    /// Sends a request and does not wait. A body gets its Content-Length unless `fields` frame it.
    #[track_caller]
    pub fn send(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) {
        self.try_send(method, target, fields, body).unwrap();
    }

    fn try_send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let has = |name: &str| {
            fields
                .iter()
                .any(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !has("host") {
            write!(head, "Host: {}\r\n", self.host).unwrap();
        }
        for (name, value) in fields {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let framed = has("content-length") || has("transfer-encoding");
        if !framed && (!body.is_empty() || method == "POST" || method == "PUT") {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head.push_str("\r\n");
        method.clone_into(&mut self.method);
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.wire.write_all(&bytes)?;
        self.wire.flush()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send_raw(bytes).unwrap();
    }

    pub fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        if let Some(end) = bytes.iter().position(|&b| b == b' ') {
            let word = String::from_utf8_lossy(&bytes[..end]).into_owned();
            if matches!(word.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS") {
                self.method = word;
            }
        }
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// Reads the next answer whole.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer()
            .unwrap_or_else(|e| panic!("no whole answer: {e}"))
    }

    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let head = self.try_head()?;
            let status = head.status()?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let framing = http::answer_framing(&head, &self.method)?;
            let mut body = Vec::new();
            let mut take = |part: &[u8]| body.extend_from_slice(part);
            let trailers = http::read_body(&mut self.wire, &mut self.spare, framing, &mut take)?;
            let fields = head.fields;
            return Ok(Answer { status, fields, body, trailers, interim });
        }
    }

    /// Reads one head: for an answer that is looked at before its body came.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        self.try_head().unwrap_or_else(|e| panic!("no head: {e}"))
    }

    fn try_head(&mut self) -> io::Result<Head> {
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer");
        http::read_head(&mut self.wire, &mut self.spare)?.ok_or_else(closed)
    }

    /// Reads exactly `length` bytes that follow.
    pub fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut take = |part: &[u8]| all.extend_from_slice(part);
        let framing = Framing::Length(length);
        http::read_body(&mut self.wire, &mut self.spare, framing, &mut take)?;
        Ok(all)
    }

    pub fn line(&mut self) -> io::Result<String> {
        http::read_line(&mut self.wire, &mut self.spare)
    }

    /// Everything until the other side closes (or resets: what came before is returned).
    pub fn rest(&mut self) -> Vec<u8> {
        while let Ok(true) = http::fill(&mut self.wire, &mut self.spare) {}
        std::mem::take(&mut self.spare)
    }

    /// Whether the other side closes within the deadline, having sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        match self.wire.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Whether the connection is open now, looking for a moment only.
    pub fn is_open(&mut self) -> bool {
        self.wire.patience(Duration::from_millis(1));
        let closed = self.is_closed();
        self.wire.patience(super::wait::DEADLINE);
        !closed
    }
}

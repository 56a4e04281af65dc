//! One connection of a target: requests in, answers out, one after the other.

use std::io;
use std::io::Write;
use std::net::TcpStream;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use socket2::SockRef;

use super::http;
use super::http::Framing;
use super::http::Head;
use super::origin::Health;
use super::origin::Seen;
use super::origin::State;
use super::pages;

/// What a page decided about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    KeepOpen,
    Close,
    Reset,
}

/// A request with what is needed to answer it.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub state: &'a State,
    pub head: Head,
    pub framing: Framing,
    pub stream: &'a mut TcpStream,
    pub spare: &'a mut Vec<u8>,
}

pub fn connection(state: &State, mut stream: TcpStream, number: usize) -> io::Result<()> {
    let mut spare = Vec::new();
    for nth in 1.. {
        let Some(head) = http::read_head(&mut stream, &mut spare)? else { return Ok(()) };
        let at = Instant::now();
        state.remember(Seen { at, head: head.clone(), connection: number, nth });
        let told = state.told();
        if told.die_on_reuse && nth > 1 && head.path() != "/health" {
            return reset(&stream);
        }
        let asked_to_close = head.has_token("connection", "close");
        let framing = http::framing(&head)?.unwrap_or(Framing::Length(0));
        let (stream_ref, spare_ref) = (&mut stream, &mut spare);
        let mut exchange = Exchange { state, head, framing, stream: stream_ref, spare: spare_ref };
        let then = if exchange.head.path() == "/health" {
            health(&mut exchange)?
        } else {
            pages::answer(&mut exchange)?
        };
        match then {
            Then::Reset => return reset(&stream),
            Then::Close => return Ok(()),
            Then::KeepOpen if asked_to_close || told.close_after == Some(nth) => return Ok(()),
            Then::KeepOpen => {}
        }
    }
    Ok(())
}

/// Ends the connection with a RST.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn health(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let (health, probe) = {
        let mut told = exchange
            .state
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.probes += 1;
        (told.health, told.probes)
    };
    match health {
        Health::Status(code @ 300..=399) => {
            exchange.reply(code, &["Location: /"], b"elsewhere")?;
            Ok(Then::KeepOpen)
        }
        Health::Status(code) => exchange.reply(code, &[], b"so it is"),
        Health::Stall => exchange.state.hold(exchange.stream).map(|()| Then::Close),
        Health::Garbage => {
            exchange
                .stream
                .write_all(b"220 smtp.example ready\r\n\r\n")?;
            Ok(Then::Close)
        }
        Health::DieAfter(good) if probe >= good => {
            let last = exchange.reply(200, &["Connection: close"], b"the last one");
            exchange.state.kill();
            last
        }
        Health::DieAfter(_) => exchange.reply(200, &[], b"still here"),
        Health::GoodAfter(bad) if probe <= bad => exchange.reply(503, &[], b"starting"),
        Health::GoodAfter(_) => exchange.reply(200, &[], b"started"),
    }
}

impl Exchange<'_> {
    /// An answer with a Content-Length; HEAD, 204 and 304 get no body. In one piece, as an application
    /// sends a small one: whoever kills the target then finds it sent or not begun.
    pub fn reply(&mut self, status: u16, fields: &[&str], body: &[u8]) -> io::Result<Then> {
        let empty = status == 204 || status == 304;
        let length = format!("Content-Length: {}", body.len());
        let mut fields = fields.to_vec();
        if !empty {
            fields.push(&length);
        }
        let mut answer = self.answer_head(status, &fields).into_bytes();
        if !empty && self.head.method() != "HEAD" {
            answer.extend_from_slice(body);
        }
        self.stream.write_all(&answer)?;
        Ok(Then::KeepOpen)
    }

    /// The head of an answer, with who answers.
    pub fn begin(&mut self, status: u16, fields: &[&str]) -> io::Result<()> {
        let head = self.answer_head(status, fields);
        self.stream.write_all(head.as_bytes())
    }

    fn answer_head(&self, status: u16, fields: &[&str]) -> String {
        let mut head = format!("HTTP/1.1 {status} Whatever\r\nX-Origin: {}\r\n", self.state.name);
        if let Some(build) = &self.state.told().build {
            head.push_str(&format!("X-Build: {build}\r\n"));
        }
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// Reads the request's body, piece by piece; returns its trailers.
    pub fn read_body(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<Vec<http::Field>> {
        if self.framing != Framing::Length(0) && self.head.has_token("expect", "100-continue") {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let framing = std::mem::replace(&mut self.framing, Framing::Length(0));
        http::read_body(self.stream, self.spare, framing, take)
    }
}

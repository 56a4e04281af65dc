//! TLS handshakes: from an accepted connection to a [`TlsStream`].

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use rustls::ProtocolVersion;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::unbuffered::EncodeError;
use rustls::unbuffered::EncodeTlsData;
use rustls::unbuffered::UnbufferedStatus;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::net::direct;
use crate::net::socket::ClientSocket;
use crate::net::stream::tls::TlsStream;
use crate::net::tls::take_name_asked_for;
pub use crate::net::turns::Turns;

/// What a client may send before its handshake is done, in bytes. A hello with a certificate chain's
/// worth of extensions is far below it.
const RECEIVED_MAX: usize = 1 << 16;

/// What one read takes.
const READ: usize = 4096;

/// What may wait for the first answer instead of being sent by itself: a ticket.
const DELAYED_MAX: usize = 4096;

/// The content type of handshake messages (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;
/// RFC 5246 §6.2.3.
const RECORD_MAX: usize = RECORD_HEAD + (1 << 14) + 2048;

/// The longest word in front of a request's target that makes us take it for HTTP.
const METHOD_MAX: usize = 16;

const ANSWER_TO_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain\r\n\
    content-length: 51\r\n\
    connection: close\r\n\
    \r\n\
    This port speaks https. Ask again with https://...\n";

/// Does the handshake on a connection that was just accepted. The steps that take long (signing,
/// key exchange) are done by turns; none is held while the client is waited for. The client is
/// waited for as long as the caller lets it.
///
/// # Errors
/// * [`io::ErrorKind::Unsupported`]: the client speaks HTTP without TLS; it was answered so.
/// * [`io::ErrorKind::ResourceBusy`]: too many handshakes wait for their turn.
/// * [`io::ErrorKind::InvalidData`]: TLS itself failed, with the [`rustls::Error`] inside; the
///   client was sent the alert.
/// * [`io::ErrorKind::UnexpectedEof`], and whatever the socket fails with: the client has gone.
pub async fn accept(
    socket: ClientSocket,
    config: Arc<ServerConfig>,
    turns: &Turns,
) -> io::Result<TlsStream> {
    let connection = UnbufferedServerConnection::new(config).map_err(invalid)?;
    // In a box of its own: it is big, and gone once the connection is idle.
    let mut handshake = Box::new(Handshake {
        socket,
        connection,
        received: Vec::new(),
        fed: 0,
        unsent: Vec::new(),
        server_name: None,
    });
    handshake.run(turns).await?;
    let Handshake { socket, connection, received, unsent, server_name, .. } = *handshake;
    TlsStream::new(socket, connection, received, &unsent, server_name)
}

struct Handshake {
    socket: ClientSocket,
    connection: UnbufferedServerConnection,
    received: Vec<u8>,
    /// How much of `received` the library may see: whole records, and none behind the handshake.
    fed: usize,
    unsent: Vec<u8>,
    server_name: Option<Box<str>>,
}

/// What can be done with what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// More must be read first.
    Read,
    /// A message that costs no more than any request.
    Light,
    /// A message that costs a signature or a key exchange.
    Heavy,
    /// It is HTTP.
    Http,
}

impl Handshake {
    async fn run(&mut self, turns: &Turns) -> io::Result<()> {
        while self.connection.is_handshaking() {
            let done = match self.next() {
                Step::Read => {
                    self.read().await?;
                    continue;
                }
                Step::Http => return Err(self.answer_http().await),
                Step::Light => self.step(),
                Step::Heavy => {
                    let turn = turns.take().await?;
                    let done = self.step();
                    self.send_now();
                    turn.end().await;
                    done
                }
            };
            if let Err(error) = done {
                self.send().await?;
                self.socket.shutdown().await?;
                return Err(invalid(error));
            }
            let tickets_only = !self.connection.is_handshaking()
                && self.is_tls13()
                && self.unsent.len() <= DELAYED_MAX;
            if !tickets_only {
                self.send().await?;
            }
        }
        Ok(())
    }

    fn is_tls13(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    fn next(&self) -> Step {
        let Some(kind) = self.received.first() else { return Step::Read };
        let first = self.connection.protocol_version().is_none();
        if first && kind.is_ascii_uppercase() {
            match speaks_http(&self.received) {
                None => return Step::Read,
                Some(true) => return Step::Http,
                Some(false) => {}
            }
        }
        // Handshake messages in the clear: a hello, the second one after a retry, a key exchange.
        // Only a hello is longer than a record may be.
        if *kind == HANDSHAKE && (first || self.is_tls13()) {
            return if holds_message(&self.received) { Step::Heavy } else { Step::Read };
        }
        match record(&self.received) {
            None => Step::Read,
            Some(_) if *kind == HANDSHAKE => Step::Heavy,
            Some(_) => Step::Light,
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.received.len() >= RECEIVED_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake too long"));
        }
        self.received.reserve(READ);
        if self.socket.read_buf(&mut self.received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Lets the library work on every whole record, but on none that comes after the handshake.
    fn step(&mut self) -> Result<(), rustls::Error> {
        take_name_asked_for();
        let done = self.work();
        if let Some(name) = take_name_asked_for() {
            self.server_name = Some(name);
        }
        if done.is_err() {
            self.take_alert();
        }
        done
    }

    /// What the library has to say about a failure. It must not be asked for more than that: it
    /// would go on where it failed.
    fn take_alert(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(alert)), .. } =
                self.connection.process_tls_records(&mut [])
            else {
                return;
            };
            if encode(alert, &mut self.unsent).is_err() {
                return;
            }
        }
    }

    fn work(&mut self) -> Result<(), rustls::Error> {
        loop {
            let fed = self.received.get_mut(..self.fed).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(fed);
            let more = match state? {
                ConnectionState::EncodeTlsData(message) => {
                    encode(message, &mut self.unsent)?;
                    true
                }
                ConnectionState::TransmitTlsData(sent) => {
                    sent.done();
                    true
                }
                // The latter also as soon as we may speak, which is before the client is done.
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => false,
                ConnectionState::ReadTraffic(_)
                | ConnectionState::ReadEarlyData(_)
                | ConnectionState::PeerClosed
                | ConnectionState::Closed
                | _ => return Err(rustls::Error::HandshakeNotComplete),
            };
            self.received.drain(..discard.min(self.received.len()));
            self.fed = self.fed.saturating_sub(discard);
            if more {
                continue;
            }
            let next = record(self.received.get(self.fed..).unwrap_or_default());
            match next {
                Some(length) if self.connection.is_handshaking() => self.fed += length,
                _ => return Ok(()),
            }
        }
    }

    /// Sends what the socket takes at once.
    fn send_now(&mut self) {
        if let Ok(sent) = direct::write_now(&self.socket, &self.unsent) {
            self.unsent.drain(..sent);
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.socket.write_all(&self.unsent).await?;
            self.unsent.clear();
        }
        Ok(())
    }

    /// Tells a client without TLS where it is, and waits until it has read that: what it sent and
    /// nobody read would make the kernel take our answer back.
    async fn answer_http(&mut self) -> io::Error {
        let told = async {
            self.socket.write_all(ANSWER_TO_HTTP).await?;
            self.socket.shutdown().await?;
            while self.received.len() < RECEIVED_MAX {
                self.read().await?;
            }
            io::Result::Ok(())
        };
        // Whether it heard us or not, it is the same fault.
        told.await.ok();
        io::Error::new(io::ErrorKind::Unsupported, "plaintext HTTP on a port that speaks https")
    }
}

fn encode(
    mut message: EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let at = out.len();
    if let Err(EncodeError::InsufficientSize(needs)) = message.encode(&mut []) {
        out.resize(at + needs.required_size, 0);
        let place = out.get_mut(at..).unwrap_or_default();
        message
            .encode(place)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
    }
    Ok(())
}

/// How long the record is with which `bytes` begin, if it is whole. What is no record at all is for
/// the library to refuse, and whole at once.
fn record(bytes: &[u8]) -> Option<usize> {
    let (head, _) = bytes.split_first_chunk::<RECORD_HEAD>()?;
    let length = declared(*head).unwrap_or(bytes.len());
    (length <= bytes.len()).then_some(length)
}

/// How long a record says that it is, if it can be one.
fn declared([kind, major, _, high, low]: [u8; RECORD_HEAD]) -> Option<usize> {
    let length = RECORD_HEAD + usize::from(u16::from_be_bytes([high, low]));
    let plausible = (20..=24).contains(&kind) && major == 3 && length <= RECORD_MAX;
    plausible.then_some(length)
}

/// Whether the records of handshake messages with which `bytes` begin hold a whole message, or
/// something that cannot become one.
fn holds_message(mut bytes: &[u8]) -> bool {
    let mut message = Vec::new();
    let mut held = 0;
    while let Some(length) = record(bytes) {
        let (whole, rest) = bytes.split_at(length);
        let Some((head, content)) = whole.split_first_chunk::<RECORD_HEAD>() else { return true };
        let [kind, ..] = *head;
        if declared(*head).is_none() || kind != HANDSHAKE || content.is_empty() {
            return true;
        }
        let missing = MESSAGE_HEAD.saturating_sub(message.len());
        message.extend(content.iter().take(missing));
        held += content.len();
        if let [_, a, b, c] = *message.as_slice() {
            let length = u32::from_be_bytes([0, a, b, c]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if held - MESSAGE_HEAD >= length || length > RECEIVED_MAX {
                return true;
            }
        }
        bytes = rest;
    }
    false
}

/// Whether `bytes` begin with a request line. `None` as long as that cannot be told.
fn speaks_http(bytes: &[u8]) -> Option<bool> {
    let word = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    match bytes.get(word) {
        _ if word > METHOD_MAX => Some(false),
        None => None,
        Some(after) => Some(*after == b' '),
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

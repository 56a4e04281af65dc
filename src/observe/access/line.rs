//! One request as one line: JSON, or the combined format of Apache and nginx. Written straight into
//! the worker's buffer, so that a line allocates nothing; whatever a client sends, it stays one line
//! and valid.

use std::time::Duration;

use crate::model::colour::Colour;
use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::observe::access::escape::put_combined;
use crate::observe::access::escape::put_json;
use crate::observe::access::escape::put_optional_json;
use crate::observe::access::fixed::Fixed;
use crate::observe::access::room::Full;
use crate::observe::access::room::Room;
use crate::observe::time;

/// Why another colour answered than was asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// That one failed it.
    Rescued,
    /// That one does not have it.
    Skewed,
}

/// What the access log tells about one request, after its end.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When the head had been read, since 1970.
    pub at: Duration,
    /// The client's address as text.
    pub client: &'a str,
    /// As the client sent it.
    pub method: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The Host or `:authority`; empty if there was none.
    pub host: &'a [u8],
    /// The raw path and query.
    pub target: &'a [u8],
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'a str,
    /// What the client was answered.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// The upstream, the colour and the last target that was tried ([`Fixed::target`]).
    pub place: &'a Fixed,
    /// How often the request was sent, or tried to be sent, to a target.
    pub attempts: u32,
    /// How long connecting to that target took; `None` on a connection that was open already.
    pub connect: Option<Duration>,
    /// From the request's head to the first byte of the target's answer.
    pub first_byte: Option<Duration>,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// How the request ended.
    pub outcome: Outcome,
    /// Why, if it failed.
    pub fault: Option<Fault>,
    /// The `X-Request-ID`.
    pub request_id: &'a [u8],
    /// The Referer as sent.
    pub referer: Option<&'a [u8]>,
    /// The User-Agent as sent.
    pub user_agent: Option<&'a [u8]>,
    /// The snapshot that decided.
    pub generation: u64,
    /// The colour that was asked before the one of `place` answered, and why that one did.
    pub moved: Option<(Moved, Colour)>,
    /// The listener ([`Fixed::listener`]).
    pub listener: &'a Fixed,
}

/// A shape of line, with what it need not work out again for each.
#[derive(Debug)]
pub(super) enum Shape {
    Json(Stamp),
    Combined(Stamp),
}

/// The text of the second that was written last: under load hundreds of lines share one.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: u64,
    text: String,
}

impl Stamp {
    fn of(&mut self, second: u64, write: fn(u64) -> String) -> &[u8] {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = write(second);
        }
        self.text.as_bytes()
    }
}

impl Shape {
    /// Writes the line, with its line end, at the front of `buffer`; returns how long it is.
    pub(super) fn write(&mut self, buffer: &mut [u8], entry: &Entry<'_>) -> Result<usize, Full> {
        let before = buffer.len();
        let room = Room::new(buffer);
        let rest = match self {
            Self::Json(stamp) => json(room, entry, stamp)?,
            Self::Combined(stamp) => combined(room, entry, stamp)?,
        };
        Ok(before - rest.left())
    }
}

fn json_start(second: u64) -> String {
    format!("{{\"time\":\"{}.", time::date_time(second))
}

fn json<'a>(room: Room<'a>, entry: &Entry<'_>, stamp: &mut Stamp) -> Result<Room<'a>, Full> {
    let (second, millis) = (entry.at.as_secs(), entry.at.subsec_millis());
    let room = room
        .put_slice(stamp.of(second, json_start))?
        .put_thousandth(u64::from(millis))?
        .put(b"Z\",\"client\":\"")?
        .put_slice(entry.client.as_bytes())?
        .put(b"\",\"method\":\"")?;
    let room = put_json(room, entry.method)?;
    let room = put_scheme(room, entry.scheme)?;
    let room = put_json(room, entry.host)?.put(b"\",\"path\":\"")?;
    let room = put_json(room, entry.target)?;
    let room = put_protocol(room, entry.protocol)?
        .put_number(u64::from(entry.status))?
        .put(b",\"bytes_in\":")?
        .put_number(entry.bytes_in)?
        .put(b",\"bytes_out\":")?
        .put_number(entry.bytes_out)?
        .put(b",")?
        .put_slice(entry.place.bytes())?;
    let room = put_attempts(room, entry.attempts, entry.connect)?;
    let room = put_optional_millis(room, entry.first_byte)?
        .put(b",\"duration_ms\":")?
        .put_millis(entry.took)?;
    let room = put_ending(room, entry.outcome, entry.fault)?;
    let room = put_json(room, entry.request_id)?;
    let room = put_referer(room, entry.referer)?;
    let room = put_optional_json(room, entry.user_agent)?
        .put(b",\"generation\":")?
        .put_number(entry.generation)?;
    let room = put_moved(room, entry.moved)?;
    room.put_slice(entry.listener.bytes())
}

// What is the same in nearly every line is put together with what stands around it, in one piece.

/// The rest of the scheme's name and what follows, up to the host.
#[inline]
fn put_scheme<'a>(room: Room<'a>, scheme: &str) -> Result<Room<'a>, Full> {
    match scheme {
        "http" => room.put(b"\",\"scheme\":\"http\",\"host\":\""),
        "https" => room.put(b"\",\"scheme\":\"https\",\"host\":\""),
        other => put_json(room.put(b"\",\"scheme\":\"")?, other.as_bytes())?.put(b"\",\"host\":\""),
    }
}

/// From the end of the path up to the status.
#[inline]
fn put_protocol<'a>(room: Room<'a>, protocol: &str) -> Result<Room<'a>, Full> {
    match protocol {
        "HTTP/1.1" => room.put(b"\",\"protocol\":\"HTTP/1.1\",\"status\":"),
        "HTTP/2.0" => room.put(b"\",\"protocol\":\"HTTP/2.0\",\"status\":"),
        other => {
            let room = put_json(room.put(b"\",\"protocol\":\"")?, other.as_bytes())?;
            room.put(b"\",\"status\":")
        }
    }
}

/// The attempts, and how long connecting took, up to the time of the first byte.
#[inline]
fn put_attempts(
    room: Room<'_>,
    attempts: u32,
    connect: Option<Duration>,
) -> Result<Room<'_>, Full> {
    if (attempts, connect) == (1, None) {
        return room.put(b"1,\"connect_ms\":null,\"first_byte_ms\":");
    }
    let room = room
        .put_number(u64::from(attempts))?
        .put(b",\"connect_ms\":")?;
    put_optional_millis(room, connect)?.put(b",\"first_byte_ms\":")
}

/// How it ended and why, up to the request's id.
#[inline]
fn put_ending(room: Room<'_>, outcome: Outcome, fault: Option<Fault>) -> Result<Room<'_>, Full> {
    if (outcome, fault) == (Outcome::Answered, None) {
        return room.put(b",\"outcome\":\"answered\",\"reason\":null,\"request_id\":\"");
    }
    let room = put_json(room.put(b",\"outcome\":\"")?, outcome.as_str().as_bytes())?;
    let reason = fault.map(|fault| fault.as_str().as_bytes());
    put_optional_json(room.put(b"\",\"reason\":")?, reason)?.put(b",\"request_id\":\"")
}

/// From the end of the request's id up to the user agent.
#[inline]
fn put_referer<'a>(room: Room<'a>, referer: Option<&[u8]>) -> Result<Room<'a>, Full> {
    if referer.is_none() {
        return room.put(b"\",\"referer\":null,\"user_agent\":");
    }
    put_optional_json(room.put(b"\",\"referer\":")?, referer)?.put(b",\"user_agent\":")
}

/// Who was asked before a request was moved: nothing in the lines of all others.
#[inline]
fn put_moved(room: Room<'_>, moved: Option<(Moved, Colour)>) -> Result<Room<'_>, Full> {
    let Some((why, colour)) = moved else { return Ok(room) };
    let room = match why {
        Moved::Rescued => room.put(b",\"rescued_from\":\"")?,
        Moved::Skewed => room.put(b",\"skewed_from\":\"")?,
    };
    room.put_slice(colour.as_str().as_bytes())?.put(b"\"")
}

/// `null` for what there is not.
#[inline]
fn put_optional_millis(room: Room<'_>, duration: Option<Duration>) -> Result<Room<'_>, Full> {
    match duration {
        Some(duration) => room.put_millis(duration),
        None => room.put(b"null"),
    }
}

/// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
/// "$http_user_agent"`, as nginx writes it with its clock in UTC.
fn combined<'a>(room: Room<'a>, entry: &Entry<'_>, stamp: &mut Stamp) -> Result<Room<'a>, Full> {
    let second = entry.at.as_secs();
    let room = room
        .put_slice(entry.client.as_bytes())?
        .put(b" - - [")?
        .put_slice(stamp.of(second, time::common_log))?
        .put(b"] \"")?;
    let room = put_combined(room, entry.method)?.put(b" ")?;
    let room = put_combined(room, entry.target)?.put(b" ")?;
    let room = put_combined(room, entry.protocol.as_bytes())?
        .put(b"\" ")?
        .put_number(u64::from(entry.status))?
        .put(b" ")?
        .put_number(entry.bytes_out)?
        .put(b" \"")?;
    let room = put_combined(room, entry.referer.unwrap_or(b"-"))?.put(b"\" \"")?;
    put_combined(room, entry.user_agent.unwrap_or(b"-"))?.put(b"\"\n")
}

#[cfg(test)]
mod tests;

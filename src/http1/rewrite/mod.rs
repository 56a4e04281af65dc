//! Turns the fields of a received head into the head to send, in one pass and without a header map:
//! hop-by-hop fields end here, and the forwarding fields tell the target what only the proxy knows.
//! The names of the others, their case and their order stay.

mod client;
mod forwarding;
mod lines;
mod request;
mod response;
mod span;

pub use client::ClientFacts;
pub use lines::Line;
pub use lines::Lines;
pub use lines::Look;
pub use lines::Opening;
pub use request::Onward;
pub use request::request;
pub use response::ConnectionLine;
pub use response::Homeward;
pub use response::response;
pub use response::response_fields;
pub use span::Marks;
pub use span::Span;

use crate::http1::head::Clean;
use crate::http1::names;
use crate::http1::names::Known;
use crate::http1::names::known;
use crate::http1::names::words;

/// Whether a field concerns one connection only, whether `Connection` nominates it or not
/// (RFC 9110 §7.6.1, and RFC 2616 §13.5.1 for the two of authentication between hops). The name
/// must be a valid one, in any case.
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    names::is_hop_by_hop(known(name))
}

/// The fields that `Connection` nominates. Empty without an allocation when it nominates none.
struct Nominated<'f> {
    names: Vec<&'f [u8]>,
}

impl<'f> Nominated<'f> {
    fn new(any: bool, fields: &impl Lines<'f>) -> Self {
        if !any {
            return Self { names: Vec::new() };
        }
        let names = fields
            .each()
            .filter(|line| line.known() == Known::Connection)
            .flat_map(|line| words(line.value()))
            .filter(|word| !must_stay(word))
            .collect();
        Self { names }
    }

    /// Whether there are any.
    #[inline]
    fn any(&self) -> bool {
        !self.names.is_empty()
    }

    #[inline]
    fn has(&self, name: &[u8]) -> bool {
        self.names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

/// Fields that a client could otherwise delete by nominating them: the ones that frame the message
/// or say where it goes.
fn must_stay(name: &[u8]) -> bool {
    let frames: [&[u8]; 3] = [b"host", b"content-length", b"content-type"];
    frames.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Lines of a received head that are copied together as they are: none between them is left out.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
}

impl Run {
    /// Adds a line; writes what there was if the line does not stand right behind it.
    #[inline]
    fn add(&mut self, out: &mut Vec<u8>, head: &[u8], line: Clean) {
        self.extend(out, head, line.start, line.end);
    }

    /// Adds all lines between two places.
    #[inline]
    fn extend(&mut self, out: &mut Vec<u8>, head: &[u8], start: usize, end: usize) {
        if self.end != start {
            self.write(out, head);
            self.start = start;
        }
        self.end = end;
    }

    /// Writes the lines.
    #[inline]
    fn write(&mut self, out: &mut Vec<u8>, head: &[u8]) {
        if self.start != self.end {
            out.extend_from_slice(head.get(self.start..self.end).unwrap_or_default());
        }
        self.start = self.end;
    }
}

/// Writes one field line.
#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal digits.
fn number(out: &mut Vec<u8>, number: u64) {
    let mut room = *b"00000000000000000000";
    let mut left = number;
    let mut start = room.len();
    for (at, place) in room.iter_mut().enumerate().rev() {
        *place += u8::try_from(left % 10).unwrap_or(0);
        start = at;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(room.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod received;
#[cfg(test)]
mod tests;

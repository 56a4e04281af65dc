//! The head of an answer, as the client is sent it.

use crate::http1::framing::Framing;
use crate::http1::names::Known;
use crate::http1::names::is_hop_by_hop;
use crate::http1::names::known;
use crate::http1::rewrite::Line;
use crate::http1::rewrite::Lines;
use crate::http1::rewrite::Look;
use crate::http1::rewrite::Nominated;
use crate::http1::rewrite::Run;
use crate::http1::rewrite::line;
use crate::http1::rewrite::number;
use crate::model::extras::Extras;

/// What the head says about the connection it goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionLine<'a> {
    /// Nothing: the version's own rule holds.
    None,
    /// `Connection: close`.
    Close,
    /// `Connection: keep-alive`, which HTTP/1.0 must be told.
    KeepAlive,
    /// `Connection: upgrade`, and what to.
    Upgrade(&'a [u8]),
}

/// An answer on its way to a client: what its head says beside the fields that pass. No text in it
/// may hold a line end.
#[derive(Debug, Clone, Copy)]
pub struct Homeward<'a> {
    /// The status code.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'a [u8],
    /// How its content will be framed; `None` for an interim answer, whose head says nothing about
    /// it. With `Framing::None` (HEAD, 304) the target's `Content-Length` passes: it is the one that
    /// the content would have (RFC 9110 §8.6).
    pub framing: Option<Framing>,
    /// What is said about the connection.
    pub connection: ConnectionLine<'a>,
    /// Whether `Connection` nominates fields
    /// ([`nominates`](crate::http1::head::ResponseHead::nominates)).
    pub nominates: bool,
    /// What is added to it and left out of it, if anything is.
    pub extras: Option<&'a Extras>,
}

/// Appends the head to send to `out`, made from the `fields` as received; the blank line that ends
/// it included.
#[inline]
#[expect(
    clippy::needless_pass_by_value,
    reason = "iterators and views, which are made to be moved"
)]
pub fn response<'f>(out: &mut Vec<u8>, homeward: &Homeward<'_>, fields: impl Lines<'f>) {
    const NAMES_AND_NUMBERS: usize = 160;
    out.reserve(fields.room() + homeward.reason.len() + NAMES_AND_NUMBERS);
    status_line(out, homeward.status, homeward.reason);
    let nominated = Nominated::new(homeward.nominates, &fields);
    let extras = homeward.extras;
    let closely = nominated.any() || extras.is_some();
    let (head, length) = (fields.head(), length_to_say(homeward));
    let mut writer = Writer { out, head, run: Run::default(), nominated, extras, length };
    fields.show(0, closely, &mut writer);
    let Writer { out, mut run, length, .. } = writer;
    run.write(out, head);
    end(out, homeward, length);
}

/// A head being written.
struct Writer<'o, 'f> {
    out: &'o mut Vec<u8>,
    head: &'f [u8],
    /// The lines that pass as they came, and are not written yet.
    run: Run,
    nominated: Nominated<'f>,
    extras: Option<&'o Extras>,
    length: Length,
}

impl<'f, L: Line<'f>> Look<'f, L> for Writer<'_, 'f> {
    #[inline]
    fn pass(&mut self, start: usize, end: usize) {
        self.run.extend(self.out, self.head, start, end);
    }

    #[inline]
    fn line(&mut self, field: L, _rest: &(impl Iterator<Item = L> + Clone)) {
        let passes = if field.known() == Known::ContentLength {
            // Of several, the first.
            std::mem::replace(&mut self.length, Length::Unsaid) != Length::Unsaid
        } else {
            !is_hop_by_hop(field.known())
                && !self.nominated.has(field.name())
                && !self.extras.is_some_and(|extras| extras.drops(field.name()))
        };
        match field.clean() {
            Some(clean) if passes => self.run.add(self.out, self.head, clean),
            None if passes => {
                self.run.write(self.out, self.head);
                line(self.out, field.name(), field.value());
            }
            Some(_) | None => {}
        }
    }
}

/// What becomes of `Content-Length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// It is not said, or has been.
    Unsaid,
    /// The target's own passes, if there is one.
    Own,
    /// This must be said.
    Is(u64),
}

fn length_to_say(homeward: &Homeward<'_>) -> Length {
    match homeward.framing {
        // A length would announce what never comes (RFC 9110 §8.6).
        Some(Framing::None) if homeward.status == 204 => Length::Unsaid,
        Some(Framing::None) => Length::Own,
        Some(Framing::Length(length)) => Length::Is(length),
        Some(Framing::Chunked | Framing::UntilClose) | None => Length::Unsaid,
    }
}

fn end(out: &mut Vec<u8>, homeward: &Homeward<'_>, length: Length) {
    if let Some(extras) = homeward.extras {
        for (name, value) in extras.added() {
            line(out, name.as_bytes(), value.as_bytes());
        }
    }
    if let Length::Is(length) = length {
        out.extend_from_slice(b"Content-Length: ");
        number(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if homeward.framing == Some(Framing::Chunked) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match homeward.connection {
        ConnectionLine::None => {}
        ConnectionLine::Close => out.extend_from_slice(b"Connection: close\r\n"),
        ConnectionLine::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        ConnectionLine::Upgrade(protocol) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            line(out, b"Upgrade", protocol);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The space before the reason stays where there is none (RFC 9112 §4).
fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if status == 200 && reason == b"OK" {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The fields of an answer that may pass to an HTTP/2 client, in order (RFC 9113 §8.2.2). Of equal
/// lengths, the first; with 204 and of an interim answer, none (RFC 9110 §8.6).
pub fn response_fields<'f>(
    status: u16,
    nominates: bool,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
) -> impl Iterator<Item = (&'f [u8], &'f [u8])> {
    let nominated = Nominated::new(nominates, &fields);
    let mut has_length = matches!(status, 100..200 | 204);
    fields.filter(move |(name, _)| {
        let known = known(name);
        let first = known != Known::ContentLength || !std::mem::replace(&mut has_length, true);
        first && !is_hop_by_hop(known) && !nominated.has(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head;
    use crate::http1::head::Fields;
    use crate::http1::head::HeadLimits;
    use crate::http1::head::Parsed;

    /// Reads an answer's head and writes it with `extras`.
    fn adorned(received: &str, extras: Option<&Extras>) -> String {
        let limits = HeadLimits { bytes: 1000, fields: 100, target: 100 };
        let mut room = Fields::default();
        let read = head::response(received.as_bytes(), &mut room, &limits, head::Asked::Other);
        let Ok(Parsed::Whole(read)) = read else { panic!("{received}") };
        let homeward = Homeward {
            status: read.status,
            reason: read.reason,
            framing: Some(read.body),
            connection: ConnectionLine::None,
            nominates: read.nominates,
            extras,
        };
        let mut out = Vec::new();
        response(&mut out, &homeward, read.fields.clone());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn extras_stand_beside_the_targets_fields_or_in_their_place_and_nothing_else_moves() {
        let received = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: 1\r\ncache-CONTROL: public\r\n\
            Set-Cookie: theirs=1\r\nZ: 2\r\n\r\n";
        assert_eq!(adorned(received, None), received);
        let extras = Extras::default()
            .with("Set-Cookie", "ours=1")
            .with_only("Cache-Control", "no-store");
        assert_eq!(
            adorned(received, Some(&extras)),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: 1\r\nSet-Cookie: theirs=1\r\nZ: 2\r\n\
             Set-Cookie: ours=1\r\nCache-Control: no-store\r\n\r\n"
        );
    }
}

//! Reads the head of an answer.

use crate::http1::framing::Claims;
use crate::http1::framing::Framing;
use crate::http1::head::FieldLines;
use crate::http1::head::Fields;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::head::Version;
use crate::http1::head::connection::Connection;
use crate::http1::head::lines::Unread;
use crate::http1::head::lines::split_line;
use crate::http1::names::Known;
use crate::http1::names::passes_homeward;
use crate::model::fault::Fault;

/// What the answer answers: it decides whether there can be content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: the answer has no content whatever its fields say.
    Head,
    /// Any other method.
    Other,
}

/// The head of an answer, and what its fields ask of a proxy.
#[derive(Debug, Clone)]
pub struct ResponseHead<'h, 'b> {
    /// Bytes that it took, the blank line included.
    pub length: usize,
    /// The status code: 100 to 999.
    pub status: u16,
    /// The reason phrase, as sent; may hold bytes over 0x7f.
    pub reason: &'b [u8],
    /// The version, as sent.
    pub version: Version,
    /// All field lines, in order.
    pub fields: FieldLines<'h, 'b>,
    /// How its content ends.
    pub body: Framing,
    /// Whether the connection can be used for another request once the content has ended.
    pub keep_alive: bool,
    /// The protocol switched to, where the status is 101.
    pub upgrade: Option<&'b [u8]>,
    /// Whether `Connection` names fields that end here, beside the ones that always do.
    pub nominates: bool,
}

/// What the fields of one head say, line by line.
#[derive(Default)]
struct Seen<'b> {
    claims: Claims<'b>,
    connection: Connection,
    upgrade: Option<&'b [u8]>,
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// The head as it came, the blank line included.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.fields.head
    }

    /// The field lines as pairs of name and value, for the rewrite.
    pub fn pairs(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone + use<'h, 'b> {
        self.fields.clone().map(|line| (line.name, line.value))
    }
}

/// Reads the head of an answer at the start of `bytes`. An interim answer (1xx) is a head of its
/// own, without content.
///
/// # Errors
///
/// Always [`Fault::Protocol`]: what comes over this connection cannot be understood.
#[inline(always)]
pub fn response<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Fields,
    limits: &HeadLimits,
    to: Asked,
) -> Result<Parsed<ResponseHead<'h, 'b>>, Fault> {
    let mut seen = Seen::default();
    let see = |name, value| {
        seen.add(name, value);
        passes_homeward(name)
    };
    let read = Line::read(bytes).and_then(|line| {
        FieldLines::read(bytes, line.end, &mut room.spots, limits.fields, see)
            .map(|fields| (line, fields))
    });
    match read {
        Ok((line, fields)) if fields.head.len() <= limits.bytes => judge(&line, &seen, fields, to)
            .map(Parsed::Whole)
            .ok_or(Fault::Protocol),
        Err(Unread::Partial) if bytes.len() < limits.bytes => Ok(Parsed::Partial),
        Ok(_) | Err(_) => Err(Fault::Protocol),
    }
}

/// Decides about a head that is complete; `None`: it is not clear enough.
#[inline]
fn judge<'h, 'b>(
    line: &Line<'b>,
    seen: &Seen<'b>,
    fields: FieldLines<'h, 'b>,
    to: Asked,
) -> Option<ResponseHead<'h, 'b>> {
    let Line { version, status, reason, .. } = *line;
    if seen.connection.is_excessive() {
        return None;
    }
    let claimed = seen.claims.of_response(version)?;
    let bare = to == Asked::Head || status < 200 || status == 204 || status == 304;
    let body = if bare { Framing::None } else { claimed };
    // What these announce, somebody may send all the same (RFC 9112 §6.3).
    let doubtful = (status < 200 || status == 204)
        && !matches!(claimed, Framing::UntilClose | Framing::Length(0));
    let goes_on = seen.connection.goes_on(version == Version::Http11);
    Some(ResponseHead {
        length: fields.head.len(),
        status,
        reason,
        version,
        fields,
        body,
        keep_alive: goes_on && body != Framing::UntilClose && !doubtful && status != 101,
        upgrade: seen.upgrade.filter(|_| status == 101),
        nominates: seen.connection.nominates,
    })
}

/// A status line (RFC 9112 §4).
#[derive(Debug, Clone, Copy)]
struct Line<'b> {
    version: Version,
    status: u16,
    reason: &'b [u8],
    /// The first byte after its CRLF.
    end: usize,
}

impl<'b> Line<'b> {
    /// Reads the status line at the start of `bytes`. An empty line before it is not forgiven: it
    /// would shift everything after it.
    #[inline]
    fn read(bytes: &'b [u8]) -> Result<Self, Unread> {
        const START: usize = "HTTP/1.1 200".len();
        let Some(start) = bytes.first_chunk::<START>() else { return Err(unfinished(bytes)) };
        let (version, digits) = match start {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', digits @ ..] => {
                (Version::Http11, digits)
            }
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', digits @ ..] => {
                (Version::Http10, digits)
            }
            _ => return Err(Unread::Bad),
        };
        // A status is three digits, and none begins with 0 (RFC 9110 §15).
        if !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
            return Err(Unread::Bad);
        }
        let status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        let after = bytes.get(START..).unwrap_or_default();
        let (reason, _) = split_line(after)?;
        match reason {
            [] | [b' ', ..] => {}
            _ => return Err(Unread::Bad),
        }
        let end = START + reason.len() + b"\r\n".len();
        Ok(Self { version, status, reason: reason.get(1..).unwrap_or_default(), end })
    }
}

/// What fewer bytes than a status line's begin with.
#[cold]
fn unfinished(bytes: &[u8]) -> Unread {
    let fits = |(at, byte): (usize, &u8)| match b"HTTP/1.".get(at) {
        Some(expected) => byte == expected,
        None if at == 7 => matches!(byte, b'0' | b'1'),
        None if at == 8 => *byte == b' ',
        None => byte.is_ascii_digit(),
    };
    if bytes.iter().enumerate().all(fits) { Unread::Partial } else { Unread::Bad }
}

impl<'b> Seen<'b> {
    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other field passes unread")]
    fn add(&mut self, name: Known, value: &'b [u8]) {
        match name {
            Known::Connection => self.connection.add(value),
            Known::ContentLength => self.claims.add_length(value),
            Known::TransferEncoding => self.claims.add_coding(value),
            Known::Upgrade => self.upgrade = self.upgrade.or(Some(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

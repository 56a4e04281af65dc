//! Trailer fields: read as strictly as the fields of a head, and only those that may follow the
//! content are passed on (RFC 9110 §6.5.1).

use crate::http1::chunked::BadBody;
use crate::http1::names::is_token_byte;
use crate::http1::names::is_value_byte;

/// Bytes of one message's trailer section.
const BYTES_MAX: usize = 16 * 1024;

/// Lines of one message's trailer section.
const LINES_MAX: u32 = 64;

/// Fields that must be known before the content, because they frame or route the message, say who
/// asks, or say how the content is to be read.
const TOO_LATE: [&[u8]; 28] = [
    b"age",
    b"authorization",
    b"cache-control",
    b"connection",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"vary",
    b"warning",
    b"www-authenticate",
    b"x-real-ip",
    b"x-request-id",
    b"accept-ranges",
];

/// Families of such fields.
const TOO_LATE_FAMILIES: [&[u8]; 4] = [b"content-", b"if-", b"proxy-", b"x-forwarded-"];

/// The trailer section of one message.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// Clean lines, and after them the one that is being read.
    text: Vec<u8>,
    /// Where that one begins.
    line: usize,
    lines: u32,
    bytes: usize,
}

impl Trailers {
    /// Takes the next byte of a line. No byte may stand in a name that may not stand in a value.
    pub(super) fn push(&mut self, byte: u8) -> Result<(), BadBody> {
        self.bytes += 1;
        if self.bytes > BYTES_MAX || !is_value_byte(byte) {
            return Err(BadBody);
        }
        self.text.push(byte);
        Ok(())
    }

    /// The line is complete.
    pub(super) fn end_line(&mut self) -> Result<(), BadBody> {
        self.lines += 1;
        let line = self.text.split_off(self.line);
        let (name, value) = read(&line)
            .filter(|_| self.lines <= LINES_MAX)
            .ok_or(BadBody)?;
        if may_follow(name) {
            for part in [name, b": ", value, b"\r\n"] {
                self.text.extend_from_slice(part);
            }
        }
        self.line = self.text.len();
        Ok(())
    }

    /// The lines that are complete.
    pub(super) fn lines(&self) -> &[u8] {
        self.text.get(..self.line).unwrap_or_default()
    }
}

/// The name and the value of a field line without its end, whose bytes may all stand in a value
/// (RFC 9112 §5).
fn read(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.get(1..)?;
    let clean = !name.is_empty() && name.iter().all(|b| is_token_byte(*b));
    clean.then(|| (name, value.trim_ascii()))
}

/// Whether a field of this name may follow the content.
#[must_use]
pub fn may_follow(name: &[u8]) -> bool {
    let begins = |family: &&[u8]| {
        name.get(..family.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(family))
    };
    !name.contains(&b'_')
        && !TOO_LATE
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
        && !TOO_LATE_FAMILIES.iter().any(begins)
}

//! Text that may hold anything as part of a log line: what would end the line, the string or the
//! terminal's patience is escaped.

use crate::observe::access::plain::is_plain;
use crate::observe::access::room::Full;
use crate::observe::access::room::Room;

/// The inside of a JSON string (RFC 8259 §7). Bytes that are not UTF-8 are written as the Latin-1
/// characters they would be, so that they can still be read.
#[inline(never)]
pub(super) fn put_json<'a>(room: Room<'a>, bytes: &[u8]) -> Result<Room<'a>, Full> {
    room.put_plain(bytes, put_odd_json)
}

/// A JSON string, or `null` for what there is not.
#[inline]
pub(super) fn put_optional_json<'a>(
    room: Room<'a>,
    bytes: Option<&[u8]>,
) -> Result<Room<'a>, Full> {
    let Some(bytes) = bytes else { return room.put(b"null") };
    put_json(room.put(b"\"")?, bytes)?.put(b"\"")
}

/// What has a byte in it that does not stand for itself.
#[cold]
fn put_odd_json<'a>(mut room: Room<'a>, bytes: &[u8]) -> Result<Room<'a>, Full> {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(at);
        room = room.put_slice(plain)?;
        let Some((odd, after)) = from.split_first() else { break };
        if !odd.is_ascii() {
            return put_json_text(room, from);
        }
        room = put_json_char(room, char::from(*odd))?;
        rest = after;
    }
    room.put_slice(rest)
}

/// What has anything beyond ASCII in it: rare, so by the character.
fn put_json_text<'a>(mut room: Room<'a>, bytes: &[u8]) -> Result<Room<'a>, Full> {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            room = put_json_char(room, character)?;
        }
        for byte in chunk.invalid() {
            room = put_json_escape(room, char::from(*byte))?;
        }
    }
    Ok(room)
}

fn put_json_char(room: Room<'_>, character: char) -> Result<Room<'_>, Full> {
    match character {
        '"' => room.put(b"\\\""),
        '\\' => room.put(b"\\\\"),
        // C1 controls command a terminal as escape sequences do; U+2028 and U+2029 end lines.
        '\u{2028}' | '\u{2029}' => put_json_escape(room, character),
        _ if character.is_control() => put_json_escape(room, character),
        _ => room.put_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Only for characters of the basic plane, which all of those above are.
fn put_json_escape(room: Room<'_>, character: char) -> Result<Room<'_>, Full> {
    let code = u32::from(character);
    let [a, b, c, d] = [12, 8, 4, 0].map(|shift| hex(code >> shift));
    room.put(&[b'\\', b'u', a, b, c, d])
}

/// nginx's `escape=default`: a quote, a backslash and whatever is not printable ASCII as `\xHH`.
#[inline(never)]
pub(super) fn put_combined<'a>(room: Room<'a>, bytes: &[u8]) -> Result<Room<'a>, Full> {
    room.put_plain(bytes, put_odd_combined)
}

#[cold]
fn put_odd_combined<'a>(mut room: Room<'a>, bytes: &[u8]) -> Result<Room<'a>, Full> {
    for byte in bytes {
        room = if is_plain(*byte) {
            room.put(&[*byte])?
        } else {
            let (high, low) = (u32::from(*byte) >> 4, u32::from(*byte));
            room.put(&[b'\\', b'x', hex(high), hex(low)])?
        };
    }
    Ok(room)
}

/// The last hexadecimal digit.
fn hex(number: u32) -> u8 {
    let digit = char::from_digit(number & 0xf, 16).unwrap_or('0');
    u8::try_from(digit).unwrap_or(b'0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_command_a_terminal_or_end_a_line_are_escaped() {
        let mut buffer = [0; 100];
        let odd = "é\u{9b}31m\u{2028}😀\u{7f}\t";
        let left = put_json(Room::new(&mut buffer), odd.as_bytes())
            .unwrap()
            .left();
        let text = std::str::from_utf8(&buffer[..100 - left]).unwrap();
        assert_eq!(text, r"é\u009B31m\u2028😀\u007F\u0009");
    }
}

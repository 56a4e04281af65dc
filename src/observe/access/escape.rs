//! Values as bytes of a log line: numbers, addresses, and text that may hold anything. Everything is
//! appended to the line; nothing allocates but the line itself.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// Appends what needs no care.
pub(super) fn put(line: &mut Vec<u8>, bytes: &[u8]) {
    line.extend_from_slice(bytes);
}

/// `null` for what there is not.
pub(super) fn put_optional<T>(
    line: &mut Vec<u8>,
    value: Option<T>,
    put_value: impl Fn(&mut Vec<u8>, T),
) {
    match value {
        Some(value) => put_value(line, value),
        None => put(line, b"null"),
    }
}

/// An IPv4 client of a listener for both families as what it is, not as `::ffff:…`.
pub(super) fn put_address(line: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                put(line, if index == 0 { b"" } else { b"." });
                put_number(line, u64::from(octet));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(line, "{address}")),
    }
}

/// Milliseconds with the microseconds behind the point.
pub(super) fn put_millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    put_number(line, micros / 1000);
    put(line, b".");
    put_thousandth(line, micros % 1000);
}

/// Three digits.
pub(super) fn put_thousandth(line: &mut Vec<u8>, number: u64) {
    put(line, &[digit(number / 100), digit(number / 10), digit(number)]);
}

/// Twice as fast as `write!`, and there are eight numbers a line.
pub(super) fn put_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len() - 1;
    for (place, slot) in digits.iter_mut().enumerate().rev() {
        *slot = digit(number);
        first = place;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    put(line, digits.get(first..).unwrap_or_default());
}

/// The last digit.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or_default()
}

/// A JSON string (RFC 8259 §7). Bytes that are not UTF-8 are written as the Latin-1 characters they
/// would be, so that they can still be read.
pub(super) fn put_json(line: &mut Vec<u8>, bytes: &[u8]) {
    put(line, b"\"");
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(at);
        put(line, plain);
        if from.first().is_some_and(u8::is_ascii) {
            let (odd, after) = from.split_at(1);
            odd.iter()
                .for_each(|byte| put_json_char(line, char::from(*byte)));
            rest = after;
        } else {
            put_json_text(line, from);
            rest = &[];
        }
    }
    put(line, rest);
    put(line, b"\"");
}

/// What has anything beyond ASCII in it: rare, so by the character.
fn put_json_text(line: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let broken = chunk.invalid().iter().copied().map(char::from);
        chunk
            .valid()
            .chars()
            .for_each(|character| put_json_char(line, character));
        broken.for_each(|byte| put_json_escape(line, byte));
    }
}

fn put_json_char(line: &mut Vec<u8>, character: char) {
    match character {
        '"' => put(line, b"\\\""),
        '\\' => put(line, b"\\\\"),
        // C1 controls command a terminal as escape sequences do; U+2028 and U+2029 end lines.
        '\u{2028}' | '\u{2029}' => put_json_escape(line, character),
        _ if character.is_control() => put_json_escape(line, character),
        _ => put(line, character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Only for characters of the basic plane, which all of those above are.
fn put_json_escape(line: &mut Vec<u8>, character: char) {
    let code = u32::from(character);
    put(line, b"\\u");
    for shift in [12, 8, 4, 0] {
        put(line, &[hex(code >> shift)]);
    }
}

/// nginx's `escape=default`: a quote, a backslash and whatever is not printable ASCII as `\xHH`.
pub(super) fn put_combined(line: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(at);
        put(line, plain);
        let (odd, after) = from.split_at(1);
        for byte in odd {
            put(line, b"\\x");
            put(line, &[hex(u32::from(*byte) >> 4), hex(u32::from(*byte))]);
        }
        rest = after;
    }
    put(line, rest);
}

/// Whether a byte stands for itself in both formats.
fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// The last hexadecimal digit.
fn hex(number: u32) -> u8 {
    let digit = char::from_digit(number & 0xf, 16).unwrap_or('0');
    u8::try_from(digit).unwrap_or(b'0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_that_command_a_terminal_or_end_a_line_are_escaped() {
        let mut line = Vec::new();
        put_json(&mut line, "é\u{9b}31m\u{2028}😀\u{7f}\t".as_bytes());
        assert_eq!(String::from_utf8(line).unwrap(), r#""é\u009B31m\u2028😀\u007F\u0009""#);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_read(number in any::<u64>()) {
            let mut line = Vec::new();
            put_number(&mut line, number);
            prop_assert_eq!(String::from_utf8(line).unwrap(), number.to_string());
        }
    }
}

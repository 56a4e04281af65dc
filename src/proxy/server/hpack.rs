//! Whether a header block that `h2` refused cannot be undone at all (RFC 7541), or says something that
//! may not be said. `h2` calls both by one name, and RFC 9113 by two (§4.3, §8.1.1).
//!
//! Blocks are kept for this from the moment they come until `h2` has read them: it does so right away,
//! before anything else is read on this worker. They are only looked at once it gave one up.

use std::cell::RefCell;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;

/// How much is kept of what one read brought.
const KEPT_MAX: usize = 64 * 1024;

/// The fields that are known to everybody (RFC 7541 Appendix A): of those, the first are about the
/// request itself.
const STATIC: usize = 61;
const PSEUDO: usize = 14;

/// How large the table of a connection's own fields may be, and how many fit into it at most.
const TABLE: usize = 4096;
const ENTRIES: usize = TABLE / 32;

/// The lengths of the codes of all bytes and of the end, from which the codes follow (RFC 7541
/// Appendix B).
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The longest code, of 30 bits.
const LONGEST: usize = 30;

/// How many codes there are of each length, and what they stand for in their order: of one length, the
/// codes are consecutive numbers in the order of what they stand for.
const CODES: ([u32; LONGEST + 1], [u16; CODE_LENGTHS.len()]) = codes();

#[expect(clippy::indexing_slicing, reason = "worked out while compiling")]
const fn codes() -> ([u32; LONGEST + 1], [u16; CODE_LENGTHS.len()]) {
    let (mut counts, mut symbols) = ([0; LONGEST + 1], [0; CODE_LENGTHS.len()]);
    let (mut length, mut filled) = (1, 0);
    while length <= LONGEST {
        let mut symbol = 0_u16;
        while (symbol as usize) < CODE_LENGTHS.len() {
            if CODE_LENGTHS[symbol as usize] as usize == length {
                symbols[filled] = symbol;
                filled += 1;
                counts[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    (counts, symbols)
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::new()) };
}

/// The header blocks that the last read brought.
struct Kept {
    /// Whose they are.
    owner: u64,
    owners: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` each of them ends.
    ends: Vec<usize>,
}

impl Kept {
    const fn new() -> Self {
        Self { owner: 0, owners: 0, bytes: Vec::new(), ends: Vec::new() }
    }
}

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It cannot be undone.
    Coding,
    /// It says something that may not be said.
    Content,
}

/// One connection's blocks.
pub(super) struct Blocks(u64);

impl Blocks {
    pub(super) fn new() -> Self {
        KEPT.with_borrow_mut(|kept| {
            kept.owners += 1;
            Self(kept.owners)
        })
    }

    /// Something new was read: what was kept has been understood.
    #[inline]
    pub(super) fn begin(&self) {
        KEPT.with_borrow_mut(|kept| {
            kept.owner = self.0;
            kept.bytes.clear();
            kept.ends.clear();
        });
    }

    /// More of a block has come.
    #[inline]
    pub(super) fn add(&self, bytes: &[u8]) {
        KEPT.with_borrow_mut(|kept| {
            if kept.owner == self.0 && kept.bytes.len() + bytes.len() <= KEPT_MAX {
                kept.bytes.extend_from_slice(bytes);
            }
        });
    }

    /// A block has come to its end.
    #[inline]
    pub(super) fn end(&self) {
        KEPT.with_borrow_mut(|kept| {
            // No more ends than bytes.
            let end = kept.bytes.len();
            if kept.owner == self.0 && kept.ends.last() != Some(&end) {
                kept.ends.push(end);
            }
        });
    }

    /// How many bytes and ends are kept on this thread.
    #[cfg(test)]
    pub(super) fn kept() -> (usize, usize) {
        KEPT.with_borrow(|kept| (kept.bytes.len(), kept.ends.len()))
    }

    /// Whether the first of them that cannot pass is one that cannot be undone. One that is well in
    /// itself, and was given up all the same, names a field of the connection's own table that is not
    /// there.
    pub(super) fn cannot_be_undone(&self) -> bool {
        KEPT.with_borrow(|kept| {
            let mut from = 0;
            let mut names_own = false;
            for end in kept.ends.iter().copied().chain([kept.bytes.len()]) {
                match check(kept.bytes.get(from..end).unwrap_or_default()) {
                    Ok(own) => names_own |= own,
                    Err(fault) => return kept.owner == self.0 && fault == Fault::Coding,
                }
                from = end;
            }
            kept.owner == self.0 && names_own
        })
    }
}

/// Looks at each field of a block; whether any names one of the connection's own table.
fn check(mut block: &[u8]) -> Result<bool, Fault> {
    let mut names_own = false;
    let mut may_resize = true;
    while let Some(first) = block.first().copied() {
        if first & 0xe0 == 0x20 {
            let size = number(&mut block, 5)?;
            if !may_resize || size > TABLE {
                return Err(Fault::Coding);
            }
            continue;
        }
        may_resize = false;
        let (bits, is_whole) = match first {
            0x80.. => (7, true),
            0x40.. => (6, false),
            _ => (4, false),
        };
        let index = number(&mut block, bits)?;
        if index > STATIC + ENTRIES || (is_whole && index == 0) {
            return Err(Fault::Coding);
        }
        names_own |= index > STATIC;
        if !is_whole {
            literal(&mut block, index)?;
        }
    }
    Ok(names_own)
}

/// Looks at a field of which at least the value is spelt out.
fn literal(block: &mut &[u8], index: usize) -> Result<(), Fault> {
    let name = if index == 0 { Some(text(block)?) } else { None };
    let value = text(block)?;
    let is_fine = match name.as_deref() {
        Some(b":method") => Method::from_bytes(&value).is_ok(),
        Some(b":status") => StatusCode::from_bytes(&value).is_ok(),
        Some(b":authority" | b":scheme" | b":path" | b":protocol") => is_text(&value),
        Some(name) => HeaderName::from_lowercase(name).is_ok() && is_value(&value),
        None if index == 2 || index == 3 => Method::from_bytes(&value).is_ok(),
        None if (8..=PSEUDO).contains(&index) => StatusCode::from_bytes(&value).is_ok(),
        None if index <= PSEUDO => is_text(&value),
        None => is_value(&value),
    };
    if is_fine { Ok(()) } else { Err(Fault::Content) }
}

fn is_text(value: &[u8]) -> bool {
    str::from_utf8(value).is_ok()
}

fn is_value(value: &[u8]) -> bool {
    HeaderValue::from_bytes(value).is_ok()
}

/// Takes a byte.
fn byte(block: &mut &[u8]) -> Result<usize, Fault> {
    let (first, rest) = block.split_first().ok_or(Fault::Coding)?;
    *block = rest;
    Ok(usize::from(*first))
}

/// Takes a number of which `bits` are in the first byte (RFC 7541 §5.1).
fn number(block: &mut &[u8], bits: u32) -> Result<usize, Fault> {
    let most = (1 << bits) - 1;
    let mut number = byte(block)? & most;
    if number < most {
        return Ok(number);
    }
    for shift in [0, 7, 14, 21] {
        let more = byte(block)?;
        number += (more & 0x7f) << shift;
        if more & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Fault::Coding)
}

/// Takes a string (RFC 7541 §5.2).
fn text(block: &mut &[u8]) -> Result<Vec<u8>, Fault> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Fault::Coding)?;
    *block = rest;
    if is_coded { decode(text) } else { Ok(text.to_vec()) }
}

/// Undoes the codes of a string: one comparison a bit. Codes of one length begin where those of the
/// length before end.
fn decode(coded: &[u8]) -> Result<Vec<u8>, Fault> {
    let (counts, symbols) = &CODES;
    let mut text = Vec::new();
    let (mut code, mut length, mut first, mut before) = (0_u32, 0_usize, 0_u32, 0_u32);
    let bits = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    for bit in bits {
        code = code << 1 | u32::from(bit);
        first <<= 1;
        length += 1;
        // Longer than any code is none.
        let count = *counts.get(length).ok_or(Fault::Coding)?;
        let place = code.wrapping_sub(first);
        if place < count {
            let at = usize::try_from(before + place).unwrap_or(usize::MAX);
            let symbol = symbols.get(at).copied().unwrap_or(u16::MAX);
            // The end is no part of any string.
            text.push(u8::try_from(symbol).or(Err(Fault::Coding))?);
            (code, length, first, before) = (0, 0, 0, 0);
        } else {
            first += count;
            before += count;
        }
    }
    // What is left of the last byte are the first bits of the end: ones.
    if length > 7 || code != (1 << length) - 1 { Err(Fault::Coding) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coded_string_is_what_the_rfc_says() {
        // RFC 7541 §C.4.1 and §C.6.1.
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&host).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decode(&[]).unwrap(), b"");
        for bad in [&[0x1f, 0xff][..], &[0x18], &[0xff; 4]] {
            assert_eq!(decode(bad), Err(Fault::Coding), "{bad:x?}");
        }
    }

    #[test]
    fn what_cannot_be_undone_is_not_what_may_not_be_said() {
        let well: [&[u8]; 4] =
            [b"\x82\x86", b"\x3f\xe1\x1f\x20\x82", b"\0\x01x\x03a b", b"\x04\x01/\x0f\x2e\x01y"];
        for block in well {
            assert_eq!(check(block), Ok(false), "{block:x?}");
        }
        assert_eq!(check(b"\xbe"), Ok(true), "a field of the connection's own table");
        let coding: [&[u8]; 7] = [
            b"\x80",
            b"\xff\xff\x01",
            b"\xff\xff\xff\xff\xff\xff",
            b"\0\x05x",
            b"\x82\x20",
            b"\x3f\xe2\x1f",
            b"\0\x01x\x81\x18",
        ];
        for block in coding {
            assert_eq!(check(block), Err(Fault::Coding), "{block:x?}");
        }
        let content: [&[u8]; 6] = [
            b"\0\x01X\x01y",
            b"\0\x01x\x03a\rb",
            b"\0\0\x01y",
            b"\0\x05:what\x01y",
            b"\x08\x01x",
            b"\0\x01x\x03a\nb\x80",
        ];
        for block in content {
            assert_eq!(check(block), Err(Fault::Content), "{block:x?}");
        }
    }

    #[test]
    fn what_others_have_sent_meanwhile_proves_nothing() {
        let (one, other) = (Blocks::new(), Blocks::new());
        one.begin();
        one.add(b"\x82");
        one.end();
        one.add(b"\x80");
        assert!(one.cannot_be_undone());
        other.begin();
        assert!(!one.cannot_be_undone() && !other.cannot_be_undone());
        other.add(b"\xbe");
        assert!(other.cannot_be_undone());
    }
}

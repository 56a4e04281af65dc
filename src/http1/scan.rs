//! Finds the byte that ends a name, a value or a target: sixteen bytes at once, and eight of what is
//! left. Heads are short: to begin costs next to nothing, and looking at more gained nothing.

use wide::u8x16;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The last of the control characters below space.
const CONTROLS: u8 = 0x1f;

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted {
    /// This byte and every one below it, where there is such a bound; it is below 0x80.
    up_to: Option<u8>,
    /// And these.
    others: [u8; 2],
}

/// The place of the first byte that is a control character (below space) or `mark`; beyond the end
/// if there is none.
#[inline]
pub(super) fn control_or(mark: u8, bytes: &[u8]) -> usize {
    Wanted { up_to: Some(CONTROLS), others: [mark; 2] }.first(bytes)
}

/// The place of the first byte that no field value may hold (RFC 9110 §5.5), or of a tab; beyond the
/// end if there is none.
#[inline]
pub(super) fn control(bytes: &[u8]) -> usize {
    control_or(0x7f, bytes)
}

/// The place of the first byte that no request target may hold (RFC 9112 §3.2); beyond the end if
/// there is none.
#[inline]
pub(super) fn target_end(bytes: &[u8]) -> usize {
    Wanted { up_to: Some(b' '), others: [b'#', 0x7f] }.first(bytes)
}

/// The place of the first `byte`; beyond the end if there is none.
#[inline]
pub(super) fn byte(byte: u8, bytes: &[u8]) -> usize {
    if bytes.len() < 8 {
        return bytes.iter().position(|b| *b == byte).unwrap_or(usize::MAX);
    }
    Wanted { up_to: None, others: [byte; 2] }.first(bytes)
}

impl Wanted {
    /// The first place, or one beyond the end.
    #[inline(always)]
    fn first(self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((chunk, after)) = rest.split_first_chunk() {
            if let Some(at) = self.in_sixteen(chunk) {
                return bytes.len() - rest.len() + at;
            }
            rest = after;
        }
        self.at_end(bytes)
    }

    /// The first place among sixteen bytes.
    #[inline(always)]
    fn in_sixteen(self, chunk: &[u8; 16]) -> Option<usize> {
        let bytes = u8x16::new(*chunk);
        let [one, other] = self.others.map(|byte| bytes.simd_eq(u8x16::splat(byte)));
        let mut found = one | other;
        if let Some(bound) = self.up_to {
            found |= bytes.min(u8x16::splat(bound)).simd_eq(bytes);
        }
        let places = found.to_bitmask();
        (places != 0).then(|| places.trailing_zeros() as usize)
    }

    /// Marks the places among eight bytes, each by the highest bit of its byte; those above the lowest
    /// mark may be wrong.
    #[inline(always)]
    fn in_eight(self, word: u64) -> u64 {
        let [one, other] = self
            .others
            .map(|byte| zero(word ^ (ONES * u64::from(byte))));
        let bound = self
            .up_to
            .map_or(0, |bound| word.wrapping_sub(ONES * (u64::from(bound) + 1)) & !word & HIGHS);
        one | other | bound
    }

    /// The first place among the bytes that make no sixteen.
    #[inline(never)]
    fn at_end(self, bytes: &[u8]) -> usize {
        let mut start = bytes.len() & !15;
        let mut rest = bytes.get(start..).unwrap_or_default();
        if let Some((word, after)) = rest.split_first_chunk() {
            let found = self.in_eight(u64::from_le_bytes(*word));
            if found != 0 {
                return start + place(found);
            }
            start += 8;
            rest = after;
        }
        let word = match (rest.first_chunk(), rest.last_chunk()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                u64::from(first) | u64::from(last) << (8 * (rest.len() & 7) - 32)
            }
            _ => rest
                .iter()
                .rev()
                .fold(0, |word, b| (word << 8) | u64::from(*b)),
        };
        let place = place(self.in_eight(word));
        // What comes after the end is no byte.
        if place < rest.len() { start + place } else { usize::MAX }
    }
}

#[inline]
fn place(marks: u64) -> usize {
    usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0)
}

#[inline]
fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_is_found_wherever_it_stands_and_whatever_is_around_it() {
        const AROUND: [u8; 8] = [b'a', b'!', b'~', 0x80, 0xff, b':' + 1, b'#' - 1, 0x7e];
        const MARKS: [u8; 11] = [0, 1, b'\t', b'\n', b'\r', 0x1f, b' ', b'#', b':', b'?', 0x7f];
        let places = (0..40).flat_map(|length| (0..=length).map(move |at| (length, at)));
        for (length, at) in places {
            for (around, mark) in AROUND.iter().flat_map(|a| MARKS.map(|mark| (*a, mark))) {
                let mut bytes = vec![around; at];
                bytes.push(mark);
                bytes.resize(length.max(at + 1), b'\n');
                agree(bytes.get(..length).unwrap_or_default());
            }
        }
    }

    fn agree(bytes: &[u8]) {
        let model = |is: fn(u8) -> bool| bytes.iter().position(|b| is(*b));
        let found = |place: usize| Some(place).filter(|place| *place < bytes.len());
        let named = model(|b| b < b' ' || b == b':');
        assert_eq!(found(control_or(b':', bytes)), named, "{bytes:?}");
        let plain = model(|b| b < b' ' || b == 0x7f);
        assert_eq!(found(control(bytes)), plain, "{bytes:?}");
        let target = model(|b| b <= b' ' || b == b'#' || b == 0x7f);
        assert_eq!(found(target_end(bytes)), target, "{bytes:?}");
        assert_eq!(found(byte(b'?', bytes)), model(|b| b == b'?'), "{bytes:?}");
    }
}

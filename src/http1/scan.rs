//! Looks at eight bytes at once. Heads are short: this is faster than what pays off for pages.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The place of the first byte that is a control character (below space) or `mark`; beyond the end
/// if there is none.
#[inline]
pub(super) fn control_or(mark: u8, bytes: &[u8]) -> usize {
    first(bytes, |word| below_space(word) | zero(word ^ (ONES * u64::from(mark))))
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
    let is = |word: u64, byte: u8| zero(word ^ (ONES * u64::from(byte)));
    first(bytes, |word| below_space(word) | is(word, b' ') | is(word, b'#') | is(word, 0x7f))
}

/// The place of the first `byte`; beyond the end if there is none.
#[inline]
pub(super) fn byte(byte: u8, bytes: &[u8]) -> usize {
    if bytes.len() < 8 {
        return bytes.iter().position(|b| *b == byte).unwrap_or(usize::MAX);
    }
    first(bytes, |word| zero(word ^ (ONES * u64::from(byte))))
}

/// The first marked place, or one beyond the end. A mark is the highest bit of a byte; those above
/// the lowest mark may be wrong.
#[inline]
fn first(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return bytes.len() - rest.len() + place(found);
        }
        rest = after;
    }
    at_end(bytes, marks)
}

/// The same for the bytes that make no whole word.
#[inline(never)]
fn at_end(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let start = bytes.len() & !7;
    let rest = bytes.get(start..).unwrap_or_default();
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
    let place = place(marks(word));
    // What comes after the end is no byte.
    if place < rest.len() { start + place } else { usize::MAX }
}

#[inline]
fn place(marks: u64) -> usize {
    usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0)
}

#[inline]
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
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

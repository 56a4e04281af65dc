//! Which bytes stand for themselves in every format of the log, found while they are copied.

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Whether a byte stands for itself in every format: printable ASCII but the quote and the backslash.
pub(super) fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Copies fewer than 16 bytes, and says whether all of them [are plain](is_plain). Both slices are of
/// one length.
#[inline(always)]
pub(super) fn copy_short(to: &mut [u8], from: &[u8]) -> bool {
    let odd = match from.len() {
        0..4 => copy_few(to, from),
        4..8 => copy_halves(to, from),
        _ => copy_words(to, from),
    };
    odd & eight(0x80) == 0
}

/// Whether all of these 16 or more bytes [are plain](is_plain). Four words at a time; the last ones
/// overlap those before them instead of ending in a loop over single bytes.
#[inline(always)]
pub(super) fn is_all_plain(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut last = bytes.last_chunk::<16>().map_or(0, odd_of);
    if rest.len() > 16 {
        last |= rest.first_chunk::<16>().map_or(0, odd_of);
    }
    for block in blocks {
        let (halves, _) = block.as_chunks::<16>();
        let odd = halves.iter().map(odd_of).fold(0, |all, odd| all | odd);
        if odd & eight(0x80) != 0 {
            return false;
        }
    }
    last & eight(0x80) == 0
}

#[inline(always)]
fn odd_of(words: &[u8; 16]) -> u64 {
    let (words, _) = words.as_chunks::<8>();
    let odd = words.iter().map(|word| odd(u64::from_le_bytes(*word)));
    odd.fold(0, |all, odd| all | odd)
}

/// Has the highest bit of a byte set if one of the eight is not plain: the first such byte sets its
/// own, and may spoil those behind it. Of the five sums, two at once look for what is outside of
/// printable ASCII, and one each for the quote and the backslash.
#[inline(always)]
fn odd(word: u64) -> u64 {
    let outside = word.wrapping_sub(eight(b' ')) | word.wrapping_add(eight(1));
    let quote = (word ^ eight(b'"')).wrapping_sub(eight(1));
    let backslash = (word ^ eight(b'\\')).wrapping_sub(eight(1));
    outside | quote | backslash
}

/// Eight to fifteen bytes: the first word and the last.
#[inline(always)]
fn copy_words(to: &mut [u8], from: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (from.first_chunk(), from.last_chunk()) else { return 0 };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
    odd(u64::from_le_bytes(*first)) | odd(u64::from_le_bytes(*last))
}

/// Four to seven bytes: the first four and the last four, which make a word together.
#[inline(always)]
fn copy_halves(to: &mut [u8], from: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (from.first_chunk(), from.last_chunk()) else { return 0 };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
    odd(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32)
}

/// Up to three bytes: the first, the middle one and the last.
#[inline(always)]
fn copy_few(to: &mut [u8], from: &[u8]) -> u64 {
    let middle = from.len() / 2;
    let (Some(first), Some(second), Some(last)) = (from.first(), from.get(middle), from.last())
    else {
        return 0;
    };
    if let [to, ..] = to {
        *to = *first;
    }
    if let Some(to) = to.get_mut(middle) {
        *to = *second;
    }
    if let [.., to] = to {
        *to = *last;
    }
    let fill = b' ';
    odd(u64::from_le_bytes([*first, *second, *last, fill, fill, fill, fill, fill]))
}

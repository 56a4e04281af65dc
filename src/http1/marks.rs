//! Where in a head the bytes stand that part it: colons and control characters, found in 64 bytes at
//! once. Knows nothing of what they mean.

/// Bytes looked at at once: as many as a number has bits.
const BLOCK: usize = 64;

/// The places of the marks in some bytes, in order.
#[derive(Debug)]
pub(super) struct Marks<'b> {
    bytes: &'b [u8],
    /// Where the block begins that is being handed out.
    block: usize,
    /// The marks in it that are left, a bit for each byte.
    left: u64,
    /// Where the next block begins.
    next: usize,
}

impl<'b> Marks<'b> {
    /// Those from `start` on.
    #[inline]
    pub(super) fn new(bytes: &'b [u8], start: usize) -> Self {
        Self { bytes, block: start, left: 0, next: start }
    }

    /// The next one, as a place in all bytes; beyond their end if there is none.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        while self.left == 0 {
            if self.next >= self.bytes.len() {
                return usize::MAX;
            }
            self.left = look(self.bytes, self.next);
            self.block = self.next;
            self.next += BLOCK;
        }
        let place = self.block + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        place
    }
}

/// The marks in the block that begins at `start`, or in what there is of it.
///
/// By value and not inlined, so that whoever asks keeps his place in registers.
#[inline(never)]
fn look(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return marks(block);
    }
    match bytes.last_chunk() {
        // A block that ends where the bytes end, without what was seen before.
        Some(block) if !rest.is_empty() => marks(block) >> (BLOCK - rest.len()),
        Some(_) => 0,
        None => {
            let mut block = [b' '; BLOCK];
            if let Some(start) = block.get_mut(..rest.len()) {
                start.copy_from_slice(rest);
            }
            marks(&block)
        }
    }
}

/// Which of the bytes are a colon, below space, or DEL, a bit for each.
///
/// In two steps, each of which the compiler turns into vector instructions: one flag for each byte,
/// then eight flags into eight bits by a multiplication that moves each to its place.
#[inline(always)]
fn marks(block: &[u8; BLOCK]) -> u64 {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let flag = |byte: u8| u8::from((byte < b' ') | (byte == b':') | (byte == 0x7f));
    let flags = block.map(flag);
    let (words, _) = flags.as_chunks();
    words
        .iter()
        .rev()
        .fold(0, |bits, word| (bits << 8) | (u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], start: usize) -> Vec<usize> {
        let mut marks = Marks::new(bytes, start);
        std::iter::from_fn(|| Some(marks.next()).filter(|place| *place != usize::MAX)).collect()
    }

    #[test]
    fn every_mark_is_found_in_every_place_of_every_length_and_nothing_else_is() {
        let is_mark = |byte: u8| byte < b' ' || byte == b':' || byte == 0x7f;
        for length in 0..200 {
            let mut seed = length as u64;
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed.to_be_bytes()[0]
                })
                .collect();
            for start in 0..=length {
                let expected: Vec<_> = (start..length).filter(|at| is_mark(bytes[*at])).collect();
                assert_eq!(all(&bytes, start), expected, "{bytes:?} from {start}");
            }
        }
    }

    #[test]
    fn each_byte_is_a_mark_or_none() {
        for byte in 0..=u8::MAX {
            let is_mark = byte < b' ' || byte == b':' || byte == 0x7f;
            for at in [0, 7, 8, 63, 64, 70] {
                let mut bytes = vec![b'a'; 71];
                bytes[at] = byte;
                let expected: Vec<_> = is_mark.then_some(at).into_iter().collect();
                assert_eq!(all(&bytes, 0), expected, "{byte:#x} at {at}");
            }
        }
    }
}

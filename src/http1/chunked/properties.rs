//! What must hold for content however it is cut into pieces.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Everything a decoder makes of `input`, which comes in pieces that end at `cuts`.
fn decoded(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool, Vec<u8>), BadBody> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut content = Vec::new();
    let mut at = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(input.len());
    for end in ends {
        while at < end && !decoder.is_done() {
            let piece = decoder.next(&input[at..end])?;
            content.extend_from_slice(&input[at..end][piece.data]);
            at += piece.consumed;
        }
    }
    Ok((content, at, decoder.is_done(), decoder.trailers().to_vec()))
}

/// A second reading of chunked content, as simple as can be: whole input in, content and length
/// out. `None`: wrong or not complete.
fn naive(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |from: usize| {
        let rest = input.get(from..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        Some((&rest[..end], from + end + 2))
    };
    let text = |bytes: &[u8]| {
        let control = |b: &u8| (*b < b' ' && *b != b'\t') || *b == 0x7f;
        !bytes.iter().any(control)
    };
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let (size, after) = line(at)?;
        let (digits, extension) = match size.iter().position(|b| *b == b';') {
            Some(at) => {
                let gap = size[..at]
                    .iter()
                    .rev()
                    .take_while(|b| matches!(b, b' ' | b'\t'));
                (&size[..at - gap.count()], &size[at..])
            }
            None => (size, &[][..]),
        };
        let hex = !digits.is_empty() && digits.len() <= 16;
        if !hex || !digits.iter().all(u8::is_ascii_hexdigit) || !text(extension) {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let size = usize::try_from(size).ok()?;
        at = after;
        if size == 0 {
            break;
        }
        content.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        at = input.get(at..)?.starts_with(b"\r\n").then_some(at + 2)?;
    }
    loop {
        let (field, after) = line(at)?;
        at = after;
        if field.is_empty() {
            return Some((content, at));
        }
        let (name, value) = field.split_at(field.iter().position(|b| *b == b':')?);
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        if name.is_empty() || !name.iter().all(token) || !text(value) {
            return None;
        }
    }
}

fn encoded(pieces: &[Vec<u8>], trailers: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = Encoder::new(Framing::Chunked);
    for piece in pieces {
        encoder.push(piece, &mut out);
    }
    encoder.finish(trailers, &mut out);
    out
}

proptest! {
    /// What was written is read back, whatever pieces it was written and comes in.
    #[test]
    fn what_was_encoded_is_decoded(
        pieces in vec(vec(any::<u8>(), 0..40), 0..6),
        cuts in vec(any::<usize>(), 0..8),
        after in vec(any::<u8>(), 0..4),
    ) {
        let whole = encoded(&pieces, b"X-Sum: 1\r\n");
        let input = [&whole[..], &after].concat();
        let expected = (pieces.concat(), whole.len(), true, b"X-Sum: 1\r\n".to_vec());
        prop_assert_eq!(decoded(&input, &cuts), Ok(expected));
    }

    /// However it is cut, a decoder makes the same of it as of the whole, and the same as another
    /// reading does.
    #[test]
    fn cuts_change_nothing_and_another_reading_agrees(
        input in "([0-3a]{0,2}(;[a\t ]{0,2})?(\r\n|\n|\r| )?[xyz0]{0,3}(\r\n)?){0,4}(0\r\n)?([A:_ ]{0,3}\r\n){0,2}(\r\n)?",
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let input = input.as_bytes();
        let every: Vec<usize> = (0..input.len()).collect();
        let whole = decoded(input, &[]);
        prop_assert_eq!(&decoded(input, &cuts), &whole);
        prop_assert_eq!(&decoded(input, &every), &whole);
        let complete = whole
            .ok()
            .filter(|(_, _, done, _)| *done)
            .map(|(content, consumed, _, _)| (content, consumed));
        prop_assert_eq!(complete, naive(input));
    }

    /// One byte changed in good content is noticed as another reading notices it.
    #[test]
    fn a_changed_byte_means_the_same_to_another_reading(
        pieces in vec(vec(any::<u8>(), 1..20), 1..4),
        place in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:; \t0a".to_vec())],
    ) {
        let mut input = encoded(&pieces, b"A: b\r\n");
        let at = place.index(input.len());
        input[at] = byte;
        let whole = decoded(&input, &[]);
        let complete = whole
            .ok()
            .filter(|(_, _, done, _)| *done)
            .map(|(content, consumed, _, _)| (content, consumed));
        prop_assert_eq!(complete, naive(&input));
    }

    /// A size line says the size, and nothing else.
    #[test]
    fn a_size_line_is_read_back(size in 1..=usize::MAX) {
        let mut room = SizeLine::default();
        let line = std::str::from_utf8(size_line(size, &mut room)).unwrap();
        let digits = line.strip_suffix("\r\n").unwrap();
        prop_assert_eq!(usize::from_str_radix(digits, 16), Ok(size));
        prop_assert!(!digits.starts_with('0'));
    }
}

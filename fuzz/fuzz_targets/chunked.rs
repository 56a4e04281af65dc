//! However chunked content is cut, the same is made of it, a simple reading of the whole agrees, and
//! what is written is read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http1::chunked::BadBody;
use proxyd::http1::chunked::Decoder;
use proxyd::http1::chunked::Encoder;
use proxyd::http1::framing::Framing;

type Read = Result<(Vec<u8>, usize, bool, Vec<u8>), BadBody>;

fuzz_target!(|bytes: &[u8]| {
    let whole = decoded(bytes, bytes.len().max(1));
    assert_eq!(decoded(bytes, 1), whole);
    assert_eq!(decoded(bytes, 7), whole);
    let Ok((content, consumed, true, trailers)) = whole else {
        assert!(naive(bytes).is_none());
        return;
    };
    assert_eq!(naive(bytes), Some((content.clone(), consumed)));
    let encoder = Encoder::new(Framing::Chunked);
    let mut again = Vec::new();
    for piece in content.chunks(5) {
        encoder.push(piece, &mut again);
    }
    encoder.finish(&trailers, &mut again);
    assert_eq!(decoded(&again, 3), Ok((content, again.len(), true, trailers)));
});

fn decoded(input: &[u8], step: usize) -> Read {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut content = Vec::new();
    let mut at = 0;
    let mut end = 0;
    while end < input.len() {
        end = (end + step).min(input.len());
        while at < end && !decoder.is_done() {
            let piece = decoder.next(&input[at..end])?;
            content.extend_from_slice(&input[at..end][piece.data]);
            at += piece.consumed;
        }
    }
    Ok((content, at, decoder.is_done(), decoder.trailers().to_vec()))
}

/// As simple as can be, limits included; `None`: wrong, or not complete.
fn naive(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |from: usize| {
        let rest = input.get(from..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        Some((&rest[..end], from + end + 2))
    };
    let is_text = |bytes: &[u8]| {
        let is_control = |b: &u8| (*b < b' ' && *b != b'\t') || *b == 0x7f;
        !bytes.iter().any(is_control)
    };
    let mut content = Vec::new();
    let mut at = 0;
    let mut extensions = 0;
    loop {
        let (size, after) = line(at)?;
        let digits = size.iter().take_while(|b| !b" \t;".contains(b)).count();
        // White space may stand before an extension (RFC 9112 section 7.1.1), and counts as one.
        let (digits, extension) = size.split_at(digits);
        extensions += extension.len();
        let fits = (1..=16).contains(&digits.len()) && extension.len() <= 256;
        let begins = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
        let clean = digits.iter().all(u8::is_ascii_hexdigit) && is_text(extension) && begins;
        if !fits || !clean || extensions > 16384 {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at = after;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        content.extend_from_slice(input.get(at..end)?);
        at = input.get(end..)?.starts_with(b"\r\n").then_some(end + 2)?;
    }
    let (mut lines, mut length) = (0, 0);
    loop {
        let (field, after) = line(at)?;
        at = after;
        if field.is_empty() {
            return Some((content, at));
        }
        lines += 1;
        length += field.len();
        let (name, value) = field.split_at(field.iter().position(|b| *b == b':')?);
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let clean = !name.is_empty() && name.iter().all(is_token) && is_text(value);
        if !clean || lines > 64 || length > 16384 {
            return None;
        }
    }
}

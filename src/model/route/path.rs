//! Spellings of a path that mean the same one.

use std::borrow::Cow;

/// The path as routes see it: percent-encoded unreserved characters decoded, empty and dot segments
/// removed (RFC 3986 §6.2.2), so that `/a/..%2Fadmin` style spellings cannot dodge a longer prefix.
/// The target still gets the raw path.
pub(super) fn normalised(path: &str) -> Cow<'_, str> {
    if is_normal(path.as_bytes()) { Cow::Borrowed(path) } else { Cow::Owned(rewritten(path)) }
}

/// Whether there is nothing to normalise: no `%`, no `//`, no `/.`. Looks at blocks of 17, of which the
/// next one begins with the last byte; what is shorter is filled up.
fn is_normal(path: &[u8]) -> bool {
    let mut short = [b'a'; 17];
    if let Some(start) = short.get_mut(..path.len()) {
        start.copy_from_slice(path);
        return is_normal_block(&short);
    }
    let mut rest = path;
    while let Some((block, _)) = rest.split_first_chunk() {
        if !is_normal_block(block) {
            return false;
        }
        rest = rest.get(16..).unwrap_or_default();
    }
    path.last_chunk().is_some_and(is_normal_block)
}

/// Not inlined and without branches, because only so it becomes vector instructions.
#[inline(never)]
fn is_normal_block(block: &[u8; 17]) -> bool {
    let [first, ..] = block;
    let odd = |(byte, next): (&u8, &u8)| {
        let within = u8::from(*next == b'/') | u8::from(*next == b'.');
        (u8::from(*byte == b'/') & within) | u8::from(*next == b'%')
    };
    let pairs = block.iter().zip(block.iter().skip(1));
    pairs
        .map(odd)
        .fold(u8::from(*first == b'%'), |all, odd| all | odd)
        == 0
}

fn rewritten(path: &str) -> String {
    let decoded = decode(path.as_bytes());
    let mut kept: Vec<&str> = Vec::new();
    let text = String::from_utf8_lossy(&decoded);
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let folder = text.ends_with('/') || text.ends_with("/.") || text.ends_with("/..");
    let mut out = String::with_capacity(text.len() + 1);
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if folder || kept.is_empty() {
        out.push('/');
    }
    out
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_to_be_normalised_is_found_wherever_it_stands() {
        for length in 2..80 {
            let plain = "/".to_owned() + &"a".repeat(length - 2) + "/";
            assert_eq!(is_normal(plain.as_bytes()), length > 2, "{plain}");
            for (at, odd) in (1..length - 1).zip(["//", "/.", "%"].into_iter().cycle()) {
                let mut path = plain.clone();
                path.replace_range(at..(at + odd.len()).min(length), odd);
                assert!(!is_normal(path.as_bytes()), "{path}");
            }
        }
        for path in ["", "*", "%", ".", "a"] {
            assert_eq!(is_normal(path.as_bytes()), path != "%", "{path}");
        }
    }

    proptest! {
        #[test]
        fn only_what_is_normal_is_left_alone(path in "(/[ab.%2é]{0,9}){0,9}") {
            let normal = !path.contains('%') && !path.contains("//") && !path.contains("/.");
            prop_assert_eq!(is_normal(path.as_bytes()), normal);
        }
    }
}

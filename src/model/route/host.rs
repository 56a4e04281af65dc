//! The host that a request is for, as routes and certificates name it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The host of an authority (`Host`, `:authority`): without port, in lower case, without a final
/// dot. `None` if it is not `host [":" port]` as RFC 9110 §7.2 has it: empty, with userinfo, with
/// characters that no host has.
#[must_use]
pub fn host_of(authority: &str) -> Option<Cow<'_, str>> {
    match usual_host(authority) {
        Some(host) => Some(Cow::Borrowed(host)),
        None => any_host(authority),
    }
}

/// The host of an authority that already is as [`host_of`] would write it, apart from a port; `None`:
/// one has to look closely. Nearly every request names its host so.
fn usual_host(authority: &str) -> Option<&str> {
    let bytes = authority.as_bytes();
    let digits = bytes.iter().rev().take_while(|b| b.is_ascii_digit());
    let before_digits = bytes.len() - digits.count();
    let host = match bytes.get(..before_digits)?.split_last() {
        Some((b':', host)) => authority.get(..host.len())?,
        _ => authority,
    };
    let usual = !host.is_empty() && !host.ends_with('.') && is_usual(host.as_bytes());
    usual.then_some(host)
}

/// Whether these are lower-case letters, digits, dots and hyphens only. Looks at blocks of 16; the last
/// one overlaps the one before it, and what is shorter is filled up.
fn is_usual(host: &[u8]) -> bool {
    let mut short = [b'a'; 16];
    if let Some(start) = short.get_mut(..host.len()) {
        start.copy_from_slice(host);
        return is_usual_block(&short);
    }
    let (blocks, _) = host.as_chunks::<16>();
    blocks.iter().all(is_usual_block) && host.last_chunk().is_some_and(is_usual_block)
}

/// Not inlined and without branches, because only so it becomes vector instructions.
#[inline(never)]
fn is_usual_block(block: &[u8; 16]) -> bool {
    let odd = |byte: u8| {
        let letter = byte.wrapping_sub(b'a') < 26;
        // From the hyphen over dot and slash to 9.
        let other = byte.wrapping_sub(b'-') <= b'9' - b'-';
        u8::from(!(letter | other)) | u8::from(byte == b'/')
    };
    block.iter().fold(0, |all, byte| all | odd(*byte)) == 0
}

fn any_host(authority: &str) -> Option<Cow<'_, str>> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(end)?;
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
    let literal = host
        .strip_prefix('[')
        .and_then(|inside| inside.strip_suffix(']'));
    let is_host = match literal {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => host.bytes().all(known),
    };
    if !is_host || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_loses_port_case_and_final_dot() {
        assert_eq!(host_of("App.Example.com:443").as_deref(), Some("app.example.com"));
        assert_eq!(host_of("example.com.").as_deref(), Some("example.com"));
        assert_eq!(host_of("[::1]:8443").as_deref(), Some("[::1]"));
        assert_eq!(host_of(""), None);
        assert_eq!(host_of(":80"), None);
        for bad in ["user@example.com", "a b", "a/b", "a.test:80x", "[::1", "[::1]x", "\u{e4}.test"]
        {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_odd_byte_is_found_wherever_it_stands() {
        for length in 1..70 {
            let plain = "0".repeat(length - 1) + "z";
            assert_eq!(usual_host(&plain), Some(&*plain));
            for (at, odd) in
                (0..length).zip(["/", ";", ",", "`", "{", "A", "\u{7f}"].into_iter().cycle())
            {
                let mut authority = plain.clone();
                authority.replace_range(at..=at, odd);
                assert_eq!(usual_host(&authority), None, "{authority}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_short_way_leads_where_the_long_way_leads(
            authority in "([a-c0-9.:-]|[A_%/@\\[\\]é ]){0,40}|([a-z0-9-]{1,20}\\.){0,3}[a-z0-9]{0,9}(:[0-9]{0,6})?",
        ) {
            prop_assert_eq!(host_of(&authority), any_host(&authority));
        }
    }
}

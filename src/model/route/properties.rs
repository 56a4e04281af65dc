//! What must hold for hosts and paths whatever a client sends.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Each byte is accounted for: a host, and a port of digits after a colon.
    #[test]
    fn a_host_is_what_stands_before_the_port_and_nothing_else(
        authority in prop_oneof![
            "[a-zA-Z0-9.:@/\\[\\]%_ -]{0,24}",
            "\\[[0-9a-f:]{2,12}\\][.:0-9a-z]{0,4}",
            "\\PC{0,12}",
        ],
    ) {
        let Some(host) = host_of(&authority) else { return Ok(()) };
        prop_assert!(!host.is_empty());
        prop_assert!(!host.bytes().any(|b| b.is_ascii_uppercase() || b <= b' ' || b >= 0x7f));
        prop_assert!(!host.contains(['@', '/', '"', '\\', '?', '#']), "{}", host);
        let (before, after) = authority.split_at(host.len());
        prop_assert_eq!(before.to_ascii_lowercase(), host.as_ref());
        let port = after.strip_prefix('.').unwrap_or(after);
        let digits = port.strip_prefix(':').map(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        prop_assert!(port.is_empty() || digits == Some(true), "{} in {}", port, authority);
    }

    #[test]
    fn a_literal_is_an_address(inside in "[0-9a-f:\\[\\]x.]{0,16}", port in "(:[0-9]{0,5})?") {
        let authority = format!("[{inside}]{port}");
        let expected = inside.parse::<Ipv6Addr>().is_ok().then(|| format!("[{inside}]"));
        prop_assert_eq!(host_of(&authority).map(Cow::into_owned), expected);
    }

    #[test]
    fn a_good_host_is_found_with_any_port_case_and_final_dot(
        name in "[a-z0-9-]{1,8}(\\.[a-z0-9-]{1,8}){0,3}",
        upper in any::<bool>(),
        dot in "\\.?",
        port in "(:[0-9]{0,5})?",
    ) {
        let written = if upper { name.to_ascii_uppercase() } else { name.clone() };
        let authority = format!("{written}{dot}{port}");
        prop_assert_eq!(host_of(&authority).map(Cow::into_owned), Some(name));
    }

    /// No spelling hides a segment from the routes.
    #[test]
    fn a_normalised_path_has_no_empty_and_no_dot_segment(
        path in prop_oneof!["(/|\\.|%2[eEfF]|%61|a|b|%|%2){0,16}", "\\PC{0,12}"],
    ) {
        let path = format!("/{path}");
        let clean = normalised(&path);
        prop_assert!(clean.starts_with('/'), "{}", clean);
        let inner = clean.trim_start_matches('/').trim_end_matches('/');
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        prop_assert!(inner.is_empty() || !inner.split('/').any(odd), "{} of {}", clean, path);
    }

    /// A path that escapes nothing and climbs nowhere is left as it is.
    #[test]
    fn a_plain_path_stays_as_it_is(path in "(/[a-z0-9~_-]{1,5}){0,4}/?") {
        let path = format!("/{}", path.trim_start_matches('/'));
        let clean = normalised(&path);
        prop_assert_eq!(clean.as_ref(), path.as_str());
    }

    /// Encoding what needs no encoding, and detours, change nothing.
    #[test]
    fn another_spelling_is_the_same_path(
        segments in proptest::collection::vec("[a-z]{1,4}", 1..5),
        encoded in any::<bool>(),
        detour in prop::sample::select(vec!["", "/.", "//", "/x/..", "/x%2f%2E%2e"]),
    ) {
        let plain: String = segments.iter().map(|s| format!("/{s}")).collect();
        let odd: String = segments
            .iter()
            .map(|segment| {
                let spelt: String = if encoded {
                    segment.bytes().map(|b| format!("%{b:02X}")).collect()
                } else {
                    segment.clone()
                };
                format!("{detour}/{spelt}")
            })
            .collect();
        let clean = normalised(&odd);
        prop_assert_eq!(clean.as_ref(), plain.as_str());
    }
}

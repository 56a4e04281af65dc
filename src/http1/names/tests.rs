//! Names are told apart by every byte, in any case, and only whole.

use super::*;

const HOPS: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

const OTHERS: [(&str, Known); 16] = [
    ("accept", Known::Accept),
    ("content-length", Known::ContentLength),
    ("cookie", Known::Cookie),
    ("expect", Known::Expect),
    ("forwarded", Known::Forwarded),
    ("host", Known::Host),
    ("referer", Known::Referer),
    ("user-agent", Known::UserAgent),
    ("x-forwarded-for", Known::XForwardedFor),
    ("x-forwarded-host", Known::XForwardedHost),
    ("x-forwarded-port", Known::XForwardedPort),
    ("x-forwarded-proto", Known::XForwardedProto),
    ("x-forwarded-prefix", Known::XForwardedOther),
    ("x-real-ip", Known::XRealIp),
    ("x-request-id", Known::XRequestId),
    ("x_forwarded_for", Known::Underscored),
];

const FREQUENT: [&str; 9] = [
    "expires",
    "location",
    "last-modified",
    "accept-ranges",
    "authorization",
    "accept-encoding",
    "content-encoding",
    "if-modified-since",
    "date",
];

#[test]
fn a_name_is_a_token_and_an_underscore_is_noticed_in_every_place() {
    let places = (1..27_usize).flat_map(|length| (0..length).map(move |at| (length, at)));
    for (length, at) in places {
        for byte in (b' '..=u8::MAX).filter(|byte| *byte != b':') {
            let mut name = vec![b'q'; at];
            name.push(byte);
            name.resize(length, b'q');
            let expected = match byte {
                b'_' => Some(Known::Underscored),
                _ => is_token_byte(byte).then_some(Known::Other),
            };
            assert_eq!(read(&name), expected, "{byte:#x} at {at} of {length}");
        }
    }
    assert_eq!(read(b""), None);
}

#[test]
fn no_other_byte_makes_a_known_name() {
    for name in HOPS.iter().chain(OTHERS.iter().map(|(name, _)| name)) {
        for (at, byte) in (0..name.len()).flat_map(|at| (b' '..=u8::MAX).map(move |b| (at, b))) {
            let mut near = name.as_bytes().to_vec();
            let own = std::mem::replace(&mut near[at], byte);
            let same = byte.eq_ignore_ascii_case(&own);
            let found = meant(&near);
            assert_eq!(
                found.is_some() && found == meant(name.as_bytes()),
                same && meant(name.as_bytes()).is_some(),
                "{near:?}"
            );
        }
    }
}

#[test]
fn a_name_is_known_in_any_case_and_only_whole() {
    let hops = HOPS.iter().map(|name| (*name, None));
    let others = OTHERS.iter().map(|(name, known)| (*name, Some(*known)));
    let frequent = FREQUENT.iter().map(|name| (*name, Some(Known::Other)));
    for (name, expected) in hops.chain(others).chain(frequent) {
        let title: String = name
            .chars()
            .enumerate()
            .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c })
            .collect();
        for name in [name.to_owned(), name.to_ascii_uppercase(), title] {
            let found = known(name.as_bytes());
            assert_eq!(is_hop_by_hop(found), expected.is_none(), "{name}");
            assert!(expected.is_none_or(|expected| expected == found), "{name}");
        }
        let family = name.starts_with("x-forwarded-") || name.contains('_');
        for near in [format!("{name}s"), format!("z{}", &name[1..]), name.replace('-', "+")] {
            let near_is_known = near != *name && known(near.as_bytes()) != Known::Other;
            assert!(!near_is_known || family, "{near}");
        }
    }
}

#[test]
fn words_are_what_stands_between_commas() {
    let all: Vec<&[u8]> = words(b" a,,\tb c ,d,").collect();
    assert_eq!(all, [&b"a"[..], b"b c", b"d"]);
}

#[test]
fn bytes_have_their_place() {
    assert!(b"!#$%&'*+-.^_`|~09azAZ".iter().all(|b| is_token_byte(*b)));
    assert!(
        !b"\0\t\r\n \"(),/:;<=>?@[\\]{}\x7f\x80"
            .iter()
            .any(|b| is_token_byte(*b))
    );
    assert!(b"\t !~\x80\xff".iter().all(|b| is_value_byte(*b)));
    assert!(!b"\0\r\n\x1f\x7f".iter().any(|b| is_value_byte(*b)));
}

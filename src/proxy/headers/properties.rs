//! What must hold for header fields whatever a client sends.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Reads one element of `Forwarded` as RFC 7239 §4 has it, strictly: its pairs, in order.
fn pairs(element: &str) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    let mut rest = element;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        pairs.push((name, value));
        match after.strip_prefix(';') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(pairs),
        }
    }
}

fn field_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "transfer-encoding",
        "http2-settings",
        "host",
        "content-length",
        "content-type",
        "x-one",
        "x-two",
        "cookie",
    ])
}

proptest! {
    /// A host cannot add a pair of its own to `Forwarded`, nor end it early.
    #[test]
    fn forwarded_says_what_the_proxy_means_whatever_the_host(
        host in "[ -~]{0,40}",
        address in any::<IpAddr>(),
        tls in any::<bool>(),
    ) {
        let client = Client::new(address, 443, tls, &[]);
        let Ok(value) = HeaderValue::from_str(&host) else { return Ok(()) };
        let element = forwarded(&client, &value);
        let Some(read) = pairs(&element) else {
            return Err(TestCaseError::fail(format!("{element} is not an element")));
        };
        let names: Vec<&str> = read.iter().map(|(name, _)| *name).collect();
        let named = names == ["for", "host", "proto"];
        prop_assert!(named || names == ["for", "proto"], "{}", element);
        prop_assert_eq!(named, !host.contains(['"', '\\']));
        let of = |name: &str| read.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        prop_assert_eq!(of("proto"), Some(if tls { "https" } else { "http" }));
        if named {
            prop_assert_eq!(of("host"), Some(host.as_str()));
        }
        let canonical = address.to_canonical();
        let expected = match canonical {
            IpAddr::V4(four) => four.to_string(),
            IpAddr::V6(six) => format!("[{six}]"),
        };
        prop_assert_eq!(of("for"), Some(expected.as_str()));
    }

    /// No claim of a client that is not trusted reaches the target.
    #[test]
    fn nothing_an_untrusted_client_claims_is_left(
        claims in vec((0_usize..6, "[!-~]{1,20}"), 0..12),
    ) {
        const NAMES: [&str; 6] = [
            "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
            "x-forwarded-port", "x-real-ip", "forwarded",
        ];
        let mut headers = HeaderMap::new();
        for (at, claim) in &claims {
            headers.append(NAMES[*at], HeaderValue::from_str(claim).unwrap());
        }
        let client = Client::new("192.0.2.7".parse().unwrap(), 443, true, &[]);
        set_forwarding(&mut headers, &HeaderValue::from_static("a.test"), &client);
        let expected = [
            "192.0.2.7", "https", "a.test", "443", "192.0.2.7",
            "for=192.0.2.7;host=a.test;proto=https",
        ];
        for (name, value) in NAMES.iter().zip(expected) {
            let all: Vec<_> = headers.get_all(*name).iter().collect();
            prop_assert_eq!(all, [value], "{}", name);
        }
    }

    /// What concerns one connection is gone, what frames the message stays, and nothing else moves.
    #[test]
    fn exactly_what_concerns_the_connection_is_stripped(
        fields in vec((field_name(), "[a-z]{1,8}"), 0..12),
        nominated in vec(field_name(), 0..4),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(*name, value.parse().unwrap());
        }
        let nominate = nominated.join(" , ").to_uppercase();
        headers.append("connection", nominate.parse().unwrap());
        let before = headers.clone();
        strip_hop_by_hop(&mut headers);
        let words: Vec<String> = tokens(&before, &header::CONNECTION).map(str::to_lowercase).collect();
        for name in before.keys() {
            // A length beside a transfer coding is not the message's (RFC 9112 §6.3).
            let no_length = *name == header::CONTENT_LENGTH
                && before.contains_key(header::TRANSFER_ENCODING);
            let gone = HOP_BY_HOP.contains(name)
                || no_length
                || (words.iter().any(|word| word == name.as_str()) && !must_stay(name));
            let left: Vec<_> = headers.get_all(name).iter().collect();
            let came: Vec<_> = before.get_all(name).iter().collect();
            prop_assert_eq!(left, if gone { Vec::new() } else { came }, "{}", name);
        }
    }

    /// An id is one sane word, in the request as in the answer.
    #[test]
    fn a_request_id_is_one_word_whatever_came(ids in vec(vec(0x20_u8..=0xff, 0..200), 0..3)) {
        let mut headers = HeaderMap::new();
        for id in &ids {
            if let Ok(value) = HeaderValue::from_bytes(id) {
                headers.append(X_REQUEST_ID, value);
            }
        }
        let id = request_id(&mut headers);
        let all: Vec<_> = headers.get_all(X_REQUEST_ID).iter().collect();
        prop_assert_eq!(all, [&id]);
        prop_assert!((1..=128).contains(&id.len()));
        let sane = |b: &u8| b.is_ascii_graphic() && *b != b'"' && *b != b'\\';
        prop_assert!(id.as_bytes().iter().all(sane));
    }

    /// However it is spelt and wherever it stands in the list.
    #[test]
    fn h2c_is_never_an_upgrade(
        before in "([a-z]{1,6} ?, ?){0,2}",
        h2c in "[hH]2[cC]",
        after in "(-[0-9]{1,2})?( ?, ?[a-z]{1,6}){0,2}",
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", format!("{before}{h2c}{after}").parse().unwrap());
        prop_assert_eq!(upgrade_of(&headers), None);
    }
}

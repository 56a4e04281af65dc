//! What must hold for the heads sent on whatever a client sends.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::http1::framing::Framing;

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

fn onward<'a>(client: &'a ClientFacts, host: &'a [u8]) -> Onward<'a> {
    Onward {
        method: "GET",
        target: "/",
        host,
        body: Framing::None,
        expects_continue: false,
        upgrade: None,
        request_id: b"id",
        nominates: true,
        ends_here: None,
        client,
    }
}

fn sent(onward: &Onward<'_>, fields: &[(String, String)]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    request(&mut out, onward, fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    let head = String::from_utf8(out).unwrap();
    let lines = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n").skip(1);
    lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn all<'s>(sent: &'s [(String, String)], name: &str) -> Vec<&'s str> {
    sent.iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

fn field_name() -> impl Strategy<Value = String> {
    select(vec![
        "Connection",
        "keep-alive",
        "TE",
        "Upgrade",
        "Transfer-Encoding",
        "http2-settings",
        "Content-Length",
        "content-type",
        "X-One",
        "x-two",
        "X_One",
        "Expect",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    /// A host cannot add a pair of its own to `Forwarded`, nor end it early.
    #[test]
    fn forwarded_says_what_the_proxy_means_whatever_the_host(
        host in "[ -~]{0,40}",
        address in any::<IpAddr>(),
        tls in any::<bool>(),
    ) {
        let client = ClientFacts::new(address, 443, tls, false);
        let head = sent(&onward(&client, host.as_bytes()), &[]);
        let element = all(&head, "forwarded")[0];
        let Some(read) = pairs(element) else {
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
        let expected = match address.to_canonical() {
            IpAddr::V4(four) => four.to_string(),
            IpAddr::V6(six) => format!("[{six}]"),
        };
        prop_assert_eq!(of("for"), Some(expected.as_str()));
    }

    /// No claim of a client that is not trusted reaches the target, however it is spelt.
    #[test]
    fn nothing_an_untrusted_client_claims_is_left(
        claims in vec(("[xX][-_](Forwarded|FORWARDED)[-_][a-z]{1,6}|[Xx][-_]Real[-_]IP|Forwarded", "[!-~]{1,20}"), 0..12),
    ) {
        let client = ClientFacts::new("192.0.2.7".parse().unwrap(), 443, true, false);
        let head = sent(&onward(&client, b"a.test"), &claims);
        let ours = [
            ("Host", "a.test"),
            ("X-Request-ID", "id"),
            ("X-Forwarded-For", "192.0.2.7"),
            ("X-Real-IP", "192.0.2.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Host", "a.test"),
            ("Forwarded", "for=192.0.2.7;host=a.test;proto=https"),
        ];
        prop_assert_eq!(head, ours.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    /// What a trusted client says of those before it stays, and the client itself comes last.
    #[test]
    fn a_trusted_chain_only_grows(
        chain in vec("[0-9a-f.:]{1,12}", 0..5),
        others in vec((field_name(), "[a-z]{1,8}"), 0..4),
    ) {
        let client = ClientFacts::new("192.0.2.7".parse().unwrap(), 443, true, true);
        let links = chain.iter().map(|link| ("X-forwarded-For".to_owned(), link.clone()));
        let fields: Vec<_> = links.chain(others).collect();
        let head = sent(&onward(&client, b"a.test"), &fields);
        let mut expected = chain.clone();
        expected.push("192.0.2.7".to_owned());
        prop_assert_eq!(all(&head, "x-forwarded-for"), [expected.join(", ")]);
        prop_assert_eq!(all(&head, "x-real-ip"), [&expected[0]]);
    }

    /// What concerns one connection is gone, and nothing else moves, in a request as in an answer.
    #[test]
    fn exactly_what_concerns_the_connection_is_stripped(
        fields in vec((field_name(), "[a-z]{1,8}"), 0..12),
        nominated in vec(field_name(), 0..4),
    ) {
        let mut fields = fields;
        fields.push(("connection".to_owned(), nominated.join(" , ").to_uppercase()));
        let words: Vec<String> = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
            .flat_map(|(_, value)| value.split(','))
            .map(|word| word.trim().to_ascii_lowercase())
            .collect();
        let ends_here = |name: &str| {
            let name = name.to_ascii_lowercase();
            let stays = ["content-length", "content-type"].contains(&name.as_str());
            is_hop_by_hop(name.as_bytes()) || (words.contains(&name) && !stays)
        };
        let client = ClientFacts::new("192.0.2.7".parse().unwrap(), 443, true, false);
        let head = sent(&onward(&client, b"a.test"), &fields);
        let in_request = |name: &str| {
            // No content, so no length; and nobody waits for it.
            let framing = ["Content-Length", "Expect", "X_One"].contains(&name);
            !ends_here(name) && !framing
        };
        let passing: Vec<_> = fields.iter().filter(|(name, _)| in_request(name)).collect();
        prop_assert_eq!(head[1..=passing.len()].iter().collect::<Vec<_>>(), passing);
        prop_assert_eq!(head.len(), 1 + fields.iter().filter(|(n, _)| in_request(n)).count() + 7);
        let mut seen_length = false;
        let answer: Vec<_> = fields
            .iter()
            .filter(|(name, _)| !ends_here(name))
            .filter(|(name, _)| name != "Content-Length" || !std::mem::replace(&mut seen_length, true))
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        prop_assert_eq!(response_fields(200, true, pairs).collect::<Vec<_>>(), answer);
    }
}

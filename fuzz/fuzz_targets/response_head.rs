//! Whatever answer is accepted, `httparse` reads the same in it, and what is sent on is read as the
//! same one answer, by `httparse` as by ourselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http1::framing::Framing;
use proxyd::http1::head;
use proxyd::http1::head::Asked;
use proxyd::http1::head::Fields;
use proxyd::http1::head::HeadLimits;
use proxyd::http1::head::Parsed;
use proxyd::http1::rewrite;
use proxyd::http1::rewrite::ConnectionLine;
use proxyd::http1::rewrite::Homeward;

const LIMITS: HeadLimits = HeadLimits { bytes: 16384, fields: 100, target: 0 };

fuzz_target!(|bytes: &[u8]| {
    for to in [Asked::Other, Asked::Head] {
        check(bytes, to);
    }
});

fn check(bytes: &[u8], to: Asked) {
    let mut room = Fields::new();
    let Ok(Parsed::Whole(read)) = head::response(bytes, &mut room, &LIMITS, to) else { return };
    let mut second = [httparse::EMPTY_HEADER; 100];
    let mut second = httparse::Response::new(&mut second);
    assert_eq!(second.parse(bytes), Ok(httparse::Status::Complete(read.length)));
    assert_eq!(second.code, Some(read.status));
    assert_eq!(second.headers.len(), read.fields.len());
    for (theirs, ours) in second.headers.iter().zip(read.fields.clone()) {
        assert_eq!((theirs.name.as_bytes(), theirs.value), (ours.name, ours.value));
    }
    for end in [read.length / 2, read.length - 1] {
        let mut room = Fields::new();
        let part = head::response(&bytes[..end], &mut room, &LIMITS, to);
        assert!(matches!(part, Ok(Parsed::Partial)));
    }
    let interim = read.status < 200;
    let homeward = Homeward {
        status: read.status,
        reason: read.reason,
        framing: (!interim).then_some(read.body),
        connection: ConnectionLine::None,
        nominates: read.nominates,
        extras: None,
    };
    let mut sent = Vec::new();
    rewrite::response(&mut sent, &homeward, read.fields.clone());
    let mut by_pair = Vec::new();
    rewrite::response(&mut by_pair, &homeward, read.pairs());
    assert_eq!(by_pair, sent);
    let mut room = Fields::new();
    let limits = HeadLimits { bytes: 1 << 20, ..LIMITS };
    let Ok(Parsed::Whole(again)) = head::response(&sent, &mut room, &limits, to) else {
        panic!("{}", String::from_utf8_lossy(&sent));
    };
    assert_eq!(again.length, sent.len());
    assert_eq!((again.status, again.reason, again.body), (read.status, read.reason, read.body));
    assert!(!again.nominates);
    let mut third = [httparse::EMPTY_HEADER; 101];
    let mut third = httparse::Response::new(&mut third);
    assert_eq!(third.parse(&sent), Ok(httparse::Status::Complete(sent.len())));
    let framed = third
        .headers
        .iter()
        .filter(|field| {
            field.name.eq_ignore_ascii_case("content-length")
                || field.name.eq_ignore_ascii_case("transfer-encoding")
        })
        .count();
    match again.body {
        Framing::Length(_) | Framing::Chunked => assert_eq!(framed, 1),
        Framing::None => assert!(framed <= 1),
        Framing::UntilClose => assert_eq!(framed, 0),
    }
}

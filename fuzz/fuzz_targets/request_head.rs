//! Whatever request is accepted, `httparse` reads the same in it, and what is sent on is read as
//! the same one request, by `httparse` as by ourselves.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use proxyd::http1::framing::Framing;
use proxyd::http1::head;
use proxyd::http1::head::Authority;
use proxyd::http1::head::Fields;
use proxyd::http1::head::HeadLimits;
use proxyd::http1::head::Parsed;
use proxyd::http1::head::RequestHead;
use proxyd::http1::rewrite;
use proxyd::http1::rewrite::ClientFacts;
use proxyd::http1::rewrite::Onward;
use proxyd::model::fault::Fault;

const LIMITS: HeadLimits = HeadLimits { bytes: 16384, fields: 100, target: 8192 };
/// What the proxy adds must not make its own reading fail.
const SENT_LIMITS: HeadLimits = HeadLimits { bytes: 1 << 20, fields: 200, target: 1 << 20 };

fuzz_target!(|bytes: &[u8]| {
    let mut room = Fields::new();
    let read = head::request(bytes, &mut room, &LIMITS);
    is_read_by_a_used_room(bytes, &read);
    let Ok(Parsed::Whole(read)) = read else { return };
    let mut second = [httparse::EMPTY_HEADER; 100];
    let mut second = httparse::Request::new(&mut second);
    assert_eq!(second.parse(bytes), Ok(httparse::Status::Complete(read.length)));
    assert_eq!((second.method, second.path), (Some(read.method), Some(read.target)));
    assert_eq!(second.headers.len(), read.fields.len());
    for (theirs, ours) in second.headers.iter().zip(read.fields.clone()) {
        assert_eq!((theirs.name.as_bytes(), theirs.value), (ours.name, ours.value));
    }
    cut(bytes, read.length, read.body);
    let Authority::One(host) = read.authority else { return };
    for trusted in [false, true] {
        let client = ClientFacts::new([192, 0, 2, 7].into(), 80, false, trusted);
        let onward = Onward {
            method: read.method,
            target: read.path_and_query(),
            host: host.as_bytes(),
            body: read.body,
            expects_continue: read.expects_continue,
            upgrade: read.upgrade,
            request_id: read.request_id.unwrap_or(b"made"),
            nominates: read.nominates,
            ends_here: None,
            client: &client,
        };
        let mut sent = b"before".to_vec();
        let (mut by_line, mut by_pair) = (sent.clone(), sent.clone());
        let marks = rewrite::request(&mut sent, &onward, &read);
        assert_eq!(marks.method.of(&sent), read.method.as_bytes());
        assert_eq!(marks.host.of(&sent), host.as_bytes());
        assert_eq!(marks.request_id.of(&sent), onward.request_id);
        assert_eq!(
            marks
                .user_agent
                .is_some_and(|span| span.of(&sent) != read.user_agent.unwrap()),
            false
        );
        assert_eq!(
            marks
                .referer
                .is_some_and(|span| span.of(&sent) != read.referer.unwrap()),
            false
        );
        assert_eq!(rewrite::request(&mut by_line, &onward, read.fields.clone()), marks);
        assert_eq!(rewrite::request(&mut by_pair, &onward, read.pairs()), marks);
        assert_eq!((&by_line, &by_pair), (&sent, &sent));
        let sent = sent.split_off(b"before".len());
        if read.method != "CONNECT" {
            is_the_same(&sent, &onward, host);
        }
    }
});

thread_local! {
    static USED: RefCell<Fields> = RefCell::new(Fields::new());
}

/// What a room has read before changes nothing of what it reads next.
fn is_read_by_a_used_room(bytes: &[u8], fresh: &Result<Parsed<RequestHead<'_, '_>>, Fault>) {
    USED.with_borrow_mut(|room| {
        for _ in 0..2 {
            match (head::request(bytes, room, &LIMITS), fresh) {
                (Ok(Parsed::Whole(used)), Ok(Parsed::Whole(fresh))) => {
                    assert_eq!((used.authority, &used.host), (fresh.authority, &fresh.host));
                }
                (Ok(Parsed::Partial), Ok(Parsed::Partial)) => {}
                (Err(used), Err(fresh)) => assert_eq!(used, *fresh),
                (used, _) => panic!("{:?}", used.map(|_| ())),
            }
        }
    });
}

/// A head that comes in two parts is not whole before it is.
fn cut(bytes: &[u8], length: usize, body: Framing) {
    let mut room = Fields::new();
    for end in [1, length / 2, length - 1] {
        let part = head::request(&bytes[..end], &mut room, &LIMITS);
        assert!(matches!(part, Ok(Parsed::Partial)));
    }
    match head::request(&bytes[..length], &mut room, &LIMITS) {
        Ok(Parsed::Whole(whole)) => assert_eq!((whole.length, whole.body), (length, body)),
        other => panic!("{other:?}"),
    }
}

fn is_the_same(sent: &[u8], onward: &Onward<'_>, host: &str) {
    let mut second = [httparse::EMPTY_HEADER; 200];
    let mut second = httparse::Request::new(&mut second);
    assert_eq!(second.parse(sent), Ok(httparse::Status::Complete(sent.len())));
    let count = |name: &str| {
        second
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .count()
    };
    assert_eq!(count("host"), 1);
    assert_eq!(count("x-request-id"), 1);
    assert_eq!(count("x-forwarded-for"), 1);
    assert_eq!(count("forwarded"), 1);
    assert_eq!(count("content-length"), usize::from(matches!(onward.body, Framing::Length(_))));
    assert_eq!(count("transfer-encoding"), usize::from(onward.body == Framing::Chunked));
    assert_eq!(count("connection"), usize::from(onward.upgrade.is_some()));
    assert!(second.headers.iter().all(|field| !field.name.contains('_')));
    let mut room = Fields::new();
    let Ok(Parsed::Whole(again)) = head::request(sent, &mut room, &SENT_LIMITS) else {
        panic!("{}", String::from_utf8_lossy(sent));
    };
    assert_eq!(again.length, sent.len());
    assert_eq!((again.method, again.body), (onward.method, onward.body));
    assert_eq!(
        again
            .target
            .strip_suffix(onward.target)
            .unwrap()
            .trim_start_matches('/'),
        ""
    );
    assert_eq!(again.authority, Authority::One(host));
    assert_eq!(again.upgrade, onward.upgrade);
    assert_eq!(again.keep_alive, true);
}

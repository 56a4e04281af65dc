//! HTTP/2 clients that ask for far more than answers. Each is told to calm down, the others are
//! answered meanwhile, and memory stays where it was.

use std::io;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::CONTINUATION;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::HEADERS;
use crate::harness::h2::PING;
use crate::harness::h2::PRIORITY;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::SETTINGS;
use crate::harness::h2::WINDOW_UPDATE;
use crate::harness::h2::frame;
use crate::harness::hpack;

const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const INITIAL_WINDOW_0: [u8; 6] = [0, 4, 0, 0, 0, 0];

/// How much more memory a flood may take than there was before it.
const ROOM_KIB: u64 = 20 * 1024;

/// How a connection ends that is flooded with what `next` gives, a batch at a time; `None` if nothing
/// was said about it.
fn flood(frames: &mut Frames, mut next: impl FnMut(usize) -> Vec<u8>) -> Option<u32> {
    for batch in 0..200 {
        let bytes: Vec<u8> = (0..200).flat_map(|n| next(batch * 200 + n)).collect();
        if frames.raw(&bytes).is_err() {
            break;
        }
    }
    let end = frames.rest().into_iter().find(|frame| frame.kind == GOAWAY);
    end.map(|frame| frame.error())
}

/// Floods a connection, and looks at what others and the memory notice of it.
#[track_caller]
fn is_told_to_calm_down(
    proxy: &Proxy,
    begin: impl FnOnce(&mut Frames) -> io::Result<()>,
    next: impl FnMut(usize) -> Vec<u8>,
) {
    let other = proxy.h2();
    other.get("/").expect(200);
    let before = proxy.resident_kib();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    begin(&mut frames).unwrap();
    let meanwhile = thread::spawn({
        let other = other.clone();
        move || (0..50).map(|_| other.get("/").status).collect::<Vec<_>>()
    });
    assert_eq!(flood(&mut frames, next), Some(ENHANCE_YOUR_CALM));
    assert_eq!(meanwhile.join().unwrap(), vec![200; 50], "another client's requests");
    let after = proxy.resident_kib();
    assert!(after < before + ROOM_KIB, "{before} KiB, then {after} KiB");
    other.get("/").expect(200);
}

#[test]
fn a_flood_of_what_must_be_acknowledged_is_ended() {
    let (_blue, _green, proxy) = app();
    is_told_to_calm_down(&proxy, |_| Ok(()), |n| frame(PING, 0, 0, &n.to_be_bytes()));
    is_told_to_calm_down(&proxy, |_| Ok(()), |_| frame(SETTINGS, 0, 0, &[]));
    let windows = |n: usize| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, n as u8]);
    is_told_to_calm_down(&proxy, |f| f.get(1, HOST, "/hold"), windows);
    let floods = || {
        let labels = [("outcome", "flood")];
        proxy.metrics().sum("proxy_client_errors_total", &labels)
    };
    eventually("each is counted", || floods() == 3.0);
}

#[test]
fn a_flood_of_what_does_nothing_is_ended() {
    let (_blue, _green, proxy) = app();
    let none = |_: &mut Frames| Ok(());
    is_told_to_calm_down(&proxy, none, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
    is_told_to_calm_down(&proxy, none, |_| frame(0xef, 0, 0, b"whatever"));
    is_told_to_calm_down(&proxy, none, |_| frame(PING, 1, 0, &[0; 8]));
    is_told_to_calm_down(&proxy, none, |_| frame(GOAWAY, 0, 0, &[0; 8]));
    // Not to where a window is too large.
    is_told_to_calm_down(&proxy, none, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    let held = |f: &mut Frames| f.get(1, HOST, "/hold");
    is_told_to_calm_down(&proxy, held, |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
}

#[test]
fn a_flood_of_empty_content_is_ended() {
    let (_blue, _green, proxy) = app();
    let upload = |f: &mut Frames| f.post(1, HOST, "/hold");
    is_told_to_calm_down(&proxy, upload, |_| frame(DATA, 0, 1, &[]));
    let padded = 8;
    let padding = [&[255], &[0; 255][..]].concat();
    is_told_to_calm_down(&proxy, upload, |_| frame(DATA, padded, 1, &padding));
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_begun_end_the_connection() {
    let (blue, _green, proxy) = app();
    is_told_to_calm_down(
        &proxy,
        |_| Ok(()),
        |n| {
            let stream = 2 * u32::try_from(n).unwrap() + 1;
            let block = hpack::request("GET", HOST, "/rapid");
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            [head, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
        },
    );
    let reached = blue
        .requests()
        .iter()
        .filter(|r| r.head.path() == "/rapid")
        .count();
    assert!(reached < 300, "{reached} of 40,000 reached the target");
}

#[test]
fn streams_that_are_reset_one_by_one_end_the_connection_as_well() {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let error = (0..1000).find_map(|n| {
        let stream = 2 * n + 1;
        // Each has begun before it is reset, and nothing of it is answered.
        frames.get(stream, HOST, "/hold").ok();
        frames.send(PING, 0, 0, &[0; 8]).ok();
        loop {
            let frame = frames.next().expect("an error, not the end");
            match frame.kind {
                GOAWAY => return Some((n, frame.error())),
                PING => break,
                _ => {}
            }
        }
        frames.send(RST_STREAM, 0, stream, &CANCEL).ok();
        None
    });
    let (after, error) = error.expect("an end");
    assert_eq!(error, ENHANCE_YOUR_CALM);
    assert!((100..300).contains(&after), "after {after}");
    eventually("nothing is held", || blue.held() == 0);
}

#[test]
fn streams_that_the_proxy_is_made_to_reset_end_the_connection() {
    let (blue, _green, proxy) = app();
    let other = proxy.h2();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let mut resets = 0;
    let mut error = None;
    for n in 0..500 {
        let stream = 2 * n + 1;
        frames.get(stream, HOST, "/hold").ok();
        let most = 0x7fff_ffff_u32;
        frames
            .send(WINDOW_UPDATE, 0, stream, &most.to_be_bytes())
            .ok();
        let end = loop {
            let frame = frames.next().expect("an error, not the end");
            if frame.kind == GOAWAY || frame.kind == RST_STREAM {
                break frame;
            }
        };
        if end.kind == GOAWAY {
            error = Some(end.error());
            break;
        }
        resets += 1;
    }
    assert_eq!((error, resets), (Some(ENHANCE_YOUR_CALM), 100));
    other.get("/").expect(200);
    eventually("nothing is held", || blue.held() == 0);
}

#[test]
fn a_header_block_without_an_end_is_ended() {
    let (_blue, _green, proxy) = app();
    let begin =
        |f: &mut Frames| f.send(HEADERS, END_STREAM, 1, &hpack::request("GET", HOST, "/never"));
    is_told_to_calm_down(&proxy, begin, |_| frame(CONTINUATION, 0, 1, &[]));
    is_told_to_calm_down(&proxy, begin, |_| frame(CONTINUATION, 0, 1, &[0x90]));
    let field = hpack::block(&[(b"x-a", &[b'a'; 10_000])]);
    // Not so much that it still sends when it is no longer listened to.
    let some = |n| if n < 50 { frame(CONTINUATION, 0, 1, &field) } else { Vec::new() };
    is_told_to_calm_down(&proxy, begin, some);
}

#[test]
fn a_block_that_says_a_thousand_times_what_it_is_long_is_ended() {
    let (_blue, _green, proxy) = app();
    // One field of 4,000 bytes in the table, named by one byte again and again.
    let mut block = hpack::request("GET", HOST, "/never");
    let mut field = hpack::block(&[(b"x-bomb", &[b'a'; 4000])]);
    field[0] = 0x40;
    block.extend_from_slice(&field);
    block.resize(16_000, 0x80 | 62);
    is_told_to_calm_down(
        &proxy,
        |_| Ok(()),
        |n| {
            let stream = 2 * u32::try_from(n).unwrap() + 1;
            if n < 100 {
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
            } else {
                Vec::new()
            }
        },
    );
}

#[test]
fn heads_over_the_limit_are_answered_with_431_and_the_connection_goes_on() {
    let (blue, _green, proxy) =
        app_with(&json!({ "limits": { "request_header": "16KiB", "request_headers": 50 } }));
    let long: Vec<u8> = vec![b'a'; 15_000];
    let long = vec![(&b"x-a"[..], &long[..]), (b"x-b", &long[..1200])];
    let many: Vec<_> = (0..60).map(|_| (&b"x-a"[..], &b"1"[..])).collect();
    for fields in [long, many] {
        let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
        let block = [hpack::request("GET", HOST, "/never"), hpack::block(&fields)].concat();
        frames
            .send(HEADERS, END_HEADERS | END_STREAM, 1, &block)
            .unwrap();
        let mut heads =
            std::iter::from_fn(|| frames.next().ok()).filter(|frame| frame.kind == HEADERS);
        let answer = heads.next().expect("an answer");
        assert_eq!(hpack::status(&answer.payload), Some(431));
        drop(heads);
        frames.get(3, HOST, "/").unwrap();
        let answered = std::iter::from_fn(|| frames.next().ok())
            .any(|frame| frame.stream == 3 && frame.kind == HEADERS);
        assert!(answered, "the connection goes on");
    }
    assert!(blue.requests().iter().all(|seen| seen.head.path() == "/"));
}

#[test]
fn windows_that_are_held_closed_hold_little_and_not_for_ever() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "send": "2s" } }));
    let other = proxy.h2();
    other.get("/").expect(200);
    let before = proxy.resident_kib();
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
            frames.send(SETTINGS, 0, 0, &INITIAL_WINDOW_0).unwrap();
            for n in 0..20 {
                frames
                    .get(2 * n + 1, HOST, "/large?bytes=100000000")
                    .unwrap();
            }
            frames
        })
        .collect();
    eventually("they are in flight", || proxy.in_flight("blue") == 100);
    other.get("/").expect(200);
    let after = proxy.resident_kib();
    // What of each waits for its window.
    let room = ROOM_KIB + 100 * 128;
    assert!(after < before + room, "{before} KiB, then {after} KiB");
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
    drop(clients);
}

#[test]
fn clients_that_mean_well_are_never_told_to_calm_down() {
    let (_blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.patience(Duration::from_secs(10));
    for n in 0..1500 {
        let stream = 2 * n + 1;
        // More than any client does for one request.
        frames.get(stream, HOST, "/status?code=204").unwrap();
        frames.send(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]).unwrap();
        frames.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).unwrap();
        frames
            .send(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])
            .unwrap();
        loop {
            let frame = frames.next().unwrap();
            assert_ne!(frame.kind, GOAWAY, "after {n} requests");
            if frame.kind == HEADERS && frame.stream == stream {
                break;
            }
        }
    }
    // And one that only keeps an idle connection open.
    for _ in 0..100 {
        frames.send(PING, 0, 0, &[0; 8]).unwrap();
        while frames.next().unwrap().kind != PING {}
    }
}

//! Frames in whatever pieces they come.

use super::*;
use crate::proxy::server::frames::begun::OPEN_MAX;

/// The bytes of one frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client's first bytes.
fn greeting() -> Vec<u8> {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]);
    [&[b'x'; PREFACE][..], &settings].concat()
}

/// Plays `frames` behind a greeting, in pieces of every length: what they cost, and where they break.
fn play(frames: &[Vec<u8>]) -> (usize, Option<(usize, Code)>) {
    let all = [greeting(), frames.concat()].concat();
    let results: Vec<_> = (1..=all.len())
        .map(|length| in_pieces(&all, length))
        .collect();
    let (cost, broken) = results.last().unwrap();
    for (length, (other, at)) in results.iter().enumerate() {
        assert_eq!(cost, other, "in pieces of {}", length + 1);
        // In pieces, a part of the frame's head may have passed already.
        let within = |(at, whole): (&(usize, Code), &(usize, Code))| {
            at.1 == whole.1 && (whole.0..whole.0 + HEAD).contains(&at.0)
        };
        assert_eq!(at.is_some(), broken.is_some());
        assert!(at.as_ref().zip(broken.as_ref()).is_none_or(within), "in pieces of {length}");
    }
    (*cost, broken.map(|(at, code)| (at - greeting().len(), code)))
}

fn in_pieces(all: &[u8], length: usize) -> (usize, Option<(usize, Code)>) {
    let mut frames = Frames::new();
    let mut cost = 0;
    for (number, piece) in all.chunks(length).enumerate() {
        let seen = frames.take(piece);
        cost += seen.cost;
        if let Some((at, broken)) = seen.broken {
            return (cost, Some((number * length + at, broken.code)));
        }
    }
    (cost, None)
}

#[test]
fn only_frames_of_content_cost_something() {
    let frames = [
        frame(HEADERS, 0, 1, &[9; 20]),
        frame(CONTINUATION, END_HEADERS, 1, &[9; 20]),
        frame(DATA, 0, 1, &[1; 100]),
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, 1, &[]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(DATA, END_STREAM, 1, &[1; 200]),
    ];
    assert_eq!(play(&frames), (300 + 3 * FRAME, None));
}

#[test]
fn what_breaks_it_is_found_where_it_begins() {
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[9; 20]);
    let begins = get.len();
    for (bad, code) in [
        (frame(DATA, 0, 1, b"x"), Code::StreamClosed),
        (frame(DATA, 0, 3, b"x"), Code::Protocol),
        (frame(HEADERS, END_HEADERS, 2, &[]), Code::Protocol),
        (frame(SETTINGS, ACK, 0, &[0; 6]), Code::FrameSize),
        (frame(0xef, 0, 0, &[0; LENGTH_MAX + 1]), Code::FrameSize),
    ] {
        let (_, broken) = play(&[get.clone(), bad]);
        assert_eq!(broken, Some((begins, code)));
    }
    // A setting is looked at by itself.
    let settings = [0, 3, 0, 0, 0, 100, 0, 4, 0xff, 0, 0, 0];
    let (_, broken) = play(&[frame(SETTINGS, 0, 0, &settings)]);
    assert_eq!(broken, Some((HEAD + SETTING, Code::FlowControl)));
}

#[test]
fn more_uploads_than_are_remembered_break_nothing() {
    let mut frames = Frames::new();
    assert_eq!(frames.take(&greeting()), Seen::default());
    let numbers = || (0..OPEN_MAX + 10).map(|n| 2 * u32::try_from(n).unwrap() + 1);
    for stream in numbers() {
        let seen = frames.take(&frame(HEADERS, END_HEADERS, stream, &[9; 20]));
        assert_eq!(seen, Seen::default());
    }
    for stream in numbers() {
        assert_eq!(frames.take(&frame(DATA, END_STREAM, stream, b"x")).broken, None);
    }
    let last = frames.last();
    let broken = frames.take(&frame(DATA, END_STREAM, last, b"x")).broken;
    assert_eq!(broken.map(|(_, broken)| broken.code), Some(Code::StreamClosed));
}

#[test]
fn of_a_connection_that_asks_again_and_again_only_the_blocks_of_one_read_are_kept() {
    let mut frames = Frames::new();
    frames.take(&greeting());
    for number in 0..100 {
        frames.go_on();
        frames.take(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, b"\x82\x86\x84"));
    }
    assert_eq!(Blocks::kept(), (3, 0));
}

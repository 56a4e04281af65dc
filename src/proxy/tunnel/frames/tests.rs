//! Frame by frame, in the manner of the Autobahn cases: lengths, fragments, control frames between
//! them, what is reserved, and what is no frame.

use super::*;

/// One frame from a target: its first byte and its payload's length in the shortest form.
fn frame(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(length as u8),
        126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.resize(bytes.len() + length, 0x81);
    bytes
}

/// The same as a client sends it.
fn masked(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = frame(first, length);
    let head = bytes.len() - length;
    bytes[1] |= MASKED;
    bytes.splice(head..head, [1, 2, 3, 4]);
    bytes
}

fn after(masked: bool, bytes: &[u8]) -> Frames {
    let mut frames = Frames::new(masked);
    frames.pass(bytes);
    frames
}

const TEXT: u8 = 0x81;

#[test]
fn every_length_ends_where_it_says_in_both_directions() {
    for length in [0, 1, 124, 125, 126, 127, 128, 65_535, 65_536, 65_537, 200_000] {
        for (of_client, bytes) in [(false, frame(TEXT, length)), (true, masked(TEXT, length))] {
            assert!(after(of_client, &bytes).is_between(), "{length}");
            let (last, most) = bytes.split_last().unwrap();
            let mut frames = after(of_client, most);
            assert!(!frames.is_between(), "{length}: one byte is missing");
            frames.pass(&[*last]);
            assert!(frames.is_between(), "{length}");
        }
    }
}

#[test]
fn a_frame_is_followed_wherever_it_is_split() {
    for bytes in [masked(TEXT, 0), masked(TEXT, 3), masked(0x82, 126), masked(0x82, 65_536)] {
        // Beyond the head every place is like the others.
        for at in (0..bytes.len()).take(20).chain([bytes.len() - 1]) {
            let mut frames = after(true, &bytes[..at]);
            assert_eq!(frames.is_between(), at == 0, "at {at}");
            frames.pass(&bytes[at..]);
            assert!(frames.is_between(), "at {at}");
        }
        let mut frames = Frames::new(true);
        for byte in &bytes {
            frames.pass(&[*byte]);
        }
        assert!(frames.is_between());
    }
}

#[test]
fn fragments_and_what_stands_between_them_are_frames_of_their_own() {
    let text =
        [frame(0x01, 5), frame(0x89, 4), frame(0x00, 70_000), frame(0x8a, 125), frame(0x80, 0)];
    let bytes = text.concat();
    let mut frames = Frames::new(false);
    let mut from = 0;
    for one in &text {
        assert!(frames.is_between());
        frames.pass(&bytes[from..from + one.len()]);
        from += one.len();
    }
    assert!(frames.is_between() && !frames.has_closed() && !frames.is_broken());
    let last = bytes.len() - frame(0x80, 0).len();
    assert_eq!(Frames::new(false).whole(&bytes), bytes.len());
    assert_eq!(Frames::new(false).whole(&bytes[..=last]), last);
    assert_eq!(Frames::new(false).whole(&bytes[..3]), 0);
}

#[test]
fn a_close_is_seen_once_all_of_it_has_passed() {
    for length in [0, 2, 125] {
        let bytes = masked(0x88, length);
        assert!(!after(true, &bytes[..bytes.len() - 1]).has_closed());
        assert!(after(true, &bytes).has_closed());
    }
    assert!(!after(true, &masked(0x89, 2)).has_closed());
}

#[test]
fn what_is_reserved_passes_where_it_leaves_no_doubt() {
    // RSV1 is permessage-deflate's; opcodes 3 and 11 are nobody's yet.
    for first in [0xc1, 0xa1, 0x91, 0xf2, 0x83, 0x8b] {
        assert!(after(false, &frame(first, 9)).is_between(), "{first:x}");
    }
    // Longer than it need be written.
    assert!(after(false, &[0x82, 126, 0, 1, 0]).is_between());
    assert!(after(false, &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0]).is_between());
}

#[test]
fn what_cannot_be_a_frame_is_never_a_place_to_stop() {
    let bad: [(bool, &[u8]); 7] = [
        (true, &[0x81, 0x00]),                            // of a client, and not masked
        (false, &[0x81, 0x80, 1, 2, 3, 4]),               // of a target, and masked
        (false, &[0x88, 126, 0, 126]),                    // a long Close
        (false, &[0x09, 0x00]),                           // a part of a ping
        (false, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), // more than 2^63
        (false, b"HTTP/1.1 200 OK\r\n"),                  // 'T' is 84: masked
        (true, b"GET / HTTP/1.1\r\n\r\n"),                // 'E' is 69: not masked
    ];
    for (of_client, bytes) in bad {
        let mut frames = after(of_client, bytes);
        assert!(frames.is_broken() && !frames.is_between(), "{bytes:x?}");
        frames.pass(&frame(TEXT, 1));
        frames.pass(&masked(TEXT, 1));
        assert!(frames.is_broken() && !frames.is_between() && !frames.has_closed());
        assert_eq!(frames.whole(&frame(TEXT, 1)), 0);
    }
}

//! Frames that are not as their type says (RFC 9113 §4 and §6).

use crate::h2_conformance::Case;
use crate::h2_conformance::FLOW_CONTROL_ERROR;
use crate::h2_conformance::FRAME_SIZE_ERROR;
use crate::h2_conformance::PROTOCOL_ERROR;
use crate::h2_conformance::Then::Ends;
use crate::h2_conformance::Then::GoesOn;
use crate::h2_conformance::check;
use crate::h2_conformance::never;
use crate::harness::config::HOST;
use crate::harness::h2::ACK;
use crate::harness::h2::CONTINUATION;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::HEADERS;
use crate::harness::h2::PING;
use crate::harness::h2::PRIORITY;
use crate::harness::h2::PUSH_PROMISE;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::SETTINGS;
use crate::harness::h2::WINDOW_UPDATE;

const ALL: u8 = END_HEADERS | END_STREAM;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// A setting, as its number and value are sent.
fn setting(number: u16, value: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes
}

#[test]
fn a_frame_of_a_size_that_its_type_does_not_have_is_a_frame_size_error() {
    check(&[
        Case {
            what: "§4.2 DATA over the largest size",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(DATA, 0, 1, &[0; 16_385])
            },
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§4.2 HEADERS over the largest size",
            act: |f| f.send(HEADERS, ALL, 1, &[0; 16_385]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§4.2 an unknown frame over the largest size",
            act: |f| f.send(0xef, 0, 0, &[0; 16_385]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.1 padded DATA without a length of its padding",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(DATA, PADDED, 1, &[])
            },
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.2 padded HEADERS without a length of their padding",
            act: |f| f.send(HEADERS, ALL | PADDED, 1, &[]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.2 HEADERS with less than a priority",
            act: |f| f.send(HEADERS, ALL | WITH_PRIORITY, 1, &[0, 0, 0, 0]),
            then: Ends(FRAME_SIZE_ERROR),
        },
    ]);
}

#[test]
fn a_number_of_another_size_than_its_frame_has_is_a_frame_size_error() {
    check(&[
        Case {
            what: "§6.3 PRIORITY of 4 bytes",
            act: |f| f.send(PRIORITY, 0, 1, &[0; 4]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.3 PRIORITY of 6 bytes",
            act: |f| f.send(PRIORITY, 0, 1, &[0; 6]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.4 RST_STREAM of 3 bytes",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(RST_STREAM, 0, 1, &[0; 3])
            },
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.5 SETTINGS of 3 bytes",
            act: |f| f.send(SETTINGS, 0, 0, &[0; 3]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.5 an acknowledgement of SETTINGS that holds one",
            act: |f| f.send(SETTINGS, ACK, 0, &setting(3, 100)),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.7 PING of 7 bytes",
            act: |f| f.send(PING, 0, 0, &[0; 7]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.8 GOAWAY of 7 bytes",
            act: |f| f.send(GOAWAY, 0, 0, &[0; 7]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.9 WINDOW_UPDATE of 3 bytes",
            act: |f| f.send(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            then: Ends(FRAME_SIZE_ERROR),
        },
        Case {
            what: "§6.9 WINDOW_UPDATE of 5 bytes",
            act: |f| f.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0, 1]),
            then: Ends(FRAME_SIZE_ERROR),
        },
    ]);
}

#[test]
fn a_frame_on_a_stream_that_its_type_does_not_have_is_a_protocol_error() {
    check(&[
        Case {
            what: "§6.1 DATA of no stream",
            act: |f| f.send(DATA, 0, 0, b"x"),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.2 HEADERS of no stream",
            act: |f| f.send(HEADERS, ALL, 0, &never()),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.3 PRIORITY of no stream",
            act: |f| f.send(PRIORITY, 0, 0, &[0, 0, 0, 0, 1]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.4 RST_STREAM of no stream",
            act: |f| f.send(RST_STREAM, 0, 0, &[0, 0, 0, 8]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.5 SETTINGS of a stream",
            act: |f| f.send(SETTINGS, 0, 1, &setting(3, 100)),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.6 PUSH_PROMISE of a client, on no stream",
            act: |f| f.send(PUSH_PROMISE, END_HEADERS, 0, &[0, 0, 0, 2]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.6 PUSH_PROMISE of a client",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                let promise = [&[0, 0, 0, 2], never().as_slice()].concat();
                f.send(PUSH_PROMISE, END_HEADERS, 1, &promise)
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "RFC 7540 §5.3.1 PRIORITY of a stream that depends on itself",
            act: |f| f.send(PRIORITY, 0, 1, &[0, 0, 0, 1, 1]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.7 PING of a stream",
            act: |f| f.send(PING, 0, 1, &[0; 8]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.8 GOAWAY of a stream",
            act: |f| f.send(GOAWAY, 0, 1, &[0; 8]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.10 CONTINUATION of no stream",
            act: |f| {
                f.send(HEADERS, END_STREAM, 1, &never())?;
                f.send(CONTINUATION, END_HEADERS, 0, &[])
            },
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn padding_that_is_longer_than_its_frame_is_a_protocol_error() {
    check(&[
        Case {
            what: "§6.1 DATA",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(DATA, PADDED | END_STREAM, 1, &[5, 0, 0, 0, 0])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.2 HEADERS",
            act: |f| {
                let block = never();
                let payload = [&[block.len() as u8 + 1], block.as_slice()].concat();
                f.send(HEADERS, ALL | PADDED, 1, &payload)
            },
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn a_setting_that_no_peer_may_have_ends_the_connection() {
    check(&[
        Case {
            what: "§6.5.2 push neither on nor off",
            act: |f| f.send(SETTINGS, 0, 0, &setting(2, 2)),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.5.2 a window of 2^31",
            act: |f| f.send(SETTINGS, 0, 0, &setting(4, 0x8000_0000)),
            then: Ends(FLOW_CONTROL_ERROR),
        },
        Case {
            what: "§6.5.2 the same, behind another setting",
            act: |f| {
                let both = [setting(3, 100), setting(4, u32::MAX)].concat();
                f.send(SETTINGS, 0, 0, &both)
            },
            then: Ends(FLOW_CONTROL_ERROR),
        },
        Case {
            what: "§6.5.2 frames below 16,384 bytes",
            act: |f| f.send(SETTINGS, 0, 0, &setting(5, 16_383)),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.5.2 frames over 16,777,215 bytes",
            act: |f| f.send(SETTINGS, 0, 0, &setting(5, 16_777_216)),
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn what_is_unknown_or_reserved_is_ignored() {
    check(&[
        Case {
            what: "§4.1 a frame of an unknown type",
            act: |f| f.send(0xef, 0xff, 0, b"whatever"),
            then: GoesOn,
        },
        Case {
            what: "§4.1 the same on a stream that never was",
            act: |f| f.send(0xef, 0, 77, &[]),
            then: GoesOn,
        },
        Case {
            what: "§4.1 flags that PING does not have",
            act: |f| f.send(PING, 0xfe, 0, &[0; 8]),
            then: GoesOn,
        },
        Case {
            what: "§4.1 the reserved bit of a stream's number",
            act: |f| f.send(PING, 0, 0x8000_0000, &[0; 8]),
            then: GoesOn,
        },
        Case {
            what: "§6.5.2 an unknown setting",
            act: |f| f.send(SETTINGS, 0, 0, &setting(0xff, 1)),
            then: GoesOn,
        },
        Case {
            what: "§5.3.2 PRIORITY of a stream that never was",
            act: |f| f.send(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
            then: GoesOn,
        },
        Case {
            what: "§6.7 an acknowledgement of a PING that never was",
            act: |f| f.send(PING, ACK, 0, &[0; 8]),
            then: GoesOn,
        },
    ]);
}

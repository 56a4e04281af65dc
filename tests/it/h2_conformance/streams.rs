//! Frames at the wrong time (RFC 9113 §5), and windows (§6.9).

use crate::h2_conformance::Case;
use crate::h2_conformance::FLOW_CONTROL_ERROR;
use crate::h2_conformance::PROTOCOL_ERROR;
use crate::h2_conformance::STREAM_CLOSED;
use crate::h2_conformance::Then::Ends;
use crate::h2_conformance::Then::GoesOn;
use crate::h2_conformance::Then::Resets;
use crate::h2_conformance::ask;
use crate::h2_conformance::check;
use crate::h2_conformance::never;
use crate::harness::config::HOST;
use crate::harness::h2::CONTINUATION;
use crate::harness::h2::DATA;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::HEADERS;
use crate::harness::h2::PING;
use crate::harness::h2::PRIORITY;
use crate::harness::h2::RST_STREAM;
use crate::harness::h2::SETTINGS;
use crate::harness::h2::WINDOW_UPDATE;

const ALL: u8 = END_HEADERS | END_STREAM;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ONE: [u8; 4] = [0, 0, 0, 1];
const MOST: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];

#[test]
fn a_frame_on_a_stream_that_never_was_is_a_protocol_error() {
    check(&[
        Case {
            what: "§5.1 DATA",
            act: |f| f.send(DATA, END_STREAM, 1, b"x"),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 RST_STREAM",
            act: |f| f.send(RST_STREAM, 0, 1, &CANCEL),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 WINDOW_UPDATE",
            act: |f| f.send(WINDOW_UPDATE, 0, 1, &ONE),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 CONTINUATION",
            act: |f| f.send(CONTINUATION, END_HEADERS, 1, &never()),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 DATA of a stream that the server would begin",
            act: |f| f.send(DATA, 0, 2, b"x"),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 WINDOW_UPDATE of a stream that the server would begin",
            act: |f| f.send(WINDOW_UPDATE, 0, 2, &ONE),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 RST_STREAM of a stream that the server would begin",
            act: |f| f.send(RST_STREAM, 0, 2, &CANCEL),
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn a_number_that_is_not_the_next_one_of_a_client_is_a_protocol_error() {
    check(&[
        Case {
            what: "§5.1.1 an even number",
            act: |f| f.send(HEADERS, ALL, 2, &never()),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1.1 a number that was passed over",
            act: |f| {
                ask(f, 5)?;
                f.send(HEADERS, ALL, 3, &never())
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1.1 DATA with a number that was passed over",
            act: |f| {
                ask(f, 5)?;
                f.send(DATA, END_STREAM, 3, b"x")
            },
            then: Ends(STREAM_CLOSED),
        },
    ]);
}

#[test]
fn a_frame_after_the_end_of_its_stream_is_an_error_of_a_closed_stream() {
    check(&[
        Case {
            what: "§5.1 half-closed: DATA",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(DATA, END_STREAM, 1, b"x")
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 half-closed: HEADERS",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(HEADERS, ALL, 1, &never())
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 half-closed: CONTINUATION",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(CONTINUATION, END_HEADERS, 1, &never())
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.1 half-closed after content: DATA",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(DATA, END_STREAM, 1, b"x")?;
                f.send(DATA, END_STREAM, 1, b"y")
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 closed: DATA",
            act: |f| {
                ask(f, 1)?;
                f.send(DATA, END_STREAM, 1, b"x")
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 closed: HEADERS",
            act: |f| {
                ask(f, 1)?;
                f.send(HEADERS, ALL, 1, &never())
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 closed by the client: DATA",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(RST_STREAM, 0, 1, &CANCEL)?;
                f.send(DATA, END_STREAM, 1, b"x")
            },
            then: Ends(STREAM_CLOSED),
        },
        Case {
            what: "§5.1 closed by the client: HEADERS",
            act: |f| {
                f.post(1, HOST, "/hold")?;
                f.send(RST_STREAM, 0, 1, &CANCEL)?;
                f.send(HEADERS, ALL, 1, &never())
            },
            then: Ends(STREAM_CLOSED),
        },
    ]);
}

#[test]
fn what_may_still_come_for_a_stream_that_has_ended_is_ignored() {
    check(&[
        Case {
            what: "§5.1 closed: WINDOW_UPDATE",
            act: |f| {
                ask(f, 1)?;
                f.send(WINDOW_UPDATE, 0, 1, &ONE)
            },
            then: GoesOn,
        },
        Case {
            what: "§5.1 closed: RST_STREAM",
            act: |f| {
                ask(f, 1)?;
                f.send(RST_STREAM, 0, 1, &CANCEL)
            },
            then: GoesOn,
        },
        Case {
            what: "§5.1 closed: PRIORITY",
            act: |f| {
                ask(f, 1)?;
                f.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])
            },
            then: GoesOn,
        },
    ]);
}

#[test]
fn nothing_may_come_between_the_frames_of_a_header_block() {
    check(&[
        Case {
            what: "§4.3 DATA",
            act: |f| {
                f.send(HEADERS, 0, 1, &never())?;
                f.send(DATA, END_STREAM, 1, b"x")
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§4.3 HEADERS of another stream",
            act: |f| {
                f.send(HEADERS, END_STREAM, 1, &never())?;
                f.send(HEADERS, ALL, 3, &never())
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.10 CONTINUATION of another stream",
            act: |f| {
                f.send(HEADERS, END_STREAM, 1, &never())?;
                f.send(CONTINUATION, END_HEADERS, 3, &[])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.10 PING",
            act: |f| {
                f.send(HEADERS, END_STREAM, 1, &never())?;
                f.send(PING, 0, 0, &[0; 8])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§5.5 a frame of an unknown type",
            act: |f| {
                f.send(HEADERS, END_STREAM, 1, &never())?;
                f.send(0xef, 0, 0, &[])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.10 CONTINUATION after the end of the block",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(CONTINUATION, END_HEADERS, 1, &[])
            },
            then: Ends(PROTOCOL_ERROR),
        },
    ]);
}

#[test]
fn a_window_that_cannot_be_is_an_error_of_its_stream_or_of_the_connection() {
    check(&[
        Case {
            what: "§6.9 an update of nothing, for the connection",
            act: |f| f.send(WINDOW_UPDATE, 0, 0, &[0; 4]),
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.9 an update of nothing, for a stream (as an error of the connection)",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(WINDOW_UPDATE, 0, 1, &[0; 4])
            },
            then: Ends(PROTOCOL_ERROR),
        },
        Case {
            what: "§6.9.1 over 2^31-1, for the connection",
            act: |f| f.send(WINDOW_UPDATE, 0, 0, &MOST),
            then: Ends(FLOW_CONTROL_ERROR),
        },
        Case {
            what: "§6.9.1 over 2^31-1, for a stream",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(WINDOW_UPDATE, 0, 1, &MOST)
            },
            then: Resets(1, FLOW_CONTROL_ERROR),
        },
        Case {
            what: "§6.9.2 over 2^31-1, by a setting",
            act: |f| {
                f.get(1, HOST, "/hold")?;
                f.send(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0])?;
                f.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])
            },
            then: Ends(FLOW_CONTROL_ERROR),
        },
    ]);
}

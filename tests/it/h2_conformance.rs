//! RFC 9113, rule by rule, in raw frames: what a client sends that it must not, and what it must be
//! told. Whatever it is, other clients notice nothing, and nothing of it reaches a target.

mod framing;
mod greeting;
mod headers;
mod passes;
mod requests;
mod streams;
mod targets;

use std::io;
use std::time::Duration;

use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frame;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::HEADERS;
use crate::harness::h2::PING;
use crate::harness::h2::RST_STREAM;
use crate::harness::hpack;

// RFC 9113 §7.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const COMPRESSION_ERROR: u32 = 9;

/// What a request asks for that must reach no target.
pub const NEVER: &str = "/never";

/// The stream of the request that shows that a connection goes on.
const PROOF: u32 = 1001;

/// How long a frame may take that should come at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One rule.
pub struct Case {
    /// What is done, and where the rule stands.
    pub what: &'static str,
    /// Does it.
    pub act: fn(&mut Frames) -> io::Result<()>,
    /// What it is answered with.
    pub then: Then,
}

/// How a connection fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It ends with this error.
    Ends(u32),
    /// This stream ends with this error, and the connection goes on.
    Resets(u32, u32),
    /// The connection goes on as if nothing had been.
    GoesOn,
    /// The only stream is answered with this status, and the connection goes on.
    Says(u16),
    /// As before, and then it ends with this error: no more of it is wanted.
    SaysAndResets(u16, u32),
    /// It is closed without a word.
    Closes,
}

/// Plays each case over a connection of its own.
#[track_caller]
pub fn check(cases: &[Case]) {
    let (blue, _green, proxy) = app();
    let other = proxy.h2();
    let mut wrong = Vec::new();
    for case in cases {
        let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
        frames.patience(PATIENCE);
        // It may be thrown out before it has said everything.
        (case.act)(&mut frames).ok();
        let came = how_it_fares(&mut frames, case.then);
        if came != case.then {
            wrong.push(format!("{}: {:?}, not {:?}", case.what, came, case.then));
        }
        other.get("/").expect(200);
    }
    for seen in blue.requests() {
        if seen.head.path().starts_with(NEVER) {
            wrong.push(format!("reached a target: {}", String::from_utf8_lossy(&seen.head.raw)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Reads on to the error or the answer, and asks for more where the connection should go on.
fn how_it_fares(frames: &mut Frames, awaited: Then) -> Then {
    let mut first = None;
    if awaited == Then::GoesOn {
        prove(frames).ok();
    }
    loop {
        let Ok(frame) = frames.next() else { return first.unwrap_or(Then::Closes) };
        match frame.kind {
            GOAWAY => return Then::Ends(frame.error()),
            HEADERS if frame.stream == PROOF => return first.unwrap_or(Then::GoesOn),
            RST_STREAM | HEADERS if first.is_none() && awaited != Then::GoesOn => {
                first = Some(if frame.kind == HEADERS {
                    Then::Says(hpack::status(&frame.payload).unwrap_or(0))
                } else {
                    Then::Resets(frame.stream, frame.error())
                });
                prove(frames).ok();
            }
            RST_STREAM => {
                return match first {
                    Some(Then::Says(status)) => Then::SaysAndResets(status, frame.error()),
                    Some(_) | None => Then::Resets(frame.stream, frame.error()),
                };
            }
            _ => {}
        }
    }
}

fn prove(frames: &mut Frames) -> io::Result<()> {
    frames.send(PING, 0, 0, b"go on...")?;
    frames.get(PROOF, HOST, "/proof")
}

/// Asks for something that is answered, and reads the whole answer.
pub fn ask(frames: &mut Frames, stream: u32) -> io::Result<()> {
    frames.get(stream, HOST, "/")?;
    loop {
        let Frame { kind, flags, stream: of, .. } = frames.next()?;
        if of == stream && flags & END_STREAM != 0 && kind <= HEADERS {
            return Ok(());
        }
    }
}

/// A request that must not arrive, as a block.
pub fn never() -> Vec<u8> {
    hpack::request("GET", HOST, NEVER)
}

/// Sends a request of these fields, without content.
pub fn send(frames: &mut Frames, fields: &[hpack::Field<'_>]) -> io::Result<()> {
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &hpack::block(fields))
}

/// Sends a request that must not arrive, with these fields beside its own.
pub fn send_with(frames: &mut Frames, fields: &[hpack::Field<'_>]) -> io::Result<()> {
    let block = [never(), hpack::block(fields)].concat();
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block)
}

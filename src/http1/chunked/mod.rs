//! Follows the content of one message, and writes content in the framing of the next one
//! (RFC 9112 §7.1).

mod encode;
mod trailers;

pub use crate::http1::chunked::trailers::may_follow;
use std::ops::Range;

pub use encode::Encoder;
pub use encode::SizeLine;
pub use encode::size_line;

use crate::http1::chunked::trailers::Trailers;
use crate::http1::framing::Framing;

/// Bytes of chunk extensions in one chunk. They are read over and never passed on.
const EXTENSION_MAX: u32 = 256;

/// Bytes of chunk extensions in one message.
const EXTENSIONS_MAX: u32 = 16 * 1024;

/// Digits of a chunk's size: as many as cannot overflow 64 bits.
const SIZE_DIGITS_MAX: u32 = 16;

/// The content breaks its framing, or ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBody;

/// One step through the bytes of a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes of the input belong to this message and are done with.
    pub consumed: usize,
    /// Where in those bytes the content is; may be empty.
    pub data: Range<usize>,
}

/// Follows one message's content: feed it what was read, and it says what is data.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extensions: u32,
    trailers: Option<Box<Trailers>>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes, and then nothing.
    Length(u64),
    /// Whatever comes until the connection ends.
    UntilClose,
    /// A digit of a chunk's size, or what ends it.
    Size { size: u64, digits: u32 },
    /// White space before a chunk's extensions, or the `;` that begins them.
    Gap { size: u64, length: u32 },
    /// A byte of a chunk's extensions, or the CR that ends them.
    Extension { size: u64, length: u32 },
    /// The LF of a size line.
    SizeLf { size: u64 },
    /// So many bytes of a chunk.
    Data(u64),
    /// The CR after a chunk.
    DataCr,
    /// The LF after a chunk.
    DataLf,
    /// A trailer line, or the CR of the blank line.
    LineStart,
    /// The rest of a trailer line.
    Line,
    /// The LF of a trailer line.
    LineLf,
    /// The LF of the blank line.
    LastLf,
    /// Nothing.
    Done,
}

impl Decoder {
    /// At the start of content that is framed so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0, trailers: None }
    }

    /// The next piece of `input`. To be called again with what is left of it until nothing is
    /// consumed or the content [is done](Self::is_done).
    ///
    /// # Errors
    ///
    /// [`BadBody`]: where the next message begins is not known.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, BadBody> {
        let mut at = 0;
        while self.state != State::Done {
            let rest = input.len() - at;
            if let Some(taken) = self.take(rest) {
                return Ok(Piece { consumed: at + taken, data: at..at + taken });
            }
            let Some(byte) = input.get(at) else { break };
            self.state = self.step(*byte)?;
            at += 1;
        }
        Ok(Piece { consumed: at, data: at..at })
    }

    /// Whether the last byte of the message has been consumed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the message are left, where the framing says it.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            State::UntilClose
            | State::Size { .. }
            | State::Gap { .. }
            | State::Extension { .. }
            | State::SizeLf { .. }
            | State::Data(_)
            | State::DataCr
            | State::DataLf
            | State::LineStart
            | State::Line
            | State::LineLf
            | State::LastLf => None,
        }
    }

    /// Books `bytes` of content that were moved past (`splice`), at most as many as are
    /// [`left`](Self::left). Content with another framing than a length does not count them.
    pub fn skip(&mut self, bytes: u64) {
        if let State::Length(left) = self.state {
            self.state = after(left.saturating_sub(bytes), State::Length, State::Done);
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    ///
    /// [`BadBody`] if the content has not.
    pub fn at_eof(&mut self) -> Result<(), BadBody> {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        if self.is_done() { Ok(()) } else { Err(BadBody) }
    }

    /// The trailer fields that may be passed on, as clean lines `name: value\r\n`. All of them once
    /// the content is done.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        self.trailers
            .as_ref()
            .map_or(&[], |trailers| trailers.lines())
    }

    /// How many of the next `available` bytes are content; `None` if the next one is not.
    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other states wait for framing")]
    fn take(&mut self, available: usize) -> Option<usize> {
        let within = |left: u64| usize::try_from(left).map_or(available, |l| l.min(available));
        let less = |left: u64, taken: usize| left - u64::try_from(taken).unwrap_or(left);
        match self.state {
            State::Length(left) => {
                let taken = within(left);
                self.state = after(less(left, taken), State::Length, State::Done);
                Some(taken)
            }
            State::UntilClose => Some(available),
            State::Data(left) => {
                let taken = within(left);
                self.state = after(less(left, taken), State::Data, State::DataCr);
                Some(taken)
            }
            _ => None,
        }
    }

    /// One byte of chunked framing.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, BadBody> {
        match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { digits: 1.., size }, b';') => self.extend(size, 0),
            // White space that should not be there, and that must be understood (RFC 9112 §7.1.1,
            // RFC 9110 §5.6.3); without an extension behind it, it means nothing.
            (State::Size { digits: 1.., size }, b' ' | b'\t') => self.gap(size, 0),
            (State::Gap { size, length }, b' ' | b'\t') => self.gap(size, length),
            (State::Gap { size, length }, b';') => self.extend(size, length),
            (State::Size { digits, size }, digit) => add_digit(size, digits, digit),
            (State::Extension { size, .. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size, length }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extend(size, length)
            }
            (State::SizeLf { size }, b'\n') => Ok(after(size, State::Data, State::LineStart)),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::LineStart, b'\r') => Ok(State::LastLf),
            (State::Line, b'\r') => Ok(State::LineLf),
            (State::LineStart | State::Line, byte) => {
                let trailers = self.trailers.get_or_insert_default();
                trailers.push(byte).map(|()| State::Line)
            }
            (State::LineLf, b'\n') => {
                let trailers = self.trailers.get_or_insert_default();
                trailers.end_line().map(|()| State::LineStart)
            }
            (State::LastLf, b'\n') => Ok(State::Done),
            _ => Err(BadBody),
        }
    }

    fn extend(&mut self, size: u64, length: u32) -> Result<State, BadBody> {
        let length = self.longer(length)?;
        Ok(State::Extension { size, length })
    }

    fn gap(&mut self, size: u64, length: u32) -> Result<State, BadBody> {
        let length = self.longer(length)?;
        Ok(State::Gap { size, length })
    }

    /// Counts one more byte that is read over.
    fn longer(&mut self, length: u32) -> Result<u32, BadBody> {
        self.extensions += 1;
        if length >= EXTENSION_MAX || self.extensions > EXTENSIONS_MAX {
            return Err(BadBody);
        }
        Ok(length + 1)
    }
}

/// `some(left)`, or `none` if nothing is left.
#[inline]
fn after(left: u64, some: impl FnOnce(u64) -> State, none: State) -> State {
    if left == 0 { none } else { some(left) }
}

#[inline]
fn add_digit(size: u64, digits: u32, byte: u8) -> Result<State, BadBody> {
    let value = char::from(byte).to_digit(16).ok_or(BadBody)?;
    if digits == SIZE_DIGITS_MAX {
        return Err(BadBody);
    }
    Ok(State::Size { size: (size << 4) | u64::from(value), digits: digits + 1 })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

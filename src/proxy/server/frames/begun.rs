//! Which streams a client has begun, and which of them it has not ended. Whether we have ended them is
//! another matter: that the client need not know yet (RFC 9113 §5.1).

use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;
use crate::proxy::server::broken::err;

/// How many streams whose end has not come are remembered. Nobody who keeps to the limit of streams
/// needs as many.
pub(super) const OPEN_MAX: usize = 1024;

/// How many ranges of numbers that were passed over are. Clients pass over none.
const GAPS_MAX: usize = 16;

/// The streams of one client.
#[derive(Default)]
pub(super) struct Begun {
    last: u32,
    /// Those that it has not ended. The oldest of too many is forgotten, with all before it.
    open: Vec<u32>,
    forgotten: u32,
    /// Ranges of numbers that it passed over.
    gaps: Vec<(u32, u32)>,
}

impl Begun {
    /// The last one.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// Whether the client has not begun this stream yet, or never may.
    #[inline]
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream > self.last || stream.is_multiple_of(2)
    }

    /// HEADERS have come.
    ///
    /// # Errors
    ///
    /// They neither begin a stream nor end one.
    pub(super) fn headers(&mut self, stream: u32, ends: bool) -> Result<(), Broken> {
        if stream > self.last {
            self.begin(stream, ends);
            return Ok(());
        }
        let was_passed_over = |(from, to): &(u32, u32)| (*from..=*to).contains(&stream);
        if self.gaps.iter().any(was_passed_over) {
            return err(Code::Protocol, "a number that was passed over");
        }
        self.is_open(stream)?;
        if ends {
            self.ended(stream);
        }
        Ok(())
    }

    fn begin(&mut self, stream: u32, ends: bool) {
        let next = if self.last == 0 { 1 } else { self.last + 2 };
        if stream > next && self.gaps.len() < GAPS_MAX {
            self.gaps.push((next, stream - 2));
        }
        self.last = stream;
        if !ends {
            if self.open.len() >= OPEN_MAX {
                self.forgotten = self.open.remove(0);
            }
            self.open.push(stream);
        }
    }

    /// More may come of this stream.
    ///
    /// # Errors
    ///
    /// The client has ended it.
    pub(super) fn is_open(&self, stream: u32) -> Result<(), Broken> {
        if stream <= self.forgotten || self.open.contains(&stream) {
            return Ok(());
        }
        err(Code::StreamClosed, "a frame of a stream that has ended")
    }

    /// The client has ended it.
    pub(super) fn ended(&mut self, stream: u32) {
        self.open.retain(|open| *open != stream);
    }
}

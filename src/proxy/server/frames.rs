//! What a client's HTTP/2 frames are, by their heads alone: whether each may come where it comes, and
//! how much it asks for beside requests. Knows no content, and undoes no header block.
//!
//! `h2` reads the same bytes right after and does all the rest. It names many errors of a connection
//! otherwise than RFC 9113 does, and answers as many PING and SETTINGS as anybody sends; so both are
//! stopped before it sees them.

mod begun;
mod head;
mod unit;

use crate::proxy::server::allowance::Allowance;
use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;
use crate::proxy::server::broken::err;
use crate::proxy::server::frames::begun::Begun;
use crate::proxy::server::frames::head::ACK;
use crate::proxy::server::frames::head::CONTINUATION;
use crate::proxy::server::frames::head::DATA;
use crate::proxy::server::frames::head::END_HEADERS;
use crate::proxy::server::frames::head::END_STREAM;
use crate::proxy::server::frames::head::GOAWAY;
use crate::proxy::server::frames::head::HEAD;
use crate::proxy::server::frames::head::HEADERS;
use crate::proxy::server::frames::head::Head;
use crate::proxy::server::frames::head::PADDED;
use crate::proxy::server::frames::head::PING;
use crate::proxy::server::frames::head::PRIORITY;
use crate::proxy::server::frames::head::PUSH_PROMISE;
use crate::proxy::server::frames::head::RST_STREAM;
use crate::proxy::server::frames::head::SETTINGS;
use crate::proxy::server::frames::head::WINDOW_UPDATE;
use crate::proxy::server::frames::head::WITH_PRIORITY;
use crate::proxy::server::frames::unit::PRIORITY_LENGTH;
use crate::proxy::server::frames::unit::SETTING;
use crate::proxy::server::frames::unit::Unit;
use crate::proxy::server::hpack::Blocks;

/// The bytes that every client begins with (RFC 9113 §3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The largest payload of a frame that was promised to be taken: what no SETTINGS of ours changes.
const LENGTH_MAX: usize = 16 * 1024;

/// What a frame costs beside its content while it waits: its place in a queue, its share of a buffer.
pub(super) const FRAME: usize = 256;

/// What some of a client's bytes were.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What the content that begins in them will cost while it waits.
    pub(super) cost: usize,
    /// Where the frame begins, or what of it is among them, that ends the connection.
    pub(super) broken: Option<(usize, Broken)>,
}

/// A client's frames as they come.
pub(super) struct Frames {
    /// What is still allowed beside requests.
    pub(super) allowance: Allowance,
    /// Bytes to come before the next unit.
    skip: usize,
    /// What the next unit is, how much of it has come, and its bytes.
    next: Unit,
    has: usize,
    unit: [u8; HEAD],
    awaited: Awaited,
    /// Whether our settings, which are sent once, are.
    acknowledged: bool,
    begun: Begun,
    blocks: Blocks,
    /// Whether the frame at hand is kept there, without so many first bytes; and whether the last read
    /// brought any of one.
    keeps: bool,
    lead: usize,
    brought_block: bool,
}

/// Which frame may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The client's SETTINGS.
    Greeting,
    /// Any.
    Any,
    /// More of the header block of this stream.
    Block(u32),
}

impl Frames {
    /// A client that has sent nothing.
    pub(super) fn new() -> Self {
        Self {
            allowance: Allowance::new(),
            skip: PREFACE,
            next: Unit::Head,
            has: 0,
            unit: [0; HEAD],
            awaited: Awaited::Greeting,
            acknowledged: false,
            begun: Begun::default(),
            blocks: Blocks::new(),
            keeps: false,
            lead: 0,
            brought_block: false,
        }
    }

    /// The last stream that the client began.
    pub(super) fn last(&self) -> u32 {
        self.begun.last()
    }

    /// What came was understood as far as it goes: something new is asked for.
    #[inline]
    pub(super) fn go_on(&mut self) {
        self.brought_block = false;
    }

    /// Whether the last read brought any of a header block.
    #[inline]
    pub(super) fn brought_block(&self) -> bool {
        self.brought_block
    }

    /// Whether a header block of the last read cannot be undone.
    pub(super) fn cannot_be_undone(&self) -> bool {
        self.blocks.cannot_be_undone()
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, all: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut bytes = all;
        loop {
            let (skipped, rest) = bytes.split_at_checked(self.skip).unwrap_or((bytes, &[]));
            self.skip -= skipped.len();
            // Nothing of one brings none: the next read begins anew.
            if self.keeps && !skipped.is_empty() {
                self.keep(skipped);
            }
            bytes = rest;
            let begins = all.len() - bytes.len();
            let Some(unit) = self.unit(&mut bytes) else { return seen };
            let judged = match self.next {
                Unit::Head => self.head(unit),
                Unit::Setting(_) | Unit::Priority(_) | Unit::Window | Unit::Padding => {
                    self.number(unit)
                }
            };
            match judged {
                Ok(cost) => seen.cost += cost,
                Err(broken) => {
                    seen.broken = Some((begins, broken));
                    return seen;
                }
            }
        }
    }

    fn number(&mut self, unit: [u8; HEAD]) -> Result<usize, Broken> {
        self.next = self.next.judge(unit, self.skip)?;
        Ok(0)
    }

    fn keep(&mut self, part: &[u8]) {
        let lead = self.lead.min(part.len());
        self.lead -= lead;
        self.brought_block = true;
        self.blocks.add(part.get(lead..).unwrap_or_default());
    }

    /// The next unit, once all of it has come.
    #[inline]
    fn unit(&mut self, bytes: &mut &[u8]) -> Option<[u8; HEAD]> {
        let whole = self.next.length();
        let (part, rest) = bytes
            .split_at_checked(whole - self.has)
            .unwrap_or((bytes, &[]));
        *bytes = rest;
        for (place, byte) in self.unit.iter_mut().skip(self.has).zip(part) {
            *place = *byte;
        }
        self.has += part.len();
        if self.has < whole {
            return None;
        }
        self.has = 0;
        Some(self.unit)
    }

    /// Takes the head of a frame: what the frame costs while it waits.
    #[inline]
    fn head(&mut self, unit: [u8; HEAD]) -> Result<usize, Broken> {
        let head = Head::of(&unit);
        if head.length > LENGTH_MAX {
            return err(Code::FrameSize, "a frame over 16,384 bytes");
        }
        self.skip = head.length;
        if std::mem::take(&mut self.keeps) {
            return self.after_block(head);
        }
        self.judge(head)
    }

    #[inline]
    fn judge(&mut self, head: Head) -> Result<usize, Broken> {
        match self.awaited {
            Awaited::Any => self.any(head),
            Awaited::Block(stream) => {
                if head.kind != CONTINUATION || head.stream != stream {
                    return err(Code::Protocol, "a frame within a header block");
                }
                if head.has(END_HEADERS) {
                    self.awaited = Awaited::Any;
                }
                self.brought_block = true;
                Ok(0)
            }
            Awaited::Greeting => {
                if head.kind != SETTINGS || head.has(ACK) {
                    return err(Code::Protocol, "no settings to begin with");
                }
                self.awaited = Awaited::Any;
                self.control(head)
            }
        }
    }

    /// Takes the head of the frame behind one of a block that is kept.
    fn after_block(&mut self, head: Head) -> Result<usize, Broken> {
        let goes_on = self.awaited != Awaited::Any;
        if !goes_on {
            self.blocks.end();
        }
        let judged = self.judge(head);
        self.keeps |= goes_on;
        judged
    }

    #[inline]
    fn any(&mut self, head: Head) -> Result<usize, Broken> {
        match head.kind {
            DATA => self.data(head),
            HEADERS => self.headers(head),
            WINDOW_UPDATE => self.window_update(head),
            PRIORITY | RST_STREAM => self.of_stream(head),
            SETTINGS | PING | GOAWAY => self.control(head),
            PUSH_PROMISE => err(Code::Protocol, "a client does not push"),
            CONTINUATION => err(Code::Protocol, "the rest of no header block"),
            _ => self.allowance.spend(1).map(|()| 0),
        }
    }

    fn data(&mut self, head: Head) -> Result<usize, Broken> {
        if self.begun.is_idle(head.stream) {
            return err(Code::Protocol, "content of a stream that never was");
        }
        if head.has(PADDED) {
            self.expect_padding()?;
        }
        self.begun.is_open(head.stream)?;
        if head.has(END_STREAM) {
            self.begun.ended(head.stream);
        } else if head.length == 0 {
            self.allowance.spend(Allowance::EMPTY)?;
        }
        Ok(head.length + FRAME)
    }

    fn expect_padding(&mut self) -> Result<(), Broken> {
        let Some(rest) = self.skip.checked_sub(1) else {
            return err(Code::FrameSize, "padding without its length");
        };
        self.skip = rest;
        self.next = Unit::Padding;
        Ok(())
    }

    fn headers(&mut self, head: Head) -> Result<usize, Broken> {
        let stream = head.stream;
        let padding = usize::from(head.has(PADDED));
        let priority = if head.has(WITH_PRIORITY) { PRIORITY_LENGTH } else { 0 };
        if stream.is_multiple_of(2) {
            return err(Code::Protocol, "not the number of a client's stream");
        }
        if head.length < padding + priority {
            return err(Code::FrameSize, "less than padding and priority");
        }
        self.begun.headers(stream, head.has(END_STREAM))?;
        if !head.has(END_HEADERS) {
            self.awaited = Awaited::Block(stream);
        }
        if !std::mem::replace(&mut self.brought_block, true) {
            self.blocks.begin();
        }
        // Padding is no part of a block, and nobody pads them.
        self.keeps = !head.has(PADDED);
        if head.has(PADDED) {
            self.expect_padding()?;
        }
        self.lead = priority;
        Ok(0)
    }

    fn window_update(&mut self, head: Head) -> Result<usize, Broken> {
        if head.length != 4 {
            return err(Code::FrameSize, "a window update is 4 bytes");
        }
        if head.stream != 0 && self.begun.is_idle(head.stream) {
            return err(Code::Protocol, "the window of a stream that never was");
        }
        self.skip = 0;
        self.next = Unit::Window;
        self.allowance.spend(1).map(|()| 0)
    }

    fn of_stream(&mut self, head: Head) -> Result<usize, Broken> {
        if head.stream == 0 {
            return err(Code::Protocol, "a frame of no stream");
        }
        if head.kind == PRIORITY {
            if head.length != PRIORITY_LENGTH {
                return err(Code::FrameSize, "a priority is 5 bytes");
            }
            self.skip = 0;
            self.next = Unit::Priority(head.stream);
            return self.allowance.spend(1).map(|()| 0);
        }
        if head.length != 4 {
            return err(Code::FrameSize, "a reset is 4 bytes");
        }
        if self.begun.is_idle(head.stream) {
            return err(Code::Protocol, "the end of a stream that never was");
        }
        self.begun.ended(head.stream);
        self.allowance.spend(Allowance::RESET).map(|()| 0)
    }

    fn control(&mut self, head: Head) -> Result<usize, Broken> {
        if head.stream != 0 {
            return err(Code::Protocol, "a frame of no stream on one");
        }
        let fits = match head.kind {
            PING => head.length == 8,
            GOAWAY => head.length >= 8,
            _ if head.has(ACK) => head.length == 0,
            _ => head.length.is_multiple_of(SETTING),
        };
        if !fits {
            return err(Code::FrameSize, "not the size of its type");
        }
        if head.kind == SETTINGS && head.has(ACK) && std::mem::replace(&mut self.acknowledged, true)
        {
            return err(Code::Protocol, "settings that were not sent");
        }
        if head.kind == SETTINGS {
            // They are looked at one by one.
            let all = std::mem::take(&mut self.skip);
            self.next = if all > 0 { Unit::Setting(all) } else { Unit::Head };
        }
        let cost = if head.kind == PING { Allowance::PING } else { Allowance::SETTINGS };
        self.allowance.spend(cost).map(|()| 0)
    }
}

#[cfg(test)]
mod tests;

//! Where a WebSocket's frames begin and end (RFC 6455 §5.2), followed as bytes pass: no payload is
//! looked at and nothing is kept but the head at hand.
//!
//! Extensions change what a frame means, not where it ends, so reserved bits and opcodes pass. What
//! would put the end itself in doubt does not.

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX: usize = 14;

/// A frame of which the fourth bit of the opcode is set controls the connection (§5.5).
const CONTROL: u8 = 0x08;
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The most that a control frame may carry (§5.5).
const CONTROL_MAX: u8 = 125;

/// Follows the frames of one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    /// Whether every frame must be masked: those of clients, and no others (§5.1).
    masked: bool,
    head: [u8; HEAD_MAX],
    /// How much of a head has come. 0 between frames, and within a payload.
    have: usize,
    /// What is left of a payload.
    left: u64,
    has_closed: bool,
    is_broken: bool,
}

impl Frames {
    /// Between two frames, where every direction begins.
    pub(super) fn new(masked: bool) -> Self {
        let (have, left, has_closed, is_broken) = (0, 0, false, false);
        Self { masked, head: [0; HEAD_MAX], have, left, has_closed, is_broken }
    }

    /// Whether what has passed ends with a whole frame, or is nothing.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.is_broken
    }

    /// Whether a whole Close has passed: no frame may follow it (§5.5.1).
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed && self.is_between()
    }

    /// Whether these are no frames. It cannot be undone: where the next one begins is not known.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Follows `bytes`, which come next.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.follow(bytes, |_| {});
    }

    /// How many of `bytes`, which may come next, are up to the end of the last frame that ends there; 0
    /// if none does.
    pub(super) fn whole(&self, bytes: &[u8]) -> usize {
        let mut ends = 0;
        Self::follow(&mut { *self }, bytes, |at| ends = at);
        ends
    }

    /// Follows `bytes` and calls `end` with each place behind a frame.
    fn follow(&mut self, bytes: &[u8], mut end: impl FnMut(usize)) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_broken {
            let used = if self.left > 0 { self.skip(rest.len()) } else { self.read(rest) };
            rest = rest.get(used..).unwrap_or_default();
            if self.is_between() {
                end(bytes.len() - rest.len());
            }
        }
    }

    /// Passes over a payload.
    fn skip(&mut self, available: usize) -> usize {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let used = left.min(available);
        self.left -= used as u64;
        used
    }

    /// Takes as much as the head at hand lacks; how much that was.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.have < self.head_length() {
            let wanted = self.head_length() - self.have;
            let piece = bytes.get(used..).unwrap_or_default();
            let piece = piece.get(..wanted.min(piece.len())).unwrap_or_default();
            if let Some(room) = self.head.get_mut(self.have..self.have + piece.len()) {
                room.copy_from_slice(piece);
            }
            used += piece.len();
            self.have += piece.len();
        }
        if self.have == self.head_length() {
            self.begin();
        }
        used
    }

    /// How long the head at hand is, as far as is known: its second byte says so.
    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let [_, second, ..] = self.head;
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// A head is whole: its payload begins.
    fn begin(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.head;
        let short = second & !MASKED;
        self.left = match short {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => u64::from(short),
        };
        self.have = 0;
        let is_control = first & CONTROL != 0;
        let is_masked = second & MASKED != 0;
        // A control frame is short and whole; the highest bit of a length is 0 (§5.2).
        let is_odd = is_control && (short > CONTROL_MAX || first & FIN == 0);
        self.is_broken = is_odd || is_masked != self.masked || self.left >> 63 != 0;
        self.has_closed |= first & OPCODE == CLOSE;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

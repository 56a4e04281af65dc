//! Writes content in the framing of the message sent on.

use crate::http1::framing::Framing;

/// Writes content in the framing of the message sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    chunked: bool,
}

/// Room for the longest line that [`size_line`] makes.
pub type SizeLine = [u8; 18];

impl Encoder {
    /// For a message that is framed so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { chunked: framing == Framing::Chunked }
    }

    /// Writes `data`.
    pub fn push(self, data: &[u8], out: &mut Vec<u8>) {
        if !self.chunked {
            out.extend_from_slice(data);
        } else if !data.is_empty() {
            out.reserve(data.len() + size_of::<SizeLine>() + b"\r\n".len());
            out.extend_from_slice(size_line(data.len(), &mut SizeLine::default()));
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes the end, with these trailer lines where the framing has room for them.
    pub fn finish(self, trailers: &[u8], out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Whether every piece of data needs a [`size_line`] before it and `\r\n` after it.
    #[must_use]
    pub fn is_chunked(self) -> bool {
        self.chunked
    }
}

/// The line before a chunk of `size` bytes, which must not be 0: so that the data itself need not be
/// copied.
#[must_use]
pub fn size_line(size: usize, room: &mut SizeLine) -> &[u8] {
    *room = *b"0000000000000000\r\n";
    let mut left = size;
    let mut start = 16_usize;
    while let (1.., Some(before)) = (left, start.checked_sub(1)) {
        start = before;
        let digit = b"0123456789abcdef".get(left & 0xf);
        if let (Some(place), Some(digit)) = (room.get_mut(start), digit) {
            *place = *digit;
        }
        left >>= 4;
    }
    room.get(start..).unwrap_or_default()
}

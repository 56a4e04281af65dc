//! Heads of messages: read strictly, with every decision that their fields call for.

mod connection;
mod host;
mod lines;
mod request;
mod response;
mod target;

#[cfg(test)]
mod smuggling;

pub use lines::Clean;
pub use lines::FieldLine;
pub use lines::FieldLines;
pub use lines::Fields;
pub use request::Authority;
pub use request::RequestHead;
pub use request::is_sane_id;
pub use request::request;
pub use response::Asked;
pub use response::ResponseHead;
pub use response::response;

/// What was made of the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The head is not complete, and not wrong yet.
    Partial,
    /// The head is complete.
    Whole(T),
}

/// The version that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, the blank line included.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
    /// Bytes of the request line without its end; an answer's status line is not bounded by itself.
    pub target: usize,
}

/// Whether it is worth reading again a head that was [`Partial`](Parsed::Partial) when `seen` bytes
/// had come: no head ends without a line end. So a head that comes a byte at a time costs no more
/// readings than it has lines.
#[must_use]
pub fn may_be_whole(bytes: &[u8], seen: usize, limits: &HeadLimits) -> bool {
    bytes.len() >= limits.bytes || bytes.get(seen..).unwrap_or(bytes).contains(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_again_only_when_a_line_has_ended_or_it_is_full() {
        let limits = HeadLimits { bytes: 10, fields: 1, target: 10 };
        assert!(!may_be_whole(b"GET", 1, &limits));
        assert!(may_be_whole(b"GET\n", 3, &limits));
        assert!(!may_be_whole(b"\nGET", 1, &limits));
        assert!(may_be_whole(b"0123456789", 9, &limits));
        assert!(may_be_whole(b"\n", 9, &limits));
        assert!(!may_be_whole(b"GET", 9, &limits));
    }
}

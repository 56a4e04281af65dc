//! Why an HTTP/2 connection must end, and how its client is told.

/// The type of the frame that tells it (RFC 9113 §6.8).
pub(super) const GOAWAY: u8 = 7;

/// What kind of error ends a connection (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A frame that may not come, or not now.
    Protocol = 1,
    /// A window that cannot be.
    FlowControl = 3,
    /// A frame of a stream that its client has ended.
    StreamClosed = 5,
    /// A frame of a size that its type does not have.
    FrameSize = 6,
    /// A header block that cannot be undone.
    Compression = 9,
    /// More than anybody needs who means well.
    EnhanceYourCalm = 11,
}

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The kind of error.
    pub(crate) code: Code,
    /// In words, for whoever looks at the frames.
    pub(crate) why: &'static str,
}

/// An error of the connection.
pub(super) const fn err<T>(code: Code, why: &'static str) -> Result<T, Broken> {
    Err(Broken { code, why })
}

/// The frame that tells a client why its connection ends.
pub(super) fn goaway(broken: Broken, last: u32) -> Vec<u8> {
    let why = broken.why.as_bytes();
    let length = u8::try_from(8 + why.len()).unwrap_or(u8::MAX);
    let mut frame = vec![0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, broken.code as u8]);
    frame.extend_from_slice(why);
    frame
}

//! Places in a head that was written.

/// Where something stands in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

/// Where the access log finds what it needs in the head that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// The method.
    pub method: Span,
    /// The path and query.
    pub target: Span,
    /// The value of `Host`.
    pub host: Span,
    /// The value of `X-Request-ID`.
    pub request_id: Span,
    /// The first `Referer`.
    pub referer: Option<Span>,
    /// The first `User-Agent`.
    pub user_agent: Option<Span>,
    /// How many fields were left out because their names hold `_`.
    pub underscored: u32,
}

impl Span {
    /// The bytes, in the buffer that the span was made for; empty in one that is shorter.
    #[must_use]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let range = usize::try_from(self.start)
            .ok()
            .zip(usize::try_from(self.end).ok());
        range
            .and_then(|(start, end)| buffer.get(start..end))
            .unwrap_or_default()
    }
}

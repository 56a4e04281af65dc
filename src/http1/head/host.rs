//! The value of a `Host`, which is mostly the one that was read last: then nothing of it need be checked
//! once more.

use std::borrow::Cow;

use crate::model::route::host_of;

/// A value that is longer is not kept. A name has at most 253 characters (RFC 1035 §2.3.4).
const KEPT_MAX: usize = 260;

/// The value of a `Host` that was read last, if its host is written as routes write it.
#[derive(Debug, Default)]
pub(super) struct LastHost {
    value: String,
    /// How much of it is the host.
    host: usize,
}

impl LastHost {
    pub(super) const fn new() -> Self {
        Self { value: String::new(), host: 0 }
    }

    /// Reads a value: all of it, and its host as [`host_of`] has it. `None`: it is not a host, with or
    /// without a port, and that host alone.
    #[inline]
    pub(super) fn read<'h, 'b: 'h>(
        &'h mut self,
        value: &'b [u8],
    ) -> Option<(&'h str, Cow<'h, str>)> {
        if self.value.as_bytes() != value || value.is_empty() {
            self.keep(value)?;
        }
        if self.host > 0 {
            let host = self.value.get(..self.host).unwrap_or_default();
            return Some((&self.value, Cow::Borrowed(host)));
        }
        read(value)
    }

    /// Keeps a value; without its host if it is not written as routes write it. `None`: it is no text.
    fn keep(&mut self, value: &[u8]) -> Option<()> {
        self.value.clear();
        self.host = 0;
        let text = std::str::from_utf8(value).ok()?;
        if let Some(Cow::Borrowed(host)) = host_of(text)
            && text.starts_with(host)
            && text.len() <= KEPT_MAX
        {
            self.value.push_str(text);
            self.host = host.len();
        }
        Some(())
    }
}

fn read(value: &[u8]) -> Option<(&str, Cow<'_, str>)> {
    let text = std::str::from_utf8(value).ok()?;
    Some((text, host_of(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: &[u8]) -> Option<String> {
        let mut last = LastHost::new();
        let first = last.read(value).map(|(text, _)| text.to_owned());
        let again = last.read(value).map(|(text, _)| text.to_owned());
        assert_eq!(first, again);
        first
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in ["a", "a.test", "A-1.test:80", "a.test.", "[::1]:8080", "127.0.0.1", "a_b.test"]
        {
            assert_eq!(host(good.as_bytes()).as_deref(), Some(good));
        }
        for bad in
            ["", ".", "a b", "a/b", "u@a", "a:b", "a:1:2", "[::1", "[x]", "a\"", "a,b\\", "ä"]
        {
            assert_eq!(host(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(host(b"a\xff"), None);
    }

    #[test]
    fn what_was_read_last_changes_nothing_of_what_is_read_next() {
        let long = "a".repeat(300);
        let values =
            ["a.test", "a.test:80", "a.test", "A.test", "a.test.", "", "ä", "b c", "a", &long];
        let mut last = LastHost::new();
        for (before, value) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            last.read(before.as_bytes());
            let read_after = last.read(value.as_bytes());
            assert_eq!(read_after, read(value.as_bytes()), "{value} after {before}");
        }
    }
}

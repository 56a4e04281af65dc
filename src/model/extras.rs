//! What the proxy adds to one answer on its way to the client, and what it leaves out for that.

/// Fields for one answer beside the target's own (or, where the proxy answers by itself, beside its
/// own). No text in it may hold a line end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    added: Vec<(&'static str, String)>,
    /// Fields that do not pass, in any case.
    dropped: Vec<&'static str>,
}

impl Extras {
    /// Says this too: whatever the answer says under the same name stays (`Set-Cookie`).
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.added.push((name, value.into()));
        self
    }

    /// Says this, and nothing else under that name.
    #[must_use]
    pub fn with_only(self, name: &'static str, value: impl Into<String>) -> Self {
        self.without(name).with(name, value)
    }

    /// Leaves fields of this name out.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.dropped.push(name);
        self
    }

    /// What is added, in order.
    pub fn added(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.added
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// Whether a field of this name, in any case, is left out.
    #[must_use]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped
            .iter()
            .any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_alone_leaves_the_targets_own_out_and_what_is_added_does_not() {
        let extras = Extras::default()
            .with("Set-Cookie", "a=1")
            .with_only("Cache-Control", "no-store");
        assert!(extras.drops(b"cache-control") && extras.drops(b"CACHE-CONTROL"));
        assert!(!extras.drops(b"set-cookie") && !extras.drops(b"cache-controls"));
        let added: Vec<_> = extras.added().collect();
        assert_eq!(added, [("Set-Cookie", "a=1"), ("Cache-Control", "no-store")]);
    }
}

//! What `Connection` says (RFC 9110 §7.6.1).

use crate::http1::names::words;

/// More words than this in one head only serve to make work: each is compared with each field.
const WORDS_MAX: u32 = 64;

/// What the `Connection` lines of one head say.
#[derive(Debug, Default)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
    /// Whether `upgrade` is among the words.
    pub(super) upgrade: bool,
    /// Whether any word is the name of a field that ends here.
    pub(super) nominates: bool,
    words: u32,
}

impl Connection {
    /// Takes the value of one line.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else {
            self.add_words(value);
        }
    }

    fn add_words(&mut self, value: &[u8]) {
        for word in words(value) {
            self.words = self.words.saturating_add(1);
            match word.len() {
                5 if word.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if word.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if word.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.nominates = true,
            }
        }
    }

    /// Whether the connection goes on after this message, given its version's default
    /// (RFC 9112 §9.3).
    pub(super) fn goes_on(&self, by_default: bool) -> bool {
        !self.close && (by_default || self.keep_alive)
    }

    /// Whether there are more words than anybody needs.
    pub(super) fn is_excessive(&self) -> bool {
        self.words > WORDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Connection {
        let mut connection = Connection::default();
        for line in lines {
            connection.add(line.as_bytes());
        }
        connection
    }

    #[test]
    fn close_wins_and_keep_alive_is_for_http_1_0() {
        assert!(of(&[]).goes_on(true));
        assert!(!of(&[]).goes_on(false));
        assert!(of(&["Keep-Alive"]).goes_on(false));
        assert!(!of(&["keep-alive", "x, CLOSE"]).goes_on(true));
    }

    #[test]
    fn every_other_word_nominates_a_field() {
        assert!(!of(&["close, , keep-alive", "Upgrade"]).nominates);
        assert!(of(&["close, x"]).nominates);
        assert!(of(&["closed"]).nominates);
        assert!(of(&["x, upgrade"]).upgrade);
    }

    #[test]
    fn there_are_only_so_many_words() {
        assert!(!of(&["a,".repeat(64).as_str()]).is_excessive());
        assert!(of(&["a,".repeat(64).as_str(), "b"]).is_excessive());
    }
}

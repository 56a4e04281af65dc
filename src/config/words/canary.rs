//! Words of a canary: by what a user is known, cookies' names, the values of pins.

use crate::config::words::Word;
use crate::config::words::Wrong;
use crate::config::words::choice;
use crate::config::words::wrong;
use crate::model::settings::Sticky;

impl Word for Sticky {
    const EXPECTED: &'static str = "cookie or address";
    const CHOICES: &'static [&'static str] = &["cookie", "address"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        choice(text, &[Self::Cookie, Self::Address])
    }
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookieName(pub(crate) String);

impl Word for CookieName {
    const EXPECTED: &'static str = "the name of a cookie";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_token) {
            let hint = "use 1 to 64 letters, digits, and - _ .";
            return wrong(format!("\"{text}\" is not the name of a cookie"), hint);
        }
        Ok(Self(text.to_owned()))
    }
}

/// What the header or the cookie of a pin must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinValue(pub(crate) String);

impl Word for PinValue {
    const EXPECTED: &'static str = "the value of a header or a cookie";
    const NUMBERS: bool = true;

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_plain = |b: u8| matches!(b, b' '..=b'~');
        if text.is_empty() || text.trim() != text || !text.bytes().all(is_plain) {
            let hint = "it is compared to the letter: printable ASCII, no space at its ends";
            return wrong(format!("\"{text}\" is not a value that can be compared"), hint);
        }
        Ok(Self(text.to_owned()))
    }
}

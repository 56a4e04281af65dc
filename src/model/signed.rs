//! Numbers that a client is given to bring back, signed: who it is to a canary, until when it may see
//! a preview. Nobody else can make one, and one made for one purpose is none for another.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::Hmac;
use hmac::Mac;
use sha2::Sha256;

/// The length of a key: as long as what the hash gives (RFC 2104 §3).
pub const KEY_LENGTH: usize = 32;

/// How much of the code is kept: 128 bits (RFC 2104 §5).
const CODE: usize = 16;

/// A number and its code, as bytes and as text.
const BYTES: usize = size_of::<u64>() + CODE;
const TEXT: usize = 32;

/// What a number is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Who a client is to canaries, whichever upstream it asks.
    User,
    /// Until when a client may see the standby colour of an upstream.
    Preview {
        /// The upstream.
        upstream: &'a str,
        /// Which preview: what was given out for another one is of no use.
        salt: u64,
    },
}

/// What signs. Its `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct SigningKey {
    /// The code of nothing, as far as the key goes: each one begins here.
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Signs with this key.
    #[must_use]
    pub fn new(key: &[u8; KEY_LENGTH]) -> Self {
        let mut block = [0; 64];
        if let Some(start) = block.first_chunk_mut() {
            *start = *key;
        }
        // A key of one block is taken as it is, and one that is shorter with zeros behind it.
        Self { keyed: Hmac::new(&block.into()) }
    }

    /// The number with its code, in letters that stand in a cookie and in a URL.
    #[must_use]
    pub fn sign(&self, purpose: Purpose<'_>, number: u64) -> String {
        let code = self.begin(purpose, number).finalize().into_bytes();
        let mut bytes = [0; BYTES];
        let number = number.to_be_bytes();
        let kept = number.iter().chain(code.iter().take(CODE));
        bytes
            .iter_mut()
            .zip(kept)
            .for_each(|(to, from)| *to = *from);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The number, if it was signed for this. Takes as long whichever part of the code is wrong.
    #[must_use]
    pub fn read(&self, purpose: Purpose<'_>, text: &[u8]) -> Option<u64> {
        let text: &[u8; TEXT] = text.try_into().ok()?;
        let mut bytes = [0; BYTES];
        BASE64URL_NOPAD.decode_mut(text, &mut bytes).ok()?;
        let (number, code) = bytes.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        let made = self.begin(purpose, number);
        made.verify_truncated_left(code).ok().map(|()| number)
    }

    fn begin(&self, purpose: Purpose<'_>, number: u64) -> Hmac<Sha256> {
        let mut code = self.keyed.clone();
        match purpose {
            Purpose::User => code.update(b"user\0"),
            Purpose::Preview { upstream, salt } => {
                code.update(b"preview\0");
                code.update(&salt.to_be_bytes());
                // Last but for the number, whose length is known: no two read the same.
                code.update(upstream.as_bytes());
            }
        }
        code.update(&number.to_be_bytes());
        code
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APP: Purpose<'_> = Purpose::Preview { upstream: "app", salt: 1 };

    fn key() -> SigningKey {
        SigningKey::new(&[7; KEY_LENGTH])
    }

    proptest! {
        #[test]
        fn what_was_signed_is_read_and_nothing_else_is(number: u64, at in 0..TEXT, letter in "[A-Za-z0-9_-]") {
            let text = key().sign(Purpose::User, number);
            prop_assert_eq!(text.len(), TEXT);
            prop_assert_eq!(key().read(Purpose::User, text.as_bytes()), Some(number));
            let mut forged = text.clone();
            forged.replace_range(at..=at, &letter);
            let read = key().read(Purpose::User, forged.as_bytes());
            prop_assert_eq!(read, (forged == text).then_some(number));
        }

        #[test]
        fn no_text_panics(text: Vec<u8>) {
            prop_assert_eq!(key().read(Purpose::User, &text), None);
        }
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_none_for_another() {
        let text = key().sign(APP, 5);
        let read = |key: &SigningKey, purpose| key.read(purpose, text.as_bytes());
        assert_eq!(read(&key(), APP), Some(5));
        for (upstream, salt) in [("app", 2), ("app2", 1), ("", 1)] {
            assert_eq!(read(&key(), Purpose::Preview { upstream, salt }), None);
        }
        assert_eq!(read(&key(), Purpose::User), None);
        assert_eq!(read(&SigningKey::new(&[8; KEY_LENGTH]), APP), None);
    }

    #[test]
    fn a_code_is_the_one_that_any_hmac_gives() {
        // printf 'user\0\0\0\0\0\0\0\0\1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…
        let text = key().sign(Purpose::User, 1);
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        assert_eq!(bytes[..8], 1u64.to_be_bytes());
        let code: String = bytes[8..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(code, "b23be1da2a0b2e755aff33544975adba");
        assert_eq!(format!("{:?}", key()), "SigningKey(..)");
    }
}

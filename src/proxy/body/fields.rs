//! Fields in the types of `http`. Targets say the same few over and over, and making one looks at each
//! byte of its name twice and copies its value; so a worker remembers some.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;

/// How many names are remembered, each in the one place that is its own; and how long each may be.
/// Of 33 that targets say most, in either case, no two share a place.
const PLACES: usize = 256;
const LENGTH_MAX: usize = 40;

/// How long a value may be that is remembered.
const VALUE_MAX: usize = 128;

/// After so many other values in a row under one name, only each of so many is remembered: most
/// of them will not be said again.
const PATIENCE: u8 = 16;

/// A name as it was said, and in the type of `http`; and what it last stood before.
struct Remembered {
    said: Box<[u8]>,
    name: HeaderName,
    value: HeaderValue,
    others: u8,
}

thread_local! {
    static FIELDS: RefCell<[Option<Remembered>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

impl Remembered {
    /// The value that these bytes are, if they are one.
    fn value(&mut self, said: &[u8]) -> Option<HeaderValue> {
        if self.value.as_bytes() == said {
            self.others = 0;
            return Some(self.value.clone());
        }
        let value = value(said)?;
        self.others = self.others % PATIENCE + 1;
        let is_worth_it = self.others < PATIENCE / 4 || self.others == PATIENCE;
        if is_worth_it && said.len() <= VALUE_MAX {
            self.value = value.clone();
        }
        Some(value)
    }
}

fn value(said: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(said)).ok()
}

/// The field that these bytes are, if they are one.
pub(super) fn field(name: &[u8], said: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (first, middle, last) = (name.first()?, name.get(name.len() / 2)?, name.last()?);
    if name.len() > LENGTH_MAX {
        return Some((HeaderName::from_bytes(name).ok()?, value(said)?));
    }
    let place = name.len()
        + usize::from(first.wrapping_mul(13))
        + usize::from(middle.wrapping_mul(31))
        + usize::from(last.wrapping_mul(15));
    FIELDS.with_borrow_mut(|fields| {
        let remembered = fields.get_mut(place % PLACES)?;
        if let Some(known) = remembered
            && *known.said == *name
        {
            return Some((known.name.clone(), known.value(said)?));
        }
        let (made, value) = (HeaderName::from_bytes(name).ok()?, value(said)?);
        let value_kept =
            if said.len() <= VALUE_MAX { value.clone() } else { HeaderValue::from_static("") };
        *remembered = Some(Remembered {
            said: Box::from(name),
            name: made.clone(),
            value: value_kept,
            others: 0,
        });
        Some((made, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, value: &[u8]) -> (HeaderName, HeaderValue) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(value).unwrap())
    }

    #[test]
    fn a_name_is_the_same_however_often_it_is_said() {
        let long = "x-".repeat(100);
        for _ in 0..3 {
            for said in ["Content-Type", "content-type", "x-a", "X-A", "x-b", &long] {
                assert_eq!(field(said.as_bytes(), b"1"), Some(made(said, b"1")));
            }
            assert_eq!(field(b"", b"1"), None);
            assert_eq!(field(b"a b", b"1"), None);
        }
    }

    #[test]
    fn a_value_is_what_was_said_and_never_what_was_said_before() {
        let long = [b'a'; VALUE_MAX + 1];
        for round in 0..100_u8 {
            for value in [b"same", &[b'0' + round % 7][..], b"", b"\xff", b"same", &long, &long] {
                assert_eq!(field(b"X-Value", value), Some(made("x-value", value)));
            }
            assert_eq!(field(b"X-Value", b"a\nb"), None);
        }
    }
}

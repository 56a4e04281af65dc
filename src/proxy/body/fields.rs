//! Fields in the types of `http`. Targets say the same few over and over, and making one looks at each
//! byte of its name twice and copies its value; so a worker remembers some.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderMap;
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

/// What a worker remembers.
pub(super) struct Fields([Option<Remembered>; PLACES]);

thread_local! {
    static FIELDS: RefCell<Fields> = const { RefCell::new(Fields([const { None }; PLACES])) };
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

/// Does something with the fields that this worker remembers.
pub(super) fn with<R>(work: impl FnOnce(&mut Fields) -> R) -> R {
    FIELDS.with_borrow_mut(work)
}

impl Fields {
    /// Adds the field that these bytes are to `headers`, if they are one.
    #[inline]
    pub(super) fn add(&mut self, headers: &mut HeaderMap, name: &[u8], said: &[u8]) {
        if let Some(place) = place(name)
            && let Some(Some(known)) = self.0.get_mut(place)
            && *known.said == *name
        {
            if let Some(value) = known.value(said) {
                headers.append(known.name.clone(), value);
            }
            return;
        }
        self.add_other(headers, name, said);
    }

    /// Adds a field whose name is not remembered; now it is.
    #[cold]
    fn add_other(&mut self, headers: &mut HeaderMap, name: &[u8], said: &[u8]) {
        let (Ok(made), Some(value)) = (HeaderName::from_bytes(name), value(said)) else { return };
        if let Some(place) = place(name)
            && let Some(remembered) = self.0.get_mut(place)
        {
            let kept = said.len() <= VALUE_MAX;
            *remembered = Some(Remembered {
                said: Box::from(name),
                name: made.clone(),
                value: if kept { value.clone() } else { HeaderValue::from_static("") },
                others: 0,
            });
        }
        headers.append(made, value);
    }
}

/// Where a name is remembered, if it is one that may be.
#[inline]
fn place(name: &[u8]) -> Option<usize> {
    let (first, middle, last) = (name.first()?, name.get(name.len() / 2)?, name.last()?);
    let place = name.len()
        + usize::from(first.wrapping_mul(13))
        + usize::from(middle.wrapping_mul(31))
        + usize::from(last.wrapping_mul(15));
    (name.len() <= LENGTH_MAX).then_some(place % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8], said: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let mut headers = HeaderMap::new();
        with(|fields| fields.add(&mut headers, name, said));
        let field = headers.iter().next();
        field.map(|(name, value)| (name.clone(), value.clone()))
    }

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

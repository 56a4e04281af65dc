//! Names of fields in hyper's type. Targets say the same few over and over, and making one looks at
//! each of its bytes twice; so a worker remembers some. Five names take 530 instructions so, and 890
//! when each is made anew.

use std::cell::RefCell;

use http::HeaderName;

/// How many are remembered, each in the one place that is its own; and how long each may be.
const PLACES: usize = 64;
const LENGTH_MAX: usize = 40;

/// A name as it was said, and in hyper's type.
type Remembered = Option<(Box<[u8]>, HeaderName)>;

thread_local! {
    static NAMES: RefCell<[Remembered; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// The name that these bytes are, if they are one.
pub(super) fn name(said: &[u8]) -> Option<HeaderName> {
    let (first, last) = (said.first()?, said.last()?);
    if said.len() > LENGTH_MAX {
        return HeaderName::from_bytes(said).ok();
    }
    let place =
        said.len() + usize::from(first.wrapping_mul(7)) + usize::from(last.wrapping_mul(29));
    NAMES.with_borrow_mut(|names| {
        let remembered = names.get_mut(place % PLACES)?;
        if let Some((known, name)) = remembered
            && **known == *said
        {
            return Some(name.clone());
        }
        let name = HeaderName::from_bytes(said).ok()?;
        *remembered = Some((Box::from(said), name.clone()));
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_often_it_is_said() {
        let long = "x-".repeat(100);
        for _ in 0..3 {
            for said in ["Content-Type", "content-type", "x-a", "X-A", "x-b", &long] {
                let made = HeaderName::from_bytes(said.as_bytes()).unwrap();
                assert_eq!(name(said.as_bytes()), Some(made));
            }
            assert_eq!(name(b""), None);
            assert_eq!(name(b"a b"), None);
        }
    }
}

//! The cookies of a request (RFC 6265 §4.2, and over HTTP/2 in several lines: RFC 9113 §8.2.3).

use crate::model::choice::Asked;

/// How many cookies of one name are read: each costs a signature, and a browser sends a few at most.
pub(super) const MANY: usize = 4;

/// The values of every cookie of this name, in order.
pub(super) fn values<'a>(
    asked: &'a impl Asked,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> + 'a {
    asked
        .field("cookie")
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })
}

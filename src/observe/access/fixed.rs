//! What many lines have in common, escaped once.

use crate::observe::access::escape::put_json;
use crate::observe::access::room::Full;
use crate::observe::access::room::Room;

/// A piece of a JSON line that is the same for many requests.
#[derive(Debug, Clone, Default)]
pub struct Fixed(Box<[u8]>);

impl Fixed {
    /// What a line says of where a request was sent. What there is none of is empty.
    #[must_use]
    pub fn target(upstream: &str, colour: &str, target: &str) -> Self {
        Self::written([upstream, colour, target], |room, [upstream, colour, target]| {
            let room = put_json(room.put(b"\"upstream\":\"")?, upstream)?;
            let room = put_json(room.put(b"\",\"colour\":\"")?, colour)?;
            let room = put_json(room.put(b"\",\"target\":\"")?, target)?;
            room.put(b"\",\"attempts\":")
        })
    }

    /// The end of a line: the listener by its `bind`.
    #[must_use]
    pub fn listener(bind: &str) -> Self {
        Self::written([bind], |room, [bind]| {
            put_json(room.put(b",\"listener\":\"")?, bind)?.put(b"\"}\n")
        })
    }

    fn written<const N: usize>(
        texts: [&str; N],
        write: for<'a> fn(Room<'a>, [&[u8]; N]) -> Result<Room<'a>, Full>,
    ) -> Self {
        const AROUND: usize = 64;
        // No byte is escaped by more than six.
        let most = AROUND + 6 * texts.iter().map(|text| text.len()).sum::<usize>();
        let mut bytes = vec![0; most];
        let left = write(Room::new(&mut bytes), texts.map(str::as_bytes)).map(|room| room.left());
        bytes.truncate(most - left.unwrap_or(most));
        Self(bytes.into())
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_it_is_written_whole_and_escaped() {
        let fixed = Fixed::target("a\"", "", "unix:/\u{1}");
        let text = std::str::from_utf8(fixed.bytes()).unwrap();
        let odd = r#""upstream":"a\"","colour":"","target":"unix:/\u0001","attempts":"#;
        assert_eq!(text, odd);
        let odd = "\u{1}".repeat(100);
        let all = Fixed::listener(&odd);
        assert!(all.bytes().ends_with(b"\\u0001\"}\n") && all.bytes().len() > 600);
    }
}

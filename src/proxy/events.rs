//! Where a stream of events (`text/event-stream`, WHATWG HTML §9.2) stands between two events, and
//! how it is ended there: whoever reads it loses nothing, and asks again with `Last-Event-ID`.

use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;

/// Follows one stream of events as it is sent on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Events {
    /// Nothing of a line has come.
    at_line: bool,
    /// The line before ended in CR: an LF belongs to it.
    after_cr: bool,
    /// The line before was empty, or there was none.
    is_between: bool,
    is_over: bool,
}

impl Events {
    /// One that begins, if this is the head of one that can be ended early: its length is not said,
    /// and nothing (a compression) hides its lines.
    pub(crate) fn of(head: &ResponseHead<'_, '_>) -> Option<Self> {
        if matches!(head.body, Framing::None | Framing::Length(_)) {
            return None;
        }
        let mut is_one = false;
        for (name, value) in head.pairs() {
            if name.eq_ignore_ascii_case(b"content-type") {
                let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
                is_one = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
            } else if name.eq_ignore_ascii_case(b"content-encoding") {
                return None;
            }
        }
        is_one.then(Self::new)
    }

    fn new() -> Self {
        Self { at_line: true, after_cr: false, is_between: true, is_over: false }
    }

    /// Follows `data`, which comes next; what of it is to be sent on. Where the stream `is_parting`,
    /// that ends with the event at hand.
    pub(crate) fn pass<'d>(&mut self, data: &'d [u8], is_parting: bool) -> &'d [u8] {
        if self.is_over {
            return &[];
        }
        if is_parting && self.is_between {
            self.is_over = true;
            // An LF that is there belongs to the CR before.
            let more = usize::from(self.after_cr && data.first() == Some(&b'\n'));
            return data.get(..more).unwrap_or_default();
        }
        for (at, byte) in data.iter().enumerate() {
            self.step(*byte);
            if is_parting && self.is_between {
                let more = usize::from(*byte == b'\r' && data.get(at + 1) == Some(&b'\n'));
                self.is_over = true;
                return data.get(..=at + more).unwrap_or_default();
            }
        }
        data
    }

    /// Ends it, if it stands between two events.
    pub(crate) fn part(&mut self) {
        self.is_over |= self.is_between;
    }

    /// Whether it has been ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    fn step(&mut self, byte: u8) {
        match byte {
            b'\n' if self.after_cr => self.after_cr = false,
            b'\r' | b'\n' => {
                self.is_between = self.at_line;
                self.at_line = true;
                self.after_cr = byte == b'\r';
            }
            _ => {
                self.is_between = false;
                self.at_line = false;
                self.after_cr = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::http1::head;
    use crate::http1::head::Fields;
    use crate::http1::head::HeadLimits;
    use crate::http1::head::Parsed;

    fn is_one(fields: &str) -> bool {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let limits = HeadLimits { bytes: 4096, fields: 20, target: 0 };
        let mut room = Fields::default();
        let parsed = head::response(head.as_bytes(), &mut room, &limits, head::Asked::Other);
        let Ok(Parsed::Whole(head)) = parsed else { panic!("{fields}") };
        Events::of(&head).is_some()
    }

    #[test]
    fn only_what_can_be_ended_early_is_one() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert!(is_one(&format!("{chunked}Content-Type: text/event-stream\r\n")));
        assert!(is_one(&format!("content-type:Text/Event-Stream ;charset=utf-8\r\n{chunked}")));
        assert!(is_one("Content-Type: text/event-stream\r\n"), "until it closes");
        assert!(!is_one(&format!("{chunked}Content-Type: text/event-streams\r\n")));
        assert!(!is_one(&format!("{chunked}Content-Type: text/plain\r\n")));
        assert!(!is_one("Content-Length: 9\r\nContent-Type: text/event-stream\r\n"));
        let coded = "Content-Encoding: gzip\r\nContent-Type: text/event-stream\r\n";
        assert!(!is_one(&format!("{chunked}{coded}")));
    }

    /// What is sent on of `pieces` when it is to end before the piece at `parts`.
    fn sent(pieces: &[&[u8]], parts: usize) -> (Vec<u8>, bool) {
        let mut events = Events::new();
        let mut sent = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            sent.extend_from_slice(events.pass(piece, at >= parts));
        }
        (sent, events.is_over())
    }

    #[test]
    fn it_ends_behind_the_event_at_hand_whatever_ends_its_lines() {
        for [event, next] in [
            ["data: 1\n\n", "data: 2\n\n"],
            ["data: 1\r\n\r\n", "data: 2\r\n\r\n"],
            ["data: 1\r\r", "data: 2\r\r"],
            ["id: 7\r\ndata: a\ndata: b\r\n\n", ": beat\n\n"],
            [": beat\n\n", "data: 2\n\n"],
        ] {
            let (event, next) = (event.as_bytes(), next.as_bytes());
            for at in 1..event.len() {
                let (first, rest) = event.split_at(at);
                let both = [rest, next].concat();
                assert_eq!(sent(&[first, &both], 1), (event.to_vec(), true), "{at} of {event:?}");
            }
            assert_eq!(sent(&[event, next], 1), (event.to_vec(), true));
            assert_eq!(sent(&[event, next], 2), ([event, next].concat(), false));
            assert_eq!(sent(&[event, next], 0), (Vec::new(), true), "nothing has begun");
        }
    }

    #[test]
    fn within_an_event_it_goes_on() {
        assert_eq!(sent(&[b"data: 1\n", b"data: 2"], 1), (b"data: 1\ndata: 2".to_vec(), false));
        // One line end is not an empty line, however it is cut.
        assert_eq!(sent(&[b"data: 1\r", b"\ndata"], 1), (b"data: 1\r\ndata".to_vec(), false));
    }

    /// Whether this beginning of a stream ends with an empty line, or is nothing.
    fn is_between(text: &str) -> bool {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        text.is_empty() || text == "\n" || text.ends_with("\n\n")
    }

    proptest! {
        #[test]
        fn it_ends_at_the_first_empty_line_that_a_second_reader_finds(
            pieces in vec("[ab\r\n]{1,6}", 1..8),
            parts in 0..8_usize,
        ) {
            let bytes: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let all = pieces.concat();
            let before: usize = pieces.iter().take(parts).map(String::len).sum();
            let mut ends = (before..=all.len()).filter(|end| is_between(&all[..*end]));
            let end = ends.next().filter(|_| parts < pieces.len());
            let (sent, is_over) = sent(&bytes, parts);
            prop_assert_eq!(is_over, end.is_some());
            let sent = String::from_utf8(sent).unwrap();
            let end = end.unwrap_or(all.len());
            // The LF of a CRLF comes with it where it is at hand.
            let with_it = all[..end].ends_with('\r') && all[end..].starts_with('\n');
            prop_assert!(sent == all[..end] || (with_it && sent == all[..=end]), "{:?}", sent);
        }
    }
}

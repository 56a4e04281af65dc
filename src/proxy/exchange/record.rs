//! What the access log says about an exchange.

use std::time::Duration;

use crate::http1::rewrite::Marks;
use crate::http1::rewrite::Span;
use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::observe::access::Entry;
use crate::proxy::buffers::Buffer;
use crate::proxy::exchange::Exchange;

/// A request's head as targets are sent it, which may be more than once, and where the log finds
/// what it repeats of it.
pub(crate) struct Asked {
    /// The head.
    pub(crate) head: Buffer,
    /// Places in it.
    pub(crate) marks: Marks,
    /// The version that the client spoke.
    pub(crate) protocol: &'static str,
}

impl Asked {
    /// One piece of the head.
    pub(crate) fn piece(&self, span: Span) -> &[u8] {
        span.of(&self.head)
    }

    /// The id that logs tie it to.
    pub(crate) fn request_id(&self) -> &[u8] {
        self.piece(self.marks.request_id)
    }

    /// Whether it asks for a head alone.
    pub(crate) fn is_head(&self) -> bool {
        self.piece(self.marks.method) == b"HEAD"
    }

    /// The first field of this name. Looks through the whole head: for failures.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        self.head
            .split(|byte| *byte == b'\n')
            .skip(1)
            .find_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let (own, value) = line.split_at(colon);
                let same = own.eq_ignore_ascii_case(name.as_bytes());
                same.then(|| value.get(1..).unwrap_or_default().trim_ascii())
            })
    }
}

impl Exchange {
    /// Whether the client offered to change to these protocols, one at least (RFC 9110 §7.8): a
    /// tunnel of another one would carry what nobody has looked at.
    pub(crate) fn offers(&self, protocols: Option<&[u8]>) -> bool {
        fn words(value: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
            let words = value.unwrap_or_default().split(|byte| *byte == b',');
            words
                .map(<[u8]>::trim_ascii)
                .filter(|word| !word.is_empty())
        }
        let offered = self.asked().and_then(|asked| asked.field("upgrade"));
        let is_offered = |word: &[u8]| words(offered).any(|own| own.eq_ignore_ascii_case(word));
        words(protocols).next().is_some() && words(protocols).all(is_offered)
    }

    /// Writes the exchange's line. `times`: how long it took, and how long the head of the target's
    /// answer did.
    pub(super) fn log(
        &self,
        times: (Duration, Option<Duration>),
        status: u16,
        outcome: Outcome,
        fault: Option<Fault>,
    ) {
        if !self.worker.log.is_on() {
            return;
        }
        let asked = self.asked();
        let piece = |span: fn(&Marks) -> Span| {
            asked.map_or(&b""[..], |asked| asked.piece(span(&asked.marks)))
        };
        let pool = self.pool.borrow();
        let place = pool.as_ref().and_then(|pool| pool.place(self.target.get()));
        self.worker.log.write(&Entry {
            at: self.worker.clock.wall(self.began),
            client: self.connection.client.facts.text(),
            method: piece(|marks| marks.method),
            scheme: self.connection.client.scheme,
            host: piece(|marks| marks.host),
            target: piece(|marks| marks.target),
            protocol: asked.map_or("", |asked| asked.protocol),
            status,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            place: place.unwrap_or(&self.worker.nowhere),
            attempts: self.attempts.get(),
            connect: self.connect.get(),
            first_byte: times.1,
            took: times.0,
            outcome,
            fault,
            request_id: piece(|marks| marks.request_id),
            referer: asked.and_then(|asked| Some(asked.piece(asked.marks.referer?))),
            user_agent: asked.and_then(|asked| Some(asked.piece(asked.marks.user_agent?))),
            generation: self.generation.get(),
            moved: self.moved.get(),
            listener: &self.connection.listener.logged,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Asked {
        let mut bytes = Buffer::take();
        bytes.extend_from_slice(head.as_bytes());
        Asked { head: bytes, marks: Marks::default(), protocol: "HTTP/1.1" }
    }

    #[test]
    fn a_field_is_found_by_its_name_in_any_case_and_not_in_the_request_line() {
        let asked = asked("GET /?accept: HTTP/1.1\r\nHost: a.test\r\nACCEPT:  text/html \r\n\r\n");
        assert_eq!(asked.field("accept"), Some(&b"text/html"[..]));
        assert_eq!(asked.field("x-none"), None);
    }
}

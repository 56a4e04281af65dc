//! What comes back over a call: interim heads, the final one, and what follows it.

use crate::http1::chunked::Decoder;
use crate::http1::head;
use crate::http1::head::Fields;
use crate::http1::head::Parsed;
use crate::model::fault::Fault;
use crate::proxy::buffers::with_fields;
use crate::proxy::call::Answer;
use crate::proxy::call::INTERIM_MAX;
use crate::proxy::call::LIMITS;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;

impl Answer {
    /// Takes in what has been read before the head was whole; whether it is now.
    pub(super) fn take_in<D: Downstream>(
        &mut self,
        bytes: &[u8],
        exchange: &Exchange,
        down: &mut D,
    ) -> Result<bool, Fault> {
        if bytes.is_empty() {
            return Err(Fault::Reset);
        }
        self.heard = true;
        if self.came.is_empty() {
            let (used, whole) = self.heads(bytes, exchange, down)?;
            if !whole {
                self.came
                    .extend_from_slice(bytes.get(used..).unwrap_or_default());
            }
            return Ok(whole);
        }
        let seen = self.came.len();
        self.came.extend_from_slice(bytes);
        if !head::may_be_whole(&self.came, seen, &LIMITS) {
            return Ok(false);
        }
        let mut came = std::mem::take(&mut self.came);
        let (used, whole) = self.heads(&came, exchange, down)?;
        if !whole {
            came.drain(..used);
            self.came = came;
        }
        Ok(whole)
    }

    /// Reads heads until the final one is whole, with what came behind it. How much was used, and
    /// whether it is.
    fn heads<D: Downstream>(
        &mut self,
        bytes: &[u8],
        exchange: &Exchange,
        down: &mut D,
    ) -> Result<(usize, bool), Fault> {
        with_fields(|room| self.heads_in(room, bytes, exchange, down))
    }

    fn heads_in<D: Downstream>(
        &mut self,
        room: &mut Fields,
        bytes: &[u8],
        exchange: &Exchange,
        down: &mut D,
    ) -> Result<(usize, bool), Fault> {
        let to_head = exchange.asked().is_some_and(Asked::is_head);
        let to = if to_head { head::Asked::Head } else { head::Asked::Other };
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Parsed::Whole(head) = head::response(rest, room, &LIMITS, to)? else {
                return Ok((used, false));
            };
            used += head.length;
            let rest = bytes.get(used..).unwrap_or_default();
            match head.status {
                101 if self.upgrade_asked && self.asked_whole && exchange.offers(head.upgrade) => {
                    down.answer(&head, exchange);
                    self.came = rest.to_vec();
                    return Ok((bytes.len(), true));
                }
                // Nobody asked for that protocol, or not to the end yet (RFC 9110 §7.8), or interim answers
                // would never end: the target and we no longer agree on what the bytes mean.
                101 => return Err(Fault::Protocol),
                100..200 if self.interim == INTERIM_MAX => return Err(Fault::Protocol),
                100..200 => {
                    self.interim += 1;
                    down.inform(&head);
                }
                _ => {
                    self.reusable = head.keep_alive;
                    self.body = Decoder::new(head.body);
                    down.answer(&head, exchange);
                    self.feed(rest, exchange, down)?;
                    return Ok((bytes.len(), true));
                }
            }
        }
    }

    /// Takes in more of the body.
    ///
    /// # Errors
    ///
    /// Its framing is broken.
    pub(crate) fn feed<D: Downstream>(
        &mut self,
        bytes: &[u8],
        exchange: &Exchange,
        down: &mut D,
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        while !self.body.is_done() && !rest.is_empty() {
            let piece = self.body.next(rest).map_err(|_bad| Fault::Protocol)?;
            if let Some(data) = rest.get(piece.data).filter(|data| !data.is_empty()) {
                down.content(data, exchange);
            }
            rest = rest.get(piece.consumed..).unwrap_or_default();
        }
        if self.body.is_done() {
            down.end(self.body.trailers());
            self.has_more_than_its_answer(!rest.is_empty());
        }
        Ok(())
    }

    /// Takes note that the target has closed.
    ///
    /// # Errors
    ///
    /// That was not the end of the body.
    pub(crate) fn at_eof<D: Downstream>(&mut self, down: &mut D) -> Result<(), Fault> {
        self.reusable = false;
        self.body.at_eof().map_err(|_early| Fault::Reset)?;
        down.end(&[]);
        Ok(())
    }

    /// A target that sends more than its answer no longer agrees with us on what bytes mean.
    pub(crate) fn has_more_than_its_answer(&mut self, more: bool) {
        self.reusable &= !more;
    }
}

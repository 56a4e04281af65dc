//! Whether a request that its colour has failed is sent to the other one. Pure: the proxy asks with
//! what it knows of the request and of the pool.
//!
//! A 5xx is an answer, and no reason: the application has read the request and has decided. Sent to
//! the other colour as well, whatever it had done by then would be done twice, and what a new release
//! answers wrongly would be hidden from those who watch it.

use crate::model::fault::Fault;
use crate::sync::lease::Door;

/// How many rescued requests of one worker may be in flight on a pool. A colour that is gone must be
/// stood in for at every request, so there is no budget by rate; and the old colour has just carried
/// all of them. This keeps one that has become slow from taking in what it can no longer serve: at
/// 50 ms a request it is 20,000 requests a second and worker, more than a worker passes on.
pub const IN_FLIGHT_MAX: usize = 1024;

/// A request whose attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plight {
    /// Why.
    pub fault: Fault,
    /// A byte of it may have been read.
    pub begun: bool,
    /// A byte of an answer has come.
    pub heard: bool,
    /// Nothing of its body has been taken from the client, or there is none.
    pub whole: bool,
    /// Doing it twice is doing it once (RFC 9110 §9.2.2).
    pub idempotent: bool,
}

/// What is known of the pool of the other colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelter {
    /// It gets the new requests.
    pub live: bool,
    /// Whom it lets in.
    pub door: Door,
    /// One of its targets is healthy, as far as is known.
    pub usable: bool,
    /// Exceptions of this worker that are in flight on it.
    pub in_flight: usize,
}

impl Plight {
    /// Whether it may be sent once more, to whomever: nothing of it can have been read, or it is
    /// idempotent and no byte of an answer has come.
    #[must_use]
    pub fn may_be_sent_again(&self) -> bool {
        let failed = matches!(
            self.fault,
            Fault::Connect
                | Fault::ConnectTimeout
                | Fault::NoHealthyTarget
                | Fault::Reset
                | Fault::ResponseTimeout
        );
        failed && self.whole && !self.heard && (!self.begun || self.idempotent)
    }
}

impl Shelter {
    /// Whether it takes in a request that the other colour has failed: the old colour, as long as it
    /// is held ready; or the live one, where a canary failed, or a colour that is no longer live.
    #[must_use]
    pub fn takes_in(&self) -> bool {
        let is_old = self.door == Door::Warm;
        let is_live = self.live && self.door == Door::Open;
        (is_old || is_live) && self.usable && self.in_flight < IN_FLIGHT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [bool; 2] = [false, true];

    #[test]
    fn what_may_have_been_read_is_sent_again_only_if_it_is_idempotent_and_unanswered() {
        for (begun, heard) in FLAGS.into_iter().flat_map(|b| FLAGS.map(|h| (b, h))) {
            for (whole, idempotent) in FLAGS.into_iter().flat_map(|w| FLAGS.map(|i| (w, i))) {
                let plight = Plight { fault: Fault::Reset, begun, heard, whole, idempotent };
                let expected = whole && !heard && (idempotent || !begun);
                assert_eq!(plight.may_be_sent_again(), expected, "{plight:?}");
            }
        }
    }

    #[test]
    fn only_what_the_targets_failed_is_sent_again() {
        let fresh = |fault| {
            let (begun, heard, whole, idempotent) = (false, false, true, true);
            Plight { fault, begun, heard, whole, idempotent }.may_be_sent_again()
        };
        assert!(fresh(Fault::Connect) && fresh(Fault::ConnectTimeout) && fresh(Fault::Reset));
        assert!(fresh(Fault::NoHealthyTarget) && fresh(Fault::ResponseTimeout));
        for fault in [
            Fault::Protocol,
            Fault::Cut,
            Fault::OutOfFiles,
            Fault::ClientGone,
            Fault::BodyBroken,
            Fault::BodyTooSlow,
            Fault::SendTimeout,
            Fault::Internal,
        ] {
            assert!(!fresh(fault), "{fault:?}");
        }
    }

    #[test]
    fn the_old_colour_takes_in_while_it_is_warm_and_the_live_one_always() {
        let shelter = |live, door| Shelter { live, door, usable: true, in_flight: 0 };
        assert!(shelter(false, Door::Warm).takes_in());
        assert!(shelter(true, Door::Open).takes_in());
        assert!(!shelter(false, Door::Shut).takes_in());
        assert!(!shelter(false, Door::Exceptional).takes_in(), "a preview is no old colour");
        assert!(!shelter(false, Door::Open).takes_in(), "a canary stands in for nobody");
        let warm = shelter(false, Door::Warm);
        assert!(!Shelter { usable: false, ..warm }.takes_in());
        assert!(!Shelter { in_flight: IN_FLIGHT_MAX, ..warm }.takes_in());
    }
}

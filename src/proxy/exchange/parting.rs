//! How an exchange that outlives its colour parts well, where it can: a WebSocket by a Close between
//! two frames, a stream of events after an event. Everything else is cut.
//!
//! A drain's deadline gives each of them a turn of its own, within `promotion.close_jitter`. From its
//! turn on it has [`TO_A_BOUNDARY`] to come to a place where it can end; who is late is cut. Then the
//! other side has [`FOR_AN_ANSWER`].

use std::time::Duration;

use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::proxy::exchange::Exchange;
use crate::sync::lease::CutAs;
use crate::sync::lease::FOR_AN_ANSWER;
use crate::sync::lease::TO_A_BOUNDARY;

/// What can be ended so that its client sees a regular end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A tunnel of WebSocket frames (RFC 6455).
    WebSocket,
    /// An answer of the type `text/event-stream` whose length was not said.
    Events,
}

/// How far an exchange has come on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It has no good end: it is cut.
    Cut,
    /// It has one, and nobody has asked for it.
    Able(Kind),
    /// Its turn is to come at this moment.
    Waits(Kind, Instant),
    /// It is to end at the next place where it can, which must come by this moment.
    Due(Kind, Instant),
    /// Everything has been said. By this moment it is over.
    Said(Kind, Instant),
}

impl Kind {
    /// How the drain counts one that has ended well.
    pub(super) fn closed(self) -> CutAs {
        match self {
            Self::WebSocket => CutAs::WebSocket,
            Self::Events => CutAs::Events,
        }
    }
}

impl Exchange {
    /// From here on it can be ended well.
    pub(crate) fn can_part(&self, kind: Kind) {
        self.parting.set(Parting::Able(kind));
    }

    /// What it is that can be ended well, if it can.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.parting.get() {
            Parting::Cut => None,
            Parting::Able(kind)
            | Parting::Waits(kind, _)
            | Parting::Due(kind, _)
            | Parting::Said(kind, _) => Some(kind),
        }
    }

    /// Whether it is to end at the next place where it can.
    pub(crate) fn is_parting(&self) -> bool {
        matches!(self.parting.get(), Parting::Due(..) | Parting::Said(..))
    }

    /// Everything has been said to both sides, and only their last words are waited for.
    pub(crate) fn has_said_goodbye(&self) {
        if let Parting::Due(kind, _) = self.parting.get() {
            let until = self.worker.clock.deadline(FOR_AN_ANSWER);
            self.parting.set(Parting::Said(kind, until));
        }
    }

    /// The next step on its way out, if a cut asks for it; how it ends, once it must.
    pub(super) fn part(&self, now: Instant) -> Option<Fault> {
        let spread = self.is_cut();
        match (self.parting.get(), spread) {
            (Parting::Cut, spread) => spread.map(|_| Fault::Cut),
            (Parting::Able(kind), Some(spread)) => {
                let turn = now + spread.mul_f64(fastrand::f64());
                self.parting.set(Parting::Waits(kind, turn));
                self.take_turn(kind, turn, now);
                None
            }
            // The end of the proxy does not wait for the turns of a drain.
            (Parting::Waits(kind, turn), Some(spread)) => {
                self.take_turn(kind, turn.min(now + spread), now);
                None
            }
            // The colour was made live again before its turn came.
            (Parting::Waits(kind, _), None) => {
                self.parting.set(Parting::Able(kind));
                None
            }
            // … and nothing has been said to anybody yet.
            (Parting::Due(Kind::Events, _), None) => {
                self.parting.set(Parting::Able(Kind::Events));
                None
            }
            (Parting::Able(_), None) => None,
            (Parting::Due(_, until), _) => (until <= now).then_some(Fault::Cut),
            (Parting::Said(_, until), _) => (until <= now).then_some(Fault::Closed),
        }
    }

    fn take_turn(&self, kind: Kind, turn: Instant, now: Instant) {
        if turn <= now {
            self.parting.set(Parting::Due(kind, now + TO_A_BOUNDARY));
            self.wake();
        }
    }

    /// Whether a drain, or the end of the proxy, asks it to end; and over which time that is spread.
    fn is_cut(&self) -> Option<Duration> {
        if self.worker.is_ending.get() {
            return Some(Duration::ZERO);
        }
        let lease = self.lease.borrow();
        let leases = lease.as_ref()?.holder().leases();
        leases.is_cut().then(|| leases.cut_spread())
    }
}

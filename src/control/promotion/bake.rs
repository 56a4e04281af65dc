//! The bake of a promotion: it runs beside the drain, and the promotion is over when both are.

use tokio::time::Instant;

use crate::control::promotion::Action;
use crate::control::promotion::Ending;
use crate::control::promotion::Input;
use crate::control::promotion::Judgement;
use crate::control::promotion::Promotion;
use crate::control::promotion::Purpose;
use crate::control::promotion::State;
use crate::model::on_fail::OnFail;

/// How far the bake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bake {
    /// There is none, or it has not begun.
    None,
    /// Until this moment.
    Until(Instant),
    /// Judged bad; the way back is under way.
    Reverting,
    /// It has come to this.
    Over(Judgement),
}

impl Bake {
    /// Whether the promotion has to wait for it.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Until(_) | Self::Reverting)
    }
}

impl Promotion {
    /// Until when the new colour is being judged, while it is.
    #[must_use]
    pub fn bakes_until(&self) -> Option<Instant> {
        match self.bake {
            Bake::Until(until) if self.is_switched() => Some(until),
            Bake::Until(_) | Bake::None | Bake::Reverting | Bake::Over(_) => None,
        }
    }

    /// What the bake has come to, if it is over.
    #[must_use]
    pub fn judgement(&self) -> Option<Judgement> {
        match self.bake {
            Bake::Over(judgement) => Some(judgement),
            Bake::None | Bake::Until(_) | Bake::Reverting => None,
        }
    }

    pub(super) fn start_bake(&mut self, now: Instant) {
        if self.plan.purpose == Purpose::Change && !self.plan.bake.is_zero() {
            self.bake = Bake::Until(now + self.plan.bake);
        }
    }

    /// What is the bake's alone; `None` leaves it to the drain.
    pub(super) fn judge(&mut self, input: Input<'_>, now: Instant) -> Option<Action> {
        if !self.is_switched() {
            return None;
        }
        match (input, self.bake) {
            (Input::Judged(judgement), Bake::Until(_)) => Some(self.judged(judgement, now)),
            (Input::NotReverted, Bake::Reverting) => Some(self.freeze()),
            (Input::Judged(_) | Input::NotReverted, _) => Some(Action::Ignore),
            _ => None,
        }
    }

    /// Judged bad, and traffic stays. A drain that still runs comes to its end all the same: nobody else
    /// keeps its deadline.
    fn freeze(&mut self) -> Action {
        self.bake = Bake::Over(Judgement::Failed);
        if self.is_draining() { Action::Ignore } else { self.end(Ending::Frozen) }
    }

    /// Whether it is over and bad, and nothing is done about it.
    pub(super) fn is_frozen(&self) -> bool {
        self.bake == Bake::Over(Judgement::Failed) && self.plan.on_fail != OnFail::Notify
    }

    fn judged(&mut self, judgement: Judgement, now: Instant) -> Action {
        if judgement == Judgement::Failed {
            match self.plan.on_fail {
                OnFail::Revert => {
                    self.bake = Bake::Reverting;
                    return Action::Revert;
                }
                OnFail::Freeze => return self.freeze(),
                OnFail::Notify => {}
            }
        }
        self.bake = Bake::Over(judgement);
        match self.state {
            // Exceptions may have used it until now: it is shut and looked at once more.
            State::Baking { ending: Ending::Drained } => self.start_drain(now),
            State::Baking { ending } => self.end(ending),
            State::New
            | State::Gating
            | State::Publishing
            | State::Draining { .. }
            | State::Cutting { .. }
            | State::Done => Action::Ignore,
        }
    }
}

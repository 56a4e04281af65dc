//! One promotion as a pure state machine: events and the time go in, what to do next comes out.
//! It knows no task, no socket and no clock, so that a simulation can walk it through any history.

mod bake;
mod tally;
mod words;

use std::time::Duration;

use tokio::time::Instant;

use crate::control::command::event::Reason;
use crate::control::promotion::bake::Bake;
use crate::control::promotion::tally::Tally;
use crate::model::on_fail::OnFail;
use crate::sync::lease::LAST_WORDS;

pub(crate) use crate::control::promotion::tally::in_words;
pub use crate::control::promotion::words::Action;
pub use crate::control::promotion::words::Answer;
pub use crate::control::promotion::words::Ending;
pub use crate::control::promotion::words::Input;
pub use crate::control::promotion::words::Judgement;

/// How long a drain that has cut waits for the cut requests to let go.
pub const SETTLE: Duration = Duration::from_secs(2);

/// How often a drain that still moves is reported, at most.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What a promotion sets out to do; fixed when it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is wanted at the end of the gate.
    pub purpose: Purpose,
    /// When it began.
    pub started: Instant,
    /// Whole good rounds in a row that open the gate; 0: forced, there is no gate.
    pub rounds: u32,
    /// From the end of one round to the start of the next.
    pub interval: Duration,
    /// From the start until the gate gives up.
    pub gate_timeout: Duration,
    /// From the switch until what is left on the retired colour is cut.
    pub drain_timeout: Duration,
    /// From the switch on, how long the new colour is judged; zero: it is not.
    pub bake: Duration,
    /// What becomes of it if it is judged bad.
    pub on_fail: OnFail,
    /// From then on until the last of what can be closed well has its turn.
    pub close_jitter: Duration,
    /// How many of its upstreams must be taken back before all of it is.
    pub members: usize,
}

/// What a promotion is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Make the colour live.
    Change,
    /// Give a part of the users the colour. Nothing is retired, so nothing drains.
    Canary,
    /// Run the gate, change nothing.
    DryRun,
    /// The colour is live already: only wait for the drain that may still run.
    Already,
}

/// A promotion under way.
#[derive(Debug)]
pub struct Promotion {
    plan: Plan,
    state: State,
    good_in_a_row: u32,
    rounds: u32,
    tally: Tally,
    reopened: usize,
    bake: Bake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Gating,
    Publishing,
    Draining {
        deadline: Instant,
    },
    Cutting {
        until: Instant,
    },
    /// The drain is over, with this ending; the bake is not.
    Baking {
        ending: Ending,
    },
    Done,
}

/// How long after its deadline a drain may take at the most, if what can be closed well is spread
/// over `jitter`.
#[must_use]
pub fn after_the_deadline(jitter: Duration) -> Duration {
    jitter + LAST_WORDS + SETTLE
}

impl Promotion {
    /// A promotion that has not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            state: State::New,
            good_in_a_row: 0,
            rounds: 0,
            tally: Tally::default(),
            reopened: 0,
            bake: Bake::None,
        }
    }

    /// Whether nothing has changed yet and the upstreams are held.
    #[must_use]
    pub fn is_gating(&self) -> bool {
        matches!(self.state, State::New | State::Gating | State::Publishing)
            && matches!(self.plan.purpose, Purpose::Change | Purpose::Canary)
    }

    /// Whether the switch is done and its drain is not.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Cutting { .. })
    }

    /// Whether the switch is done, and not yet all that follows it.
    #[must_use]
    pub fn is_switched(&self) -> bool {
        self.is_draining() || matches!(self.state, State::Baking { .. })
    }

    /// When its drain ends by force, while it drains.
    #[must_use]
    pub fn drain_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Draining { deadline } => Some(deadline),
            State::Cutting { until } => Some(until),
            State::New | State::Gating | State::Publishing | State::Baking { .. } | State::Done => {
                None
            }
        }
    }

    /// What it set out to do.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Why the gate did not open: every target that is to blame, at least one reason.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.tally.reasons(self.plan.rounds, self.plan.gate_timeout)
    }

    /// Takes in what happened and says what to do next.
    pub fn step(&mut self, input: Input<'_>, now: Instant) -> Action {
        if let Some(action) = self.judge(input, now) {
            return action;
        }
        match self.state {
            State::New => self.begin(input, now),
            State::Gating => self.gate(input, now),
            State::Publishing => self.published(input, now),
            State::Draining { deadline } => self.drain(input, deadline, now),
            State::Cutting { until } => self.settle(input, until, now),
            State::Baking { .. } if matches!(input, Input::Reopened) => self.reopen_baking(),
            State::Baking { .. } => Action::Ignore,
            State::Done => Action::Ignore,
        }
    }

    fn begin(&mut self, input: Input<'_>, now: Instant) -> Action {
        match (input, self.plan.purpose) {
            (Input::Begin, Purpose::Already) => self.start_drain(now),
            (Input::Begin, _) if self.plan.rounds == 0 => self.open(),
            (Input::Begin, Purpose::Change | Purpose::Canary | Purpose::DryRun) => {
                self.state = State::Gating;
                Action::Probe { at: now, until: None }
            }
            // Before the gate: it was being warmed up.
            (Input::ClientGone, _) => self.end(Ending::Cancelled),
            (Input::Deadline, _) => self.end(Ending::Refused),
            (
                Input::Round(_)
                | Input::Published
                | Input::NotPublished
                | Input::Look { .. }
                | Input::Reopened
                | Input::Judged(_)
                | Input::NotReverted,
                _,
            ) => Action::Ignore,
        }
    }

    fn gate(&mut self, input: Input<'_>, now: Instant) -> Action {
        match input {
            Input::Round(answers) => self.round(answers, now),
            Input::Deadline => self.end(Ending::Refused),
            Input::ClientGone => self.end(Ending::Cancelled),
            Input::Begin
            | Input::Published
            | Input::NotPublished
            | Input::Look { .. }
            | Input::Reopened
            | Input::Judged(_)
            | Input::NotReverted => Action::Ignore,
        }
    }

    fn round(&mut self, answers: &[Answer], now: Instant) -> Action {
        self.rounds = self.rounds.saturating_add(1);
        let good = self.tally.add(answers);
        self.good_in_a_row = if good { self.good_in_a_row.saturating_add(1) } else { 0 };
        if self.good_in_a_row >= self.plan.rounds {
            return self.open();
        }
        let deadline = self.plan.started + self.plan.gate_timeout;
        let at = now + self.plan.interval;
        if at >= deadline {
            return self.end(Ending::Refused);
        }
        Action::Probe { at, until: Some(deadline) }
    }

    fn open(&mut self) -> Action {
        if self.plan.purpose == Purpose::DryRun {
            return self.end(Ending::WouldSwitch);
        }
        self.state = State::Publishing;
        Action::Publish
    }

    fn published(&mut self, input: Input<'_>, now: Instant) -> Action {
        match input {
            Input::Published if self.plan.purpose == Purpose::Canary => self.end(Ending::Shared),
            Input::Published => {
                self.start_bake(now);
                self.start_drain(now)
            }
            Input::NotPublished => self.end(Ending::Refused),
            Input::Begin
            | Input::Round(_)
            | Input::Deadline
            | Input::ClientGone
            | Input::Look { .. }
            | Input::Reopened
            | Input::Judged(_)
            | Input::NotReverted => Action::Ignore,
        }
    }

    fn start_drain(&mut self, now: Instant) -> Action {
        let deadline = now + self.plan.drain_timeout;
        self.state = State::Draining { deadline };
        Action::Watch { until: deadline, known: None, not_before: now }
    }

    fn drain(&mut self, input: Input<'_>, deadline: Instant, now: Instant) -> Action {
        match input {
            Input::Look { in_flight: 0, .. } => self.end_drain(0, 0),
            Input::Look { in_flight, .. } if now < deadline => Action::Watch {
                until: deadline,
                known: Some(in_flight),
                not_before: now + REPORT_EVERY,
            },
            // The drain that this promotion follows has a deadline of its own, and did not keep it.
            Input::Look { in_flight, .. } if self.plan.purpose == Purpose::Already => {
                self.end_drain(in_flight, 0)
            }
            Input::Look { .. } => {
                let until = now + after_the_deadline(self.plan.close_jitter);
                self.state = State::Cutting { until };
                Action::Cut { until }
            }
            Input::Reopened => self.reopen(deadline, now),
            Input::Begin
            | Input::Round(_)
            | Input::Deadline
            | Input::ClientGone
            | Input::Published
            | Input::NotPublished
            | Input::Judged(_)
            | Input::NotReverted => Action::Ignore,
        }
    }

    fn settle(&mut self, input: Input<'_>, until: Instant, now: Instant) -> Action {
        match input {
            Input::Look { in_flight, cut } if in_flight == 0 || now >= until => {
                self.end_drain(in_flight, cut)
            }
            Input::Look { in_flight, .. } => {
                Action::Watch { until, known: Some(in_flight), not_before: until }
            }
            Input::Reopened => self.reopen(until, now),
            Input::Begin
            | Input::Round(_)
            | Input::Deadline
            | Input::ClientGone
            | Input::Published
            | Input::NotPublished
            | Input::Judged(_)
            | Input::NotReverted => Action::Ignore,
        }
    }

    fn reopen(&mut self, until: Instant, now: Instant) -> Action {
        self.reopened += 1;
        if self.reopened >= self.plan.members {
            return self.taken_back();
        }
        Action::Watch { until, known: None, not_before: now }
    }

    fn reopen_baking(&mut self) -> Action {
        self.reopened += 1;
        if self.reopened >= self.plan.members {
            return self.taken_back();
        }
        self.state = State::Baking { ending: Ending::Reopened };
        Action::Ignore
    }

    /// By the verdict, or by somebody.
    fn taken_back(&mut self) -> Action {
        let judged = self.bake == Bake::Reverting;
        self.end(if judged { Ending::Reverted } else { Ending::Reopened })
    }

    fn end_drain(&mut self, left: usize, cut: usize) -> Action {
        let ending = match (self.reopened, left, cut) {
            (0, ..) if self.is_frozen() => Ending::Frozen,
            (0, 0, 0) => Ending::Drained,
            (0, ..) => Ending::Cut,
            _ => Ending::Reopened,
        };
        if self.bake.is_open() {
            self.state = State::Baking { ending };
            return Action::Bake;
        }
        self.end(ending)
    }

    fn end(&mut self, ending: Ending) -> Action {
        self.state = State::Done;
        Action::End(ending)
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

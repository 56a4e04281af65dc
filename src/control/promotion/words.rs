//! What a promotion takes in and says: events, actions, endings.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Start. Must come first.
    Begin,
    /// One whole round of fresh probes.
    Round(&'a [Answer]),
    /// The gate's deadline passed while a round was under way.
    Deadline,
    /// Nobody waits for the answer any more.
    ClientGone,
    /// Asked to [`Action::Publish`], the supervisor has done so.
    Published,
    /// Asked to [`Action::Publish`], the supervisor could not; nothing has changed.
    NotPublished,
    /// A look at what the retired pools still hold.
    Look {
        /// Requests in flight, tunnels included.
        in_flight: usize,
        /// What has been ended by force so far.
        cut: usize,
    },
    /// The retired colour of one more upstream was made live again.
    Reopened,
    /// The bake has come to this.
    Judged(Judgement),
    /// Asked to [`Action::Revert`], the supervisor could not; nothing has changed.
    NotReverted,
}

/// What a bake has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing speaks against the new colour, and enough was seen.
    Passed,
    /// The new colour is worse.
    Failed,
    /// Too little was seen.
    Inconclusive,
}

/// One target's answer in one round.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The colour that wants to become live.
    pub colour: Colour,
    /// The target's address.
    pub target: Arc<str>,
    /// What it answered.
    pub outcome: ProbeOutcome,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run one round of probes.
    Probe {
        /// When.
        at: Instant,
        /// When to give the round up; `None`: let it finish, for a refusal must name reasons.
        until: Option<Instant>,
    },
    /// Make the colour live: journal, then publish; then say which of the two it was.
    Publish,
    /// Look at the retired pools when something worth telling happens there.
    Watch {
        /// Look at this moment at the latest.
        until: Instant,
        /// What is already known to be in flight.
        known: Option<usize>,
        /// A count that merely changed is not worth a look before this moment.
        not_before: Instant,
    },
    /// End what is left on the retired pools by force, then [`Watch`](Self::Watch) until `until`.
    Cut {
        /// When to stop waiting for it.
        until: Instant,
    },
    /// The drain is over; wait for what comes of the bake.
    Bake,
    /// Make the retired colours live again, and then say [`Input::Reopened`] for each, or
    /// [`Input::NotReverted`].
    Revert,
    /// Over, with this verdict.
    End(Ending),
    /// Nothing: the event came too late to matter.
    Ignore,
}

/// How a promotion ended. Exactly one, exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing has changed: the gate did not open, or the state could not be made durable.
    Refused,
    /// Nothing has changed: the requester went away while the gate was open.
    Cancelled,
    /// Nothing has changed, as was wished: the gate would have opened.
    WouldSwitch,
    /// A part of the users gets the colour.
    Shared,
    /// Switched, and the retired colour is empty.
    Drained,
    /// Switched, and what was left at the deadline has been ended by force, as far as it let itself.
    Cut,
    /// Switched, and switched back before the drain or the bake was over.
    Reopened,
    /// Switched, judged bad, and switched back.
    Reverted,
    /// Switched and judged bad, and traffic stays: so it was wished, or there was no way back.
    Frozen,
}

impl Ending {
    /// Whether the retired colour's processes may be stopped, `left` requests being in flight there.
    #[must_use]
    pub fn is_safe_to_kill(self, left: usize) -> bool {
        match self {
            Self::Drained | Self::Cut => left == 0,
            Self::Refused
            | Self::Cancelled
            | Self::WouldSwitch
            | Self::Shared
            | Self::Reopened
            | Self::Reverted
            | Self::Frozen => false,
        }
    }
}

//! A roll holds its upstream while `proxyctl roll` takes one target after the other: nothing is
//! promoted meanwhile, and nobody else rolls it.

use std::sync::Arc;
use std::sync::Weak;

use crate::control::command::Refusal;
use crate::control::command::history::Who;
use crate::control::command::status::RollStatus;
use crate::control::command::target::Roll;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Rolled;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;

/// A roll that was let begin; over once nobody holds its other half.
#[derive(Debug, Clone)]
pub struct Rolling {
    upstream: Arc<str>,
    caller: Caller,
    who: Who,
    /// RFC 3339, UTC.
    since: String,
    alive: Weak<()>,
}

impl Rolling {
    fn goes_on(&self, upstream: &str) -> bool {
        &*self.upstream == upstream && self.alive.strong_count() > 0
    }

    /// For `status`, if it rolls this upstream and is not over.
    pub(in crate::control) fn status(&self, upstream: &str) -> Option<RollStatus> {
        let status = || RollStatus { since: self.since.clone(), by: self.who.clone() };
        self.goes_on(upstream).then(status)
    }
}

impl Supervisor {
    /// Holds an upstream for a roll, unless somebody else changes it now.
    pub(super) fn roll(&mut self, roll: &Roll, caller: Caller) -> Result<Rolled, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let snapshot = self.snapshots.load();
        let upstream = request::one_of_any_kind(roll.upstream.as_ref(), &snapshot)?;
        let name = &upstream.name;
        self.may_roll(name)?;
        if let Some(live) = upstream.live() {
            self.may_change(std::iter::once((&**name, live)))?;
        }
        let alive = Arc::new(());
        self.rolls
            .retain(|rolling| rolling.alive.strong_count() > 0);
        self.rolls.push(Rolling {
            upstream: Arc::clone(name),
            caller,
            who: self.bus.history().who(caller),
            since: events::now(),
            alive: Arc::downgrade(&alive),
        });
        self.board_with(|board| board.rolls.clone_from(&self.rolls));
        tracing::info!(upstream = %name, %caller, "a roll begins");
        Ok(Rolled { upstream: name.to_string(), _alive: alive })
    }

    /// Whether nobody rolls this upstream.
    pub(super) fn may_roll(&self, upstream: &str) -> Result<(), Refusal> {
        let theirs = self.rolls.iter().find(|rolling| rolling.goes_on(upstream));
        match theirs {
            Some(rolling) => Err(refusal::busy_roll(upstream, rolling.caller)),
            None => Ok(()),
        }
    }
}

//! A roll holds its upstream while `proxyctl roll` takes one target after the other: nothing is
//! promoted meanwhile, and nobody else rolls it.

use std::sync::Arc;
use std::sync::Weak;

use crate::control::command::Refusal;
use crate::control::command::target::Roll;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Rolled;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;

/// A roll that was let begin; over once nobody holds its other half.
#[derive(Debug)]
pub(super) struct Rolling {
    upstream: Arc<str>,
    caller: Caller,
    alive: Weak<()>,
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
            alive: Arc::downgrade(&alive),
        });
        tracing::info!(upstream = %name, %caller, "a roll begins");
        Ok(Rolled { upstream: name.to_string(), _alive: alive })
    }

    /// Whether nobody rolls this upstream.
    pub(super) fn may_roll(&self, upstream: &str) -> Result<(), Refusal> {
        let theirs = self
            .rolls
            .iter()
            .filter(|rolling| rolling.alive.strong_count() > 0)
            .find(|rolling| &*rolling.upstream == upstream);
        match theirs {
            Some(rolling) => Err(refusal::busy_roll(upstream, rolling.caller)),
            None => Ok(()),
        }
    }
}

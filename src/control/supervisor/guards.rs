//! A guard holds a colour off while somebody stops its processes.

use std::sync::Arc;
use std::sync::Weak;
use std::time::SystemTime;

use crate::control::command::Guard;
use crate::control::command::Refusal;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Guarded;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::tasks;
use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::orders::held;
use crate::model::pool::Pool;
use crate::model::upstream::Upstream;
use crate::sync::lease::Door;

/// A guard that was granted; over once nobody holds its other half.
#[derive(Debug, Clone)]
pub struct Held {
    upstream: Arc<str>,
    colour: Colour,
    caller: Caller,
    alive: Weak<()>,
}

/// Refuses while the colour is held for a way back.
pub(super) fn is_let_go(upstream: &Upstream, colour: Colour) -> Result<(), Refusal> {
    let held = upstream.orders.held.as_ref();
    let held = held.filter(|held| held.colour == colour && held.stands(SystemTime::now()));
    let Some(held) = held else { return Ok(()) };
    let (name, until) = (&upstream.name, events::at(held.until));
    let why = if held.baking { "its successor is being judged" } else { "rollback is instant" };
    let refused = refusal::in_use(format!("{name}: {colour} is held until {until}: {why}"));
    Err(refusal::hinted(refused, "wait, or give it up: guard --ignore-hold, pool set --force"))
}

impl Supervisor {
    /// Grants a guard if the colour is not live, not about to be, and nothing is in flight on it. A hold
    /// that it ignores is given up for good: what is stopped now is no way back, after a restart neither.
    pub(super) async fn guard(
        &mut self,
        guard: &Guard,
        caller: Caller,
    ) -> Result<Guarded, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let (upstream, colour) = request::guard(guard, &self.snapshots.load())?;
        if !guard.ignore_hold {
            is_let_go(&upstream, colour)?;
        }
        let before = self.shut_for_guard(&upstream, colour)?;
        let held = upstream.orders.held.as_ref();
        if held.is_some_and(|held| held.colour == colour) {
            let give_up = |orders: &mut Orders| held::Held::give_up(&mut orders.held, colour);
            if let Err(refused) = self.order([&*upstream.name], give_up).await {
                let doors = before.iter();
                doors.for_each(|(pool, door)| pool.leases().set(*door));
                return Err(refused);
            }
            tracing::info!(upstream = %upstream.name, %colour, %caller, "the way back is given up");
        }
        let alive = Arc::new(());
        self.guards.retain(|held| held.alive.strong_count() > 0);
        self.guards.push(Held {
            upstream: Arc::clone(&upstream.name),
            colour,
            caller,
            alive: Arc::downgrade(&alive),
        });
        self.board_with(|board| board.guards.clone_from(&self.guards));
        tracing::info!(upstream = %upstream.name, %colour, %caller, "guard granted");
        Ok(Guarded { upstream: upstream.name.to_string(), colour, _alive: alive })
    }

    /// Shuts the pools of a colour and looks then: nobody can come in any more. Where the guard is
    /// refused everything is as it was. Their doors as they were before.
    fn shut_for_guard(
        &self,
        upstream: &Upstream,
        colour: Colour,
    ) -> Result<Vec<(Arc<Pool>, Door)>, Refusal> {
        let name = &upstream.name;
        if upstream.live() == Some(colour) {
            return Err(refusal::in_use(format!("{name}: {colour} is live")));
        }
        if let Some(canary) = upstream
            .canary_order()
            .filter(|canary| canary.colour == colour)
        {
            let weight = canary.weight;
            let why = format!("{name}: a canary gives {colour} {weight} % of the users");
            let hint = format!("`proxyctl canary {colour} --weight 0` ends it");
            return Err(refusal::hinted(refusal::in_use(why), hint));
        }
        let previewed = upstream.orders.preview;
        let previewed = previewed.filter(|order| order.shows(colour, SystemTime::now()));
        if let Some(order) = previewed {
            let until = events::at(order.until);
            let why = format!("{name}: {colour} is previewed until {until}");
            let hint = format!("`proxyctl preview {colour} --off` ends it");
            return Err(refusal::hinted(refusal::in_use(why), hint));
        }
        let promoted = self.running.values().any(|running| running.holds(name));
        if promoted {
            return Err(refusal::in_use(format!("{name}: a promotion of {colour} is gating")));
        }
        let pools = self.pools_of(upstream, colour);
        let retired = pools.iter().all(|pool| pool.leases().is_retired());
        let door = |pool: &Arc<Pool>| (Arc::clone(pool), pool.leases().door());
        let before: Vec<(Arc<Pool>, Door)> = pools.iter().map(door).collect();
        if retired {
            // Only the count of a pool that is shut can be trusted to stay at nothing.
            pools.iter().for_each(|pool| pool.leases().shut());
        }
        let in_flight = tasks::in_flight(&pools);
        if !retired || in_flight > 0 {
            if retired {
                let doors = before.iter();
                doors.for_each(|(pool, door)| pool.leases().set(*door));
            }
            let requests = if in_flight == 1 { "request is" } else { "requests are" };
            let detail = format!("{name}: {in_flight} {requests} in flight on {colour}");
            return Err(refusal::in_use(detail));
        }
        Ok(before)
    }

    /// The pool of a colour, and older ones that a reload replaced and that may still have work.
    pub(super) fn pools_of(&self, upstream: &Upstream, colour: Colour) -> Vec<Arc<Pool>> {
        let leftover =
            |pool: &&Arc<Pool>| pool.upstream == upstream.name && pool.colour == Some(colour);
        let leftovers = self.leftovers.iter().filter(leftover);
        upstream
            .pool(colour)
            .into_iter()
            .chain(leftovers)
            .cloned()
            .collect()
    }

    /// Who holds this colour off, if anybody does.
    pub(super) fn guard_of(&self, upstream: &str, colour: Colour) -> Option<Caller> {
        holder(&self.guards, upstream, colour)
    }
}

/// Who of these holds this colour off, if anybody does.
pub(in crate::control) fn holder(
    guards: &[Held],
    upstream: &str,
    colour: Colour,
) -> Option<Caller> {
    guards
        .iter()
        .filter(|held| held.alive.strong_count() > 0)
        .find(|held| &*held.upstream == upstream && held.colour == colour)
        .map(|held| held.caller)
}

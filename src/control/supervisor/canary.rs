//! A canary begins behind a gate, grows by one publish, and ends as a promotion does: with a drain and
//! a receipt.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::canary::Canary as Request;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::promotion::Input;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::promote::only;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::request::CanaryWay;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::switch::changed;
use crate::control::supervisor::switch::is_still_good;
use crate::control::supervisor::switch::not_durable;
use crate::control::supervisor::targets;
use crate::model::colour::Colour;
use crate::model::orders::Order;
use crate::model::orders::Orders;
use crate::model::orders::canary::Canary;
use crate::model::orders::held::Held;
use crate::model::snapshot::Snapshot;
use crate::model::split::Share;

impl Supervisor {
    /// Begins a canary, changes its weight, or ends it; or says why not.
    pub(super) async fn canary(
        &mut self,
        request: &Request,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        self.try_out(request, caller, None).await
    }

    /// The same. As the first of some steps if `steps` says so, and whether the colour has got other
    /// targets for them, which go again if the gate refuses.
    pub(super) async fn try_out(
        &mut self,
        request: &Request,
        caller: Caller,
        steps: Option<bool>,
    ) -> Result<EventStream, Refusal> {
        let in_steps = steps.is_some();
        match request::canary(request, &self.snapshots.load())? {
            CanaryWay::Gate(wish) => {
                let wish = Wish { deploys: steps.unwrap_or_default(), in_steps, ..wish };
                targets::may_serve(&wish)?;
                self.start(wish, caller).await
            }
            CanaryWay::Weight(names, colour) => {
                self.weigh(&names, colour, request.weight, caller, in_steps)
                    .await
            }
        }
    }

    /// Changes the weight of canaries that run: one publish, and no gate.
    ///
    /// # Errors
    ///
    /// A promotion gates, or it cannot be made durable. Nothing has changed then.
    pub(super) async fn weigh(
        &mut self,
        names: &[String],
        colour: Colour,
        weight: Share,
        caller: Caller,
        in_steps: bool,
    ) -> Result<EventStream, Refusal> {
        self.may_change(names.iter().map(|name| (name.as_str(), colour)))?;
        let old = self.snapshots.load();
        let is_so = |name: &String| {
            let canary = old
                .upstream(name)
                .and_then(|upstream| upstream.canary_order());
            canary.is_some_and(|canary| canary.weight == weight && (canary.in_steps || !in_steps))
        };
        let mut generation = old.generation;
        if !names.iter().all(is_so) {
            let grown = |orders: &mut Orders| {
                orders.canary = orders
                    .canary
                    .map(|canary| Canary { weight, in_steps, ..canary });
            };
            generation = self
                .order(names.iter().map(String::as_str), grown)
                .await?
                .generation;
            tracing::info!(upstreams = names.join(","), %colour, %weight, generation, %caller, "canary");
        }
        let event = Event::Canary { colour, weight, generation };
        self.record_answer("canary", caller, names.to_vec(), old.generation, &event);
        self.bus.tell_about(names.to_vec(), event.clone());
        Ok(only(event))
    }

    /// Gives a part of the users the colours of `running`, or refuses and leaves everything as it was.
    /// The order is that of a switch, but that nothing is retired.
    pub(super) async fn share(&mut self, running: &mut Running, weight: Share) -> Input<'static> {
        let old = self.snapshots.load();
        let begun = Instant::now();
        let gated = running.machine.plan().rounds > 0;
        if !is_still_good(running, &old, begun) {
            return Input::NotPublished;
        }
        let live = live_meanwhile(running, &old);
        if !live.is_empty() {
            running.refusal = Some((Code::Gate, live));
            return Input::NotPublished;
        }
        let mut memory = self.memory.clone();
        for member in running.changing() {
            let orders = memory.orders.entry(member.upstream.name.to_string());
            let orders = orders.or_default();
            orders.canary = Some(canary(orders, member.colour, weight, running.in_steps));
            // A deploy's targets have passed their gate: they stay whatever comes.
            orders.former = None;
            // Some of its users are back: what was judged is judged no longer.
            if let Some(held) = &mut orders.held {
                held.baking = false;
            }
            if running.deploys {
                Held::give_up(&mut orders.held, member.colour);
            }
        }
        let generation = old.generation + 1;
        if let Err(why) = self.make_durable(generation, &memory).await {
            running.refusal = Some((Code::NotDurable, not_durable(running, &why)));
            return Input::NotPublished;
        }
        for (upstream, colour) in changed(running, &old) {
            let Some(pool) = upstream.pool(colour) else { continue };
            for target in pool.targets.iter().filter(|_| gated) {
                target.health.vouch();
            }
            pool.leases().reopen();
        }
        self.adopt(generation, memory);
        running.generation = generation;
        running.switched = Instant::now();
        let (id, caller) = (&running.id, running.caller);
        let upstreams = running.names().join(",");
        tracing::info!(id, upstreams, %weight, generation, %caller, "canary begins");
        // The colour may still have drained from an earlier promotion.
        self.take_back(running);
        Input::Published
    }

    /// Tells that canaries and previews are over that `running` has ended.
    pub(super) fn trials_over(&self, running: &Running) {
        for member in running.changing() {
            if member.upstream.orders.preview.is_some() {
                self.ordered(&member.upstream.name, Order::Preview, None, running.generation);
            }
            let Some(canary) = member.upstream.canary_order() else { continue };
            let (colour, weight, generation) = (canary.colour, Share::NONE, running.generation);
            let event = Event::Canary { colour, weight, generation };
            self.bus
                .tell_about(vec![member.upstream.name.to_string()], event);
        }
    }
}

/// Colours that a revert has made live while they were gated: all of the users have them.
fn live_meanwhile(running: &Running, snapshot: &Snapshot) -> Vec<Reason> {
    changed(running, snapshot)
        .filter(|(upstream, colour)| upstream.live() == Some(*colour))
        .map(|(upstream, colour)| Reason {
            upstream: upstream.name.to_string(),
            colour,
            target: None,
            what: format!("{colour} has become live meanwhile"),
            hint: Some("proxyctl status".to_owned()),
        })
        .collect()
}

/// A canary of this colour; one that stands keeps its users.
fn canary(orders: &Orders, colour: Colour, weight: Share, in_steps: bool) -> Canary {
    let standing = orders.canary.filter(|canary| canary.colour == colour);
    let new = || Canary {
        colour,
        weight,
        salt: fastrand::u64(..),
        since: SystemTime::now(),
        in_steps: false,
    };
    Canary { weight, in_steps, ..standing.unwrap_or_else(new) }
}

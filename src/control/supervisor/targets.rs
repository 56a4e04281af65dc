//! A target is drained, or made ready again. The order is what counts: it is durable before a request
//! sees it, and the targets' own cells follow it at every publish.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::nearest;
use crate::control::command::Refusal;
use crate::control::command::target::SetTarget;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::ANSWER_EVENTS;
use crate::control::supervisor::target_tasks;
use crate::control::supervisor::target_tasks::About;
use crate::control::supervisor::target_tasks::Vouched;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::target::Address;
use crate::model::target::Admin;
use crate::model::target::Target;
use crate::model::upstream::Upstream;

/// A target that a command names, with all that it belongs to.
struct Named {
    upstream: Upstream,
    pool: Arc<Pool>,
    target: Arc<Target>,
}

impl Supervisor {
    /// Drains a target or makes it ready, or says why not.
    pub(super) async fn set_target(
        &mut self,
        request: &SetTarget,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let named = named(request, &self.snapshots.load())?;
        let (answer, events) = mpsc::channel(ANSWER_EVENTS);
        let about = About {
            upstream: Arc::clone(&named.upstream.name),
            colour: named.pool.colour,
            older: self.older(&named),
            target: Arc::clone(&named.target),
            generation: self.snapshots.load().generation,
            caller,
            bus: self.bus.clone(),
            answer: Some(answer),
        };
        match request.state {
            Admin::Draining => self.drain_target(request, &named, about).await?,
            Admin::Ready => self.make_target_ready(request, named, about).await?,
        }
        Ok(EventStream { events })
    }

    async fn drain_target(
        &mut self,
        request: &SetTarget,
        named: &Named,
        mut about: About,
    ) -> Result<(), Refusal> {
        let timeout = request::duration("timeout", request.timeout.as_deref())?;
        let timeout = timeout.unwrap_or(named.upstream.promotion.drain_timeout);
        if !named.target.is_draining() {
            self.may_drain(request, named)?;
            let address = &named.target.address;
            let new = self
                .order([&*named.upstream.name], |orders| {
                    orders.drained.insert(address.clone());
                })
                .await?;
            about.generation = new.generation;
            let (upstream, target) = (&about.upstream, &about.target.name);
            let (generation, caller) = (new.generation, about.caller);
            tracing::info!(%upstream, %target, generation, %caller, "target drains");
        }
        // No snapshot leads to these any more, but a request that is tried again may still come by.
        about.older.iter().for_each(|older| older.in_flight.drain());
        about.tell(about.event(TargetPhase::Draining));
        if !request.wait {
            about.answer = None;
        }
        let (standing, _counted) = self
            .drains
            .entry(about.key())
            .or_insert_with(|| (watch::channel(()).0, 0));
        let deadline = Instant::now() + timeout;
        let drain = target_tasks::drain(about, deadline, standing.subscribe());
        self.tasks.spawn(drain);
        Ok(())
    }

    /// What else counts requests of the same process: a reload that gives it another weight makes another
    /// target of it, and what was sent to the one before still runs there.
    fn older(&self, named: &Named) -> Vec<Arc<Target>> {
        let own = |pool: &&Arc<Pool>| pool.upstream == named.upstream.name;
        let left = self.leftovers.iter().filter(own);
        let targets = named
            .upstream
            .all_pools()
            .chain(left)
            .flat_map(|pool| &pool.targets);
        let same = |target: &&Arc<Target>| {
            target.address == named.target.address && target.id != named.target.id
        };
        let mut older: Vec<Arc<Target>> = targets.filter(same).cloned().collect();
        // A target may be in several pools that were replaced one after the other.
        older.sort_by_key(|target| target.id);
        older.dedup_by_key(|target| target.id);
        older
    }

    /// Not while the target's colour is gated: the gate has counted on it. And not the last one that
    /// serves a pool which requests are sent to.
    fn may_drain(&self, request: &SetTarget, named: &Named) -> Result<(), Refusal> {
        let (name, target) = (&named.upstream.name, &named.target);
        if let Some(colour) = named
            .pool
            .colour
            .filter(|of| named.upstream.live() != Some(*of))
        {
            self.may_change(std::iter::once((&**name, colour)))?;
        }
        let fit = |other: &&Arc<Target>| other.id != target.id && other.is_fit();
        let serves = !named.pool.leases().is_retired();
        if request.force || !serves || named.pool.targets.iter().any(|other| fit(&other)) {
            return Ok(());
        }
        let detail = format!(
            "{name}: no other target is ready and healthy: without {} requests get a 503",
            target.name
        );
        Err(refusal::hinted(refusal::in_use(detail), "--force drains it all the same"))
    }

    async fn make_target_ready(
        &mut self,
        request: &SetTarget,
        named: Named,
        about: About,
    ) -> Result<(), Refusal> {
        let timeout = request::duration("gate_timeout", request.gate_timeout.as_deref())?;
        let timeout = timeout.unwrap_or(named.upstream.promotion.gate_timeout);
        if !named.target.is_draining() {
            about.tell(about.event(TargetPhase::Ready));
        } else if request.force {
            let (target, caller) = (&about.target.name, about.caller);
            tracing::warn!(%target, %caller, "the gate of a target is SKIPPED by force");
            self.order_ready(&about, false).await;
        } else {
            let deadline = Instant::now() + timeout;
            self.tasks
                .spawn(target_tasks::vouch(about, named.upstream, deadline));
        }
        Ok(())
    }

    /// The gate of a target has come to its end.
    pub(super) async fn vouched(&mut self, about: About, vouched: Vouched) {
        let reason = match vouched {
            Vouched::Good => return self.order_ready(&about, true).await,
            Vouched::Bad(reason) => reason,
            Vouched::Gone => "cancelled: the requester went away".to_owned(),
        };
        let (upstream, caller) = (&about.upstream, about.caller);
        tracing::warn!(%upstream, %caller, reason, "target goes on draining");
        let refused = about.event(TargetPhase::Refused);
        about.tell(TargetEvent { reasons: vec![reason], ..refused });
    }

    async fn order_ready(&mut self, about: &About, vouched: bool) {
        let address = &about.target.address;
        if vouched {
            about.target.health.vouch();
        }
        let done = self
            .order([&*about.upstream], |orders| {
                orders.drained.remove(address);
            })
            .await;
        match done {
            Ok(new) => {
                let (upstream, target, caller) =
                    (&about.upstream, &about.target.name, about.caller);
                let generation = new.generation;
                tracing::info!(%upstream, %target, generation, %caller, "target is ready");
                // Whoever waits for its drain learns that it is over.
                self.drains.remove(&about.key());
                about
                    .older
                    .iter()
                    .for_each(|older| older.in_flight.make_ready());
                about.tell(about.event(TargetPhase::Ready));
            }
            Err(refused) => {
                let event = about.event(TargetPhase::NotDurable);
                about.tell(TargetEvent { reasons: vec![refused.detail], ..event });
            }
        }
    }

    /// The drain of a target has come to its end.
    pub(super) fn target_drained(&mut self, about: &About, event: TargetEvent) {
        let (upstream, target) = (&about.upstream, &about.target.name);
        if let Some(receipt) = &event.receipt {
            let (requests, tunnels) = (receipt.cut.requests, receipt.cut.tunnels);
            let (in_flight, phase) = (receipt.in_flight, event.phase);
            tracing::info!(%upstream, %target, ?phase, requests, tunnels, in_flight, "target drained");
            // Several may have waited for the same drain: what one has counted, no other counts.
            if let Some((_, counted)) = self.drains.get_mut(&about.key()) {
                let new = (requests + tunnels).saturating_sub(*counted);
                *counted += new;
                let new = u64::try_from(new).unwrap_or(u64::MAX);
                self.metrics.requests_cut(upstream, about.colour, new);
            }
        }
        about.tell(event);
    }
}

/// Makes the targets' own cells say what is ordered. Before the snapshot is published: who has seen it
/// sends nothing to what drains, and finds ready what is.
pub(super) fn obey(snapshot: &Snapshot) {
    for upstream in &snapshot.upstreams {
        let targets = upstream.all_pools().flat_map(|pool| pool.targets.iter());
        for target in targets {
            match (upstream.orders.drained.contains(&target.address), target.is_draining()) {
                (true, false) => target.in_flight.drain(),
                (false, true) => target.in_flight.make_ready(),
                (true, true) | (false, false) => {}
            }
        }
    }
}

/// A colour with a target that drains would serve with less than its gate has vouched for: somebody
/// has that target in hand. By force it may, but not without a single one.
pub(super) fn may_serve(wish: &Wish) -> Result<(), Refusal> {
    let forced = wish.rounds == 0;
    for (upstream, colour) in &wish.members {
        let Some(pool) = upstream.pool(*colour) else { continue };
        let mut draining = pool.targets.iter().filter(|target| target.is_draining());
        let none_left = pool.targets.iter().all(|target| target.is_draining());
        let Some(target) = draining.next().filter(|_| none_left || !forced) else { continue };
        if upstream.live() != Some(*colour) {
            return Err(refusal::target_drains(&upstream.name, *colour, &target.name));
        }
    }
    Ok(())
}

fn named(request: &SetTarget, snapshot: &Snapshot) -> Result<Named, Refusal> {
    let upstream = request::one_of_any_kind(request.upstream.as_ref(), snapshot)?;
    let wanted: Option<Address> = request.target.parse().ok();
    let every = || {
        upstream
            .all_pools()
            .flat_map(|pool| pool.targets.iter().map(move |it| (pool, it)))
    };
    let found = every().find(|(_, target)| {
        Some(&target.address) == wanted.as_ref() || *target.name == *request.target
    });
    if let Some((pool, target)) = found {
        let (pool, target) = (Arc::clone(pool), Arc::clone(target));
        return Ok(Named { upstream: upstream.clone(), pool, target });
    }
    let known: Vec<&str> = every().map(|(_, target)| &*target.name).collect();
    let near = nearest::word(&request.target, known.iter().copied());
    Err(refusal::unknown_target(&upstream.name, &request.target, near, &known))
}

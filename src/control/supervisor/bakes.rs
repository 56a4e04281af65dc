//! Bakes: the new colours that are being judged, looked at ten times a second, and what is done once
//! one of them is judged bad.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

use crate::control::command::event::Event;
use crate::control::command::verdict::Outcome;
use crate::control::command::verdict::Verdict;
use crate::control::events::Bus;
use crate::control::promotion::Input;
use crate::control::promotion::Judgement;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::request::REVERT;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::Member;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::trial::Trial;
use crate::control::supervisor::trial::is_well;
use crate::control::supervisor::walk::Walk;
use crate::control::verdict::history;
use crate::control::verdict::history::History;
use crate::model::colour::Colour;
use crate::model::conduct::Reading;
use crate::model::on_fail::OnFail;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::observe::metrics::VerdictOutcome;

/// How often a colour that is being judged is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is told how it is doing, at most.
pub(super) const TELL: Duration = Duration::from_secs(5);

/// What live colours have done lately, and the clocks of judging.
#[derive(Debug)]
pub(super) struct Bakes {
    /// By upstream.
    histories: BTreeMap<Arc<str>, History>,
    looks: Interval,
    samples: Interval,
}

impl Bakes {
    /// Nothing known yet. Inside a runtime.
    pub(super) fn new() -> Self {
        let every = |period| {
            let mut every = interval(period);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            every
        };
        Self { histories: BTreeMap::new(), looks: every(LOOK), samples: every(history::EVERY) }
    }

    /// Resolves when it is time for a look, or with false for a sample. Cancel safe.
    pub(super) async fn due(&mut self, baking: bool) -> bool {
        tokio::select! {
            _ = self.looks.tick(), if baking => true,
            _ = self.samples.tick() => false,
        }
    }

    /// What the live pool of each upstream has counted by now.
    pub(super) fn sample(&mut self, snapshot: &Snapshot) {
        self.histories
            .retain(|name, _| snapshot.upstream(name).is_some());
        for upstream in &snapshot.upstreams {
            if upstream.live().is_none() {
                continue;
            }
            let pool = upstream.pick();
            let reading = pool.conduct().read();
            match self.histories.get_mut(&upstream.name) {
                Some(history) if history.pool == pool.id => history.keep(reading),
                Some(_) | None => {
                    let history = History::begin(pool.id, reading);
                    self.histories.insert(Arc::clone(&upstream.name), history);
                }
            }
        }
    }

    /// What the live colour of an upstream has done in the last quarter of an hour.
    fn lately(&self, upstream: &Upstream) -> Reading {
        let pool = upstream.pick();
        let history = self.histories.get(&upstream.name);
        let own = history.filter(|history| history.pool == pool.id);
        own.map_or_else(Reading::new, |history| history.until(&pool.conduct().read()))
    }
}

impl Supervisor {
    /// Whether any colour is being judged.
    pub(super) fn is_baking(&self) -> bool {
        self.running
            .values()
            .any(|running| running.machine.bakes_until().is_some())
            || self.walks.values().any(Walk::is_judging)
    }

    /// The trials that begin when `running` switches; before it does.
    pub(super) fn trials(&self, running: &Running) -> Vec<Trial> {
        if running.machine.plan().bake.is_zero() {
            return Vec::new();
        }
        let now = self.snapshots.load();
        let trial = |member: &Member| {
            let upstream = now.upstream(&member.upstream.name)?;
            let pool = upstream.pool(member.colour)?;
            Some(Trial::begin(&now, pool, member.colour, self.bakes.lately(upstream)))
        };
        running
            .changing()
            .filter(|member| member.switches())
            .filter_map(trial)
            .collect()
    }

    /// The time has come for a look at what is being judged, or for a sample.
    pub(super) async fn bakes_due(&mut self, look: bool) {
        let snapshot = self.snapshots.load();
        if !look {
            self.bakes.sample(&snapshot);
            return;
        }
        let serials: Vec<Serial> = self.running.keys().copied().collect();
        for serial in serials {
            let Some(running) = self.running.get_mut(&serial) else { continue };
            let Some(verdicts) = running.verdicts_due(&snapshot, &self.bus) else { continue };
            self.judged(serial, verdicts).await;
        }
        self.look_at_walks(&snapshot).await;
    }

    /// The daemon stops: what is being judged has come to nothing.
    pub(super) async fn end_bakes(&mut self) {
        self.stop_walks().await;
        let baking = |running: &Running| running.machine.bakes_until().is_some();
        let serials: Vec<Serial> = self
            .running
            .iter()
            .filter(|(_, running)| baking(running))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in serials {
            let Some(running) = self.running.get(&serial) else { continue };
            let mut verdicts = running.conclude();
            for verdict in &mut verdicts {
                verdict.result = Outcome::Inconclusive;
                "the daemon stops".clone_into(&mut verdict.what);
            }
            self.judged(serial, verdicts).await;
        }
    }

    /// A bake has come to these verdicts, one an upstream.
    async fn judged(&mut self, serial: Serial, mut verdicts: Vec<Verdict>) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let on_fail = running.machine.plan().on_fail;
        for verdict in &mut verdicts {
            if verdict.result == Outcome::Failed {
                verdict.on_fail = Some(on_fail);
            }
            running.tell(&self.bus, &Event::Verdict(verdict.clone()));
            log(&running.id, verdict);
            self.metrics
                .verdict(&verdict.upstream, verdict.colour, place(verdict.result));
        }
        let is = |result| verdicts.iter().any(|verdict| verdict.result == result);
        let judgement = if is(Outcome::Failed) {
            Judgement::Failed
        } else if is(Outcome::Inconclusive) {
            Judgement::Inconclusive
        } else {
            Judgement::Passed
        };
        running.verdicts = verdicts;
        let reverts = judgement == Judgement::Failed && on_fail == OnFail::Revert;
        let unsure = judgement == Judgement::Inconclusive || on_fail == OnFail::Freeze;
        if !reverts {
            self.hold_on(serial, judgement != Judgement::Passed && unsure)
                .await;
        }
        self.drive(serial, Input::Judged(judgement)).await;
        if reverts {
            self.revert(serial).await;
        }
    }

    /// Makes the old colours live again: a promotion without a gate, for their probes have never
    /// stopped and are good.
    async fn revert(&mut self, serial: Serial) {
        let Some(running) = self.running.get(&serial) else { return };
        let current = self.snapshots.load();
        let back: Vec<(Upstream, Colour)> = running
            .changing()
            .filter(|member| member.switches() && !member.reopened)
            .filter_map(|member| {
                let upstream = current.upstream(&member.upstream.name)?;
                Some((upstream.clone(), member.colour.other()))
            })
            .collect();
        let dead = running.verdicts.iter().any(|verdict| verdict.p.is_none());
        let obstacle = back
            .iter()
            .find_map(|(upstream, colour)| self.obstacle(upstream, *colour, dead));
        let (caller, id) = (running.caller, running.id.clone());
        if let Some(why) = obstacle {
            self.not_reverted(serial, &why).await;
            return;
        }
        tracing::warn!(id, "reverting: the new colour was judged bad");
        self.set_out(Wish::back_to(back, REVERT), caller).await;
        let stands = |running: &&Running| running.machine.is_switched();
        if self.running.get(&serial).filter(stands).is_some() {
            self.not_reverted(serial, "the state could not be made durable")
                .await;
        }
    }

    async fn not_reverted(&mut self, serial: Serial, why: &str) {
        if let Some(running) = self.running.get_mut(&serial) {
            let (id, upstreams) = (&running.id, running.names().join(","));
            tracing::error!(id, upstreams, why, "judged bad and NOT reverted: traffic stays");
            for verdict in &mut running.verdicts {
                verdict.obstacle = Some(why.to_owned());
            }
        }
        self.hold_on(serial, true).await;
        self.drive(serial, Input::NotReverted).await;
    }

    /// Why this colour must not be made live again. If the new one is dead, one good target will do.
    fn obstacle(&self, upstream: &Upstream, colour: Colour, dead: bool) -> Option<String> {
        let name = &upstream.name;
        if let Some(holder) = self.guard_of(name, colour) {
            return Some(format!("{name}: a guard of {holder} holds {colour} off"));
        }
        let pool = upstream.pool(colour)?;
        let sick: Vec<String> = pool
            .targets
            .iter()
            .filter(|target| !is_well(target))
            .map(|target| match target.is_draining() {
                true => format!("{} drains", target.name),
                false => target.name.to_string(),
            })
            .collect();
        let enough = if dead { sick.len() < pool.targets.len() } else { sick.is_empty() };
        (!enough).then(|| format!("{name}: {colour} is not well: {}", sick.join(", ")))
    }
}

impl Running {
    /// The verdicts, if it is time for them. Tells how it is doing now and then.
    fn verdicts_due(&mut self, snapshot: &Snapshot, bus: &Bus) -> Option<Vec<Verdict>> {
        let until = self.machine.bakes_until()?;
        let (now, took) = (Instant::now(), self.switched.elapsed());
        let mut found = None;
        for trial in &mut self.trials {
            if let Some(evidence) = trial.look(snapshot) {
                found = Some(trial.condemn(&evidence, took));
                break;
            }
        }
        if let Some(verdict) = found {
            return Some(vec![verdict]);
        }
        if now >= until {
            return Some(self.conclude());
        }
        if now.duration_since(self.told) >= TELL {
            self.told = now;
            let colours = self.trials.iter().map(Trial::report).collect();
            let left = until.duration_since(now).as_secs_f64();
            self.tell(bus, &Event::Baking { colours, left_seconds: left });
        }
        None
    }

    fn conclude(&self) -> Vec<Verdict> {
        let took = self.switched.elapsed();
        self.trials
            .iter()
            .map(|trial| trial.conclude(took))
            .collect()
    }
}

pub(super) fn place(result: Outcome) -> VerdictOutcome {
    match result {
        Outcome::Passed => VerdictOutcome::Passed,
        Outcome::Failed => VerdictOutcome::Failed,
        Outcome::Inconclusive => VerdictOutcome::Inconclusive,
    }
}

pub(super) fn log(id: &str, verdict: &Verdict) {
    let Verdict { upstream, colour, result, what, route, .. } = verdict;
    let (route, result) = (route.as_deref().unwrap_or(""), result.as_str());
    let (new, old) = (verdict.new, verdict.old);
    let (seconds, requests) = (verdict.seconds, verdict.requests);
    let (new, old) = (format!("{}/{}", new.count, new.of), format!("{}/{}", old.count, old.of));
    if verdict.result == Outcome::Failed {
        tracing::error!(id, upstream, %colour, what, route, new, old, p = verdict.p, requests, seconds, "verdict: FAILED");
    } else {
        tracing::info!(id, upstream, %colour, result, what, new, old, requests, seconds, "verdict");
    }
}

//! A promotion in steps: a canary that grows by itself, judged at each step against the live colour
//! beside it, and at last a promotion of everybody.

mod asking;
mod ending;
mod telling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::canary::Canary;
use crate::control::command::event::Event;
use crate::control::command::history::Who;
use crate::control::command::verdict::Outcome;
use crate::control::command::verdict::Verdict;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::request::REVERT;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::ANSWER_EVENTS;
use crate::control::supervisor::tasks;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::trial::Trial;
use crate::control::supervisor::walk::telling::elsewhere;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::snapshot::Snapshot;
use crate::model::split::Share;
use crate::model::upstream::Upstream;

/// So many pauses, and a step on which too little was seen is waited for no longer.
const PATIENCE: u32 = 10;

/// A promotion in steps that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    id: String,
    caller: Caller,
    who: Who,
    /// When it began: RFC 3339, UTC.
    since: String,
    request: Promote,
    names: Vec<String>,
    colour: Colour,
    /// The steps after this one.
    left: VecDeque<Share>,
    weight: Share,
    steps: usize,
    pause: Duration,
    on_fail: OnFail,
    /// `None` while a gate or the last promotion is under way.
    judging: Option<Judging>,
    answer: mpsc::Sender<Event>,
}

/// One step that is being judged.
#[derive(Debug)]
struct Judging {
    since: Instant,
    told: Instant,
    trials: Vec<Trial>,
}

/// What a look at a step has come to.
enum Found {
    /// Somebody else has changed the canary, or ended it.
    Elsewhere,
    Bad(Verdict),
    Good(Vec<Verdict>),
    Unsure(Vec<Verdict>),
}

impl Supervisor {
    /// Begins a promotion in steps, or says why not. `deploys`: the colour has got other targets for it.
    pub(super) async fn walk(
        &mut self,
        request: &Promote,
        caller: Caller,
        deploys: bool,
    ) -> Result<EventStream, Refusal> {
        let snapshot = self.snapshots.load();
        let wish = request::promote(request, &snapshot)?;
        let names: Vec<String> = wish
            .members
            .iter()
            .map(|(upstream, _)| upstream.name.to_string())
            .collect();
        let Some((first, colour)) = wish.members.first() else {
            return Err(refusal::nothing_promotable());
        };
        let (weight, left, pause) = self.may_walk(request, &names)?;
        let steps = left.len() + 1;
        let on_fail = wish.on_fail.unwrap_or(first.promotion.on_fail);
        let begin = Canary {
            colour: request.colour.clone(),
            weight,
            upstreams: Some(names.clone()),
            gate_timeout: request.gate_timeout.clone(),
            wait: true,
            build: request.build.clone(),
            force: request.force,
            ..Canary::default()
        };
        // They are given already.
        let (colour, request) = (*colour, Promote { targets: None, ..request.clone() });
        let inner = self.try_out(&begin, caller, Some(deploys)).await?;
        let (answer, events) = mpsc::channel(ANSWER_EVENTS);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.tasks
            .spawn(tasks::relay(serial, inner, answer.clone(), true));
        let id = format!("{:08x}", fastrand::u32(..));
        tracing::info!(id, upstreams = names.join(","), %colour, steps, %caller, "promotion in steps started");
        let judging = None;
        let (who, since) = (self.bus.history().who(caller), events::now());
        let walk = Walk {
            id,
            caller,
            who,
            since,
            request,
            names,
            colour,
            left,
            weight,
            steps,
            pause,
            on_fail,
            judging,
            answer,
        };
        self.walks.insert(serial, walk);
        self.walks_changed();
        Ok(EventStream { events })
    }

    /// The weight of a step stands: it is judged from here on.
    fn judge_step(&mut self, serial: Serial) {
        let snapshot = self.snapshots.load();
        let Some(walk) = self.walks.get_mut(&serial) else { return };
        let trial = |name: &String| {
            let upstream = snapshot.upstream(name)?;
            let new = upstream.pool(walk.colour)?;
            let old = upstream.pool(walk.colour.other())?;
            Some(Trial::beside(&snapshot, new, Arc::clone(old), walk.colour, walk.steps))
        };
        let trials = walk.names.iter().filter_map(trial).collect();
        let now = Instant::now();
        walk.judging = Some(Judging { since: now, told: now, trials });
        let step = Event::Step {
            colour: walk.colour,
            weight: walk.weight,
            step: walk.step(),
            steps: walk.steps,
            pause_seconds: walk.pause.as_secs_f64(),
            generation: snapshot.generation,
        };
        self.tell_walk(serial, &step);
        self.walks_changed();
    }

    /// A look at every step that is being judged.
    pub(super) async fn look_at_walks(&mut self, snapshot: &Snapshot) {
        let serials: Vec<Serial> = self.walks.keys().copied().collect();
        for serial in serials {
            let Some(walk) = self.walks.get_mut(&serial) else { continue };
            match walk.look(snapshot) {
                Some(Found::Elsewhere) => {
                    let event = elsewhere(serial, self);
                    self.conclude_walk(serial, event).await;
                }
                Some(Found::Bad(verdict)) => self.step_failed(serial, verdict).await,
                Some(Found::Good(verdicts)) => self.next_step(serial, verdicts).await,
                Some(Found::Unsure(verdicts)) => {
                    verdicts
                        .iter()
                        .for_each(|verdict| self.tell_step_verdict(serial, verdict));
                    let event = Event::Frozen { receipts: self.step_receipts(serial, &verdicts) };
                    self.conclude_walk(serial, event).await;
                }
                None => self.tell_step(serial),
            }
        }
    }

    async fn next_step(&mut self, serial: Serial, verdicts: Vec<Verdict>) {
        verdicts
            .iter()
            .for_each(|verdict| self.tell_step_verdict(serial, verdict));
        let Some(walk) = self.walks.get_mut(&serial) else { return };
        walk.judging = None;
        let Some(weight) = walk.left.pop_front() else { return };
        walk.weight = weight;
        let (names, colour, caller) = (walk.names.clone(), walk.colour, walk.caller);
        let whole = walk.request.clone();
        if weight < Share::ALL {
            match self.weigh(&names, colour, weight, caller, true).await {
                Ok(_told) => self.judge_step(serial),
                Err(refused) => self.refuse_walk(serial, &refused).await,
            }
            return;
        }
        self.walks_changed();
        let upstreams = Some(names);
        let last = Promote { steps: Vec::new(), pause: None, upstreams, all: false, ..whole };
        match self.promote(&last, caller).await {
            Ok(inner) => {
                let Some(walk) = self.walks.get(&serial) else { return };
                let relay = tasks::relay(serial, inner, walk.answer.clone(), false);
                self.tasks.spawn(relay);
            }
            Err(refused) => self.refuse_walk(serial, &refused).await,
        }
    }

    async fn step_failed(&mut self, serial: Serial, mut verdict: Verdict) {
        let Some(walk) = self.walks.get_mut(&serial) else { return };
        verdict.on_fail = Some(walk.on_fail);
        let (on_fail, caller, names) = (walk.on_fail, walk.caller, walk.names.clone());
        self.tell_step_verdict(serial, &verdict);
        let current = self.snapshots.load();
        match on_fail {
            OnFail::Notify => {
                // It has been said; the pause is waited for, and the walk goes on.
                let judging = self.walks.get_mut(&serial).map(|walk| &mut walk.judging);
                if let Some(Some(judging)) = judging {
                    judging.trials.clear();
                }
            }
            OnFail::Freeze => {
                let receipts = self.step_receipts(serial, &[verdict]);
                self.conclude_walk(serial, Event::Frozen { receipts }).await;
            }
            OnFail::Revert => {
                let back = |name: &String| {
                    let upstream = current.upstream(name)?;
                    Some((upstream.clone(), upstream.live()?))
                };
                let members: Vec<(Upstream, Colour)> = names.iter().filter_map(back).collect();
                // Its drain runs on by itself.
                drop(self.set_out(Wish::back_to(members, REVERT), caller).await);
                let now = self.snapshots.load();
                let runs = |name: &String| now.upstream(name)?.canary_order();
                let stands = names.iter().any(|name| runs(name).is_some());
                if stands {
                    verdict.obstacle = Some("the state could not be made durable".to_owned());
                }
                let receipts = self.step_receipts(serial, &[verdict]);
                let event =
                    if stands { Event::Frozen { receipts } } else { Event::Reverted { receipts } };
                self.conclude_walk(serial, event).await;
            }
        }
    }
}

impl Walk {
    fn meets(&self, names: &[String]) -> bool {
        self.names.iter().any(|name| names.contains(name))
    }

    /// Which step it has come to, from 1.
    fn step(&self) -> usize {
        self.steps - self.left.len()
    }

    /// Whether a step of it is being judged.
    pub(super) fn is_judging(&self) -> bool {
        self.judging.is_some()
    }

    /// Whether the canary is what this step has made of it.
    fn stands(&self, snapshot: &Snapshot) -> bool {
        let stands = |name: &String| {
            let order = snapshot.upstream(name).and_then(Upstream::canary_order);
            order.is_some_and(|order| order.weight == self.weight && order.colour == self.colour)
        };
        self.names.iter().all(stands)
    }

    fn look(&mut self, snapshot: &Snapshot) -> Option<Found> {
        let stands = self.stands(snapshot);
        let judging = self.judging.as_mut()?;
        if !stands {
            return Some(Found::Elsewhere);
        }
        let took = judging.since.elapsed();
        for trial in &mut judging.trials {
            if let Some(evidence) = trial.look(snapshot) {
                return Some(Found::Bad(trial.condemn(&evidence, took)));
            }
        }
        if took < self.pause {
            return None;
        }
        let trials = judging.trials.iter();
        let verdicts: Vec<Verdict> = trials.map(|trial| trial.conclude(took)).collect();
        if verdicts.iter().all(|one| one.result == Outcome::Passed) {
            return Some(Found::Good(verdicts));
        }
        (took >= self.pause * PATIENCE).then_some(Found::Unsure(verdicts))
    }
}

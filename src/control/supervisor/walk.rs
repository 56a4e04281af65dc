//! A promotion in steps: a canary that grows by itself, judged at each step against the live colour
//! beside it, and at last a promotion of everybody.

mod telling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::command::Code;
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
use crate::control::supervisor::walk::telling::reason;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::snapshot::Snapshot;
use crate::model::split::Share;
use crate::model::upstream::Upstream;

/// How long a step is judged unless somebody says.
const PAUSE: Duration = Duration::from_secs(60);

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
        if request.dry_run {
            return Err(refusal::hinted(
                refusal::malformed("dry_run and steps exclude each other".to_owned()),
                "a dry run without steps says what the gate would",
            ));
        }
        let snapshot = self.snapshots.load();
        let wish = request::promote(request, &snapshot)?;
        let mut left = steps(&request.steps)?;
        let pause = request::duration("pause", request.pause.as_deref())?.unwrap_or(PAUSE);
        let names: Vec<String> = wish
            .members
            .iter()
            .map(|(upstream, _)| upstream.name.to_string())
            .collect();
        let Some((first, colour)) = wish.members.first() else {
            return Err(refusal::nothing_promotable());
        };
        if let Some(walk) = self.walks.values().find(|walk| walk.meets(&names)) {
            return Err(refusal::busy_steps(&walk.names.join(","), walk.colour, walk.caller));
        }
        let steps = left.len();
        let Some(weight) = left.pop_front() else { return Err(bad_steps()) };
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

    /// A gate, or the last promotion, of a walk has come to its end.
    pub(super) fn relayed(&mut self, serial: Serial, last: Option<Event>) {
        match last {
            Some(Event::Canary { .. }) if self.stopping => self.stop_walk(serial),
            Some(Event::Canary { .. }) => self.judge_step(serial),
            Some(event) => self.end_walk(serial, event),
            // Nobody waits for the gate any more.
            None => {
                self.walks.remove(&serial);
                self.walks_changed();
            }
        }
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
                Some(Found::Elsewhere) => self.conclude_walk(serial, elsewhere(serial, self)),
                Some(Found::Bad(verdict)) => self.step_failed(serial, verdict).await,
                Some(Found::Good(verdicts)) => self.next_step(serial, verdicts).await,
                Some(Found::Unsure(verdicts)) => {
                    verdicts
                        .iter()
                        .for_each(|verdict| self.tell_step_verdict(serial, verdict));
                    let event = Event::Frozen { receipts: self.step_receipts(serial, &verdicts) };
                    self.conclude_walk(serial, event);
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
                Err(refused) => self.refuse_walk(serial, &refused),
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
            Err(refused) => self.refuse_walk(serial, &refused),
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
                self.conclude_walk(serial, Event::Frozen { receipts });
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
                self.conclude_walk(serial, event);
            }
        }
    }

    /// The daemon stops: canaries stand as they are, across restarts too. Of a walk that waits for a gate,
    /// or for its last promotion, that one says what has become of it.
    pub(super) fn stop_walks(&mut self) {
        let judging = self.walks.iter().filter(|(_, walk)| walk.is_judging());
        let serials: Vec<Serial> = judging.map(|(serial, _)| *serial).collect();
        serials
            .into_iter()
            .for_each(|serial| self.stop_walk(serial));
    }

    fn stop_walk(&mut self, serial: Serial) {
        let what = "the daemon is stopping: the steps are over, the canary stays as it is";
        let event = reason(self.walks.get(&serial), Code::TakenBack, what);
        self.conclude_walk(serial, event);
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

    fn look(&mut self, snapshot: &Snapshot) -> Option<Found> {
        let judging = self.judging.as_mut()?;
        let stands = |name: &String| {
            let order = snapshot.upstream(name).and_then(Upstream::canary_order);
            order.is_some_and(|order| order.weight == self.weight && order.colour == self.colour)
        };
        if !self.names.iter().all(stands) {
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

/// Steps grow, and the last is everybody.
fn steps(written: &[Share]) -> Result<VecDeque<Share>, Refusal> {
    let grows = written.is_sorted_by(|one, next| one < next);
    let begins = written.first().is_some_and(|first| *first > Share::NONE);
    let ends = written.last() == Some(&Share::ALL);
    if grows && begins && ends { Ok(written.iter().copied().collect()) } else { Err(bad_steps()) }
}

fn bad_steps() -> Refusal {
    let wrong = refusal::malformed("steps: they must grow, and end with 100".to_owned());
    refusal::hinted(wrong, "write them as 1,10,50,100")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_from_more_than_nobody_to_everybody() {
        let read = |text: &str| -> bool {
            let shares: Vec<Share> = text.split(',').map(|one| one.parse().unwrap()).collect();
            steps(&shares).is_ok()
        };
        assert!(read("1,10,50,100") && read("0.1,100") && read("100"));
        for bad in ["0,100", "10,1,100", "10,10,100", "1,10", "100,100"] {
            assert!(!read(bad), "{bad}");
        }
        assert!(steps(&[]).is_err());
    }
}

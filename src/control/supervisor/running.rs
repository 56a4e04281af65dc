//! A promotion under way: what it was asked for, what it has come to, and who is told.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::event::Cut;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::command::event::Receipt;
use crate::control::command::event::TargetReport;
use crate::control::command::event::Warmth;
use crate::control::command::history::Who;
use crate::control::command::status::Phase;
use crate::control::command::status::PromotionStatus;
use crate::control::command::verdict::Verdict;
use crate::control::events;
use crate::control::events::Bus;
use crate::control::promotion::Ending;
use crate::control::promotion::Promotion;
use crate::control::promotion::Purpose;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::tasks;
use crate::control::supervisor::tasks::Draining;
use crate::control::supervisor::trial::Trial;
use crate::control::supervisor::warm::Warming;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::split::Share;
use crate::model::upstream::Upstream;

/// Events that may wait for a requester that reads slowly. Beyond it, progress is left out; the
/// last slots are kept for the switch and the verdict.
pub(super) const ANSWER_EVENTS: usize = 64;
const KEPT_FOR_THE_VERDICT: usize = 4;

/// A promotion under way.
#[derive(Debug)]
pub(super) struct Running {
    /// Its name in logs and events.
    pub(super) id: String,
    pub(super) caller: Caller,
    /// The caller, for the history, and the word for what it asked.
    pub(super) asked: (Who, &'static str),
    pub(super) machine: Promotion,
    pub(super) members: Vec<Member>,
    /// `None` once nobody is told any more.
    pub(super) answer: Option<mpsc::Sender<Event>>,
    pub(super) wait: bool,
    /// What part of the users gets the colour: not all of them, as a promotion would.
    pub(super) canary: Option<Share>,
    pub(super) build: Option<String>,
    /// Since when it is in its phase.
    pub(super) since: SystemTime,
    /// When the gate opened, for the receipt.
    pub(super) gate_took: Duration,
    /// When the drain began.
    pub(super) switched: Instant,
    /// The generation that it made.
    pub(super) generation: u64,
    pub(super) last_round: Vec<TargetReport>,
    /// Why it is refused, where the supervisor knows better than the gate.
    pub(super) refusal: Option<(Code, Vec<Reason>)>,
    /// Its colour is being warmed up; the gate comes after that.
    pub(super) warming: Option<Warming>,
    /// How warm it became.
    pub(super) warmed: Vec<Warmth>,
    /// The retired colour may be held for a while: it is no way back.
    pub(super) holds_old: bool,
    /// When it was last told how the bake is doing.
    pub(super) told: Instant,
    /// The colours that are being judged.
    pub(super) trials: Vec<Trial>,
    /// What that has come to.
    pub(super) verdicts: Vec<Verdict>,
    /// Its colour has got other targets for it, which go again if it comes to nothing.
    pub(super) deploys: bool,
    /// Its canary is the first of some steps.
    pub(super) in_steps: bool,
    /// What it waits for.
    pub(super) task: Option<AbortHandle>,
}

/// One upstream of a promotion.
#[derive(Debug)]
pub(super) struct Member {
    /// As it was when the promotion began.
    pub(super) upstream: Upstream,
    /// The colour that is to be live.
    pub(super) colour: Colour,
    /// It was live before.
    pub(super) already: bool,
    /// The other colour has been made live again.
    pub(super) reopened: bool,
    /// The other colour is held for a way back: exceptions may go on using it, and the drain waits for
    /// the plain requests alone.
    pub(super) held: bool,
    /// A preview of the other colour stands: who sees it goes on seeing it.
    pub(super) shown: bool,
    /// What must be empty before the other colour is safe to kill: its pool, and older pools of that
    /// colour which a reload replaced.
    pub(super) retired: Vec<Arc<Pool>>,
}

impl Member {
    /// Whether its colour stays live, and the canary of the other one ends.
    pub(super) fn ends_canary(&self) -> bool {
        ends_canary(&self.upstream, self.colour)
    }

    /// Whether it makes another colour live than was, and so has one to go back to.
    pub(super) fn switches(&self) -> bool {
        !self.already && !self.ends_canary()
    }

    /// What is in flight on the retired colour.
    fn in_flight(&self) -> usize {
        tasks::in_flight(&self.retired)
    }

    /// What the drain waits for there.
    fn draining(&self) -> impl Iterator<Item = Draining> {
        let held = self.held || self.shown;
        let pools = self.retired.iter().cloned();
        pools.map(move |pool| Draining { pool, held })
    }

    /// What has been ended by force there.
    fn cut(&self) -> Cut {
        let mut cut = Cut::default();
        for pool in self.retired.iter().filter(|pool| pool.leases().is_cut()) {
            let count = pool.leases().cut_count();
            cut.requests += count.requests;
            cut.tunnels += count.tunnels;
            cut.websockets_closed += count.websockets_closed;
            cut.events_ended += count.events_ended;
            cut.streams_reset += count.streams_reset;
        }
        if self.already { Cut::default() } else { cut }
    }
}

/// Whether making `colour` live only means to end a canary of the other one.
pub(super) fn ends_canary(upstream: &Upstream, colour: Colour) -> bool {
    upstream.live() == Some(colour) && upstream.canary_order().is_some()
}

impl Running {
    /// Its upstreams' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.upstream.name.to_string())
            .collect()
    }

    /// The colour it makes live; `None` where upstreams differ (a rollback of several).
    pub(super) fn colour(&self) -> Option<Colour> {
        let first = self.members.first()?.colour;
        let same = self.members.iter().all(|member| member.colour == first);
        same.then_some(first)
    }

    /// The members that it changes, or would.
    pub(super) fn changing(&self) -> impl Iterator<Item = &Member> {
        let all = self.machine.plan().purpose == Purpose::DryRun;
        self.members
            .iter()
            .filter(move |member| all || !member.already)
    }

    /// Whether it holds this upstream against other promotions.
    pub(super) fn holds(&self, upstream: &str) -> bool {
        self.machine.is_gating()
            && self
                .changing()
                .any(|member| &*member.upstream.name == upstream)
    }

    /// Whether it makes the colour live that `other` retired.
    pub(super) fn brings_back(&self, other: &Member) -> bool {
        self.changing().any(|ours| {
            ours.upstream.name == other.upstream.name && ours.colour == other.colour.other()
        })
    }

    /// The pools its drain waits for.
    pub(super) fn draining(&self) -> Vec<Draining> {
        self.members
            .iter()
            .filter(|member| !member.reopened)
            .flat_map(Member::draining)
            .collect()
    }

    /// Shuts the pools that only exceptions use any more. What is looked at afterwards is exact: a
    /// receipt that says "safe to kill" stands on it.
    pub(super) fn shut_what_is_done(&self) {
        let draining = self.draining();
        for done in draining.iter().filter(|draining| draining.is_done()) {
            done.pool.leases().shut();
        }
    }

    /// What its drain has ended by force so far.
    pub(super) fn cut_so_far(&self) -> usize {
        self.members
            .iter()
            .filter(|member| !member.reopened)
            .map(|member| member.cut().forced())
            .sum()
    }

    /// Ends by force what is left on the colours that it retired itself. Where the drain waits for
    /// nothing any more, who is let in by name stays: the deadline came for another upstream.
    pub(super) fn cut(&self) {
        for member in self
            .members
            .iter()
            .filter(|member| !member.already && !member.reopened)
        {
            let spread = member.upstream.promotion.close_jitter;
            let late = member
                .draining()
                .filter(|draining| !draining.is_spared() || draining.left() > 0);
            late.for_each(|draining| tasks::cut(&draining.pool, spread));
        }
    }

    /// The receipts of this ending, one an upstream.
    pub(super) fn receipts(&self, ending: Ending) -> Vec<Receipt> {
        let drained = self.switched.elapsed().as_secs_f64();
        let receipt = |member: &Member| {
            let in_flight = member.in_flight();
            // Of a pool that still lets exceptions in, nothing found now would stay so.
            let shut = member.retired.iter().all(|pool| pool.leases().is_shut());
            let safe = !member.reopened && shut && ending.is_safe_to_kill(in_flight);
            Receipt {
                upstream: member.upstream.name.to_string(),
                colour: member.colour,
                generation: self.generation,
                gate_seconds: if member.already { 0.0 } else { self.gate_took.as_secs_f64() },
                drained_seconds: drained,
                in_flight,
                cut: member.cut(),
                safe_to_kill: safe.then_some(member.colour.other()),
                already: member.already,
                warmup: self
                    .warmed
                    .iter()
                    .find(|warmth| warmth.upstream == *member.upstream.name)
                    .cloned(),
                verdict: None,
                held_until: None,
            }
        };
        self.members.iter().map(receipt).collect()
    }

    /// Tells the requester and everybody who follows the events. A verdict always gets through.
    pub(super) fn tell(&self, bus: &Bus, event: &Event) {
        self.record(bus.history(), event);
        let promoting = self.colour().filter(|_| self.canary.is_none());
        bus.tell_of(&self.id, self.names(), promoting, event.clone());
        let Some(answer) = &self.answer else { return };
        let verdict = event.exit_code().is_some()
            || matches!(event, Event::Switched { .. } | Event::Verdict(_));
        if verdict || answer.capacity() > KEPT_FOR_THE_VERDICT {
            // The error says that nobody listens any more; the promotion does not depend on it.
            drop(answer.try_send(event.clone()));
        }
    }

    /// For `status`, if it changes or has changed this upstream.
    pub(super) fn status(&self, upstream: &str) -> Option<PromotionStatus> {
        let phase = match (self.machine.is_gating(), self.machine.is_draining()) {
            (true, _) => Phase::Gating,
            (false, true) if self.machine.plan().purpose == Purpose::Change => Phase::Draining,
            (false, false) if self.machine.is_switched() => Phase::Baking,
            (false, _) => return None,
        };
        let member = self
            .members
            .iter()
            .find(|member| &*member.upstream.name == upstream && !member.already)?;
        (!member.reopened).then(|| PromotionStatus {
            id: self.id.clone(),
            colour: member.colour,
            phase,
            since: events::at(self.since),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

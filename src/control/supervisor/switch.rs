//! The switch: the last look, the journal, and one store; and what is counted on the way.

use std::future::ready;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::command::status::PromotionStatus;
use crate::control::journal::Memory;
use crate::control::journal::Remembered;
use crate::control::journal::State;
use crate::control::promotion::Ending;
use crate::control::promotion::Input;
use crate::control::promotion::Purpose;
use crate::control::promotion::in_words;
use crate::control::reload;
use crate::control::reload::Ground;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::request::REVERT;
use crate::control::supervisor::running::Member;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks::Done;
use crate::model::colour::Colour;
use crate::model::orders::held::Held;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::observe::metrics::Phase;
use crate::observe::metrics::PromotionOutcome;
use crate::observe::metrics::StreamEnd;

impl Supervisor {
    /// Makes the colours of `running` live, or refuses and leaves everything as it was.
    ///
    /// The order is the promise. Journal before publish: killed in between, the daemon restarts into
    /// a colour that passed its gate. Reopen before publish: whoever loads the new snapshot gets a
    /// lease. Retire after publish: whoever is refused a lease finds a newer snapshot.
    pub(super) async fn switch(&mut self, running: &mut Running) -> Input<'static> {
        let old = self.snapshots.load();
        let begun = Instant::now();
        let gated = running.machine.plan().rounds > 0;
        if !is_still_good(running, &old, begun) {
            return Input::NotPublished;
        }
        let now = SystemTime::now();
        let mut memory = self.memory.clone();
        for member in running.changing() {
            let (live, previous) = (member.colour, Some(member.colour.other()));
            let remembered = Remembered { live, previous, since: now };
            let name = member.upstream.name.to_string();
            memory.end_trials(&name);
            if !member.ends_canary() {
                hold(&mut memory, &name, running, member, now);
                memory.upstreams.insert(name, remembered);
            } else if running.asked.1 == REVERT {
                // What a step has judged bad helps nobody out.
                memory.give_up(&name, member.colour.other());
            }
        }
        let generation = old.generation + 1;
        if let Err(why) = self.make_durable(generation, &memory).await {
            running.refusal = Some((Code::NotDurable, not_durable(running, &why)));
            return Input::NotPublished;
        }
        self.memory = memory;
        let (memory, workers, key) = (&self.memory, self.workers, &self.key);
        let ground = Ground { generation, memory, old: Some(&old), workers, key, now };
        let new = reload::snapshot(Arc::clone(&old.settings), ground);
        for (upstream, colour) in changed(running, &new) {
            let Some(pool) = upstream.pool(colour) else { continue };
            // Forced: nothing vouches for them, and their probes go on saying so.
            for target in pool.targets.iter().filter(|_| gated) {
                target.health.vouch();
            }
            pool.leases().reopen();
        }
        running.trials = self.trials(running);
        let new = self.make_current(new);
        for (upstream, colour) in changed(running, &new) {
            let Some(pool) = upstream.pool(colour.other()) else { continue };
            pool.leases().retire();
        }
        self.switched(running, generation, begun);
        Input::Published
    }

    /// Everything after the store: who is told, what is counted, whose drain is over.
    fn switched(&mut self, running: &mut Running, generation: u64, begun: Instant) {
        running.generation = generation;
        running.switched = Instant::now();
        running.since = SystemTime::now();
        running.tell(&self.bus, &Event::Switched { generation });
        if !running.wait {
            running.answer = None;
        }
        self.trials_over(running);
        for member in running.changing() {
            let (upstream, colour) = (&*member.upstream.name, member.colour);
            let metrics = &self.metrics;
            if member.ends_canary() {
                let (id, caller) = (&running.id, running.caller);
                tracing::info!(id, upstream, stays = %colour, generation, %caller, "canary is over");
                continue;
            }
            metrics.promotion(upstream, colour, PromotionOutcome::Switched);
            metrics.promotion_phase(upstream, Phase::Gate, running.gate_took);
            metrics.promotion_phase(upstream, Phase::Switch, begun.elapsed());
            let (id, caller) = (&running.id, running.caller);
            tracing::info!(id, upstream, %colour, generation, %caller, "switched");
        }
        self.take_back(running);
    }

    /// Drains of the colours that `running` has just made live again are over, and nothing that it has
    /// taken back is judged any more.
    pub(super) fn take_back(&mut self, running: &Running) {
        let draining = self
            .running
            .iter_mut()
            .filter(|(_, other)| other.machine.is_switched());
        for (&serial, other) in draining {
            let (reopened, counted) = other.reopen(running);
            self.taken_back.extend(std::iter::repeat_n(serial, counted));
            if reopened > counted {
                // Its drain waits for less.
                self.tasks.spawn(ready(Done::Look(serial)));
            }
        }
    }

    /// Writes what is to be true. The disk may be slow, so it is waited for away from this thread;
    /// the loop waits too, because nothing may change meanwhile.
    pub(super) async fn make_durable(
        &self,
        generation: u64,
        memory: &Memory,
    ) -> Result<(), String> {
        let journal = Arc::clone(&self.journal);
        let state = State { generation, memory: memory.clone() };
        let write = move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.write(&state).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(write)
            .await
            .unwrap_or_else(|failed| Err(failed.to_string()))
    }

    /// Counts how a promotion ended.
    pub(super) fn measure_end(&self, running: &Running, ending: Ending) {
        if running.machine.plan().purpose != Purpose::Change {
            return;
        }
        let drained = running.switched.elapsed();
        let gated = running.machine.plan().started.elapsed();
        let receipts = running.receipts(ending);
        let of_canaries = running.members.iter().map(Member::ends_canary);
        for (receipt, of_canary) in receipts.iter().zip(of_canaries) {
            if receipt.already || of_canary {
                continue;
            }
            let (upstream, colour) = (&*receipt.upstream, receipt.colour);
            match ending {
                Ending::Refused | Ending::Cancelled => {
                    self.metrics
                        .promotion(upstream, colour, PromotionOutcome::Refused);
                    self.metrics.promotion_phase(upstream, Phase::Gate, gated);
                    continue;
                }
                Ending::Cut => {
                    self.metrics
                        .promotion(upstream, colour, PromotionOutcome::Cut);
                }
                Ending::Reverted => {
                    // The receipt names the colour that is live again.
                    self.metrics
                        .promotion(upstream, colour, PromotionOutcome::Reverted);
                }
                Ending::Drained
                | Ending::Reopened
                | Ending::Frozen
                | Ending::WouldSwitch
                | Ending::Shared => {}
            }
            self.metrics
                .promotion_phase(upstream, Phase::Drain, drained);
        }
        if !matches!(ending, Ending::Refused | Ending::Cancelled) {
            self.count_cuts(running);
        }
    }

    /// What the drain has cut, also of pools that a reload has put in the place of others meanwhile.
    fn count_cuts(&self, running: &Running) {
        for pool in running.changing().flat_map(|member| &member.retired) {
            self.count_cut(pool);
        }
    }

    /// Counts what has been cut of a pool and was not counted before, by whichever drain.
    pub(super) fn count_cut(&self, pool: &Pool) {
        let (upstream, colour, cut) = (&pool.upstream, pool.colour, pool.leases().cut_news());
        let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
        self.metrics
            .requests_cut(upstream, colour, count(cut.forced()));
        for (end, closed) in [
            (StreamEnd::WebSocket, cut.websockets_closed),
            (StreamEnd::Events, cut.events_ended),
            (StreamEnd::Reset, cut.streams_reset),
        ] {
            self.metrics
                .streams_closed(upstream, colour, end, count(closed));
        }
    }

    /// Tells `status` which promotions run now.
    pub(super) fn promotions_changed(&self) {
        let snapshot = self.snapshots.load();
        let of = |upstream: &Upstream| -> Option<(String, PromotionStatus)> {
            // The newest is the one that matters: an older one may still drain the same upstream.
            let mut newest_first = self.running.values().rev();
            let status = newest_first.find_map(|running| running.status(&upstream.name))?;
            Some((upstream.name.to_string(), status))
        };
        let promotions = snapshot.upstreams.iter().filter_map(of).collect();
        self.board_with(|board| board.promotions = promotions);
    }
}

impl Running {
    /// Gives up what `back` has made live again: how many members, and how many of them count for whether
    /// all of it is taken back. Those that were live before do not, unless there are no others.
    fn reopen(&mut self, back: &Self) -> (usize, usize) {
        let all_count = !self.members.iter().any(Member::switches);
        let (mut reopened, mut counted) = (0, 0);
        for member in &mut self.members {
            if member.reopened || !back.brings_back(member) {
                continue;
            }
            member.reopened = true;
            let name = &member.upstream.name;
            self.trials.retain(|trial| trial.upstream != *name);
            reopened += 1;
            counted += usize::from(all_count || member.switches());
        }
        (reopened, counted)
    }
}

/// The upstreams of `snapshot` that `running` changes, each with its new colour.
pub(super) fn changed<'a>(
    running: &Running,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a Upstream, Colour)> {
    running.changing().filter_map(|member| {
        let upstream = snapshot.upstream(&member.upstream.name)?;
        Some((upstream, member.colour))
    })
}

/// The colour that is retired is not to be stopped for a while, unless this is the way back.
fn hold(memory: &mut Memory, name: &str, running: &Running, member: &Member, now: SystemTime) {
    let mut orders = memory.orders.remove(name).unwrap_or_default();
    let bake = running.machine.plan().bake;
    let lasts = member.upstream.promotion.hold.max(bake);
    let held =
        || Held { colour: member.colour.other(), until: now + lasts, baking: !bake.is_zero() };
    orders.held = (running.holds_old && !lasts.is_zero()).then(held);
    if !orders.is_empty() {
        memory.orders.insert(name.to_owned(), orders);
    }
}

/// The last look before anything changes, once the gate has opened: whether no target of the new
/// colours has failed since. A forced promotion asks nobody.
pub(super) fn is_still_good(running: &mut Running, old: &Snapshot, now: Instant) -> bool {
    running.gate_took = now.duration_since(running.machine.plan().started);
    let gated = running.machine.plan().rounds > 0;
    let failed = if gated { failed_since(running, old) } else { Vec::new() };
    let good = failed.is_empty();
    if !good {
        running.refusal = Some((Code::Gate, failed));
    }
    good
}

/// Targets of the new colours whose latest probe, whoever sent it, is not good.
fn failed_since(running: &Running, snapshot: &Snapshot) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (upstream, colour) in changed(running, snapshot) {
        let Some(pool) = upstream.pool(colour) else { continue };
        for target in &pool.targets {
            let Some(last) = target.health.last() else { continue };
            if last.outcome.is_good() {
                continue;
            }
            let what = in_words(&last.outcome);
            reasons.push(Reason {
                upstream: upstream.name.to_string(),
                colour,
                target: Some(target.name.to_string()),
                what: format!("{} {what} between the gate and the switch", target.name),
                hint: last.outcome.hint().map(str::to_owned),
            });
        }
    }
    reasons
}

pub(super) fn not_durable(running: &Running, why: &str) -> Vec<Reason> {
    running
        .changing()
        .map(|member| Reason {
            upstream: member.upstream.name.to_string(),
            colour: member.colour,
            target: None,
            what: format!("the state could not be made durable: {why}"),
            hint: Some("see to the disk under state_dir".to_owned()),
        })
        .collect()
}

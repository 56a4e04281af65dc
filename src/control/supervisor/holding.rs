//! A retired colour that is held for a way back: for how long, which of its doors is open, and what the
//! receipts say of it.

use std::time::Duration;
use std::time::SystemTime;

use crate::control::command::event::Receipt;
use crate::control::command::verdict::Verdict;
use crate::control::events;
use crate::control::journal::Memory;
use crate::control::promotion::Ending;
use crate::control::promotion::Judgement;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::running::Member;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks::Serial;
use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::orders::held::Held;
use crate::sync::lease::Door;

impl Supervisor {
    /// The bake is over; the old colours are held on if that is wanted, from now on as long again.
    pub(super) async fn hold_on(&mut self, serial: Serial, longer: bool) {
        let Some(running) = self.running.get(&serial) else { return };
        let again = running.machine.plan().bake;
        let now = SystemTime::now();
        let held: Vec<(String, Colour, Duration)> = running
            .changing()
            .filter(|member| member.switches() && !member.reopened)
            .map(|member| {
                let hold = member.upstream.promotion.hold.max(again);
                (member.upstream.name.to_string(), member.colour.other(), hold)
            })
            .collect();
        for (name, colour, hold) in held {
            let standing = self.memory.orders.get(&name);
            let standing = standing.and_then(|orders| orders.held.clone());
            // Somebody may have given it up meanwhile: its processes are gone.
            let Some(standing) = standing.filter(|held| held.colour == colour) else { continue };
            let until = if longer { standing.until.max(now + hold) } else { standing.until };
            let held = (until > now).then_some(Held { colour, until, baking: false });
            if held.as_ref() == Some(&standing) {
                continue;
            }
            let edit = |orders: &mut Orders| orders.held.clone_from(&held);
            if let Err(refused) = self.order([name.as_str()], edit).await {
                tracing::warn!(why = refused.detail, "what is held could not be made durable");
            }
        }
    }

    /// A drain that had to cut has shut its pools for that. Those that are held, or shown to somebody, are
    /// open to exceptions again, now that its receipt is written.
    pub(super) fn let_exceptions_in(&self, running: &mut Running) {
        running.hear_what_is_held(&self.memory);
        for member in running
            .members
            .iter()
            .filter(|member| member.held || member.shown)
        {
            let (name, colour) = (&member.upstream.name, member.colour.other());
            let now = self.snapshots.load();
            let Some(pool) = now.upstream(name).and_then(|up| up.pool(colour)) else { continue };
            let leases = pool.leases();
            let is_empty = leases.is_shut() && leases.in_flight() == 0;
            let door = if member.held { Door::Warm } else { Door::Exceptional };
            if is_empty && self.guard_of(name, colour).is_none() {
                leases.set(door);
            }
        }
    }

    /// Whether a promotion is about to send requests to this colour: it is being warmed up, or gated.
    fn wants(&self, upstream: &str, colour: Colour) -> bool {
        let wants = |member: &Member| &*member.upstream.name == upstream && member.colour == colour;
        self.running
            .values()
            .any(|running| running.holds(upstream) && running.changing().any(wants))
    }

    /// What the receipts of an ending owe to verdicts and to what is held.
    pub(super) fn complete(&self, running: &Running, ending: Ending, receipts: &mut [Receipt]) {
        let now = SystemTime::now();
        for (receipt, member) in receipts.iter_mut().zip(&running.members) {
            let of = |verdict: &&Verdict| verdict.upstream == receipt.upstream;
            receipt.verdict = running.verdicts.iter().find(of).cloned();
            if running.machine.judgement() == Some(Judgement::Inconclusive) {
                receipt.safe_to_kill = None;
            }
            let orders = self.memory.orders.get(&receipt.upstream);
            let held = orders.and_then(|orders| orders.held.as_ref());
            if let Some(held) = held.filter(|held| held.stands(now)) {
                receipt.held_until = Some(events::at(held.until));
                receipt.safe_to_kill = receipt.safe_to_kill.filter(|safe| *safe != held.colour);
            }
            if member.shown || self.wants(&receipt.upstream, member.colour.other()) {
                receipt.safe_to_kill = None;
            }
            if ending == Ending::Reverted && member.switches() {
                receipt.colour = receipt.colour.other();
                receipt.generation = self.snapshots.load().generation;
            }
        }
    }
}

impl Running {
    /// Takes in which of the colours that it retired are held, or shown to somebody.
    pub(super) fn hear_what_is_held(&mut self, memory: &Memory) {
        let now = SystemTime::now();
        for member in &mut self.members {
            let orders = memory.orders.get(&*member.upstream.name);
            let held = orders.and_then(|orders| orders.held.as_ref());
            let ours = |held: &Held| held.colour == member.colour.other() && held.stands(now);
            member.held = held.is_some_and(ours);
            let preview = orders.and_then(|orders| orders.preview);
            member.shown = preview.is_some_and(|order| order.shows(member.colour.other(), now));
        }
    }
}

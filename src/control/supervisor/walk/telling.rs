//! What is told of a promotion in steps.

use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::event::Cut;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::command::event::Receipt;
use crate::control::command::status::StepsStatus;
use crate::control::command::verdict::Verdict;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::bakes;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::trial::Trial;
use crate::control::supervisor::walk::Walk;
use crate::model::colour::Colour;

impl Supervisor {
    /// Tells `status` which promotions go in steps now.
    pub(super) fn walks_changed(&self) {
        let of = |walk: &Walk| {
            let status = walk.status();
            let names = walk.names.clone().into_iter();
            names.map(move |name| (name, status.clone()))
        };
        let walks = self.walks.values().flat_map(of).collect();
        self.board_with(|board| board.walks = walks);
    }

    pub(super) fn step_receipts(&self, serial: Serial, verdicts: &[Verdict]) -> Vec<Receipt> {
        let Some(walk) = self.walks.get(&serial) else { return Vec::new() };
        let receipt = |name: &String| Receipt {
            upstream: name.clone(),
            colour: walk.colour.other(),
            generation: self.snapshots.load().generation,
            gate_seconds: 0.0,
            drained_seconds: 0.0,
            in_flight: 0,
            cut: Cut::default(),
            safe_to_kill: None,
            already: false,
            warmup: None,
            verdict: verdicts.iter().find(|of| of.upstream == *name).cloned(),
            held_until: None,
        };
        walk.names.iter().map(receipt).collect()
    }

    pub(super) fn tell_step_verdict(&self, serial: Serial, verdict: &Verdict) {
        let Some(walk) = self.walks.get(&serial) else { return };
        bakes::log(&walk.id, verdict);
        self.metrics
            .verdict(&verdict.upstream, verdict.colour, bakes::place(verdict.result));
        self.tell_walk(serial, &Event::Verdict(verdict.clone()));
    }

    /// How a step is doing, now and then.
    pub(super) fn tell_step(&mut self, serial: Serial) {
        let Some(walk) = self.walks.get_mut(&serial) else { return };
        let Some(judging) = &mut walk.judging else { return };
        let now = Instant::now();
        if now.duration_since(judging.told) < bakes::TELL {
            return;
        }
        judging.told = now;
        let colours = judging.trials.iter().map(Trial::report).collect();
        let left = (judging.since + walk.pause).saturating_duration_since(now);
        self.tell_walk(serial, &Event::Baking { colours, left_seconds: left.as_secs_f64() });
    }

    pub(super) fn tell_walk(&self, serial: Serial, event: &Event) {
        let Some(walk) = self.walks.get(&serial) else { return };
        self.bus
            .tell_of(&walk.id, walk.names.clone(), Some(walk.colour), event.clone());
        drop(walk.answer.try_send(event.clone()));
    }
}

impl Walk {
    fn status(&self) -> StepsStatus {
        StepsStatus {
            id: self.id.clone(),
            colour: self.colour,
            weight: self.weight,
            step: self.step(),
            steps: self.steps,
            pause_seconds: self.pause.as_secs_f64(),
            since: self.since.clone(),
            by: self.who.clone(),
        }
    }
}

pub(super) fn elsewhere(serial: Serial, supervisor: &Supervisor) -> Event {
    let what = "somebody else has changed the canary: the steps are over, it stays as it is now";
    reason(supervisor.walks.get(&serial), Code::TakenBack, what)
}

pub(super) fn reason(walk: Option<&Walk>, code: Code, what: &str) -> Event {
    let reason = Reason {
        upstream: walk.map_or(String::new(), |walk| walk.names.join(",")),
        colour: walk.map_or(Colour::Blue, |walk| walk.colour),
        target: None,
        what: what.to_owned(),
        hint: Some("proxyctl status".to_owned()),
    };
    Event::Refused { code, reasons: vec![reason] }
}

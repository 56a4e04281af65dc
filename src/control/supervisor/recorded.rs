//! What the supervisor does, for the history: each promotion when it switches and at its end, and
//! what happens without anybody asking at that moment. What is asked by a command that has its
//! answer at once is recorded where that answer is given (`socket::recorded`).

use std::time::Duration;

use serde_json::Value;

use crate::control::command::event::Event;
use crate::control::command::history::Entry;
use crate::control::command::history::Generations;
use crate::control::command::history::Who;
use crate::control::history::Recorder;
use crate::control::history::blank;
use crate::control::promotion::Purpose;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::running::Running;
use crate::model::colour::Colour;

impl Running {
    /// Records `event` if it is a change, or an end. A dry run changes nothing.
    pub(super) fn record(&self, history: &Recorder, event: &Event) {
        if event.is_kept() && self.machine.plan().purpose != Purpose::DryRun {
            history.record(&self.entry(event));
        }
    }

    fn entry(&self, event: &Event) -> Entry {
        let (who, what) = &self.asked;
        let after = self.generation;
        // The switch has taken the number after that of the snapshot it found.
        let changes = matches!(self.machine.plan().purpose, Purpose::Change | Purpose::Canary);
        let switched = changes && !matches!(event, Event::Refused { .. });
        let before = if switched { after.saturating_sub(1) } else { after };
        Entry {
            who: who.clone(),
            id: Some(self.id.clone()),
            upstreams: self.names(),
            colour: self.colour(),
            seconds: seconds(self.machine.plan().started.elapsed()),
            ..of(event, what, Generations { before, after })
        }
    }
}

impl Supervisor {
    /// Records what proxyd does by itself.
    pub(super) fn record_own(&self, what: &str, outcome: &str, cause: Option<&str>) {
        let cause = cause.map(str::to_owned);
        let entry = Entry { cause, ..blank(what, outcome, self.unchanged()) };
        self.bus.history().record(&entry);
    }

    /// Records a reload that nobody asked for on the control socket.
    pub(super) fn record_reload(&self, cause: &str, event: &Event) {
        let Event::Reload { applied, generation, problems } = event else { return };
        let outcome = if *applied { "done" } else { "refused" };
        let (before, after) = (generation.saturating_sub(u64::from(*applied)), *generation);
        let entry = Entry {
            cause: Some(cause.to_owned()),
            why: problems.iter().map(ToString::to_string).collect(),
            ..blank("reload", outcome, Generations { before, after })
        };
        self.bus.history().record(&entry);
    }

    /// Records that an order is over by itself.
    pub(super) fn record_over(&self, event: &Event) {
        let Event::Ordered { upstream, order, generation, .. } = event else { return };
        let (before, after) = (generation.saturating_sub(1), *generation);
        let entry = Entry {
            cause: Some("its time has come".to_owned()),
            upstreams: vec![upstream.clone()],
            ..blank(order.as_str(), "over", Generations { before, after })
        };
        self.bus.history().record(&entry);
    }

    /// Records what needs no promotion of its own, and is yet answered by an event.
    pub(super) fn record_answer(
        &self,
        what: &str,
        caller: Caller,
        upstreams: Vec<String>,
        before: u64,
        event: &Event,
    ) {
        let history = self.bus.history();
        let generation = Generations { before, after: self.snapshots.load().generation };
        let entry = Entry { who: history.who(caller), upstreams, ..of(event, what, generation) };
        history.record(&entry);
    }

    /// Records how a promotion in steps ended before its last one began.
    pub(super) fn record_steps(
        &self,
        who: Who,
        id: Option<String>,
        (upstreams, colour): (Vec<String>, Colour),
        event: &Event,
    ) {
        let colour = Some(colour);
        let entry = Entry { who, id, upstreams, colour, ..of(event, "steps", self.unchanged()) };
        self.bus.history().record(&entry);
    }

    fn unchanged(&self) -> Generations {
        let generation = self.snapshots.load().generation;
        Generations { before: generation, after: generation }
    }
}

/// An entry that says what this event says.
fn of(event: &Event, what: &str, generation: Generations) -> Entry {
    let (mut code, mut why) = (None, Vec::new());
    if let Event::Refused { code: of_refusal, reasons } = event {
        code = Some(*of_refusal);
        why = reasons.iter().map(|reason| reason.what.clone()).collect();
    }
    let said = serde_json::to_value(event).unwrap_or(Value::Null);
    let outcome = said.get("event").and_then(Value::as_str);
    let outcome = outcome.unwrap_or("done").to_owned();
    Entry { code, why, event: Some(said), ..blank(what, &outcome, generation) }
}

/// To the millisecond: more digits would be noise.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e3).round() / 1e3
}

//! How a promotion in steps ends, and that nothing says later that it still goes on.

use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::promotion::Input;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::walk::telling::reason;
use crate::model::orders::Orders;
use crate::model::orders::canary::Canary;

impl Supervisor {
    /// A gate, or the last promotion, of a walk has come to its end.
    pub(in crate::control::supervisor) async fn relayed(
        &mut self,
        serial: Serial,
        last: Option<Event>,
    ) {
        match last {
            Some(Event::Canary { .. }) => self.begun(serial).await,
            Some(event) => self.end_walk(serial, event).await,
            None => self.abandoned(serial).await,
        }
    }

    async fn begun(&mut self, serial: Serial) {
        if self.stopping { self.stop_walk(serial).await } else { self.judge_step(serial) }
    }

    /// Nobody waits for the gate any more: it is given up. Where it had opened in that moment, users have
    /// the colour, and the walk goes on as any other does without its requester.
    async fn abandoned(&mut self, serial: Serial) {
        let Some(walk) = self.walks.get(&serial) else { return };
        if walk.stands(&self.snapshots.load()) {
            return self.begun(serial).await;
        }
        let gates = |running: &Running| {
            running.in_steps && running.machine.is_gating() && walk.meets(&running.names())
        };
        let gate = self.running.iter().find(|(_, running)| gates(running));
        let gate = gate.map(|(serial, _)| *serial);
        self.walks.remove(&serial);
        self.walks_changed();
        if let Some(gate) = gate {
            self.drive(gate, Input::ClientGone).await;
        }
    }

    /// The daemon stops: canaries stand as they are, across restarts too. Of a walk that waits for a gate,
    /// or for its last promotion, that one says what has become of it.
    pub(in crate::control::supervisor) async fn stop_walks(&mut self) {
        let judging = self.walks.iter().filter(|(_, walk)| walk.is_judging());
        let serials: Vec<Serial> = judging.map(|(serial, _)| *serial).collect();
        for serial in serials {
            self.stop_walk(serial).await;
        }
    }

    async fn stop_walk(&mut self, serial: Serial) {
        let what = "the daemon is stopping: the steps are over, the canary stays as it is";
        let event = reason(self.walks.get(&serial), Code::TakenBack, what);
        self.conclude_walk(serial, event).await;
    }

    pub(super) async fn refuse_walk(&mut self, serial: Serial, refused: &Refusal) {
        let event = reason(self.walks.get(&serial), refused.code, &refused.detail);
        self.conclude_walk(serial, event).await;
    }

    /// Ends it by what no part of it records.
    pub(super) async fn conclude_walk(&mut self, serial: Serial, event: Event) {
        if let Some(walk) = self.walks.get(&serial) {
            let (id, names) = (Some(walk.id.clone()), walk.names.clone());
            self.record_steps(walk.who.clone(), id, (names, walk.colour), &event);
        }
        self.end_walk(serial, event).await;
    }

    pub(super) async fn end_walk(&mut self, serial: Serial, event: Event) {
        let Some(walk) = self.walks.remove(&serial) else { return };
        self.walks_changed();
        let (id, upstreams, code) = (&walk.id, walk.names.join(","), event.exit_code());
        tracing::info!(id, upstreams, code, "promotion in steps ended");
        // What the last promotion came to, it has told the others itself.
        if !matches!(event, Event::Drained { .. } | Event::Cut { .. } | Event::Reopened { .. }) {
            self.bus
                .tell_of(&walk.id, walk.names.clone(), Some(walk.colour), event.clone());
        }
        self.drives_no_more(&walk.names).await;
        drop(walk.answer.try_send(event));
    }

    /// A canary that stands on after its walk is one as by hand: no restart is to say otherwise.
    async fn drives_no_more(&mut self, names: &[String]) {
        let is_driven = |name: &&str| {
            let orders = self.memory.orders.get(*name);
            let canary = orders.and_then(|orders| orders.canary);
            canary.is_some_and(|canary| canary.in_steps)
        };
        let driven: Vec<&str> = names.iter().map(String::as_str).filter(is_driven).collect();
        if driven.is_empty() {
            return;
        }
        let by_hand = |orders: &mut Orders| {
            orders.canary = orders
                .canary
                .map(|canary| Canary { in_steps: false, ..canary });
        };
        if let Err(refused) = self.order(driven, by_hand).await {
            tracing::warn!(
                why = refused.detail,
                "that the steps are over could not be made durable"
            );
        }
    }
}

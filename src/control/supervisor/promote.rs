//! Promotions from the request to the verdict, driven by the state machine.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::Rollback;
use crate::control::command::event::Event;
use crate::control::command::status::Phase;
use crate::control::events;
use crate::control::gate;
use crate::control::gate::Asked;
use crate::control::promotion::Action;
use crate::control::promotion::Answer;
use crate::control::promotion::Ending;
use crate::control::promotion::Input;
use crate::control::promotion::Promotion;
use crate::control::promotion::Purpose;
use crate::control::promotion::SETTLE;
use crate::control::promotion::after_the_deadline;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::plan::plan;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::request::Way;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::ANSWER_EVENTS;
use crate::control::supervisor::running::Member;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::running::ends_canary;
use crate::control::supervisor::targets;
use crate::control::supervisor::tasks;
use crate::control::supervisor::tasks::Draining;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::telling;
use crate::model::colour::Colour;
use crate::model::split::Share;

impl Supervisor {
    /// Starts a promotion, or says why not.
    pub(super) async fn promote(
        &mut self,
        request: &Promote,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        match &request.targets {
            Some(targets) => self.deploy(request, targets, caller).await,
            None if goes_in_steps(request) => self.walk(request, caller, false).await,
            None => self.promote_at_once(request, caller).await,
        }
    }

    async fn promote_at_once(
        &mut self,
        request: &Promote,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        let wish = request::promote(request, &self.snapshots.load())?;
        targets::may_serve(&wish)?;
        self.start(wish, caller).await
    }

    /// Starts a promotion of the colour that was live before, or says why not.
    pub(super) async fn rollback(
        &mut self,
        request: &Rollback,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        match request::rollback(request, &self.snapshots.load())? {
            Way::Back(wish) => {
                targets::may_serve(&wish)?;
                self.start(wish, caller).await
            }
            Way::None(reasons) => {
                // While a first promotion gates, "busy" is the truth: soon there will be a way back.
                self.may_change(
                    reasons
                        .iter()
                        .map(|reason| (&*reason.upstream, reason.colour)),
                )?;
                let names = reasons
                    .iter()
                    .map(|reason| reason.upstream.clone())
                    .collect();
                let before = self.snapshots.load().generation;
                let refused = Event::Refused { code: Code::Gate, reasons };
                self.record_answer("rollback", caller, names, before, &refused);
                Ok(only(refused))
            }
        }
    }

    pub(super) async fn start(
        &mut self,
        wish: Wish,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        self.may_start(&wish)?;
        Ok(self.set_out(wish, caller).await)
    }

    /// Starts a promotion that nothing stands in the way of.
    pub(super) async fn set_out(&mut self, wish: Wish, caller: Caller) -> EventStream {
        let members: Vec<Member> = wish
            .members
            .iter()
            .map(|(upstream, colour)| Member {
                already: upstream.live() == Some(*colour) && !ends_canary(upstream, *colour),
                reopened: false,
                held: false,
                shown: false,
                retired: self.pools_of(upstream, colour.other()),
                upstream: upstream.clone(),
                colour: *colour,
            })
            .collect();
        let mut plan = plan(&wish, &members);
        let generation = self.snapshots.load().generation;
        if plan.purpose == Purpose::Already {
            if !wish.wait {
                return only(Event::Switched { generation });
            }
            let late = after_the_deadline(plan.close_jitter) + SETTLE;
            plan.drain_timeout = self.drains_until(&members, plan.started) + late;
        }
        let (answer, events) = mpsc::channel(ANSWER_EVENTS);
        let running = Running {
            id: format!("{:08x}", fastrand::u32(..)),
            caller,
            asked: (self.bus.history().who(caller), wish.asked),
            members,
            answer: Some(answer),
            wait: wish.wait,
            canary: wish.canary,
            build: wish.build,
            since: SystemTime::now(),
            gate_took: Duration::ZERO,
            switched: plan.started,
            generation,
            last_round: Vec::new(),
            refusal: None,
            warming: None,
            warmed: Vec::new(),
            holds_old: !wish.is_back,
            told: plan.started,
            trials: Vec::new(),
            verdicts: Vec::new(),
            deploys: wish.deploys,
            in_steps: wish.in_steps,
            task: None,
            machine: Promotion::new(plan),
        };
        telling::log_start(&running);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.running.insert(serial, running);
        self.begin_promotion(serial).await;
        EventStream { events }
    }

    /// How long the drains that still run on what these members retired may take.
    fn drains_until(&self, members: &[Member], now: Instant) -> Duration {
        let names: Vec<String> = members
            .iter()
            .map(|member| member.upstream.name.to_string())
            .collect();
        let theirs = self
            .running
            .values()
            .filter(|running| running.names().iter().any(|name| names.contains(name)))
            .filter_map(|running| running.machine.drain_deadline())
            .map(|deadline| deadline.saturating_duration_since(now));
        let own = members
            .iter()
            .map(|member| member.upstream.promotion.drain_timeout);
        theirs.chain(own).max().unwrap_or_default()
    }

    /// One promotion of an upstream at a time while it gates, and none of a guarded colour. A dry run
    /// changes nothing and so is in nobody's way.
    pub(super) fn may_start(&self, wish: &Wish) -> Result<(), Refusal> {
        let changing = wish.members.iter().filter(|(upstream, colour)| {
            let changes = upstream.live() != Some(*colour) || ends_canary(upstream, *colour);
            changes && !wish.dry_run
        });
        self.may_change(changing.map(|(upstream, colour)| (&*upstream.name, *colour)))
    }

    /// Whether nobody holds these upstreams, by a promotion that gates or a guard on the colour.
    pub(super) fn may_change<'a>(
        &self,
        changing: impl Iterator<Item = (&'a str, Colour)>,
    ) -> Result<(), Refusal> {
        for (name, colour) in changing {
            self.may_roll(name)?;
            let first = self.running.values().find(|running| running.holds(name));
            if let Some(first) = first {
                let since = events::at(first.since);
                let theirs = first
                    .changing()
                    .find(|member| &*member.upstream.name == name)
                    .map_or(colour, |member| member.colour);
                let (phase, who) = (Phase::Gating, first.caller);
                return Err(refusal::busy_promotion(name, theirs, phase, &since, who));
            }
            if let Some(holder) = self.guard_of(name, colour) {
                return Err(refusal::busy_guard(name, colour, holder));
            }
        }
        Ok(())
    }

    /// One round of a gate is complete.
    pub(super) async fn round(&mut self, serial: Serial, asked: Vec<(Colour, Asked)>) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let answer = |(colour, asked): &(Colour, Asked)| Answer {
            upstream: Arc::clone(&asked.upstream),
            colour: *colour,
            target: Arc::clone(&asked.target.name),
            outcome: asked.record.outcome.clone(),
        };
        let answers: Vec<Answer> = asked.iter().map(answer).collect();
        let asked: Vec<Asked> = asked.into_iter().map(|(_, asked)| asked).collect();
        running.last_round = gate::reports(&asked);
        running.tell(&self.bus, &Event::Gating { targets: running.last_round.clone() });
        self.drive(serial, Input::Round(&answers)).await;
    }

    /// Something may have changed on the pools that a promotion drains.
    pub(super) async fn look(&mut self, serial: Serial) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        running.hear_what_is_held(&self.memory);
        running.shut_what_is_done();
        let in_flight = running.draining().iter().map(Draining::left).sum();
        let cut = running.cut_so_far();
        if in_flight > 0 && cut == 0 {
            running.tell(&self.bus, &Event::Draining { in_flight });
        }
        self.drive(serial, Input::Look { in_flight, cut }).await;
    }

    /// Tells the machine what happened and does what it says, until it waits again.
    pub(super) async fn drive(&mut self, serial: Serial, input: Input<'_>) {
        self.advance(serial, input).await;
        // A switch may have taken other promotions back; those never switch anything in turn.
        while let Some(serial) = self.taken_back.pop() {
            self.advance(serial, Input::Reopened).await;
        }
        self.promotions_changed();
    }

    async fn advance(&mut self, serial: Serial, input: Input<'_>) {
        let Some(mut running) = self.running.remove(&serial) else { return };
        let mut action = running.machine.step(input, Instant::now());
        if action == Action::Publish {
            let done = match running.canary {
                Some(weight) => self.share(&mut running, weight).await,
                None => self.switch(&mut running).await,
            };
            action = running.machine.step(done, Instant::now());
        }
        match action {
            Action::Probe { at, until } => {
                let members = running
                    .changing()
                    .map(|member| (member.upstream.clone(), member.colour))
                    .collect();
                let asking = (members, running.build.clone());
                let round = tasks::round(serial, at, until, asking, running.answer.clone());
                running.task = Some(self.tasks.spawn(round));
            }
            Action::Watch { until, known, not_before } => {
                self.watch(serial, &mut running, until, known, not_before);
            }
            Action::Cut { until } => {
                running.cut();
                self.watch(serial, &mut running, until, None, until);
            }
            Action::End(ending) => {
                self.take_targets_back(&running, ending).await;
                return self.end(&mut running, ending);
            }
            // `Publish` was answered above, and the machine does not ask for it twice; who looks at the
            // bakes sees what else is to be done.
            Action::Ignore | Action::Publish | Action::Bake | Action::Revert => {}
        }
        self.running.insert(serial, running);
    }

    fn watch(
        &mut self,
        serial: Serial,
        running: &mut Running,
        until: Instant,
        known: Option<usize>,
        not_before: Instant,
    ) {
        if let Some(task) = running.task.take() {
            task.abort();
        }
        running.hear_what_is_held(&self.memory);
        let watch = tasks::watch(serial, running.draining(), until, known, not_before);
        running.task = Some(self.tasks.spawn(watch));
    }

    /// The daemon stops: a promotion that has changed nothing yet never will.
    pub(super) async fn cancel_for_stop(&mut self, serial: Serial) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let reasons = vec![telling::reason_for_all(running, "cancelled: the daemon is stopping")];
        running.refusal = Some((Code::TakenBack, reasons));
        self.drive(serial, Input::ClientGone).await;
    }

    fn end(&mut self, running: &mut Running, ending: Ending) {
        let mut receipts = running.receipts(ending);
        self.complete(running, ending, &mut receipts);
        let event = match ending {
            Ending::Refused => telling::refused(running, Code::Gate),
            Ending::Cancelled => telling::refused(running, Code::TakenBack),
            Ending::WouldSwitch => telling::would_switch(running),
            Ending::Shared => telling::shared(running),
            Ending::Drained => Event::Drained { receipts },
            Ending::Cut => Event::Cut { receipts },
            Ending::Reopened => Event::Reopened { receipts },
            Ending::Reverted => Event::Reverted { receipts },
            Ending::Frozen => Event::Frozen { receipts },
        };
        if running.warming.take().is_some() {
            self.admit_previews();
        }
        self.measure_end(running, ending);
        self.keep_deadlines(running);
        telling::log_end(running, ending, &event);
        // Who asks for the status after the verdict must not meet the promotion again.
        self.promotions_changed();
        running.tell(&self.bus, &event);
        self.let_exceptions_in(running);
    }
}

/// Whether its colour is to be tried out on some of the users first.
pub(super) fn goes_in_steps(request: &Promote) -> bool {
    !matches!(request.steps.as_slice(), [] | [Share::ALL])
}

/// An answer of one event.
pub(super) fn only(event: Event) -> EventStream {
    let (answer, events) = mpsc::channel(1);
    // The channel is new and has room for one.
    drop(answer.try_send(event));
    EventStream { events }
}

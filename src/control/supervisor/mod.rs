//! The one task that may publish. It owns the snapshot, the journal, the checks, the listeners and
//! every promotion under way, and takes one command at a time; what takes long runs beside it.

mod bakes;
mod canary;
pub mod guards;
pub mod handle;
mod holding;
mod maintenance;
mod orders;
mod pause;
mod plan;
mod pools;
mod preview;
mod promote;
mod recorded;
pub(crate) mod refusal;
mod reloading;
pub(in crate::control) mod request;
pub mod rolls;
mod running;
mod start;
mod switch;
mod target_tasks;
mod targets;
mod tasks;
mod telling;
mod trial;
mod walk;
mod warm;

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use crate::config::watch::Watch;
use crate::control::checks::Checks;
use crate::control::checks::Flip;
use crate::control::checks::Rest;
use crate::control::command::Refusal;
use crate::control::command::Reloaded;
use crate::control::command::event::Event;
use crate::control::events;
use crate::control::events::Bus;
use crate::control::journal::Journal;
use crate::control::journal::Memory;
use crate::control::promotion::Input;
use crate::control::status::Board;
use crate::control::supervisor::bakes::Bakes;
use crate::control::supervisor::guards::Held;
use crate::control::supervisor::handle::Ask;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::rolls::Rolling;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks::Done;
use crate::control::supervisor::tasks::Serial;
use crate::control::supervisor::walk::Walk;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::settings::Settings;
use crate::model::signed::SigningKey;
use crate::model::snapshot::Snapshot;
use crate::model::target::Address;
use crate::net::listen::Listeners;
use crate::net::listen::Prepared;
use crate::observe::metrics::Metrics;
use crate::sync::published::Publisher;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

pub use crate::control::supervisor::start::Parts;
pub use crate::control::supervisor::start::build;

/// Commands that may wait in the queue; who comes later waits at the door.
const ASKS: usize = 64;

/// Who waits for a reload that a gate holds up.
type Waiting = (Cause, Option<oneshot::Sender<Result<Reloaded, Refusal>>>);

/// The one task that may publish.
pub struct Supervisor {
    snapshots: Publisher<Snapshot>,
    journal: Arc<Mutex<Journal>>,
    /// What the journal holds, upstreams that left the file included: one that returns comes back
    /// with the colour that last passed its gate, not with what the file said long ago.
    memory: Memory,
    checks: Checks,
    flips: mpsc::UnboundedReceiver<Flip>,
    listeners: Listeners,
    /// Bound and checked at the start, opened after the first round of probes.
    unopened: Option<Prepared>,
    metrics: Metrics,
    workers: usize,
    /// What signs cookies and tokens, as long as it lives.
    key: Arc<SigningKey>,
    asks: mpsc::Receiver<Ask>,
    running: BTreeMap<Serial, Running>,
    next_serial: Serial,
    /// Promotions whose retired colour has just been made live again.
    taken_back: Vec<Serial>,
    bakes: Bakes,
    /// Promotions in steps.
    walks: BTreeMap<Serial, Walk>,
    guards: Vec<Held>,
    rolls: Vec<Rolling>,
    /// Drains of targets, by upstream and address, each with how many requests it has cut: gone once
    /// the target is ready again.
    drains: BTreeMap<(Arc<str>, Address), (watch::Sender<()>, usize)>,
    /// Pools that a reload replaced and that may still have work.
    leftovers: Vec<Arc<Pool>>,
    tasks: JoinSet<Done>,
    bus: Bus,
    board: watch::Sender<Arc<Board>>,
    path: PathBuf,
    /// What only a restart changes is measured against these.
    started_with: Arc<Settings>,
    /// The print of the file and certificates in service.
    print: [u8; 32],
    watch: Option<Watch>,
    waiting: Vec<Waiting>,
    stopping: bool,
}

impl Supervisor {
    /// Works until the stop: gracefully, an open gate is cancelled and a drain may come to its end;
    /// at once, nothing is waited for.
    pub async fn run(mut self, stopping: Stopping) {
        let (mut graceful, mut now) = (stopping.clone(), stopping);
        self.record_own("start", "done", None);
        self.tasks.spawn(tasks::first_round(self.snapshots.load()));
        while !(self.stopping && self.running.is_empty() && self.walks.is_empty()) {
            let baking = self.is_baking();
            tokio::select! {
                biased;
                () = now.reached(Stage::Now) => break,
                () = graceful.reached(Stage::Graceful), if !self.stopping => self.stop().await,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.done(done).await;
                }
                Some(ask) = self.asks.recv() => self.take(ask).await,
                Some(flip) = self.flips.recv() => self.flipped(flip),
                look = self.bakes.due(baking) => self.bakes_due(look).await,
                () = Self::order_over(&self.memory) => self.expire().await,
                () = changed(&mut self.watch) => self.waiting.push((Cause::Watch, None)),
            }
            self.apply_waiting().await;
        }
        self.board_with(|board| board.ready = false);
        self.record_own("stop", "done", None);
        self.bus.history().written().await;
    }

    async fn take(&mut self, ask: Ask) {
        // A requester that is gone before it got its answer is met where that matters: a stream
        // nobody reads cancels its gate, a guard nobody holds is over.
        match ask {
            Ask::Promote(request, caller, reply) => {
                let answer = self.promote(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Rollback(request, caller, reply) => {
                let answer = self.rollback(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Guard(request, caller, reply) => {
                let answer = self.guard(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Canary(request, caller, reply) => {
                let answer = self.canary(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Preview(request, caller, reply) => {
                let answer = self.preview(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Maintain(request, caller, reply) => {
                let answer = self.maintain(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Pause(request, caller, reply) => {
                let answer = self.pause(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Resume(request, caller, reply) => {
                let answer = self.resume(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::SetTarget(request, caller, reply) => {
                let answer = self.set_target(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Roll(request, caller, reply) => {
                let answer = self.roll(&request, caller);
                drop(reply.send(answer));
            }
            Ask::SetPool(request, caller, reply) => {
                let answer = self.set_pool(&request, caller).await;
                drop(reply.send(answer));
            }
            Ask::Reload(cause, reply) => self.waiting.push((cause, Some(reply))),
        }
    }

    async fn done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Round(serial, asked)) => self.round(serial, asked).await,
            Ok(Done::Well(serial, well)) => self.well(serial, well).await,
            Ok(Done::Warmed(serial, step)) => self.warmed(serial, step).await,
            Ok(Done::Deadline(serial)) => self.drive(serial, Input::Deadline).await,
            Ok(Done::ClientGone(serial)) => self.drive(serial, Input::ClientGone).await,
            Ok(Done::Look(serial)) => self.look(serial).await,
            Ok(Done::Emptied(pool, cut)) => self.emptied(&pool, cut),
            Ok(Done::TargetDrained(done)) => {
                let (about, event) = *done;
                self.target_drained(&about, event);
            }
            Ok(Done::TargetVouched(done)) => {
                let (about, vouched) = *done;
                self.vouched(about, vouched).await;
            }
            Ok(Done::FirstRound) => self.open(),
            Ok(Done::Relayed(serial, last)) => {
                self.relayed(serial, last.map(|last| *last)).await;
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.lost(&error).await,
        }
    }

    /// A task has panicked: whichever promotion waited for it must not wait for ever.
    async fn lost(&mut self, error: &JoinError) {
        tracing::error!(%error, "a task of the supervisor failed");
        let waits = |running: &Running| {
            running
                .task
                .as_ref()
                .is_some_and(|task| task.id() == error.id())
        };
        let serial = self
            .running
            .iter()
            .find_map(|(serial, running)| waits(running).then_some(*serial));
        match serial {
            Some(serial) => {
                self.drive(serial, Input::Deadline).await;
                self.look(serial).await;
            }
            None if self.unopened.is_some() => self.open(),
            None => {}
        }
    }

    fn flipped(&self, flip: Flip) {
        let Flip { upstream, colour, target, healthy, outcome, rest } = flip;
        let colour_label = colour.map_or("", Colour::as_str);
        let target = target.name.to_string();
        if let Some(rest) = rest {
            let until = match rest {
                Rest::Until(until) => Some(events::at(until)),
                Rest::Over => None,
            };
            // That it was ejected, the worker has said.
            if until.is_none() {
                tracing::info!(%upstream, colour = colour_label, target, "target is back");
            }
            let (upstream, ejected) = (upstream.to_string(), until.is_some());
            let event = Event::Ejection { upstream, colour, target, ejected, until };
            self.bus.tell(event);
            return;
        }
        if healthy {
            tracing::info!(%upstream, colour = colour_label, target, outcome, "target is healthy");
        } else {
            tracing::warn!(%upstream, colour = colour_label, target, outcome, "target is not healthy");
        }
        let upstream = upstream.to_string();
        self.bus
            .tell(Event::Probe { upstream, colour, target, healthy, outcome });
    }

    /// The public listeners open: whatever the first round of probes has said.
    fn open(&mut self) {
        let Some(prepared) = self.unopened.take() else { return };
        self.listeners.commit(prepared);
        self.listeners_changed();
        self.board_with(|board| board.ready = true);
    }

    async fn stop(&mut self) {
        self.stopping = true;
        self.board_with(|board| board.ready = false);
        self.unopened = None;
        // The workers take what is left in the accept queues, and close.
        if let Ok(none) = self.listeners.prepare(&[]) {
            self.listeners.commit(none);
        }
        let gating: Vec<Serial> = self
            .running
            .iter()
            .filter(|(_, running)| !running.machine.is_switched())
            .map(|(serial, _)| *serial)
            .collect();
        for serial in gating {
            self.cancel_for_stop(serial).await;
        }
        self.end_bakes().await;
    }

    /// The one place that publishes: `snapshot` is what every request decides on from here.
    fn make_current(&mut self, snapshot: Snapshot) -> Arc<Snapshot> {
        targets::obey(&snapshot);
        let snapshot = Arc::new(snapshot);
        self.snapshots.publish(Arc::clone(&snapshot));
        self.metrics.follow(&snapshot);
        self.checks.follow(&snapshot);
        snapshot
    }

    fn board_with(&self, change: impl FnOnce(&mut Board)) {
        self.board.send_modify(|board| change(Arc::make_mut(board)));
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

#[cfg(test)]
pub(in crate::control) mod testing;
#[cfg(test)]
mod tests;

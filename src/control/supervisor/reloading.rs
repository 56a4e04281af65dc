//! A reload: read, checked and prepared first; then the same road as a switch.

use std::future::ready;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::Reloaded;
use crate::control::command::event::Event;
use crate::control::command::status::ListenerStatus;
use crate::control::command::status::ReloadStatus;
use crate::control::events;
use crate::control::reload;
use crate::control::reload::Ground;
use crate::control::reload::candidate::Candidate;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::pools;
use crate::control::supervisor::refusal;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::start::remember;
use crate::control::supervisor::tasks;
use crate::control::supervisor::tasks::Done;
use crate::model::pool::Pool;
use crate::model::problem::Problem;
use crate::model::snapshot::Snapshot;
use crate::sync::lease::CutCount;

impl Supervisor {
    /// Applies the file for everybody who waits for it, unless a gate is open or the listeners are
    /// not: then they wait on.
    pub(super) async fn apply_waiting(&mut self) {
        let held = self
            .running
            .values()
            .any(|running| running.machine.is_gating());
        if self.waiting.is_empty() || (!self.stopping && (held || self.unopened.is_some())) {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        // One reading of the file serves all who asked before it.
        let cause = waiting
            .iter()
            .map(|(cause, _)| *cause)
            .find(|cause| *cause != Cause::Watch)
            .unwrap_or(Cause::Watch);
        let result =
            if self.stopping { Err(refusal::stopping()) } else { self.reload(cause).await };
        for reply in waiting.into_iter().filter_map(|(_, reply)| reply) {
            // Who is gone wants no answer.
            drop(reply.send(result.clone()));
        }
    }

    async fn reload(&mut self, cause: Cause) -> Result<Reloaded, Refusal> {
        match self.try_reload().await {
            Ok(changed) => {
                self.reload_applied(cause, changed);
                Ok(Reloaded {
                    applied: true,
                    generation: self.snapshots.load().generation,
                    pending_restart: self.board.borrow().config.pending_restart.clone(),
                })
            }
            Err(refused) => {
                self.reload_refused(cause, &refused);
                Err(refused)
            }
        }
    }

    /// Returns whether anything changed: a file that reads as before is applied already.
    async fn try_reload(&mut self) -> Result<bool, Refusal> {
        let candidate = self.load().await?;
        // Even of a file that reads as the one in service: one that was refused since may have
        // named other certificates.
        if let Some(watch) = &mut self.watch {
            watch.follow(candidate.watched.clone());
        }
        if candidate.print == self.print {
            return Ok(false);
        }
        let clashes = pools::clashes(&candidate.settings, &self.memory);
        if !clashes.is_empty() {
            return Err(refusal::bad_file(candidate.clashes(clashes)));
        }
        let prepared = self
            .listeners
            .prepare(&candidate.listeners())
            .map_err(|errors| refusal::bad_file(candidate.problems(errors)))?;
        for warning in prepared.warnings() {
            tracing::warn!(warning, "certificate");
        }
        let old = self.snapshots.load();
        let generation = old.generation + 1;
        let (memory, workers, key) = (&self.memory, self.workers, &self.key);
        let (old_one, now) = (Some(&*old), SystemTime::now());
        let ground = Ground { generation, memory, old: old_one, workers, key, now };
        let new = reload::snapshot(Arc::clone(&candidate.settings), ground);
        let mut memory = self.memory.clone();
        remember(&mut memory, &new);
        self.make_durable(generation, &memory)
            .await
            .map_err(|why| refusal::not_durable(&why))?;
        // From here on nothing fails.
        self.memory = memory;
        self.print = candidate.print;
        let new = self.make_current(new);
        self.replace_pools(&old, &new);
        self.listeners.commit(prepared);
        self.listeners_changed();
        let pending = reload::pending_restart(&self.started_with, &new.settings);
        self.board_with(|board| board.config.pending_restart = pending);
        Ok(true)
    }

    async fn load(&self) -> Result<Candidate, Refusal> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || Candidate::load(&path)).await;
        match loaded {
            Ok(candidate) => candidate.map_err(refusal::bad_file),
            Err(failed) => {
                let what = format!("the file could not be checked: {failed}");
                let problem =
                    Problem { file: self.path.clone(), line: 0, column: 0, what, hint: None };
                Err(refusal::bad_file(vec![problem]))
            }
        }
    }

    /// Pools that are no longer in the snapshot get no new leases and finish in the background, each
    /// as long as its upstream's drain may take.
    pub(super) fn replace_pools(&mut self, old: &Snapshot, new: &Snapshot) {
        for pool in reload::replaced(old, new) {
            pool.leases().shut();
            let drained_already = self
                .running
                .values()
                .filter(|running| running.machine.is_draining())
                .flat_map(Running::draining)
                .any(|draining| Arc::ptr_eq(&draining.pool, &pool));
            let (timeout, jitter) = old
                .upstream(&pool.upstream)
                .map(|upstream| &upstream.promotion)
                .map(|promotion| (promotion.drain_timeout, promotion.close_jitter))
                .unwrap_or_default();
            if !drained_already {
                let deadline = Instant::now() + timeout;
                self.tasks
                    .spawn(tasks::empty(Arc::clone(&pool), deadline, jitter));
            }
            self.leftovers.push(pool);
        }
        self.drains_follow(new);
        self.leftovers_changed();
    }

    /// Drains of colours that have got another pool wait for that one too.
    fn drains_follow(&mut self, new: &Snapshot) {
        let switched = |running: &Running| running.machine.is_switched();
        for (&serial, running) in &mut self.running {
            if switched(running) && running.follow(new) {
                self.tasks.spawn(ready(Done::Look(serial)));
            }
        }
    }

    /// A replaced pool has finished.
    pub(super) fn emptied(&mut self, pool: &Arc<Pool>, cut: CutCount) {
        self.count_cut(pool);
        if cut.forced() > 0 {
            let (upstream, colour) = (&*pool.upstream, pool.colour_label());
            let (requests, tunnels) = (cut.requests, cut.tunnels);
            tracing::warn!(
                upstream,
                colour,
                requests,
                tunnels,
                "cut on targets that left the file"
            );
        }
        self.leftovers_changed();
    }

    /// A drain that was taken back ends nothing by force; but a pool of it that a reload replaced
    /// meanwhile does not come back, and keeps its deadline.
    pub(super) fn keep_deadlines(&mut self, running: &Running) {
        let current = self.snapshots.load();
        let deadline = running.switched + running.machine.plan().drain_timeout;
        for member in running.changing().filter(|member| member.reopened) {
            let colour = member.colour.other();
            let Some(pool) = member.upstream.pool(colour) else { continue };
            let now = current
                .upstream(&member.upstream.name)
                .and_then(|upstream| upstream.pool(colour));
            if !now.is_some_and(|now| Arc::ptr_eq(now, pool)) {
                let jitter = member.upstream.promotion.close_jitter;
                self.tasks
                    .spawn(tasks::empty(Arc::clone(pool), deadline, jitter));
            }
        }
        self.leftovers_changed();
    }

    fn leftovers_changed(&mut self) {
        self.leftovers.retain(|pool| pool.leases().in_flight() > 0);
        let leftovers = self.leftovers.clone();
        self.board_with(|board| board.leftovers = leftovers);
    }

    pub(super) fn listeners_changed(&self) {
        let current = self.listeners.current();
        let listeners = current
            .iter()
            .map(|listener| ListenerStatus {
                bind: listener.bind.to_string(),
                address: listener.address.to_string(),
            })
            .collect();
        self.board_with(|board| board.listeners = listeners);
        let expiries = current
            .iter()
            .filter_map(|listener| listener.tls.as_ref())
            .map(|tls| tls.certificates.load())
            .flat_map(|set| set.expiries().collect::<Vec<_>>());
        self.metrics.certificates(expiries);
    }

    fn reload_applied(&self, cause: Cause, changed: bool) {
        let generation = self.snapshots.load().generation;
        let was_ok = self.board.borrow().config.last_reload.ok;
        // A watcher that woke for nothing is no news, unless it ends a time of bad news.
        if !changed && cause == Cause::Watch && was_ok {
            return;
        }
        tracing::info!(cause = %cause_of(cause), generation, changed, "configuration applied");
        self.reload_tried(cause, true, Vec::new());
    }

    fn reload_refused(&self, asked: Cause, refused: &Refusal) {
        let cause = cause_of(asked);
        if refused.problems.is_empty() {
            tracing::error!(%cause, why = refused.detail, "configuration refused, the running one stays");
        }
        for problem in &refused.problems {
            tracing::error!(%cause, %problem, "configuration refused, the running one stays");
        }
        let not_durable = || Problem {
            file: self.path.clone(),
            line: 0,
            column: 0,
            what: refused.detail.clone(),
            hint: refused.hint.clone(),
        };
        let problems = match refused.code {
            Code::NotDurable => vec![not_durable()],
            Code::Gate
            | Code::Config
            | Code::Unknown
            | Code::Busy
            | Code::ExpectLive
            | Code::TakenBack
            | Code::InUse => refused.problems.clone(),
        };
        self.reload_tried(asked, false, problems);
    }

    fn reload_tried(&self, cause: Cause, ok: bool, problems: Vec<Problem>) {
        self.metrics.reload(ok);
        let generation = self.snapshots.load().generation;
        let last_reload = ReloadStatus { at: events::now(), ok, problems: problems.clone() };
        self.board_with(|board| board.config.last_reload = last_reload);
        let event = Event::Reload { applied: ok, generation, problems };
        match cause {
            // Recorded where it was asked for.
            Cause::Asked(_) => {}
            Cause::Signal | Cause::Watch => self.record_reload(&cause_of(cause), &event),
        }
        self.bus.tell(event);
    }
}

impl Running {
    /// A colour that it retired may have got another pool, as open as the one before: that one has to be
    /// empty and shut as well before the colour is safe to kill. Whether there is one.
    fn follow(&mut self, new: &Snapshot) -> bool {
        let mut grown = false;
        for member in self.members.iter_mut().filter(|member| !member.reopened) {
            let upstream = new.upstream(&member.upstream.name);
            let pool = upstream.and_then(|upstream| upstream.pool(member.colour.other()));
            let known = |pool: &Arc<Pool>| member.retired.iter().any(|own| Arc::ptr_eq(own, pool));
            let unknown = |pool: &&Arc<Pool>| pool.leases().is_retired() && !known(pool);
            let unknown = pool.filter(unknown).cloned();
            grown |= unknown.is_some();
            member.retired.extend(unknown);
        }
        grown
    }
}

fn cause_of(cause: Cause) -> String {
    match cause {
        Cause::Asked(caller) => format!("asked by {caller}"),
        Cause::Signal => "SIGHUP".to_owned(),
        Cause::Watch => "changed on the disk".to_owned(),
    }
}

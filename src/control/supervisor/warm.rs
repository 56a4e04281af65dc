//! A promotion warms its colour up before the gate: it waits until the targets are well at all, steps
//! until they are warm or time is up, and then begins as every other.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::control::command::event::Event;
use crate::control::command::event::Warmth;
use crate::control::promotion::Input;
use crate::control::promotion::Plan;
use crate::control::promotion::Promotion;
use crate::control::promotion::Purpose;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::tasks;
use crate::control::supervisor::tasks::Serial;
use crate::control::warmup::Pace;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::upstream::Upstream;
use crate::model::warmup::Repeat;
use crate::model::warmup::Warmup;
use crate::sync::lease::Door;

/// Rounds of a promote's gate. A rollback has fewer: that colour was live a moment ago.
const ROUNDS: u32 = 2;

/// How often it is told how warm they are, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What a step came to: for each pool and target how long each answer took.
pub(super) type Step = Vec<Vec<Vec<Option<Duration>>>>;

/// A promotion that warms up; its gate has not begun.
#[derive(Debug)]
pub(super) struct Warming {
    began: Instant,
    told: Option<Instant>,
    pools: Vec<One>,
}

/// One pool that is warmed up. As long as it is, exceptions are let in.
#[derive(Debug)]
struct One {
    pool: Arc<Pool>,
    warmup: Arc<Warmup>,
    repeats: Vec<Repeat>,
    next: usize,
    live: Duration,
    paces: Vec<Pace>,
}

impl One {
    /// Nothing can be repeated where nothing has been seen.
    fn new(upstream: &Upstream, colour: Colour) -> Option<Self> {
        let (pool, warmup) = (upstream.pool(colour)?, upstream.warmup.as_ref()?);
        let (live, repeats) = (warmup.live_p95()?, warmup.repeats());
        let targets = pool.targets.len();
        let pace = |_| Pace::new(&warmup.settings, live, targets);
        let paces = (0..targets).map(pace).collect();
        if repeats.is_empty() {
            return None;
        }
        let (pool, warmup) = (Arc::clone(pool), Arc::clone(warmup));
        Some(Self { pool, warmup, repeats, next: 0, live, paces })
    }

    fn is_warm(&self) -> bool {
        self.paces.iter().all(Pace::is_warm)
    }

    /// The next requests for each target, each time others.
    fn step(&mut self) -> Vec<Vec<Repeat>> {
        // A preview that has ended meanwhile has shut it.
        if self.pool.leases().is_shut() {
            self.pool.leases().admit();
        }
        let mut next = self.next;
        let mut for_one = |pace: &Pace| {
            let from = self.repeats.iter().cycle().skip(next);
            let repeats: Vec<Repeat> = from.take(pace.next()).cloned().collect();
            next = (next + repeats.len()) % self.repeats.len().max(1);
            repeats
        };
        let steps = self.paces.iter().map(&mut for_one).collect();
        self.next = next;
        steps
    }

    fn warmth(&self, took: Duration) -> Warmth {
        let millis = |took: Duration| (took.as_secs_f64() * 1e5).round() / 1e2;
        let slowest = self.paces.iter().map(Pace::p95).collect::<Option<Vec<_>>>();
        Warmth {
            upstream: self.pool.upstream.to_string(),
            warm: self.is_warm(),
            requests: self.paces.iter().map(|pace| pace.sent).sum(),
            failed: self.paces.iter().map(|pace| pace.failed).sum(),
            rate: self.paces.iter().map(Pace::rate).sum::<f64>().round(),
            seconds: took.as_secs_f64(),
            p95_ms: slowest.and_then(|all| all.into_iter().max()).map(millis),
            live_p95_ms: Some(millis(self.live)),
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        // Unless it has been made live meanwhile, or is warm for another reason.
        if self.pool.leases().door() == Door::Exceptional {
            self.pool.leases().shut();
        }
    }
}

impl Supervisor {
    /// Begins: by warming up where that is asked for, and else by the gate.
    pub(super) async fn begin_promotion(&mut self, serial: Serial) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let plan = running.machine.plan();
        let is_wanted = plan.purpose == Purpose::Change
            && plan.rounds >= ROUNDS
            && running
                .changing()
                .any(|member| member.upstream.warmup.is_some());
        if !is_wanted {
            return self.drive(serial, Input::Begin).await;
        }
        let (interval, deadline) = (plan.interval, plan.started + plan.gate_timeout);
        let well =
            tasks::until_well(serial, interval, deadline, asked(running), running.answer.clone());
        running.task = Some(self.tasks.spawn(well));
        self.promotions_changed();
    }

    /// Every target has answered a probe well, or the time of the gate is over without: then it says why.
    pub(super) async fn well(&mut self, serial: Serial, well: bool) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let pools: Vec<One> = running
            .changing()
            .filter_map(|member| One::new(&member.upstream, member.colour))
            .collect();
        if !well || pools.is_empty() {
            if well {
                let (id, upstreams) = (&running.id, running.names().join(","));
                tracing::warn!(id, upstreams, "nothing to warm up with: no request has been seen");
                running.warmed = running
                    .changing()
                    .filter_map(|one| cold(&one.upstream))
                    .collect();
            }
            return self.drive(serial, Input::Begin).await;
        }
        running.warming = Some(Warming { began: Instant::now(), told: None, pools });
        self.warm_on(serial);
    }

    /// The next step.
    fn warm_on(&mut self, serial: Serial) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let Some(warming) = &mut running.warming else { return };
        let steps = warming
            .pools
            .iter_mut()
            .map(|one| (Arc::clone(&one.pool), one.step()))
            .collect();
        let step = tasks::warm(serial, steps, running.answer.clone());
        running.task = Some(self.tasks.spawn(step));
    }

    /// Warming up has ended, and shut what it had opened: a preview that was ordered meanwhile goes on.
    pub(super) fn admit_previews(&self) {
        let (snapshot, now) = (self.snapshots.load(), SystemTime::now());
        for upstream in &snapshot.upstreams {
            let Some(preview) = upstream.orders.preview else { continue };
            let pool = upstream.pool(preview.colour);
            let shown = preview.shows(preview.colour, now) && !self.is_draining(&upstream.name);
            if let Some(pool) = pool.filter(|pool| shown && pool.leases().is_shut()) {
                pool.leases().admit();
            }
        }
    }

    /// A step has come to its end.
    pub(super) async fn warmed(&mut self, serial: Serial, step: Step) {
        let Some(running) = self.running.get_mut(&serial) else { return };
        let Some(warming) = &mut running.warming else { return };
        for (one, took) in warming.pools.iter_mut().zip(step) {
            let both = one.paces.iter_mut().zip(took);
            both.for_each(|(pace, took)| pace.step(&took));
        }
        let (now, took) = (Instant::now(), warming.began.elapsed());
        let warm = warming.pools.iter().all(One::is_warm);
        let late = warming
            .pools
            .iter()
            .any(|one| took >= one.warmup.settings.timeout);
        let over = warm || late;
        let is_news = warming.told.is_none_or(|told| now - told >= TOLD_EVERY);
        let upstreams: Vec<Warmth> = warming.pools.iter().map(|one| one.warmth(took)).collect();
        if over || is_news {
            warming.told = Some(now);
            running.tell(&self.bus, &Event::Warming { upstreams: upstreams.clone() });
        }
        if !over {
            return self.warm_on(serial);
        }
        if !warm {
            let (id, upstreams) = (&running.id, running.names().join(","));
            tracing::warn!(id, upstreams, ?took, "not warm in time: the promotion goes on");
        }
        running.warmed = upstreams;
        gate_anew(running, took);
        self.admit_previews();
        self.drive(serial, Input::Begin).await;
    }
}

/// The gate has its whole time, however long it took to warm up; and the workers open connections.
fn gate_anew(running: &mut Running, took: Duration) {
    if let Some(warming) = running.warming.take() {
        for one in &warming.pools {
            one.warmup.awaits(one.pool.id);
        }
    }
    let plan = running.machine.plan().clone();
    running.machine = Promotion::new(Plan { started: plan.started + took, ..plan });
}

/// What the receipt says where there was nothing to repeat.
fn cold(upstream: &Upstream) -> Option<Warmth> {
    upstream.warmup.as_ref()?;
    Some(Warmth {
        upstream: upstream.name.to_string(),
        warm: false,
        requests: 0,
        failed: 0,
        rate: 0.0,
        seconds: 0.0,
        p95_ms: None,
        live_p95_ms: None,
    })
}

fn asked(running: &Running) -> Vec<(Upstream, Colour)> {
    running
        .changing()
        .map(|member| (member.upstream.clone(), member.colour))
        .collect()
}

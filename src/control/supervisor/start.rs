//! The first snapshot: from the file, and from what the journal remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Loaded;
use crate::config::watch::Watch;
use crate::control::checks;
use crate::control::checks::Checks;
use crate::control::command::history::Entry;
use crate::control::command::history::Generations;
use crate::control::events;
use crate::control::events::Bus;
use crate::control::history::Recorder;
use crate::control::history::blank;
use crate::control::journal::Journal;
use crate::control::journal::Memory;
use crate::control::journal::Recovered;
use crate::control::journal::Remembered;
use crate::control::reload;
use crate::control::reload::Ground;
use crate::control::reload::candidate::Candidate;
use crate::control::signing;
use crate::control::status::Board;
use crate::control::supervisor::ASKS;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::bakes::Bakes;
use crate::control::supervisor::handle::Handle;
use crate::control::supervisor::pools;
use crate::control::supervisor::targets;
use crate::model::colour::Colour;
use crate::model::health::Verdict;
use crate::model::problem::Problem;
use crate::model::signed::SigningKey;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;
use crate::net::listen::Listeners;
use crate::observe::metrics::Metrics;
use crate::sync::published::Published;
use crate::sync::published::Publisher;

/// What the supervisor takes charge of.
pub struct Parts {
    /// The file.
    pub loaded: Loaded,
    /// The state directory, open.
    pub journal: Journal,
    /// What it held.
    pub recovered: Recovered,
    /// The listeners, none of them open.
    pub listeners: Listeners,
    /// Where it counts.
    pub metrics: Metrics,
    /// How many workers will serve.
    pub workers: usize,
    /// What watches the file; `None`: nothing does (the demo).
    pub watch: Option<Watch>,
}

/// Builds the supervisor and the first snapshot. Binds the public addresses without opening them:
/// the kernel holds early connections until [`Supervisor::run`] has seen one round of probes. Must
/// run inside the control plane's runtime.
///
/// # Errors
///
/// Listeners that cannot be had: a taken address, an unreadable key. Each at its place in the file.
pub async fn build(
    parts: Parts,
) -> Result<(Supervisor, Handle, Published<Snapshot>), Vec<Problem>> {
    let Parts { loaded, journal, recovered, listeners, metrics, workers, mut watch } = parts;
    let path = loaded.path.clone();
    let candidate = Candidate::of(loaded);
    let prepared = listeners
        .prepare(&candidate.listeners())
        .map_err(|errors| candidate.problems(errors))?;
    for warning in prepared.warnings() {
        tracing::warn!(warning, "certificate");
    }
    if let Some(watch) = &mut watch {
        watch.follow(candidate.watched.clone());
    }
    let key = Arc::new(signing::key(&candidate.settings.state_dir));
    let (snapshot, memory, lost) = first_snapshot(&candidate, recovered, workers, &key).await;
    targets::obey(&snapshot);
    for (at, what, hint) in pools::clashes(&snapshot.settings, &memory) {
        tracing::error!(at, what, hint, "the file and what was ordered do not go together");
    }
    let (flips_to, flips) = mpsc::unbounded_channel();
    let probes = metrics.clone();
    let on_probe = move |upstream: &str, colour: &str, target: &str, took: Duration| {
        // A plain pool's colour is the empty word.
        probes.probe(upstream, colour.parse().ok(), target, took);
    };
    let snapshots = Publisher::new(Arc::new(snapshot));
    let history = Recorder::new(&candidate.settings.state_dir, metrics.clone());
    let (published, bus) = (snapshots.published(), Bus::new(history));
    let (asks_to, asks) = mpsc::channel(ASKS);
    let (board, board_of) = watch::channel(Arc::new(Board::new(path.clone())));
    let handle = Handle {
        asks: asks_to,
        snapshot: published.clone(),
        board: board_of,
        listeners: listeners.subscribe(),
        bus: bus.clone(),
    };
    let mut supervisor = Supervisor {
        snapshots,
        journal: Arc::new(Mutex::new(journal)),
        memory,
        checks: Checks::new(on_probe, flips_to),
        flips,
        listeners,
        unopened: Some(prepared),
        metrics,
        workers,
        key,
        asks,
        running: BTreeMap::new(),
        next_serial: 0,
        taken_back: Vec::new(),
        bakes: Bakes::new(),
        walks: BTreeMap::new(),
        guards: Vec::new(),
        rolls: Vec::new(),
        drains: BTreeMap::new(),
        leftovers: Vec::new(),
        tasks: JoinSet::new(),
        bus,
        board,
        path,
        started_with: candidate.settings,
        print: candidate.print,
        watch,
        waiting: Vec::new(),
        stopping: false,
    };
    supervisor.begin(&lost).await;
    Ok((supervisor, handle, published))
}

impl Supervisor {
    /// `lost`: what the restart has ended.
    async fn begin(&mut self, lost: &[Entry]) {
        lost.iter()
            .for_each(|entry| self.bus.history().record(entry));
        let snapshot = self.snapshots.load();
        self.metrics.follow(&snapshot);
        self.checks.follow(&snapshot);
        // An outage would be worse than a proxy that may have to ask its file again.
        if let Err(why) = self.make_durable(snapshot.generation, &self.memory).await {
            tracing::error!(why, "the state cannot be made durable: promotions will be refused");
        }
    }
}

async fn first_snapshot(
    candidate: &Candidate,
    recovered: Recovered,
    workers: usize,
    key: &Arc<SigningKey>,
) -> (Snapshot, Memory, Vec<Entry>) {
    let now = SystemTime::now();
    let (mut memory, mut lost) = (Memory::default(), Vec::new());
    let mut generation = 1;
    let mut damaged = false;
    match recovered {
        Recovered::First => {}
        Recovered::Saved { state, warning } => {
            if let Some(warning) = warning {
                tracing::warn!(warning, "the saved state was repaired");
            }
            generation = state.generation + 1;
            memory = state.memory;
            lost.extend(verdicts_lost(&mut memory, generation, now));
            lost.extend(steps_lost(&mut memory, generation));
            for (upstream, orders) in &mut memory.orders {
                if orders.take_targets_back() {
                    tracing::warn!(
                        upstream,
                        "a deploy had not come to its switch: the former targets are back"
                    );
                }
            }
            memory.orders.retain(|_, orders| !orders.is_empty());
        }
        Recovered::Damaged { warning } => {
            tracing::error!(
                warning,
                "the saved state is DAMAGED: probing both colours to choose the live one"
            );
            damaged = true;
        }
    }
    let settings = &candidate.settings;
    let build = |memory: &Memory, old: Option<&Snapshot>| {
        let ground = Ground { generation, memory, old, workers, key, now };
        reload::snapshot(Arc::clone(settings), ground)
    };
    let mut snapshot = build(&memory, None);
    if damaged {
        checks::first_round(&snapshot).await;
        for upstream in &snapshot.upstreams {
            let Some(live) = chosen(upstream) else { continue };
            let remembered = Remembered { live, previous: None, since: now };
            memory
                .upstreams
                .insert(upstream.name.to_string(), remembered);
            tracing::error!(upstream = %upstream.name, colour = %live, "chosen as live by its probes");
        }
        // Built anew: which pool is retired depends on the choice.
        snapshot = build(&memory, None);
    }
    remember(&mut memory, &snapshot);
    (snapshot, memory, lost)
}

/// Bakes that were under way: what was seen is gone, the old colours are still held. What the history
/// says of it.
fn verdicts_lost(memory: &mut Memory, generation: u64, now: SystemTime) -> Vec<Entry> {
    let mut lost = Vec::new();
    for (upstream, orders) in &mut memory.orders {
        let Some(held) = orders.held.as_mut().filter(|held| held.baking) else { continue };
        held.baking = false;
        let (live, colour, until) = (held.colour.other(), held.colour, events::at(held.until));
        let way_back = if held.until > now {
            format!("a rollback to {colour} is instant until {until}")
        } else {
            format!("{colour} is held no longer")
        };
        tracing::warn!(
            upstream,
            %live,
            way_back,
            "the verdict of a bake is LOST by the restart: the new colour stays live"
        );
        let what = format!("{live} is judged no longer and stays live; {way_back}");
        lost.push(of_restart("verdict", "lost", upstream, live, what, generation));
    }
    lost
}

/// Canaries that promotions in steps had begun: they stand, and go nowhere by themselves.
fn steps_lost(memory: &mut Memory, generation: u64) -> Vec<Entry> {
    let mut lost = Vec::new();
    for (upstream, orders) in &mut memory.orders {
        let Some(canary) = orders.canary.as_mut().filter(|canary| canary.in_steps) else {
            continue;
        };
        canary.in_steps = false;
        let (colour, weight) = (canary.colour, canary.weight);
        tracing::warn!(
            upstream,
            %colour,
            %weight,
            "a canary stands that a promotion in steps has begun: after the restart nothing drives it"
        );
        let what = format!(
            "{colour} stays at {weight} % of the users: no promotion in steps drives it after the restart"
        );
        lost.push(of_restart("steps", "over", upstream, colour, what, generation));
    }
    lost
}

/// What the history says of something that a restart has ended.
fn of_restart(
    what: &str,
    outcome: &str,
    upstream: &str,
    colour: Colour,
    why: String,
    generation: u64,
) -> Entry {
    Entry {
        cause: Some("restarted".to_owned()),
        upstreams: vec![upstream.to_owned()],
        colour: Some(colour),
        why: vec![why],
        ..blank(what, outcome, Generations { before: generation, after: generation })
    }
}

/// The colour to start with when nothing can be remembered: the file's, unless only the other one
/// is healthy, or healthier.
fn chosen(upstream: &Upstream) -> Option<Colour> {
    let live = upstream.live()?;
    let score = |colour: Colour| {
        let targets = upstream.pool(colour).map(|pool| pool.targets.as_slice());
        let targets = targets.unwrap_or_default();
        let healthy = targets
            .iter()
            .filter(|target| target.health.verdict() == Verdict::Healthy)
            .count();
        (healthy == targets.len(), healthy > 0)
    };
    let other = live.other();
    Some(if score(other) > score(live) { other } else { live })
}

/// Takes in what `snapshot` makes live; what it does not mention stays.
pub(super) fn remember(memory: &mut Memory, snapshot: &Snapshot) {
    for upstream in &snapshot.upstreams {
        let Pools::Coloured { split, since, previous, .. } = &upstream.pools else { continue };
        let remembered = Remembered { live: split.live(), previous: *previous, since: *since };
        memory
            .upstreams
            .insert(upstream.name.to_string(), remembered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::orders::held::Held;

    #[test]
    fn a_verdict_that_a_restart_has_lost_is_told_although_the_hold_has_run_out() {
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        for (until, says) in [(now, "blue is held no longer"), (now + hour, "is instant until")] {
            let held = Some(Held { colour: Colour::Blue, until, baking: true });
            let mut memory = Memory::default();
            let orders = crate::model::orders::Orders { held, ..Default::default() };
            memory.orders.insert("app".to_owned(), orders);
            let lost = verdicts_lost(&mut memory, 2, now);
            assert_eq!(lost.len(), 1);
            assert!(lost[0].why[0].contains(says), "{:?}", lost[0].why);
        }
    }
}

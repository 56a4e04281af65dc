//! The whole state as `GET /v1/status` tells it: from the snapshot, the cells it shares, and the
//! supervisor's board.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::control::command::status::CanaryStatus;
use crate::control::command::status::ConfigStatus;
use crate::control::command::status::ListenerStatus;
use crate::control::command::status::MaintenanceStatus;
use crate::control::command::status::PauseStatus;
use crate::control::command::status::PoolStatus;
use crate::control::command::status::PreviewStatus;
use crate::control::command::status::ProbeStatus;
use crate::control::command::status::PromotionStatus;
use crate::control::command::status::ReloadStatus;
use crate::control::command::status::RollbackStatus;
use crate::control::command::status::Status;
use crate::control::command::status::StepsStatus;
use crate::control::command::status::TargetStatus;
use crate::control::command::status::UpstreamStatus;
use crate::control::events;
use crate::control::supervisor::guards::Held;
use crate::control::supervisor::rolls::Rolling;
use crate::model::colour::Colour;
use crate::model::health::Kept;
use crate::model::health::ProbeRecord;
use crate::model::health::Verdict;
use crate::model::orders::canary::Canary;
use crate::model::orders::maintenance::Maintenance;
use crate::model::orders::pause::Pause;
use crate::model::orders::preview::Preview;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;

/// What the supervisor knows beside the snapshot, replaced whole whenever it changes.
#[derive(Debug, Clone)]
pub struct Board {
    /// The public listeners are open and the daemon is not stopping.
    pub ready: bool,
    /// The running promotion of each upstream that has one.
    pub promotions: BTreeMap<String, PromotionStatus>,
    /// The guards that were granted; some may be over.
    pub guards: Vec<Held>,
    /// The promotion in steps of each upstream that has one.
    pub walks: BTreeMap<String, StepsStatus>,
    /// The rolls that were let begin; some may be over.
    pub rolls: Vec<Rolling>,
    /// Pools that a reload replaced and that still have work.
    pub leftovers: Vec<Arc<Pool>>,
    /// The open listeners.
    pub listeners: Vec<ListenerStatus>,
    /// The file.
    pub config: ConfigStatus,
}

impl Board {
    /// The board of a daemon that has just read its file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let last_reload = ReloadStatus { at: events::now(), ok: true, problems: Vec::new() };
        Self {
            ready: false,
            promotions: BTreeMap::new(),
            guards: Vec::new(),
            walks: BTreeMap::new(),
            rolls: Vec::new(),
            leftovers: Vec::new(),
            listeners: Vec::new(),
            config: ConfigStatus { path, pending_restart: Vec::new(), last_reload },
        }
    }
}

/// Adds the last probes of each target, for who asks for them.
pub fn add_probes(status: &mut Status, snapshot: &Snapshot) {
    for upstream in &snapshot.upstreams {
        let Some(theirs) = status.upstreams.get_mut(&*upstream.name) else { continue };
        for pool in upstream.all_pools() {
            let Some(of_pool) = theirs.pools.get_mut(key(pool)) else { continue };
            for (target, of_target) in pool.targets.iter().zip(&mut of_pool.targets) {
                of_target.probes = probes(target);
            }
        }
    }
}

/// The last probes of a target, the oldest first.
pub(super) fn probes(target: &Target) -> Vec<ProbeStatus> {
    let probe = |kept: Kept| ProbeStatus { body: kept.body, ..of_probe(&kept.record) };
    target.health.recent().into_iter().map(probe).collect()
}

/// A pool's name in the answer.
fn key(pool: &Pool) -> &'static str {
    pool.colour.map_or("targets", Colour::as_str)
}

/// Puts the answer together. Counts of requests are plain readings: exact for a retired pool only.
#[must_use]
pub fn status(snapshot: &Snapshot, board: &Board) -> Status {
    let upstreams = snapshot
        .upstreams
        .iter()
        .map(|upstream| (upstream.name.to_string(), of_upstream(upstream, snapshot, board)))
        .collect();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: snapshot.generation,
        upstreams,
        listeners: board.listeners.clone(),
        config: board.config.clone(),
    }
}

fn of_upstream(upstream: &Upstream, snapshot: &Snapshot, board: &Board) -> UpstreamStatus {
    let since = match &upstream.pools {
        Pools::Coloured { since, .. } => Some(events::at(*since)),
        Pools::Single(_) => None,
    };
    let live = upstream.live();
    let pools = upstream
        .all_pools()
        .map(|pool| (key(pool).to_owned(), of_pool(pool, upstream, snapshot, board)))
        .collect();
    UpstreamStatus {
        live,
        standby: live.map(Colour::other),
        since,
        promotion: board.promotions.get(&*upstream.name).cloned(),
        canary: upstream.canary_order().map(of_canary),
        preview: upstream.orders.preview.as_ref().map(of_preview),
        maintenance: upstream.orders.maintenance.as_ref().map(of_maintenance),
        rollback: way_back(upstream),
        pause: upstream.orders.pause.as_ref().map(of_pause),
        steps: board.walks.get(&*upstream.name).cloned(),
        roll: board
            .rolls
            .iter()
            .find_map(|rolling| rolling.status(&upstream.name)),
        pools,
    }
}

/// None once somebody has given it up: the colour is shut then, or has got other targets. And none
/// while a canary gives it users: a rollback ends that one.
fn way_back(upstream: &Upstream) -> Option<RollbackStatus> {
    let held = upstream.orders.held.as_ref()?;
    let canary = upstream.canary_order();
    if canary.is_some_and(|canary| canary.colour == held.colour) {
        return None;
    }
    let is_ready = !upstream.pool(held.colour)?.leases().is_shut();
    is_ready.then(|| RollbackStatus { colour: held.colour, instant_until: events::at(held.until) })
}

fn of_canary(order: &Canary) -> CanaryStatus {
    let (colour, weight) = (order.colour, order.weight);
    CanaryStatus { colour, weight, since: events::at(order.since) }
}

fn of_preview(order: &Preview) -> PreviewStatus {
    let (since, until) = (events::at(order.since), events::at(order.until));
    PreviewStatus { colour: order.colour, since, until }
}

fn of_pause(order: &Pause) -> PauseStatus {
    PauseStatus {
        since: events::at(order.since),
        until: events::at(order.until),
        writes_only: order.writes_only,
        max_seconds: order.max.as_secs_f64(),
    }
}

fn of_maintenance(order: &Maintenance) -> MaintenanceStatus {
    let allow = order.allow.iter().map(ToString::to_string).collect();
    MaintenanceStatus { since: events::at(order.since), until: events::at(order.until), allow }
}

fn of_pool(pool: &Pool, upstream: &Upstream, snapshot: &Snapshot, board: &Board) -> PoolStatus {
    let ordered = |colour: &Colour| upstream.orders.targets.contains_key(colour);
    let overridden = pool.colour.filter(ordered);
    let written = |colour| snapshot.settings.written(&upstream.name, colour);
    let same = |other: &&Arc<Pool>| other.upstream == pool.upstream && other.colour == pool.colour;
    let leftovers = || board.leftovers.iter().filter(same);
    let rest = leftovers()
        .map(|other| other.leases().in_flight())
        .sum::<usize>();
    let tunnels = leftovers()
        .map(|other| other.leases().tunnels())
        .sum::<usize>();
    PoolStatus {
        in_flight: pool.leases().in_flight() + rest,
        tunnels: pool.leases().tunnels() + tunnels,
        targets: pool
            .targets
            .iter()
            .map(|target| of_target(target))
            .collect(),
        overridden: overridden.is_some(),
        file: overridden
            .map(written)
            .unwrap_or_default()
            .iter()
            .map(|target| target.address.to_string())
            .collect(),
    }
}

fn of_target(target: &Target) -> TargetStatus {
    let healthy = match target.health.verdict() {
        Verdict::Unknown => None,
        Verdict::Healthy => Some(true),
        Verdict::Unhealthy => Some(false),
    };
    TargetStatus {
        address: target.name.to_string(),
        admin: target.admin(),
        healthy,
        ejected: target.health.is_ejected(),
        ejected_until: target.health.ejected_until().map(events::at),
        in_flight: target.in_flight.read(),
        last_probe: target.health.last().map(|probe| of_probe(&probe)),
        probes: Vec::new(),
    }
}

fn of_probe(probe: &ProbeRecord) -> ProbeStatus {
    ProbeStatus {
        at: events::at(probe.at),
        outcome: probe.outcome.to_string(),
        latency_ms: milliseconds(probe.latency),
        body: None,
    }
}

/// In milliseconds, to the microsecond: more digits would be noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

//! From checked settings to a snapshot that shares with the old one whatever stayed the same.
//!
//! Shared means: the same counts, health and idle connections. A pool whose list of targets is
//! unchanged is the same pool; one whose list changed is a new pool in which the targets that are
//! still described keep their identity. Nothing here publishes, binds or writes.

pub mod candidate;

use std::sync::Arc;
use std::time::SystemTime;

use crate::control::journal::Memory;
use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::orders::canary::Canary;
use crate::model::pool::Pool;
use crate::model::route::HostRule;
use crate::model::route::Route;
use crate::model::route::Routes;
use crate::model::settings::PoolSettings;
use crate::model::settings::RouteSettings;
use crate::model::settings::Settings;
use crate::model::settings::TargetSettings;
use crate::model::settings::UpstreamSettings;
use crate::model::signed::SigningKey;
use crate::model::snapshot::Snapshot;
use crate::model::split::Split;
use crate::model::target::Target;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;
use crate::model::warmup::Warmup;
use crate::sync::lease::Door;

/// Everything a snapshot is made of beside the settings.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The number it will have.
    pub generation: u64,
    /// Which colour is live where and what is ordered, whatever the file says.
    pub memory: &'a Memory,
    /// What to share with.
    pub old: Option<&'a Snapshot>,
    /// How many workers count on its leases.
    pub workers: usize,
    /// What signs the cookies of its upstreams.
    pub key: &'a Arc<SigningKey>,
    /// Since when a colour that is live for the first time is.
    pub now: SystemTime,
}

/// Builds the snapshot that `settings` describe. New pools of the standby colour are born shut, or as
/// retired as what they replace; shared pools are left as they are.
#[must_use]
pub fn snapshot(settings: Arc<Settings>, ground: Ground<'_>) -> Snapshot {
    let upstreams: Vec<Upstream> = settings
        .upstreams
        .iter()
        .map(|(name, upstream)| one_upstream(name, upstream, &settings, ground))
        .collect();
    Snapshot { generation: ground.generation, routes: routes(&settings), upstreams, settings }
}

/// The pools of `old` that `new` no longer has: they get no new requests from its publish on.
#[must_use]
pub fn replaced(old: &Snapshot, new: &Snapshot) -> Vec<Arc<Pool>> {
    let stays = |pool: &Arc<Pool>| {
        new.upstreams
            .iter()
            .flat_map(Upstream::all_pools)
            .any(|other| Arc::ptr_eq(pool, other))
    };
    old.upstreams
        .iter()
        .flat_map(Upstream::all_pools)
        .filter(|pool| !stays(pool))
        .cloned()
        .collect()
}

/// Which sections differ although only a restart can change them: their keys in the file.
#[must_use]
pub fn pending_restart(started_with: &Settings, now: &Settings) -> Vec<String> {
    let sections = [
        ("workers", started_with.workers == now.workers),
        ("control", started_with.control == now.control),
        ("admin", started_with.admin == now.admin),
        ("state_dir", started_with.state_dir == now.state_dir),
        ("user", started_with.user == now.user),
    ];
    sections
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| key.to_owned())
        .collect()
}

fn routes(settings: &Settings) -> Routes {
    let route = |(number, written): (usize, &RouteSettings)| {
        // `config` refuses a dangling name, so every route finds its upstream.
        let at = settings
            .upstreams
            .keys()
            .position(|name| *name == written.upstream)?;
        let upstream = settings.upstreams.get(&written.upstream)?;
        Some(Route {
            host: written.host.clone(),
            path: written.path.clone(),
            number,
            upstream: at,
            timeouts: settings
                .timeouts
                .with(&upstream.timeouts)
                .with(&written.timeouts),
        })
    };
    let written = || settings.routes.iter().enumerate();
    let made = written().filter_map(route);
    // Of the routes that differ by their hosts alone, the first of its path holds for previews.
    let previewed = written().filter_map(|(number, written)| {
        let host = settings
            .upstreams
            .get(&written.upstream)?
            .preview
            .host
            .as_ref()?;
        Some(Route { host: HostRule::Exact(host.to_string()), ..route((number, written))? })
    });
    Routes::new(made.chain(previewed).collect())
}

fn one_upstream(
    name: &Arc<str>,
    upstream: &UpstreamSettings,
    settings: &Settings,
    ground: Ground<'_>,
) -> Upstream {
    let old = ground.old.and_then(|old| old.upstream(name));
    let name = old.map_or(name, |old| &old.name);
    let none = Orders::default();
    let orders = ground.memory.orders.get(&**name).unwrap_or(&none);
    let pools = match &upstream.pools {
        PoolSettings::Single(targets) => {
            let old = old.and_then(|old| match &old.pools {
                Pools::Single(pool) => Some(pool),
                Pools::Coloured { .. } => None,
            });
            Pools::Single(pool(name, None, targets, old, ground.workers))
        }
        PoolSettings::Coloured { blue, green, live } => {
            let remembered = ground.memory.upstreams.get(&**name);
            let live = remembered.map_or(*live, |memory| memory.live);
            let split = split(live, orders);
            let is_open = split != Split::AllTo(live);
            let build = |colour: Colour, written: &[TargetSettings]| {
                let before = old.and_then(|old| old.pool(colour));
                let targets = orders.targets_of(colour, written);
                let pool = pool(name, Some(colour), &targets, before, ground.workers);
                let shared = before.is_some_and(|before| Arc::ptr_eq(before, &pool));
                // Other targets than those that were live are no way out for anybody.
                let list = |orders: &Orders| orders.targets.get(&colour).cloned();
                let same =
                    |_: &&Arc<Pool>| old.is_some_and(|old| list(&old.orders) == list(orders));
                if !shared && colour != live && !is_open {
                    let previewed = is_previewed(orders, colour, ground.now);
                    // Where there is an old one, that one says how open it is.
                    let held = ground.old.is_none() && is_held(orders, colour, ground.now);
                    shut_as(&pool, before.filter(same), previewed, held);
                }
                pool
            };
            Pools::Coloured {
                blue: build(Colour::Blue, blue),
                green: build(Colour::Green, green),
                split,
                since: remembered.map_or(ground.now, |memory| memory.since),
                previous: remembered.and_then(|memory| memory.previous),
            }
        }
    };
    Upstream {
        name: Arc::clone(name),
        pools,
        health: upstream.health.clone(),
        public_host: public_host(name, settings),
        promotion: upstream.promotion.clone(),
        canary: Arc::clone(&upstream.canary),
        preview_host: upstream.preview.host.clone(),
        skew: upstream.skew.clone(),
        warmup: warmup(upstream, old, ground.workers),
        key: Arc::clone(ground.key),
        orders: Arc::new(orders.clone()),
    }
}

/// All to the live colour, unless a canary of the other one stands.
fn split(live: Colour, orders: &Orders) -> Split {
    match orders.canary {
        Some(Canary { colour, weight, salt, .. }) if colour == live.other() => {
            Split::Weighted { live, share: weight, salt }
        }
        Some(_) | None => Split::AllTo(live),
    }
}

fn is_previewed(orders: &Orders, colour: Colour, now: SystemTime) -> bool {
    let order = orders.preview;
    order.is_some_and(|order| order.shows(colour, now))
}

/// Whether it is still held for a way back: a restart leaves it as open as it was.
fn is_held(orders: &Orders, colour: Colour, now: SystemTime) -> bool {
    let held = orders.held.as_ref();
    held.is_some_and(|held| held.colour == colour && held.until > now)
}

/// What has been seen of the traffic goes on, unless it is to be seen otherwise.
fn warmup(
    upstream: &UpstreamSettings,
    old: Option<&Upstream>,
    workers: usize,
) -> Option<Arc<Warmup>> {
    let settings = upstream.promotion.warmup.as_deref()?;
    let known = old.and_then(|old| old.warmup.as_ref());
    let warmup = match known {
        Some(same) if same.settings == *settings => return Some(Arc::clone(same)),
        Some(other) => Warmup::in_place_of(other, settings.clone(), workers),
        None => Warmup::new(settings.clone(), workers),
    };
    Some(Arc::new(warmup))
}

/// A standby pool is born as shut as the one that it replaces; a previewed one lets previews in, and
/// one that is held for a way back every exception.
fn shut_as(pool: &Pool, old: Option<&Arc<Pool>>, previewed: bool, held: bool) {
    let door = match old.map_or(Door::Shut, |old| old.leases().door()) {
        Door::Open | Door::Shut if held => Door::Warm,
        // One that was live until now is replaced, not retired.
        Door::Open | Door::Shut if previewed => Door::Exceptional,
        Door::Open | Door::Shut => Door::Shut,
        door @ (Door::Warm | Door::Exceptional) => door,
    };
    pool.leases().set(door);
}

/// The first exact host that leads to this upstream: what its users call it.
fn public_host(upstream: &str, settings: &Settings) -> Option<String> {
    settings
        .routes
        .iter()
        .filter(|route| &*route.upstream == upstream)
        .find_map(|route| match &route.host {
            HostRule::Exact(host) => Some(host.clone()),
            HostRule::Any | HostRule::Wildcard(_) => None,
        })
}

fn pool(
    upstream: &Arc<str>,
    colour: Option<Colour>,
    targets: &[TargetSettings],
    old: Option<&Arc<Pool>>,
    workers: usize,
) -> Arc<Pool> {
    if let Some(old) = old.filter(|old| is_described(old, targets)) {
        return Arc::clone(old);
    }
    let known = old.map(|old| old.targets.as_slice()).unwrap_or_default();
    let target = |settings: &TargetSettings| {
        let same = known.iter().find(|target| target.matches(settings));
        same.map_or_else(|| Arc::new(Target::new(settings, workers)), Arc::clone)
    };
    let targets = targets.iter().map(target).collect();
    Arc::new(Pool::new(Arc::clone(upstream), colour, targets, workers))
}

fn is_described(pool: &Pool, targets: &[TargetSettings]) -> bool {
    pool.targets.len() == targets.len()
        && pool
            .targets
            .iter()
            .zip(targets)
            .all(|(target, settings)| target.matches(settings))
}

#[cfg(test)]
mod tests;

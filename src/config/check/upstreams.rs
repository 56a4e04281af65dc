//! Upstreams and the routes that lead to them: pools against each other, names against names.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::check::PROBLEMS_MAX;
use crate::config::check::below;
use crate::config::check::canary;
use crate::config::check::check_socket_path;
use crate::config::check::doors::Doors;
use crate::config::check::overrides;
use crate::config::check::releases;
use crate::config::check::set;
use crate::config::check::word;
use crate::config::nearest;
use crate::config::read::Field;
use crate::config::read::Named;
use crate::config::read::Reader;
use crate::config::read::ShortOr;
use crate::config::written;
use crate::config::written::Pool;
use crate::model::colour::Colour;
use crate::model::route::HostRule;
use crate::model::settings::HealthSettings;
use crate::model::settings::PoolSettings;
use crate::model::settings::PromotionSettings;
use crate::model::settings::RouteSettings;
use crate::model::settings::TargetSettings;
use crate::model::settings::UpstreamSettings;
use crate::model::target::Address;

/// What a target is looked at beside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Relative paths are below it.
    pub(crate) folder: &'a Path,
    /// No target may be one of them.
    pub(crate) doors: &'a Doors,
}

/// Targets by address, with the key path of each one's first place.
type Seen = HashMap<Address, String>;

/// The upstreams.
pub(crate) fn meaning(
    field: &Field<Named<written::Upstream>>,
    around: Around<'_>,
    reader: &mut Reader<'_>,
) -> BTreeMap<Arc<str>, UpstreamSettings> {
    let mut upstreams = BTreeMap::new();
    for (name, field) in field
        .good()
        .map(|named| named.0.as_slice())
        .unwrap_or_default()
    {
        let Some(written) = field.good() else { continue };
        let at = format!("upstreams.{name}");
        let pools = pools(written, &at, around, reader);
        let health = health(&written.health);
        let promotion = promotion(&written.promotion);
        let skew = releases::skew(&written.skew).map(Arc::new);
        check_interval(&health, &at, reader);
        check_jitter(&promotion, &at, reader);
        let canary = Arc::new(canary::canary(&written.canary, &at, reader));
        let preview = canary::preview(&written.preview, &at, reader);
        let timeouts = overrides(&written.timeouts);
        if let Some(pools) = pools {
            let upstream =
                UpstreamSettings { pools, health, promotion, canary, preview, skew, timeouts };
            upstreams.insert(name.as_str().into(), upstream);
        }
    }
    upstreams
}

fn pools(
    written: &written::Upstream,
    at: &str,
    around: Around<'_>,
    reader: &mut Reader<'_>,
) -> Option<PoolSettings> {
    if !written.targets.is_absent() {
        check_plain(written, at, reader);
        let targets =
            pool(&written.targets, &format!("{at}.targets"), around, &mut Seen::new(), reader);
        return Some(PoolSettings::Single(targets));
    }
    match (written.blue.is_absent(), written.green.is_absent()) {
        (true, true) => {
            let hint = "write blue and green, or targets for a plain upstream".to_owned();
            reader.problem(at, "has no targets", Some(hint));
            return None;
        }
        (false, false) => {}
        (blue_absent, _) => {
            let missing = if blue_absent { Colour::Blue } else { Colour::Green };
            let hint = "a plain upstream without colours has one list: targets".to_owned();
            reader.problem(&format!("{at}.{missing}"), "is missing", Some(hint));
        }
    }
    let mut seen = Seen::new();
    let blue = pool(&written.blue, &format!("{at}.blue"), around, &mut seen, reader);
    let green = pool(&written.green, &format!("{at}.green"), around, &mut seen, reader);
    let live = word(&written.live).copied().unwrap_or(Colour::Blue);
    Some(PoolSettings::Coloured { blue, green, live })
}

/// What has no meaning without colours.
fn check_plain(written: &written::Upstream, at: &str, reader: &mut Reader<'_>) {
    let coloured = [
        ("blue", written.blue.is_absent()),
        ("green", written.green.is_absent()),
        ("live", written.live.is_absent()),
        ("promotion", written.promotion.is_absent()),
        ("canary", written.canary.is_absent()),
        ("preview", written.preview.is_absent()),
        ("skew", written.skew.is_absent()),
    ];
    for (key, absent) in coloured {
        if !absent {
            let hint = "an upstream has either blue and green, or plain targets".to_owned();
            reader.problem(&format!("{at}.{key}"), "stands beside targets", Some(hint));
        }
    }
}

fn pool(
    field: &Field<Pool>,
    at: &str,
    around: Around<'_>,
    seen: &mut Seen,
    reader: &mut Reader<'_>,
) -> Vec<TargetSettings> {
    let Some(list) = field.good() else { return Vec::new() };
    let mut targets = Vec::new();
    for (index, field) in list.0.iter().enumerate() {
        let pool = at;
        let at = format!("{pool}[{index}]");
        let Some(target) = field
            .good()
            .and_then(|written| target(written, around.folder))
        else {
            continue;
        };
        if let Address::Unix(path) = &target.address {
            check_socket_path(path, &at, reader);
        }
        check_doors(&target.address, &at, around.doors, reader);
        match seen.get(&target.address) {
            Some(first) => {
                let what = format!("{} is already {first}", target.address);
                let same_pool = first.starts_with(&format!("{pool}["));
                let hint = if same_pool {
                    "to give it a larger share, write {address, weight}"
                } else {
                    "each target is one process: give each colour its own ports"
                };
                reader.problem(&at, what, Some(hint.to_owned()));
            }
            None => drop(seen.insert(target.address.clone(), at)),
        }
        targets.push(target);
    }
    let all_good = targets.len() == list.0.len();
    if all_good && targets.iter().all(|target| target.backup) {
        let hint = "a backup stands in for others: leave at least one without it".to_owned();
        reader.problem(at, "every target is a backup", Some(hint));
    }
    targets
}

/// A route is for clients, and they are nobody's operators.
fn check_doors(address: &Address, at: &str, doors: &Doors, reader: &mut Reader<'_>) {
    if let Some(door) = doors.led_to(address) {
        let what = format!("{address} is {door}: whoever is routed there could look or promote");
        let hint = "name the application's own address; operators come in without a route";
        reader.problem(at, what, Some(hint.to_owned()));
    }
}

fn target(
    written: &ShortOr<crate::config::words::Parsed<Address>, written::Target>,
    folder: &Path,
) -> Option<TargetSettings> {
    let (address, weight, backup) = match written {
        ShortOr::Short(address) => (&address.0, 1, false),
        ShortOr::Long(long) => {
            let weight = long.weight.good().map_or(1, |weight| weight.0);
            (word(&long.address)?, weight, long.backup.good().copied().unwrap_or(false))
        }
    };
    let address = match address {
        Address::Unix(path) => Address::Unix(below(folder, path)),
        // The same host in another spelling is the same target.
        Address::Name { host, port } => {
            Address::Name { host: host.trim_end_matches('.').to_ascii_lowercase(), port: *port }
        }
        Address::Ip(address) => Address::Ip(*address),
    };
    Some(TargetSettings { address, weight, backup })
}

fn health(field: &Field<written::Health>) -> HealthSettings {
    let mut health = HealthSettings::default();
    let Some(written) = field.good() else { return health };
    health.path = word(&written.path).map_or(health.path, |path| path.0.clone());
    if let Some(expect) = written.expect.good() {
        let statuses = expect.0.iter().filter_map(Field::good);
        health.expect = statuses.map(|statuses| statuses.0.0.clone()).collect();
    }
    set(&written.interval, &mut health.interval);
    set(&written.timeout, &mut health.timeout);
    health.rise = written.rise.good().map_or(health.rise, |rise| rise.0);
    health.fall = written.fall.good().map_or(health.fall, |fall| fall.0);
    health.host = word(&written.host).map(|host| host.0.clone());
    health.build_header = word(&written.build_header).map(ToString::to_string);
    health
}

fn promotion(field: &Field<written::Promotion>) -> PromotionSettings {
    let mut promotion = PromotionSettings::default();
    if let Some(written) = field.good() {
        set(&written.gate_timeout, &mut promotion.gate_timeout);
        set(&written.drain_timeout, &mut promotion.drain_timeout);
        promotion.rescue = word(&written.rescue).map_or(promotion.rescue, |rescue| rescue.0);
        promotion.warmup = releases::warmup(&written.warmup).map(Arc::new);
        promotion.bake = word(&written.bake).map_or(promotion.bake, |bake| bake.0);
        set(&written.on_fail, &mut promotion.on_fail);
        promotion.hold = word(&written.hold).map_or(promotion.hold, |hold| hold.0);
        set(&written.close_jitter, &mut promotion.close_jitter);
    }
    promotion
}

/// A drain is not over before the last of them is closed: a slip of the hand must not make it hours.
fn check_jitter(promotion: &PromotionSettings, at: &str, reader: &mut Reader<'_>) {
    const LONGEST_JITTER: Duration = Duration::from_secs(600);
    if promotion.close_jitter > LONGEST_JITTER {
        let hint = "write 10m or less: each promote waits that much longer at the most".to_owned();
        reader.problem(&format!("{at}.promotion.close_jitter"), "is too long", Some(hint));
    }
}

/// A round asks every target: an interval that is no time at all would be a flood.
fn check_interval(health: &HealthSettings, at: &str, reader: &mut Reader<'_>) {
    const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
    if health.interval < SHORTEST_INTERVAL {
        let hint = "write 10ms or more: each round asks every target".to_owned();
        reader.problem(&format!("{at}.health.interval"), "is too short", Some(hint));
    }
}

/// The routes, their upstreams looked up.
pub(crate) fn routes(file: &written::Proxy, reader: &mut Reader<'_>) -> Vec<RouteSettings> {
    let known: Option<HashSet<&str>> = file
        .upstreams
        .good()
        .map(|named| named.0.iter().map(|(name, _)| name.as_str()).collect());
    let mut seen: HashMap<(HostRule, String), usize> = HashMap::new();
    let mut routes = Vec::new();
    let list = file
        .routes
        .good()
        .map(|list| list.0.as_slice())
        .unwrap_or_default();
    for (index, field) in list.iter().enumerate() {
        let Some(written) = field.good() else { continue };
        let at = format!("routes[{index}]");
        let host = word(&written.host).cloned().unwrap_or(HostRule::Any);
        let path = word(&written.path)
            .map_or("/", |path| path.0.as_str())
            .to_owned();
        if matches!(written.host, Field::Bad) || matches!(written.path, Field::Bad) {
            continue;
        }
        let rule = (host.clone(), path.trim_end_matches('/').to_owned());
        if let Some(first) = seen.get(&rule) {
            let what =
                format!("takes the same requests as routes[{first}]: host {host}, path {path}");
            reader.problem(&at, what, Some("remove one of the two".to_owned()));
        }
        seen.entry(rule).or_insert(index);
        let Some(name) = word(&written.upstream) else { continue };
        if let Some(known) = known
            .as_ref()
            .filter(|known| !known.contains(name.as_str()))
        {
            dangling(name, known, &at, reader);
        }
        let upstream = name.as_str().into();
        routes.push(RouteSettings { host, path, upstream, timeouts: overrides(&written.timeouts) });
    }
    routes
}

fn dangling(name: &str, known: &HashSet<&str>, at: &str, reader: &mut Reader<'_>) {
    // A hint that nobody will see is not worth comparing thousands of names.
    let hint = (reader.count() < PROBLEMS_MAX).then(|| {
        let mut known: Vec<&str> = known.iter().copied().collect();
        known.sort_unstable();
        nearest::word(name, known.iter().copied()).map_or_else(
            || format!("known: {}", known.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        )
    });
    let what = format!("there is no upstream \"{name}\"");
    reader.problem(&format!("{at}.upstream"), what, hint);
}

//! What stands in the way of a promotion, now: one fresh round of probes, and what the supervisor
//! would refuse besides. Reads only.

use crate::control::command::status::Phase;
use crate::control::command::why::Finding;
use crate::control::command::why::WhyTarget;
use crate::control::command::why::WhyUpstream;
use crate::control::command::why::Whys;
use crate::control::events;
use crate::control::gate::Asked;
use crate::control::promotion::in_words;
use crate::control::status;
use crate::control::status::Board;
use crate::control::supervisor::guards;
use crate::model::colour::Colour;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::model::target::Target;
use crate::model::upstream::Upstream;

/// Puts the answer together from a round of probes of these upstreams.
#[must_use]
pub fn why(upstreams: &[Upstream], colour: Colour, asked: &[Asked], board: &Board) -> Whys {
    let upstreams: Vec<WhyUpstream> = upstreams
        .iter()
        .filter_map(|upstream| of_upstream(upstream, colour, asked, board))
        .collect();
    Whys { passes: upstreams.iter().all(|upstream| upstream.blocks.is_empty()), upstreams }
}

fn of_upstream(
    upstream: &Upstream,
    colour: Colour,
    asked: &[Asked],
    board: &Board,
) -> Option<WhyUpstream> {
    let live = upstream.live()?;
    let name = &upstream.name;
    let asked = || asked.iter().filter(|one| one.upstream == *name);
    let mut blocks: Vec<Finding> = asked().filter_map(failing).collect();
    if live != colour {
        blocks.extend(holds(upstream, colour, board));
        blocks.extend(draining(upstream, colour));
    }
    Some(WhyUpstream {
        upstream: name.to_string(),
        colour,
        live,
        blocks,
        notes: notes(upstream, colour, live, board),
        targets: asked().map(of_target).collect(),
    })
}

/// The fresh probe of this target did not pass.
fn failing(asked: &Asked) -> Option<Finding> {
    let outcome = &asked.record.outcome;
    let name = &asked.target.name;
    let since = asked.target.health.turned().map(events::at);
    let since = since
        .filter(|_| {
            asked
                .target
                .health
                .last()
                .is_some_and(|last| !last.outcome.is_good())
        })
        .map(|since| format!(", and no probe since {since} was good"));
    (!outcome.is_good()).then(|| Finding {
        what: format!("{name} {}{}", in_words(outcome), since.unwrap_or_default()),
        target: Some(name.to_string()),
        hint: outcome.hint().map(str::to_owned),
    })
}

/// Targets of the colour that get no new requests because somebody has ordered so.
fn draining(upstream: &Upstream, colour: Colour) -> Vec<Finding> {
    let pool = upstream.pool(colour);
    let targets = pool.map(|pool| pool.targets.as_slice()).unwrap_or_default();
    let ordered = targets.iter().filter(|target| target.is_draining());
    let one = |target: &std::sync::Arc<Target>| {
        let (name, target) = (&upstream.name, &target.name);
        Finding {
            what: format!("{target} drains: somebody has ordered so"),
            target: Some(target.to_string()),
            hint: Some(format!("`proxyctl target ready {name} {target}`, or `promote --force`")),
        }
    };
    ordered.map(one).collect()
}

/// Somebody holds the upstream, or keeps the colour from being promoted.
fn holds(upstream: &Upstream, colour: Colour, board: &Board) -> Vec<Finding> {
    let name = &*upstream.name;
    let mut found = Vec::new();
    if let Some(running) = board
        .promotions
        .get(name)
        .filter(|it| it.phase == Phase::Gating)
    {
        let (id, theirs, since) = (&running.id, running.colour, &running.since);
        found.push(finding(
            format!("a promotion of {theirs} ({id}) is gating since {since}"),
            Some("another one of this upstream is refused until it has ended (exit 4)"),
        ));
    }
    if let Some(holder) = guards::holder(&board.guards, name, colour) {
        found.push(finding(
            format!("a guard of {holder} holds {colour} off"),
            Some("it ends with the command that it runs"),
        ));
    }
    found
}

/// What does not hold a promote up.
fn notes(upstream: &Upstream, colour: Colour, live: Colour, board: &Board) -> Vec<Finding> {
    let mut notes = Vec::new();
    if live == colour {
        notes.push(finding(format!("{colour} is live already"), None));
    }
    let running = board.promotions.get(&*upstream.name);
    if let Some(running) = running.filter(|running| running.phase == Phase::Draining) {
        let retired = running.colour.other();
        let back = retired == colour;
        let what = format!("{retired} drains since {}", running.since);
        notes.push(finding(what, back.then_some("a promote of it takes that back")));
    }
    if let Some(canary) = upstream.canary_order() {
        let (weight, theirs) = (canary.weight, canary.colour);
        let end = format!("`proxyctl canary {theirs} --weight 0` ends it");
        notes.push(finding(
            format!("a canary gives {theirs} to {weight} % of the users"),
            Some(&end),
        ));
    }
    if upstream.orders.maintenance.is_some() {
        notes.push(finding(
            "clients are told that it is being maintained".to_owned(),
            Some("`proxyctl maintenance off` lets them in"),
        ));
    }
    let ejected = upstream
        .pool(colour)
        .map(|pool| ejected(pool))
        .unwrap_or_default();
    notes.extend(ejected);
    notes
}

/// Targets that rest: a gate that passes brings them back.
fn ejected(pool: &Pool) -> Vec<Finding> {
    let resting = pool.targets.iter().filter_map(|target| {
        let until = events::at(target.health.ejected_until()?);
        let what = format!("{} is ejected until {until}: requests failed on it", target.name);
        Some(Finding { target: Some(target.name.to_string()), ..finding(what, None) })
    });
    resting.collect()
}

fn finding(what: String, hint: Option<&str>) -> Finding {
    Finding { what, target: None, hint: hint.map(str::to_owned) }
}

fn of_target(asked: &Asked) -> WhyTarget {
    let health = &asked.target.health;
    WhyTarget {
        address: asked.target.name.to_string(),
        passed: asked.record.outcome.is_good(),
        outcome: asked.record.outcome.to_string(),
        since: health.turned().map(events::at),
        healthy: match health.verdict() {
            Verdict::Unknown => None,
            Verdict::Healthy => Some(true),
            Verdict::Unhealthy => Some(false),
        },
        ejected: health.is_ejected(),
        probes: status::probes(&asked.target),
    }
}

//! What a request about the standby colour means: a canary, a preview. Pure.

use crate::control::command::Refusal;
use crate::control::command::canary::Canary;
use crate::control::command::canary::Preview;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request::PROMOTE_ROUNDS;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::request::chosen;
use crate::control::supervisor::request::colour;
use crate::control::supervisor::request::duration;
use crate::control::supervisor::request::names_builds;
use crate::model::colour::Colour;
use crate::model::snapshot::Snapshot;
use crate::model::split::Share;
use crate::model::upstream::Upstream;

/// What a request about a canary comes to.
#[derive(Debug)]
pub(in crate::control::supervisor) enum CanaryWay {
    /// As a promotion: behind a gate it begins, with a drain it ends.
    Gate(Wish),
    /// Canaries of this colour run on all of these upstreams, and get another weight.
    Weight(Vec<String>, Colour),
}

pub(in crate::control::supervisor) fn canary(
    request: &Canary,
    snapshot: &Snapshot,
) -> Result<CanaryWay, Refusal> {
    let which = (request.upstreams.as_deref(), request.all);
    let (upstreams, colour) = of_standby(&request.colour, which, snapshot)?;
    if request.build.is_some() {
        names_builds(upstreams.iter().copied())?;
    }
    let runs = |upstream: &&Upstream| upstream.canary_order().is_some();
    let begins = request.weight > Share::NONE;
    if begins && upstreams.iter().all(runs) {
        let names = upstreams.iter().map(|upstream| upstream.name.to_string());
        return Ok(CanaryWay::Weight(names.collect(), colour));
    }
    let wanted = if begins { colour } else { colour.other() };
    let members = upstreams
        .into_iter()
        .map(|upstream| (upstream.clone(), wanted))
        .collect();
    Ok(CanaryWay::Gate(Wish {
        gate_timeout: duration("gate_timeout", request.gate_timeout.as_deref())?,
        drain_timeout: duration("drain_timeout", request.drain_timeout.as_deref())?,
        wait: request.wait,
        build: request.build.clone(),
        canary: begins.then_some(request.weight),
        rounds: if begins && !request.force { PROMOTE_ROUNDS } else { 0 },
        ..Wish::back_to(members, "canary")
    }))
}

pub(in crate::control::supervisor) fn preview(
    request: &Preview,
    snapshot: &Snapshot,
) -> Result<(Vec<Upstream>, Colour), Refusal> {
    let named = request.upstreams.as_deref();
    // What is over may have become live meanwhile.
    if request.off {
        let upstreams = chosen(named, request.all, snapshot)?;
        return Ok((upstreams.into_iter().cloned().collect(), colour(&request.colour)?));
    }
    let (upstreams, colour) = of_standby(&request.colour, (named, request.all), snapshot)?;
    Ok((upstreams.into_iter().cloned().collect(), colour))
}

/// The upstreams of a request that is about their standby colour, and that colour.
fn of_standby<'a>(
    word: &str,
    (named, all): (Option<&[String]>, bool),
    snapshot: &'a Snapshot,
) -> Result<(Vec<&'a Upstream>, Colour), Refusal> {
    let colour = colour(word)?;
    let upstreams = chosen(named, all, snapshot)?;
    let live = upstreams
        .iter()
        .find(|upstream| upstream.live() == Some(colour));
    match live {
        Some(live) => Err(refusal::is_live(&live.name, colour)),
        None => Ok((upstreams, colour)),
    }
}

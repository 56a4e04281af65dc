//! What a request means on the snapshot of the moment: who, which colour, how long. Pure.

mod standby;

use std::str::FromStr;
use std::time::Duration;

use crate::control::command::Guard;
use crate::control::command::Probe;
use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::Rollback;
use crate::control::command::event::Reason;
use crate::control::command::target::SetPool;
use crate::control::supervisor::refusal;
use crate::control::supervisor::running::ends_canary;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::snapshot::Snapshot;
use crate::model::split::Share;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;

pub(super) use crate::control::supervisor::request::standby::CanaryWay;
pub(super) use crate::control::supervisor::request::standby::canary;
pub(super) use crate::control::supervisor::request::standby::preview;

/// A promote needs this many whole good rounds in a row, a rollback one.
const PROMOTE_ROUNDS: u32 = 2;

/// No gate and no drain needs longer; more is a slip of the hand.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a verdict asks for that takes a release back.
pub(super) const REVERT: &str = "revert";

/// A promotion as it is wanted, checked.
#[derive(Debug)]
pub(super) struct Wish {
    /// `promote`, `rollback` or `canary`.
    pub(super) asked: &'static str,
    /// The upstreams and the colour each should get; not empty, no upstream twice.
    pub(super) members: Vec<(Upstream, Colour)>,
    pub(super) gate_timeout: Option<Duration>,
    pub(super) drain_timeout: Option<Duration>,
    pub(super) wait: bool,
    pub(super) build: Option<String>,
    pub(super) dry_run: bool,
    /// What part of the users gets the colours; absent: all, as a promotion gives it.
    pub(super) canary: Option<Share>,
    /// Good rounds that open the gate; 0: forced.
    pub(super) rounds: u32,
    /// Its colour has got other targets for it, which go again if it comes to nothing.
    pub(super) deploys: bool,
    /// Its canary is the first of some steps.
    pub(super) in_steps: bool,
    /// How long the new colour is judged; `None`: as the file says.
    pub(super) bake: Option<Duration>,
    /// What becomes of it if it is judged bad; `None`: as the file says.
    pub(super) on_fail: Option<OnFail>,
    /// It leads back: the colour that it retires is neither judged by nor held.
    pub(super) is_back: bool,
}

impl Wish {
    /// The way back of a verdict: without a gate, for the probes of a warm colour have never stopped.
    pub(super) fn back_to(members: Vec<(Upstream, Colour)>, asked: &'static str) -> Self {
        Self {
            asked,
            members,
            gate_timeout: None,
            drain_timeout: None,
            wait: false,
            build: None,
            dry_run: false,
            canary: None,
            rounds: 0,
            bake: None,
            on_fail: None,
            is_back: true,
            deploys: false,
            in_steps: false,
        }
    }
}

/// What a rollback comes to.
#[derive(Debug)]
pub(super) enum Way {
    /// There is a way back.
    Back(Wish),
    /// Some upstream never had another colour live.
    None(Vec<Reason>),
}

pub(super) fn promote(request: &Promote, snapshot: &Snapshot) -> Result<Wish, Refusal> {
    let colour = colour(&request.colour)?;
    let upstreams = chosen(request.upstreams.as_deref(), request.all, snapshot)?;
    if request.build.is_some() {
        names_builds(upstreams.iter().copied())?;
    }
    let expected = request
        .expect_live
        .as_deref()
        .map(self::colour)
        .transpose()?;
    let wish = Wish {
        asked: "promote",
        members: upstreams
            .iter()
            .map(|upstream| ((*upstream).clone(), colour))
            .collect(),
        gate_timeout: duration("gate_timeout", request.gate_timeout.as_deref())?,
        drain_timeout: duration("drain_timeout", request.drain_timeout.as_deref())?,
        wait: request.wait,
        build: request.build.clone(),
        dry_run: request.dry_run,
        canary: None,
        deploys: false,
        in_steps: false,
        // That the live colour stays needs no proof.
        rounds: if request.force || upstreams.iter().all(|up| ends_canary(up, colour)) {
            0
        } else {
            PROMOTE_ROUNDS
        },
        bake: duration("bake", request.bake.as_deref())?,
        on_fail: request.on_fail.as_deref().map(on_fail).transpose()?,
        is_back: false,
    };
    for upstream in upstreams {
        match (upstream.live(), expected) {
            (Some(live), Some(expected)) if live != expected => {
                return Err(refusal::expect_live(&upstream.name, expected, live));
            }
            (Some(_) | None, _) => {}
        }
    }
    Ok(wish)
}

pub(super) fn rollback(request: &Rollback, snapshot: &Snapshot) -> Result<Way, Refusal> {
    let upstreams = chosen(request.upstreams.as_deref(), request.all, snapshot)?;
    let gate_timeout = duration("gate_timeout", request.gate_timeout.as_deref())?;
    let drain_timeout = duration("drain_timeout", request.drain_timeout.as_deref())?;
    let mut members = Vec::new();
    let mut reasons = Vec::new();
    for upstream in upstreams {
        let Pools::Coloured { split, previous, .. } = &upstream.pools else { continue };
        if upstream.canary_order().is_some() {
            // The way back leads to where most users are.
            members.push((upstream.clone(), split.live()));
            continue;
        }
        match previous {
            Some(previous) => members.push((upstream.clone(), *previous)),
            None => reasons.push(Reason {
                upstream: upstream.name.to_string(),
                colour: split.live().other(),
                target: None,
                what: format!("no other colour than {} was ever live", split.live()),
                hint: Some(format!("`proxyctl promote {}`", split.live().other())),
            }),
        }
    }
    if !reasons.is_empty() {
        return Ok(Way::None(reasons));
    }
    let switches = members.iter().any(|(up, colour)| !ends_canary(up, *colour));
    let rounds = u32::from(switches && !request.force);
    let wait = request.wait;
    Ok(Way::Back(Wish {
        gate_timeout,
        drain_timeout,
        wait,
        rounds,
        ..Wish::back_to(members, "rollback")
    }))
}

pub(super) fn probe(
    request: &Probe,
    snapshot: &Snapshot,
) -> Result<(Vec<Upstream>, Colour), Refusal> {
    let colour = colour(&request.colour)?;
    let upstreams = chosen(request.upstreams.as_deref(), request.all, snapshot)?;
    Ok((upstreams.into_iter().cloned().collect(), colour))
}

pub(super) fn guard(request: &Guard, snapshot: &Snapshot) -> Result<(Upstream, Colour), Refusal> {
    let colour = colour(&request.colour)?;
    let named = request.upstream.as_ref().map(std::slice::from_ref);
    let upstreams = chosen(named, false, snapshot)?;
    let first = upstreams.first().copied().cloned();
    first
        .map(|upstream| (upstream, colour))
        .ok_or_else(refusal::nothing_promotable)
}

pub(super) fn pool(request: &SetPool, snapshot: &Snapshot) -> Result<(Upstream, Colour), Refusal> {
    let (colour, upstream) = (request.colour.clone(), request.upstream.clone());
    guard(&Guard { colour, upstream, ignore_hold: false }, snapshot)
}

/// A build can only be asked for where the file says which header names it.
pub(super) fn names_builds<'a>(
    upstreams: impl IntoIterator<Item = &'a Upstream>,
) -> Result<(), Refusal> {
    let silent = upstreams
        .into_iter()
        .find(|upstream| upstream.health.build_header.is_none());
    let Some(upstream) = silent else { return Ok(()) };
    let name = &upstream.name;
    let detail = format!("build: upstreams.{name}.health.build_header is not set");
    let hint = "name the response header in which the health page says its build: X-Build";
    Err(refusal::hinted(refusal::malformed(detail), hint))
}

fn on_fail(word: &str) -> Result<OnFail, Refusal> {
    OnFail::from_str(word).map_err(|unknown| refusal::malformed(format!("on_fail: {unknown}")))
}

fn colour(word: &str) -> Result<Colour, Refusal> {
    Colour::from_str(word).map_err(|unknown| refusal::unknown_colour(&unknown))
}

/// The upstreams a request is about: the named ones, all promotable ones, or the only one.
fn chosen<'a>(
    named: Option<&[String]>,
    all: bool,
    snapshot: &'a Snapshot,
) -> Result<Vec<&'a Upstream>, Refusal> {
    if let Some(chosen) = of_these(named, all, snapshot)? {
        let plain = chosen.iter().find(|upstream| upstream.live().is_none());
        return plain.map_or(Ok(chosen.clone()), |plain| Err(refusal::plain(&plain.name)));
    }
    let mut promotable: Vec<&Upstream> = snapshot.upstreams.iter().collect();
    promotable.retain(|upstream| upstream.live().is_some());
    match promotable.len() {
        0 => Err(refusal::nothing_promotable()),
        1 => Ok(promotable),
        _ if all => Ok(promotable),
        _ => Err(refusal::which_one(&promotable)),
    }
}

/// The upstreams that are named, each once; `None`: none is.
fn of_these<'a>(
    named: Option<&[String]>,
    all: bool,
    snapshot: &'a Snapshot,
) -> Result<Option<Vec<&'a Upstream>>, Refusal> {
    let Some(names) = named else { return Ok(None) };
    if all {
        return Err(refusal::malformed("`upstreams` and `all` exclude each other".to_owned()));
    }
    if names.is_empty() {
        return Err(refusal::malformed("`upstreams` names none".to_owned()));
    }
    let mut these: Vec<&Upstream> = Vec::new();
    for name in names {
        let found = snapshot.upstream(name);
        let upstream = found.ok_or_else(|| refusal::unknown_upstream(name, snapshot))?;
        if !these.iter().any(|other| other.name == upstream.name) {
            these.push(upstream);
        }
    }
    Ok(Some(these))
}

/// The upstreams a command names that concerns those without colours, too.
pub(super) fn of_any_kind<'a>(
    named: Option<&[String]>,
    all: bool,
    snapshot: &'a Snapshot,
) -> Result<Vec<&'a Upstream>, Refusal> {
    if let Some(chosen) = of_these(named, all, snapshot)? {
        return Ok(chosen);
    }
    let known: Vec<&Upstream> = snapshot.upstreams.iter().collect();
    if known.len() > 1 && !all { Err(refusal::which_of(&known)) } else { Ok(known) }
}

/// The one upstream a command names that concerns those without colours, too.
pub(super) fn one_of_any_kind<'a>(
    named: Option<&String>,
    snapshot: &'a Snapshot,
) -> Result<&'a Upstream, Refusal> {
    let upstreams = of_any_kind(named.map(std::slice::from_ref), false, snapshot)?;
    let first = upstreams.first().copied();
    first.ok_or_else(|| refusal::unknown_upstream("", snapshot))
}

/// `250ms`, `1s`, `2m`, `1h`: as in the file.
pub(in crate::control) fn duration(
    key: &str,
    text: Option<&str>,
) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let duration = number
        .zip(milliseconds)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX);
    duration.map(Some).ok_or_else(|| {
        let wrong = refusal::malformed(format!("{key}: \"{text}\" is not a duration"));
        refusal::hinted(wrong, "write it as 250ms, 30s, 2m or 1h; seven days at most")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics_and_every_good_one_is_read(number in any::<u64>(), unit in "m?s|m|h|[a-z]{0,3}") {
            let text = format!("{number}{unit}");
            let each = match unit.as_str() {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => 0,
            };
            let wanted = number
                .checked_mul(each)
                .filter(|_| each > 0)
                .map(Duration::from_millis)
                .filter(|duration| *duration <= DURATION_MAX);
            prop_assert_eq!(duration("x", Some(&text)).ok().flatten(), wanted);
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let read = |text| duration("gate_timeout", Some(text)).ok().flatten();
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("2m"), Some(Duration::from_secs(120)));
        assert_eq!(read("0s"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s", "200h"] {
            assert!(duration("gate_timeout", Some(bad)).is_err(), "{bad}");
        }
    }
}

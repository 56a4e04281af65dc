//! Every refusal that is given before something starts, in words.

use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::status::Phase;
use crate::control::supervisor::handle::Caller;
use crate::model::colour::Colour;
use crate::model::colour::UnknownColour;
use crate::model::problem::Problem;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;

/// A refusal of the given HTTP status.
pub(crate) fn refusal(status: u16, code: Code, title: &str, detail: String) -> Refusal {
    Refusal { status, title: title.to_owned(), detail, code, hint: None, problems: Vec::new() }
}

/// `refusal` with the way out.
pub(crate) fn hinted(refusal: Refusal, hint: impl Into<String>) -> Refusal {
    Refusal { hint: Some(hint.into()), ..refusal }
}

pub(super) fn unknown_upstream(name: &str, snapshot: &Snapshot) -> Refusal {
    let detail = format!("there is no upstream \"{name}\"");
    let known: Vec<&str> = snapshot
        .upstreams
        .iter()
        .map(|upstream| &*upstream.name)
        .collect();
    let hint = format!("the file has {}", listed(&known));
    hinted(refusal(404, Code::Unknown, "unknown upstream", detail), hint)
}

pub(super) fn unknown_target(
    upstream: &str,
    target: &str,
    near: Option<&str>,
    known: &[&str],
) -> Refusal {
    let detail = format!("{upstream}: there is no target \"{target}\"");
    let hint = match near {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it has {}", listed(known)),
    };
    hinted(refusal(404, Code::Unknown, "unknown target", detail), hint)
}

pub(super) fn unknown_colour(unknown: &UnknownColour) -> Refusal {
    refusal(422, Code::Unknown, "unknown colour", unknown.to_string())
}

pub(super) fn plain(upstream: &str) -> Refusal {
    let detail = format!("{upstream}: has one plain pool and no colours");
    let plain = refusal(422, Code::Unknown, "not promotable", detail);
    hinted(plain, "give it `blue:` and `green:` instead of `targets:` to promote it")
}

pub(super) fn nothing_promotable() -> Refusal {
    let detail = "no upstream of the file has colours".to_owned();
    let nothing = refusal(422, Code::Unknown, "not promotable", detail);
    hinted(nothing, "give one `blue:` and `green:` instead of `targets:`")
}

pub(super) fn which_one(promotable: &[&Upstream]) -> Refusal {
    let names: Vec<&str> = promotable.iter().map(|upstream| &*upstream.name).collect();
    let detail = format!("several upstreams have colours and none is named: {}", listed(&names));
    let which = refusal(422, Code::Unknown, "which upstream", detail);
    hinted(which, "name them with --upstream (repeatable), or say --all")
}

pub(super) fn which_of(known: &[&Upstream]) -> Refusal {
    let names: Vec<&str> = known.iter().map(|upstream| &*upstream.name).collect();
    let detail = format!("there are several upstreams and none is named: {}", listed(&names));
    let which = refusal(422, Code::Unknown, "which upstream", detail);
    hinted(which, "name them with --upstream (repeatable), or say --all")
}

pub(crate) fn malformed(detail: String) -> Refusal {
    refusal(422, Code::Unknown, "malformed request", detail)
}

pub(super) fn expect_live(upstream: &str, expected: Colour, live: Colour) -> Refusal {
    let detail = format!("{upstream}: {live} is live, not {expected}");
    refusal(409, Code::ExpectLive, "another colour is live", detail)
}

pub(super) fn is_live(upstream: &str, colour: Colour) -> Refusal {
    let other = colour.other();
    let detail = format!("{upstream}: {colour} is live already");
    let live = refusal(409, Code::ExpectLive, "the colour is live", detail);
    hinted(live, format!("a canary and a preview are of the standby colour: {other}"))
}

pub(super) fn draining(upstream: &str, colour: Colour) -> Refusal {
    let detail = format!("{upstream}: {colour} still drains");
    let busy = refusal(409, Code::Busy, "busy", detail);
    hinted(busy, "`proxyctl status` shows when it is done")
}

pub(super) fn target_drains(upstream: &str, colour: Colour, target: &str) -> Refusal {
    let detail = format!("{upstream}: {colour} is not whole: {target} drains");
    let refused = refusal(409, Code::Gate, "a target drains", detail);
    hinted(refused, format!("`proxyctl target ready {upstream} {target}` first"))
}

/// Of a colour that requests are sent to: the live one, or that of a canary.
pub(super) fn serves(upstream: &Upstream, colour: Colour) -> Refusal {
    let name = &upstream.name;
    let canary = upstream.canary_order();
    let Some(canary) = canary.filter(|canary| canary.colour == colour) else {
        return live(name, colour);
    };
    let weight = canary.weight;
    let refused = in_use(format!("{name}: a canary gives {colour} {weight} % of the users"));
    hinted(refused, format!("`proxyctl canary {colour} --weight 0` ends it"))
}

fn live(upstream: &str, colour: Colour) -> Refusal {
    let refused = in_use(format!("{upstream}: {colour} is live: requests would move at once"));
    hinted(refused, "give the standby colour its targets and promote it: proxyctl deploy")
}

/// The problems of a list of targets: where the file would have them is no place of this request.
pub(super) fn bad_targets(problems: &[Problem]) -> Refusal {
    let all: Vec<&str> = problems
        .iter()
        .map(|problem| problem.what.as_str())
        .collect();
    let refused = malformed(all.join("\n"));
    match problems.iter().find_map(|problem| problem.hint.as_ref()) {
        Some(hint) => hinted(refused, hint),
        None => refused,
    }
}

pub(super) fn busy_promotion(
    upstream: &str,
    colour: Colour,
    phase: Phase,
    since: &str,
    caller: Caller,
) -> Refusal {
    let phase = match phase {
        Phase::Gating => "gating",
        Phase::Draining => "draining",
        Phase::Baking => "baking",
    };
    let detail =
        format!("{upstream}: a promotion of {colour} by {caller} is {phase} since {since}");
    refusal(409, Code::Busy, "busy", detail)
}

pub(super) fn busy_steps(upstreams: &str, colour: Colour, caller: Caller) -> Refusal {
    let detail = format!("{upstreams}: a promotion of {colour} in steps by {caller} is under way");
    let busy = refusal(409, Code::Busy, "busy", detail);
    hinted(busy, "`proxyctl canary` with another weight, or `rollback`, ends its steps")
}

pub(super) fn busy_guard(upstream: &str, colour: Colour, caller: Caller) -> Refusal {
    let detail = format!("{upstream}: a guard of {caller} holds {colour} off");
    refusal(409, Code::Busy, "busy", detail)
}

pub(super) fn busy_roll(upstream: &str, caller: Caller) -> Refusal {
    let detail = format!("{upstream}: a roll of {caller} takes its targets one after the other");
    refusal(409, Code::Busy, "busy", detail)
}

pub(super) fn in_use(detail: String) -> Refusal {
    refusal(409, Code::InUse, "in use", detail)
}

pub(super) fn bad_file(problems: Vec<Problem>) -> Refusal {
    let count = problems.len();
    let detail = match problems.first() {
        Some(first) if count == 1 => first.to_string(),
        Some(first) => format!("{count} problems, the first: {first}"),
        None => "the file cannot be applied".to_owned(),
    };
    let refused = refusal(422, Code::Config, "the file was not applied", detail);
    Refusal { problems, ..refused }
}

pub(super) fn not_durable(why: &str) -> Refusal {
    let detail = format!("the state could not be made durable, nothing has changed: {why}");
    let refused = refusal(500, Code::NotDurable, "not durable", detail);
    hinted(refused, "see to the disk under state_dir")
}

pub(super) fn stopping() -> Refusal {
    refusal(503, Code::Busy, "stopping", "the daemon is stopping".to_owned())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

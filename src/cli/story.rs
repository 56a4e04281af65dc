//! A promotion, told line by line as it happens. Pure: events in, lines out.

use std::collections::BTreeMap;

use crate::cli::screen::Line;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::verdict;
use crate::cli::words;
use crate::control::command::Code;
use crate::control::command::event::Cut;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::command::event::Receipt;
use crate::control::command::event::TargetReport;
use crate::control::command::event::Warmth;
use crate::control::command::status::Status;
use crate::model::colour::Colour;

/// A failing round that says the same as the one before is told only every so many rounds: a
/// deploy's log should show that the gate is alive, not bury what went wrong.
const REPEAT_EVERY: usize = 10;

/// Whose promotion it is, and the colour that it makes live where that is known: the events of a
/// promotion do not repeat it.
pub type Subject = BTreeMap<String, Option<Colour>>;

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Story {
    subject: Subject,
    rounds: usize,
    /// By upstream: what failed in the last round.
    failing: BTreeMap<String, String>,
    in_flight: Option<usize>,
}

/// The upstreams that `named` (none: all that can be promoted) stands for, each with `colour`, or
/// for a rollback with its standby colour.
#[must_use]
pub fn subject(status: &Status, named: &[String], colour: Option<Colour>) -> Subject {
    status
        .upstreams
        .iter()
        .filter(|(name, up)| up.live.is_some() && (named.is_empty() || named.contains(name)))
        .map(|(name, up)| {
            // While a canary runs, the way back leads to the live colour.
            let back = if up.canary.is_some() { up.live } else { up.standby };
            (name.clone(), colour.or(back))
        })
        .collect()
}

impl Story {
    /// The story of a promotion of these.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self { subject, ..Self::default() }
    }

    /// The lines to print for `event`; none if it is not news.
    pub fn tell(&mut self, event: &Event) -> Vec<Line> {
        match event {
            Event::Warming { upstreams } => upstreams.iter().map(warming).collect(),
            Event::Gating { targets } => self.round(targets),
            Event::Switched { generation } => self.switched(*generation),
            Event::Draining { in_flight } => self.draining(*in_flight),
            Event::Drained { receipts } | Event::Cut { receipts } => {
                receipts.iter().map(ended).collect()
            }
            Event::Baking { colours, left_seconds } => verdict::baking(colours, *left_seconds),
            Event::Step { .. } => verdict::step(event).into_iter().collect(),
            Event::Verdict(verdict) => vec![verdict::line(verdict)],
            Event::WouldSwitch { targets, in_flight, tunnels } => {
                vec![self.would_switch(targets, *in_flight, *tunnels)]
            }
            Event::Canary { colour, weight, generation } => {
                let told = words::canary(*colour, *weight, *generation);
                vec![line(Tone::Good, format!("{}{told}", prefix(&self.names())))]
            }
            // Said as errors, or not a promotion's.
            Event::Refused { .. }
            | Event::Reopened { .. }
            | Event::Reverted { .. }
            | Event::Frozen { .. }
            | Event::Guarded { .. }
            | Event::Probe { .. }
            | Event::Ejection { .. }
            | Event::Ordered { .. }
            | Event::Target(_)
            | Event::Rolling { .. }
            | Event::Reload { .. } => Vec::new(),
        }
    }

    fn round(&mut self, targets: &[TargetReport]) -> Vec<Line> {
        self.rounds += 1;
        let mut by_upstream: BTreeMap<&str, Vec<&TargetReport>> = BTreeMap::new();
        for target in targets {
            by_upstream
                .entry(&target.upstream)
                .or_default()
                .push(target);
        }
        let mut lines = Vec::new();
        for (upstream, targets) in by_upstream {
            let failing = complaints(targets.iter().copied());
            let before = self.failing.insert(upstream.to_owned(), failing.clone());
            let news = failing.is_empty() || before.as_ref() != Some(&failing);
            if !news && !self.rounds.is_multiple_of(REPEAT_EVERY) {
                continue;
            }
            let verdict = tally(targets.iter().copied());
            let prefix = prefix(upstream);
            let round = self.rounds;
            lines.push(if failing.is_empty() {
                line(Tone::Plain, format!("{prefix}gate round {round}: {verdict}"))
            } else {
                line(Tone::Warn, format!("{prefix}gate round {round}: {verdict}: {failing}"))
            });
        }
        lines
    }

    fn switched(&self, generation: u64) -> Vec<Line> {
        let told = |upstream: &str, colour: Option<Colour>| {
            let to = colour
                .map(|colour| format!(" to {colour}"))
                .unwrap_or_default();
            let prefix = prefix(upstream);
            line(Tone::Good, format!("{prefix}switched{to}, generation {generation}"))
        };
        if self.subject.is_empty() {
            return vec![told("", None)];
        }
        self.subject
            .iter()
            .map(|(name, colour)| told(name, *colour))
            .collect()
    }

    fn draining(&mut self, in_flight: usize) -> Vec<Line> {
        if self.in_flight.replace(in_flight) == Some(in_flight) {
            return Vec::new();
        }
        let whose = prefix(&self.names());
        let retired = self
            .retired()
            .map(|colour| format!(" {colour}"))
            .unwrap_or_default();
        vec![line(Tone::Plain, format!("{whose}draining{retired}: {in_flight} in flight"))]
    }

    fn would_switch(&self, targets: &[TargetReport], in_flight: usize, tunnels: usize) -> Line {
        let whose = prefix(&self.names());
        let word = |colour: Option<Colour>| colour.map_or("the other colour", Colour::as_str);
        let to = word(self.retired().map(Colour::other));
        let from = word(self.retired());
        let verdict = tally(targets.iter());
        let tunnels = words::count(tunnels, "tunnel");
        line(
            Tone::Good,
            format!(
                "{whose}would switch to {to}: {verdict}; {in_flight} in flight on {from}, {tunnels} among them; nothing has changed"
            ),
        )
    }

    /// `app`, `api, app`; empty if unknown.
    #[must_use]
    pub fn names(&self) -> String {
        self.subject
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The colour that new requests no longer get, if it is the same for all.
    fn retired(&self) -> Option<Colour> {
        let mut colours = self.subject.values();
        let first = colours.next().copied().flatten()?;
        colours
            .all(|colour| *colour == Some(first))
            .then(|| first.other())
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

/// `app: `, or nothing.
fn prefix(upstream: &str) -> String {
    if upstream.is_empty() { String::new() } else { format!("{upstream}: ") }
}

fn tally<'t>(targets: impl Iterator<Item = &'t TargetReport>) -> String {
    let (mut passed, mut all) = (0, 0);
    for target in targets {
        passed += usize::from(target.passed);
        all += 1;
    }
    format!("{passed} of {} passed", words::count(all, "target"))
}

fn complaints<'t>(targets: impl Iterator<Item = &'t TargetReport>) -> String {
    let failing = targets.filter(|target| !target.passed);
    let told = failing.map(|t| format!("{} {}", t.address, words::outcome(&t.outcome)));
    told.collect::<Vec<_>>().join(", ")
}

fn warming(warmth: &Warmth) -> Line {
    let tone = if warmth.warm { Tone::Good } else { Tone::Plain };
    line(tone, format!("{}{}", prefix(&warmth.upstream), words::warmth(warmth)))
}

fn ended(receipt: &Receipt) -> Line {
    let prefix = prefix(&receipt.upstream);
    let (colour, retired) = (receipt.colour, receipt.colour.other());
    let safe = match receipt.safe_to_kill {
        Some(colour) => format!("safe to kill: {colour}"),
        None if receipt.held_until.is_some() => {
            let until = receipt.held_until.as_deref().unwrap_or_default();
            format!("{retired} is held until {until}, nothing is safe to kill before")
        }
        None => "nothing is safe to kill".to_owned(),
    };
    let seconds = receipt.drained_seconds;
    let closed = closed(receipt.cut);
    if receipt.cut.forced() > 0 {
        let cut = cut(receipt.cut);
        let text =
            format!("{prefix}{retired} cut after {seconds:.2} s: {cut} ended{closed}, {safe}");
        return line(Tone::Warn, text);
    }
    if receipt.already {
        return line(Tone::Good, format!("{prefix}{colour} was live already, {safe}"));
    }
    line(Tone::Good, format!("{prefix}{retired} drained in {seconds:.2} s{closed}, {safe}"))
}

/// What was ended well: `, 3 WebSockets closed`, or nothing.
fn closed(cut: Cut) -> String {
    let mut told = String::new();
    for (count, what, how) in [
        (cut.websockets_closed, "WebSocket", "closed"),
        (cut.events_ended, "event stream", "ended"),
    ] {
        if count > 0 {
            told.push_str(&format!(", {} {how}", words::count(count, what)));
        }
    }
    told
}

fn cut(cut: Cut) -> String {
    let (requests, tunnels) = (cut.requests, cut.tunnels);
    match (requests, tunnels) {
        (_, 0) => words::count(requests, "request"),
        (0, _) => words::count(tunnels, "tunnel"),
        _ => {
            format!("{} and {}", words::count(requests, "request"), words::count(tunnels, "tunnel"))
        }
    }
}

/// What is said on the error output about receipts that are not all well: what was cut, or that the
/// promotion was taken back.
#[must_use]
pub fn warnings(event: &Event) -> Vec<String> {
    match event {
        Event::Cut { receipts } => receipts
            .iter()
            .filter(|receipt| receipt.cut.forced() > 0)
            .map(|receipt| {
                let prefix = prefix(&receipt.upstream);
                let retired = receipt.colour.other();
                format!(
                    "{prefix}{} on {retired} had to be cut at the drain deadline",
                    cut(receipt.cut)
                )
            })
            .collect(),
        Event::Reopened { receipts } => receipts
            .iter()
            .map(|receipt| {
                let prefix = prefix(&receipt.upstream);
                format!("{prefix}taken back while it drained: nothing is safe to kill")
            })
            .collect(),
        Event::Reverted { receipts } => receipts.iter().map(verdict::reverted).collect(),
        Event::Frozen { receipts } => receipts.iter().map(verdict::frozen).collect(),
        Event::Warming { .. }
        | Event::Gating { .. }
        | Event::Switched { .. }
        | Event::Draining { .. }
        | Event::Drained { .. }
        | Event::Baking { .. }
        | Event::Step { .. }
        | Event::Verdict(_)
        | Event::Refused { .. }
        | Event::WouldSwitch { .. }
        | Event::Guarded { .. }
        | Event::Probe { .. }
        | Event::Ejection { .. }
        | Event::Ordered { .. }
        | Event::Canary { .. }
        | Event::Target(_)
        | Event::Rolling { .. }
        | Event::Reload { .. } => Vec::new(),
    }
}

/// Why a promotion was refused: `app: green refused: 10.0.0.12:8081 answered 503 (3 of 3 probes)`.
#[must_use]
pub fn refusal(code: Code, reason: &Reason) -> String {
    let verb = if code == Code::TakenBack { "taken back" } else { "refused" };
    let colour = reason.colour;
    format!("{}{colour} {verb}: {}", prefix(&reason.upstream), reason.what)
}

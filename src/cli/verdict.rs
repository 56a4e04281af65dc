//! What is printed of a bake: how it is doing, and what it has come to. Pure.

use crate::cli::screen::Line;
use crate::cli::screen::Tone;
use crate::cli::screen::line as one_line;
use crate::control::command::event::Event;
use crate::control::command::event::Receipt;
use crate::control::command::verdict::Baking;
use crate::control::command::verdict::Counted;
use crate::control::command::verdict::Outcome;
use crate::control::command::verdict::Verdict;

/// One line an upstream.
#[must_use]
pub fn baking(colours: &[Baking], left: f64) -> Vec<Line> {
    let told = |one: &Baking| {
        let counts = counts(std::slice::from_ref(one), left);
        one_line(Tone::Plain, format!("{}: {counts}", one.upstream))
    };
    colours.iter().map(told).collect()
}

/// `judging green: 3 of 4000 failed, blue 2 of 90000; 120 s left`.
#[must_use]
pub fn counts(colours: &[Baking], left: f64) -> String {
    let one = |one: &Baking| {
        let (new, old) = (of(one.new), of(one.old));
        format!("judging {}: {new} failed, {} {old}", one.colour, one.colour.other())
    };
    let colours: Vec<String> = colours.iter().map(one).collect();
    format!("{}; {left:.0} s left", colours.join(", "))
}

/// The verdict as a line.
#[must_use]
pub fn line(verdict: &Verdict) -> Line {
    one_line(tone(verdict), format!("{}: {}", verdict.upstream, told(verdict)))
}

/// The verdict in words, with the numbers that decided.
#[must_use]
pub fn told(verdict: &Verdict) -> String {
    let Verdict { colour, result, what, route, requests, seconds, .. } = verdict;
    let result = match result {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Inconclusive => "inconclusive",
    };
    let route = route
        .as_ref()
        .map(|route| format!(" on {route}"))
        .unwrap_or_default();
    let (new, old) = (of(verdict.new), of(verdict.old));
    let p = verdict
        .p
        .map(|p| format!(", p {p:.1e}"))
        .unwrap_or_default();
    format!(
        "{colour} {result}: {what}{route}: {new}, {} {old}{p}; after {requests} requests, {seconds:.1} s",
        colour.other()
    )
}

/// A step that begins.
#[must_use]
pub fn step(event: &Event) -> Option<Line> {
    let (tone, text) = ended(event);
    matches!(event, Event::Step { .. }).then(|| one_line(tone, text))
}

/// A step that begins, or what became of a release that was judged bad, in a line of `events`.
#[must_use]
pub fn ended(event: &Event) -> (Tone, String) {
    if let Event::Step { weight, step, steps, colour, .. } = event {
        let text = format!("step {step} of {steps}: {weight} % of the users get {colour}");
        return (Tone::Good, text);
    }
    let reverted = matches!(event, Event::Reverted { .. });
    let what = if reverted { "judged bad, and reverted" } else { "judged bad, traffic stays" };
    (Tone::Bad, what.to_owned())
}

/// How it is printed.
#[must_use]
pub fn tone(verdict: &Verdict) -> Tone {
    match verdict.result {
        Outcome::Passed => Tone::Good,
        Outcome::Failed => Tone::Bad,
        Outcome::Inconclusive => Tone::Warn,
    }
}

/// What is said on the error output of a release that was taken back.
#[must_use]
pub fn reverted(receipt: &Receipt) -> String {
    let (name, back) = (&receipt.upstream, receipt.colour);
    let why = receipt.verdict.as_ref().map(told).unwrap_or_default();
    format!("{name}: reverted to {back}: {why}; nothing is safe to kill")
}

/// What is said on the error output of a release that was judged bad and stays.
#[must_use]
pub fn frozen(receipt: &Receipt) -> String {
    let (name, colour) = (&receipt.upstream, receipt.colour);
    let verdict = receipt.verdict.as_ref();
    let why = verdict.map(told).unwrap_or_default();
    let obstacle = verdict.and_then(|verdict| verdict.obstacle.as_ref());
    let obstacle = obstacle.map(|obstacle| format!(" (not reverted: {obstacle})"));
    let obstacle = obstacle.unwrap_or_default();
    format!("{name}: {colour} stays live{obstacle}: {why}; nothing is safe to kill")
}

fn of(counted: Counted) -> String {
    format!("{} of {}", counted.count, counted.of)
}

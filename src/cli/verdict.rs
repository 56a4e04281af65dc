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

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = r#"{"upstream":"app","colour":"green","result":"failed","what":"more requests fail",
      "route":"*/shop","new":{"count":6,"of":133},"old":{"count":0,"of":1293},"p":5.9e-7,"threshold":1e-4,
      "requests":266,"seconds":2.2,"on_fail":"revert"}"#;

    #[test]
    fn a_verdict_is_told_with_the_numbers_that_decided() {
        let verdict: Verdict = serde_json::from_str(FAILED).unwrap();
        let said = "green FAILED: more requests fail on */shop: 6 of 133, blue 0 of 1293, p 5.9e-7; after 266 requests, 2.2 s";
        assert_eq!(told(&verdict), said);
        let passed = Verdict { result: Outcome::Passed, route: None, p: None, ..verdict };
        assert!(told(&passed).starts_with("green passed: more requests fail: 6 of 133"));
    }

    #[test]
    fn a_bake_tells_how_both_colours_do() {
        let colours: Vec<Baking> = serde_json::from_str(
            r#"[{"upstream":"app","colour":"green","new":{"count":3,"of":4000},"old":{"count":2,"of":90000}}]"#,
        )
        .unwrap();
        let said = "judging green: 3 of 4000 failed, blue 2 of 90000; 120 s left";
        assert_eq!(counts(&colours, 120.4), said);
    }

    #[test]
    fn a_step_says_how_many_users_get_the_new_colour() {
        let event: Event = serde_json::from_str(
            r#"{"event":"step","colour":"green","weight":10,"step":2,"steps":4,"pause_seconds":60,"generation":9}"#,
        )
        .unwrap();
        assert_eq!(ended(&event).1, "step 2 of 4: 10 % of the users get green");
        assert!(step(&event).is_some());
    }
}

//! What happens, as lines: one a notice of `proxyctl events`. Pure: values in, lines out.

use crate::cli::screen::Line;
use crate::cli::screen::Tone;
use crate::cli::screen::span;
use crate::cli::verdict;
use crate::cli::words;
use crate::control::command::event::Event;
use crate::control::command::event::Notice;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::model::problem::Problem;

/// One line of `events`: when, whose, what.
#[must_use]
pub fn notice(notice: &Notice) -> Line {
    let mut told = vec![span(Tone::Faint, format!("{} ", notice.at))];
    if !notice.upstreams.is_empty() {
        told.push(span(Tone::Strong, format!("{}: ", notice.upstreams.join(", "))));
    }
    if let Some(colour) = notice.promoting {
        told.push(span(Tone::Of(colour), colour.as_str()));
        told.push(span(Tone::Plain, ": "));
    }
    let (tone, text) = happened(&notice.event);
    told.push(span(tone, text));
    told
}

/// What happened to a target by an order.
#[must_use]
pub fn of_target(event: &TargetEvent) -> (Tone, String) {
    let TargetEvent { upstream, target, in_flight, .. } = event;
    let pool = event
        .colour
        .map(|colour| format!(" {colour}"))
        .unwrap_or_default();
    let (tone, what) = match event.phase {
        TargetPhase::Draining => (Tone::Plain, format!("drains: {in_flight} in flight")),
        TargetPhase::Drained => (Tone::Good, "is drained: safe to restart".to_owned()),
        TargetPhase::Cut => {
            let cut = event.receipt.as_ref().map(|receipt| receipt.cut);
            let cut = cut.unwrap_or_default();
            let cut = cut.requests + cut.tunnels;
            (Tone::Warn, format!("came to its deadline: {cut} cut, {in_flight} left"))
        }
        TargetPhase::TakenBack => {
            (Tone::Warn, "was made ready while it drained: not safe to restart".to_owned())
        }
        TargetPhase::Gating => {
            let outcome = event
                .probe
                .as_ref()
                .map(|probe| words::outcome(&probe.outcome));
            (Tone::Plain, format!("{}, still draining", outcome.unwrap_or_default()))
        }
        TargetPhase::Ready => (Tone::Good, "is ready".to_owned()),
        TargetPhase::Refused | TargetPhase::NotDurable => {
            (Tone::Bad, format!("goes on draining: {}", event.reasons.join("; ")))
        }
    };
    (tone, format!("{upstream}:{pool} {target} {what}"))
}

fn happened(event: &Event) -> (Tone, String) {
    match event {
        Event::Warming { upstreams } => (Tone::Plain, words::warmths(upstreams)),
        Event::Gating { targets } => {
            let passed = targets.iter().filter(|target| target.passed).count();
            let all = words::count(targets.len(), "target");
            (Tone::Plain, format!("gate: {passed} of {all} passed"))
        }
        Event::Switched { generation } => {
            (Tone::Good, format!("switched, generation {generation}"))
        }
        Event::Draining { in_flight } => (Tone::Plain, format!("draining: {in_flight} in flight")),
        Event::Drained { .. } => (Tone::Good, "drained".to_owned()),
        Event::Cut { receipts } => {
            let cut: usize = receipts.iter().map(|r| r.cut.forced()).sum();
            (Tone::Warn, format!("{cut} cut at the drain deadline"))
        }
        Event::Reopened { .. } => (Tone::Warn, "taken back".to_owned()),
        Event::Baking { colours, left_seconds: left } => {
            (Tone::Plain, verdict::counts(colours, *left))
        }
        Event::Verdict(verdict) => (verdict::tone(verdict), verdict::told(verdict)),
        Event::Reverted { .. } | Event::Frozen { .. } | Event::Step { .. } => verdict::ended(event),
        Event::Refused { reasons, .. } => {
            let reasons: Vec<&str> = reasons.iter().map(|reason| reason.what.as_str()).collect();
            (Tone::Bad, format!("refused: {}", reasons.join("; ")))
        }
        Event::WouldSwitch { .. } => (Tone::Good, "dry run: would switch".to_owned()),
        Event::Guarded { upstream, colour } => {
            (Tone::Plain, format!("{upstream}: {colour} is guarded"))
        }
        Event::Probe { upstream, colour, target, healthy, outcome } => {
            let pool = colour
                .map(|colour| format!(" {colour}"))
                .unwrap_or_default();
            let (tone, verdict) =
                if *healthy { (Tone::Good, "healthy") } else { (Tone::Bad, "unhealthy") };
            let outcome = words::outcome(outcome);
            (tone, format!("{upstream}:{pool} {target} is {verdict}: it {outcome}"))
        }
        Event::Ejection { upstream, colour, target, ejected, until } => {
            let pool = colour
                .map(|colour| format!(" {colour}"))
                .unwrap_or_default();
            let until = until
                .as_ref()
                .map(|until| format!(" until {until}: requests fail on it"))
                .unwrap_or_default();
            let (tone, what) = if *ejected { (Tone::Bad, "ejected") } else { (Tone::Good, "back") };
            (tone, format!("{upstream}:{pool} {target} is {what}{until}"))
        }
        Event::Ordered { upstream, order, stands, until, .. } => {
            let order = order.as_str();
            let text = match until {
                Some(until) => format!("{upstream}: {order} until {until}"),
                None if *stands => format!("{upstream}: {order} stands"),
                None => format!("{upstream}: {order} is over"),
            };
            (if *stands { Tone::Warn } else { Tone::Good }, text)
        }
        Event::Canary { colour, weight, generation } => {
            (Tone::Good, words::canary(*colour, *weight, *generation))
        }
        Event::Target(target) => of_target(target),
        Event::Rolling { upstream } => (Tone::Plain, format!("{upstream}: a roll begins")),
        Event::Reload { applied: true, generation, .. } => {
            (Tone::Good, format!("configuration applied, generation {generation}"))
        }
        Event::Reload { problems, .. } => (Tone::Bad, not_applied(problems)),
    }
}

fn not_applied(problems: &[Problem]) -> String {
    let first = problems
        .first()
        .map(|p| format!(": {}", p.what))
        .unwrap_or_default();
    let problems = words::count(problems.len(), "problem");
    format!("configuration refused, {problems}{first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_about_a_target_is_one_line_from_its_begin_to_its_end() {
        for (json, told) in [
            (
                r#""event":"target","upstream":"f","target":"t:1","phase":"draining","in_flight":2"#,
                "f: t:1 drains: 2 in flight",
            ),
            (
                r#""event":"target","upstream":"f","colour":"blue","target":"t:1","phase":"cut","in_flight":1,"receipt":{"target":"t:1","generation":1,"seconds":1.5,"in_flight":1,"cut":{"requests":2,"tunnels":1},"safe_to_restart":false}"#,
                "f: blue t:1 came to its deadline: 3 cut, 1 left",
            ),
            (
                r#""event":"target","upstream":"f","target":"t:1","phase":"gating","in_flight":0,"probe":{"upstream":"f","address":"t:1","outcome":"503","passed":false,"latency_ms":1.0}"#,
                "f: t:1 answered 503, still draining",
            ),
            (
                r#""event":"target","upstream":"f","target":"t:1","phase":"refused","in_flight":0,"reasons":["t:1 answered 503 (3 of 3 probes)"]"#,
                "f: t:1 goes on draining: t:1 answered 503 (3 of 3 probes)",
            ),
            (
                r#""event":"target","upstream":"f","target":"t:1","phase":"ready","in_flight":0"#,
                "f: t:1 is ready",
            ),
        ] {
            let json = format!(r#"{{"at":"T",{json}}}"#);
            let parsed: Notice = serde_json::from_str(&json).unwrap();
            let text: String = notice(&parsed).into_iter().map(|span| span.text).collect();
            assert_eq!(text, format!("T {told}"));
        }
    }

    #[test]
    fn every_happening_is_one_line() {
        for (json, told) in [
            (r#""event":"gating","targets":[]"#, "gate: 0 of 0 targets passed"),
            (r#""event":"draining","in_flight":3"#, "draining: 3 in flight"),
            (r#""event":"drained","receipts":[]"#, "drained"),
            (r#""event":"reopened","receipts":[]"#, "taken back"),
            (r#""event":"cut","receipts":[]"#, "0 cut at the drain deadline"),
            (
                r#""event":"refused","code":"gate","reasons":[{"upstream":"app","colour":"green","what":"a"},{"upstream":"app","colour":"green","what":"b"}]"#,
                "refused: a; b",
            ),
            (r#""event":"guarded","upstream":"app","colour":"blue""#, "app: blue is guarded"),
            (r#""event":"rolling","upstream":"app""#, "app: a roll begins"),
            (
                r#""event":"ejection","upstream":"f","target":"t:1","ejected":true,"until":"T""#,
                "f: t:1 is ejected until T: requests fail on it",
            ),
            (
                r#""event":"ejection","upstream":"f","colour":"blue","target":"t:1","ejected":false"#,
                "f: blue t:1 is back",
            ),
            (
                r#""event":"probe","upstream":"f","target":"t:1","healthy":true,"outcome":"200""#,
                "f: t:1 is healthy: it answered 200",
            ),
            (
                r#""event":"ordered","upstream":"f","order":"maintenance","stands":true,"until":"T","generation":9"#,
                "f: maintenance until T",
            ),
            (
                r#""event":"ordered","upstream":"f","order":"maintenance","stands":false,"generation":9"#,
                "f: maintenance is over",
            ),
            (
                r#""event":"canary","colour":"blue","weight":0.5,"generation":9"#,
                "blue gets 0.5 % of the users, generation 9",
            ),
            (
                r#""event":"canary","colour":"blue","weight":0,"generation":9"#,
                "the canary of blue is over, generation 9",
            ),
            (
                r#""event":"reload","applied":true,"generation":9"#,
                "configuration applied, generation 9",
            ),
            (
                r#""event":"reload","applied":false,"generation":9,"problems":[{"file":"p","line":0,"column":0,"what":"routes: missing"}]"#,
                "configuration refused, 1 problem: routes: missing",
            ),
        ] {
            let json = format!(r#"{{"at":"T","upstreams":["app"],"promoting":"green",{json}}}"#);
            let parsed: Notice = serde_json::from_str(&json).unwrap();
            let text: String = notice(&parsed).into_iter().map(|span| span.text).collect();
            assert_eq!(text, format!("T app: green: {told}"));
        }
    }
}

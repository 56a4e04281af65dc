//! `why`: what stands in the way of a promotion, and each target's last probes.

use std::time::SystemTime;

use crate::cli::args::looks::Why;
use crate::cli::query::Query;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::REFUSED;
use crate::cli::run::Stopped;
use crate::cli::screen::Line;
use crate::cli::screen::Span;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::screen::span;
use crate::cli::screen::table;
use crate::cli::words;
use crate::control::command::status::ProbeStatus;
use crate::control::command::why::Finding;
use crate::control::command::why::WhyTarget;
use crate::control::command::why::WhyUpstream;
use crate::control::command::why::Whys;

/// `why`: exits 0 if nothing stands in the way.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn why(hand: &mut Hand<'_>, args: Why) -> Result<u8, Stopped> {
    let mut query = Query::new("/v1/why");
    query.add("colour", args.colour.as_str());
    for upstream in &args.which.upstreams {
        query.add("upstream", upstream);
    }
    query.add_some("all", args.which.all.then_some("1"));
    query.add_some("build", args.build.as_deref());
    // No limit of ours: how long a probe may take is a setting of the daemon's.
    let answer = hand.client.get(query.path()).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    let whys: Whys = hand.understand(&body)?;
    if hand.json {
        hand.out.pass_on(&body);
    } else if !hand.quiet {
        hand.out.print_all(&told(&whys, SystemTime::now()));
    }
    Ok(if whys.passes { DONE } else { REFUSED })
}

fn told(whys: &Whys, now: SystemTime) -> Vec<Line> {
    let mut page = Vec::new();
    for upstream in &whys.upstreams {
        page.extend(of_upstream(upstream, now));
    }
    page
}

fn of_upstream(why: &WhyUpstream, now: SystemTime) -> Vec<Line> {
    let (name, colour) = (&why.upstream, why.colour);
    let mut page = Vec::new();
    if why.blocks.is_empty() {
        page.push(line(Tone::Good, format!("{name}: nothing stands in the way of {colour}")));
    } else {
        let count = words::count(why.blocks.len(), "thing");
        let verb = if why.blocks.len() == 1 { "stands" } else { "stand" };
        page.push(line(Tone::Bad, format!("{name}: {count} {verb} in the way of {colour}")));
    }
    for (tone, finding) in why
        .blocks
        .iter()
        .map(|block| (Tone::Bad, block))
        .chain(why.notes.iter().map(|note| (Tone::Plain, note)))
    {
        page.extend(of_finding(tone, finding));
    }
    for target in &why.targets {
        page.push(Line::new());
        page.extend(of_target(target, now));
    }
    page
}

fn of_finding(tone: Tone, finding: &Finding) -> Vec<Line> {
    let mut lines = vec![line(tone, format!("  {}", finding.what))];
    lines.extend(
        finding
            .hint
            .as_ref()
            .map(|hint| line(Tone::Plain, format!("    hint: {hint}"))),
    );
    lines
}

fn of_target(target: &WhyTarget, now: SystemTime) -> Vec<Line> {
    let (tone, verdict) = match target.healthy {
        Some(true) if target.ejected => (Tone::Bad, "ejected"),
        Some(true) => (Tone::Good, "healthy"),
        Some(false) => (Tone::Bad, "unhealthy"),
        None => (Tone::Faint, "not probed"),
    };
    let row = if target.passed { "good" } else { "bad" };
    let since = target
        .since
        .as_ref()
        .and_then(|since| words::age(since, now));
    let since = since
        .map(|age| format!(", {row} for {age}"))
        .unwrap_or_default();
    let mut lines = vec![vec![
        span(Tone::Strong, format!("  {}: ", target.address)),
        span(tone, verdict),
        span(Tone::Plain, format!(", {}{since}", words::outcome(&target.outcome))),
    ]];
    let rows = rows(&target.probes);
    lines.extend(table(rows.iter().map(|row| of_row(row, now)).collect()));
    lines
}

/// Probes that saw the same, one after the other: the newest first, because it is the one that counts.
fn rows(probes: &[ProbeStatus]) -> Vec<Vec<&ProbeStatus>> {
    let mut rows: Vec<Vec<&ProbeStatus>> = Vec::new();
    for probe in probes.iter().rev() {
        let same = |row: &&mut Vec<&ProbeStatus>| {
            row.last()
                .is_some_and(|last| last.outcome == probe.outcome && last.body == probe.body)
        };
        match rows.last_mut().filter(same) {
            Some(row) => row.push(probe),
            None => rows.push(vec![probe]),
        }
    }
    rows
}

fn of_row(row: &[&ProbeStatus], now: SystemTime) -> Vec<Span> {
    let (Some(newest), Some(oldest)) = (row.first(), row.last()) else { return Vec::new() };
    let age = |probe: &ProbeStatus| words::age(&probe.at, now).unwrap_or_else(|| probe.at.clone());
    let (from, to) = (age(newest), age(oldest));
    let when = if from == to { format!("{from} ago") } else { format!("{from} to {to} ago") };
    let took = row.iter().map(|probe| probe.latency_ms);
    let (least, most) = (took.clone().fold(f64::MAX, f64::min), took.fold(0.0, f64::max));
    let (least, most) = (words::latency(least), words::latency(most));
    let took = if least == most { most } else { format!("{least} to {most}") };
    vec![
        span(Tone::Faint, format!("    {when}")),
        span(Tone::Plain, &newest.outcome),
        span(Tone::Plain, words::count(row.len(), "probe")),
        span(Tone::Plain, took),
        span(Tone::Faint, newest.body.clone().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_comes_first_then_each_targets_probes_the_newest_first() {
        let json = r#"{"passes":false,"upstreams":[{"upstream":"app","colour":"green","live":"blue",
            "blocks":[{"what":"10.0.0.12:8081 answered 302, a redirect","target":"10.0.0.12:8081","hint":"point health.path at a page"}],
            "notes":[{"what":"blue drains"}],
            "targets":[{"address":"10.0.0.12:8081","passed":false,"outcome":"redirect 302","since":"2026-11-23T19:59:50Z","healthy":false,"ejected":false,
              "probes":[{"at":"2026-11-23T19:59:50Z","outcome":"503","latency_ms":2.0,"body":"{ down }"},{"at":"2026-11-23T19:59:51Z","outcome":"503","latency_ms":4.0,"body":"{ down }"},{"at":"2026-11-23T19:59:59Z","outcome":"redirect 302","latency_ms":1.5}]}]}]}"#;
        let whys: Whys = serde_json::from_str(json).unwrap();
        let now = humantime::parse_rfc3339_weak("2026-11-23T20:00:00Z").unwrap();
        let text = |line: &Line| {
            line.iter()
                .map(|span| span.text.as_str())
                .collect::<String>()
        };
        let lines: Vec<String> = told(&whys, now).iter().map(text).collect();
        assert_eq!(
            lines,
            [
                "app: 1 thing stands in the way of green",
                "  10.0.0.12:8081 answered 302, a redirect",
                "    hint: point health.path at a page",
                "  blue drains",
                "",
                "  10.0.0.12:8081: unhealthy, answered 302, a redirect, bad for 10 s",
                "    1 s ago          redirect 302  1 probe   1.5 ms",
                "    9 s to 10 s ago  503           2 probes  2.0 ms to 4.0 ms  { down }",
            ]
        );
    }
}

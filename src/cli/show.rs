//! The state, probes and happenings as tables and lines. Pure: values in, lines out.

use std::time::SystemTime;

use crate::cli::screen::Line;
use crate::cli::screen::Span;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::screen::span;
use crate::cli::screen::table;
use crate::cli::words;
use crate::control::command::Probed;
use crate::control::command::event::Event;
use crate::control::command::event::Notice;
use crate::control::command::status::ConfigStatus;
use crate::control::command::status::Phase;
use crate::control::command::status::PoolStatus;
use crate::control::command::status::Status;
use crate::control::command::status::TargetStatus;
use crate::control::command::status::UpstreamStatus;
use crate::model::colour::Colour;

/// The whole state at `now`.
#[must_use]
pub fn status(status: &Status, now: SystemTime) -> Vec<Line> {
    let heading = format!("proxyd {}, generation {}", status.version, status.generation);
    let mut page = vec![line(Tone::Faint, heading)];
    for (name, upstream) in &status.upstreams {
        page.push(Line::new());
        page.push(headline(name, upstream, now));
        page.extend(promotion(upstream, now));
        page.extend(table(pools(upstream, now)));
    }
    page.push(Line::new());
    if !status.listeners.is_empty() {
        let addresses: Vec<&str> = status
            .listeners
            .iter()
            .map(|l| l.address.as_str())
            .collect();
        page.push(line(Tone::Plain, format!("listening on {}", addresses.join(", "))));
    }
    page.extend(config(&status.config, now));
    page
}

fn headline(name: &str, upstream: &UpstreamStatus, now: SystemTime) -> Line {
    let mut told = vec![span(Tone::Strong, name), span(Tone::Plain, ": ")];
    let Some(live) = upstream.live else {
        told.push(span(Tone::Plain, "one pool, not promotable"));
        return told;
    };
    told.push(span(Tone::Of(live), live.as_str()));
    told.push(span(Tone::Plain, " is live"));
    if let Some(since) = &upstream.since {
        told.push(span(Tone::Plain, format!(" since {since}{}", ago(since, now))));
    }
    told
}

/// ` (3 min)`, or nothing for a time that cannot be read.
fn ago(at: &str, now: SystemTime) -> String {
    words::age(at, now)
        .map(|age| format!(" ({age})"))
        .unwrap_or_default()
}

fn promotion(upstream: &UpstreamStatus, now: SystemTime) -> Option<Line> {
    let running = upstream.promotion.as_ref()?;
    let colour = running.colour;
    let doing = match running.phase {
        Phase::Gating => format!("gating {colour}, nothing has changed yet"),
        Phase::Draining => format!("switched to {colour}, draining {}", colour.other()),
    };
    let (id, since) = (&running.id, &running.since);
    let ago = ago(since, now);
    Some(line(Tone::Warn, format!("  promotion {id}: {doing}, since {since}{ago}")))
}

fn pools(upstream: &UpstreamStatus, now: SystemTime) -> Vec<Vec<Span>> {
    let heads = ["  POOL", "TARGET", "HEALTH", "LAST PROBE", "IN FLIGHT", "TUNNELS"];
    let mut rows = vec![heads.map(|head| span(Tone::Faint, head)).to_vec()];
    for (name, pool) in &upstream.pools {
        let colour = name.parse::<Colour>().ok();
        let live = colour.is_some() && colour == upstream.live;
        rows.push(sum(name, pool, live));
        rows.extend(pool.targets.iter().map(|at| target(at, now)));
    }
    rows
}

fn sum(name: &str, pool: &PoolStatus, live: bool) -> Vec<Span> {
    let tone = match name.parse() {
        Ok(colour) if live => Tone::Of(colour),
        Ok(_) | Err(_) => Tone::Plain,
    };
    let mark = if live { "* " } else { "  " };
    let (healthy, all) = (
        pool.targets
            .iter()
            .filter(|t| t.healthy == Some(true) && !t.ejected)
            .count(),
        pool.targets.len(),
    );
    vec![
        span(tone, format!("{mark}{name}")),
        span(Tone::Plain, words::count(all, "target")),
        span(Tone::Plain, format!("{healthy} of {all}")),
        Span::default(),
        span(Tone::Plain, pool.in_flight.to_string()),
        span(Tone::Plain, pool.tunnels.to_string()),
    ]
}

fn target(target: &TargetStatus, now: SystemTime) -> Vec<Span> {
    let (tone, health) = match target.healthy {
        Some(true) if target.ejected => (Tone::Bad, "ejected"),
        Some(true) => (Tone::Good, "healthy"),
        Some(false) => (Tone::Bad, "unhealthy"),
        None => (Tone::Faint, "not probed"),
    };
    let probe = target
        .last_probe
        .as_ref()
        .map_or_else(String::new, |probe| {
            let age = words::age(&probe.at, now)
                .map(|age| format!(", {age} ago"))
                .unwrap_or_default();
            format!("{} in {}{age}", probe.outcome, words::latency(probe.latency_ms))
        });
    vec![
        Span::default(),
        span(Tone::Plain, &target.address),
        span(tone, health),
        span(Tone::Plain, probe),
        span(Tone::Plain, target.in_flight.to_string()),
    ]
}

fn config(config: &ConfigStatus, now: SystemTime) -> Vec<Line> {
    let (path, reload) = (config.path.display(), &config.last_reload);
    let ago = ago(&reload.at, now);
    let mut told = Vec::new();
    if reload.ok {
        told.push(line(Tone::Plain, format!("{path}: applied {}{ago}", reload.at)));
    } else {
        let problems = words::count(reload.problems.len(), "problem");
        let text =
            format!("{path}: refused {}{ago}: {problems}, what ran before runs on", reload.at);
        told.push(line(Tone::Bad, text));
    }
    for problem in &reload.problems {
        let text = problem.to_string();
        told.extend(
            text.lines()
                .map(|part| line(Tone::Bad, format!("  {part}"))),
        );
    }
    told.extend(pending(&config.pending_restart));
    told
}

/// What a restart is needed for.
pub fn pending(sections: &[String]) -> Option<Line> {
    let list = sections.join(", ");
    (!sections.is_empty()).then(|| line(Tone::Warn, format!("takes effect at a restart: {list}")))
}

/// One fresh probe of every target.
#[must_use]
pub fn probed(probed: &Probed) -> Vec<Line> {
    let heads = ["UPSTREAM", "TARGET", "VERDICT", "ANSWER", "LATENCY"];
    let mut rows = vec![heads.map(|head| span(Tone::Faint, head)).to_vec()];
    for target in &probed.targets {
        let (tone, verdict) =
            if target.passed { (Tone::Good, "passed") } else { (Tone::Bad, "failed") };
        rows.push(vec![
            span(Tone::Plain, &target.upstream),
            span(Tone::Plain, &target.address),
            span(tone, verdict),
            span(Tone::Plain, &target.outcome),
            span(Tone::Plain, words::latency(target.latency_ms)),
        ]);
    }
    table(rows)
}

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

fn happened(event: &Event) -> (Tone, String) {
    match event {
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
            let cut: usize = receipts
                .iter()
                .map(|r| r.cut.requests + r.cut.tunnels)
                .sum();
            (Tone::Warn, format!("{cut} cut at the drain deadline"))
        }
        Event::Reopened { .. } => (Tone::Warn, "taken back".to_owned()),
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
        Event::Reload { applied: true, generation, .. } => {
            (Tone::Good, format!("configuration applied, generation {generation}"))
        }
        Event::Reload { problems, .. } => {
            let first = problems
                .first()
                .map(|p| format!(": {}", p.what))
                .unwrap_or_default();
            let problems = words::count(problems.len(), "problem");
            (Tone::Bad, format!("configuration refused, {problems}{first}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{
      "version": "0.1.0", "generation": 8,
      "upstreams": {
        "app": {
          "live": "green", "standby": "blue", "since": "2026-11-23T19:57:00Z",
          "promotion": {"id": "p-8", "colour": "green", "phase": "draining", "since": "2026-11-23T19:59:56Z"},
          "pools": {
            "blue": {"in_flight": 3, "tunnels": 1, "targets": [
              {"address": "10.0.0.11:8080", "healthy": true, "ejected": false, "in_flight": 3,
               "last_probe": {"at": "2026-11-23T19:59:59Z", "outcome": "200", "latency_ms": 1.23}},
              {"address": "10.0.0.12:8080", "healthy": true, "ejected": true,
               "ejected_until": "2026-11-23T20:00:09Z", "in_flight": 0, "last_probe": null}]},
            "green": {"in_flight": 12, "tunnels": 0, "targets": [
              {"address": "10.0.0.11:8081", "healthy": false, "in_flight": 0,
               "last_probe": {"at": "2026-11-23T19:59:59Z", "outcome": "503", "latency_ms": 2000}},
              {"address": "10.0.0.12:8081", "healthy": null, "in_flight": 12, "last_probe": null}]}
          }
        },
        "files": {"promotion": null, "pools": {"targets": {"in_flight": 0, "tunnels": 0, "targets": []}}}
      },
      "listeners": [{"bind": "127.0.0.1:0", "address": "127.0.0.1:41233"}],
      "config": {
        "path": "/etc/proxyd/proxy.yaml", "pending_restart": ["admin"],
        "last_reload": {"at": "2026-11-23T19:00:00Z", "ok": false, "problems": [
          {"file": "proxy.yaml", "line": 14, "column": 7, "what": "workers: 0 is too few", "hint": "auto"}]}
      }
    }"#;

    fn text(lines: &[Line]) -> Vec<String> {
        let text = |line: &Line| line.iter().map(|span| span.text.as_str()).collect();
        lines.iter().map(text).collect()
    }

    #[test]
    fn the_whole_state_reads_as_one_page() {
        let state: Status = serde_json::from_str(STATE).unwrap();
        let now = humantime::parse_rfc3339_weak("2026-11-23T20:00:00Z").unwrap();
        assert_eq!(
            text(&status(&state, now)),
            [
                "proxyd 0.1.0, generation 8",
                "",
                "app: green is live since 2026-11-23T19:57:00Z (3 min)",
                "  promotion p-8: switched to green, draining blue, since 2026-11-23T19:59:56Z (4 s)",
                "  POOL   TARGET          HEALTH      LAST PROBE              IN FLIGHT  TUNNELS",
                "  blue   2 targets       1 of 2                              3          1",
                "         10.0.0.11:8080  healthy     200 in 1.2 ms, 1 s ago  3",
                "         10.0.0.12:8080  ejected                             0",
                "* green  2 targets       0 of 2                              12         0",
                "         10.0.0.11:8081  unhealthy   503 in 2.00 s, 1 s ago  0",
                "         10.0.0.12:8081  not probed                          12",
                "",
                "files: one pool, not promotable",
                "  POOL     TARGET     HEALTH  LAST PROBE  IN FLIGHT  TUNNELS",
                "  targets  0 targets  0 of 0              0          0",
                "",
                "listening on 127.0.0.1:41233",
                "/etc/proxyd/proxy.yaml: refused 2026-11-23T19:00:00Z (1 h 0 min): 1 problem, what ran before runs on",
                "  proxy.yaml:14:7: workers: 0 is too few",
                "    hint: auto",
                "takes effect at a restart: admin",
            ]
        );
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
            assert_eq!(text(&[notice(&parsed)]), [format!("T app: green: {told}")]);
        }
    }
}

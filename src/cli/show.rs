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
use crate::control::command::status::CanaryStatus;
use crate::control::command::status::ConfigStatus;
use crate::control::command::status::Phase;
use crate::control::command::status::PoolStatus;
use crate::control::command::status::PreviewStatus;
use crate::control::command::status::RollStatus;
use crate::control::command::status::RollbackStatus;
use crate::control::command::status::Status;
use crate::control::command::status::StepsStatus;
use crate::control::command::status::TargetStatus;
use crate::control::command::status::UpstreamStatus;
use crate::model::colour::Colour;
use crate::model::target::Admin;

/// The whole state at `now`.
#[must_use]
pub fn status(status: &Status, now: SystemTime) -> Vec<Line> {
    let heading = format!("proxyd {}, generation {}", status.version, status.generation);
    let mut page = vec![line(Tone::Faint, heading)];
    for (name, upstream) in &status.upstreams {
        page.push(Line::new());
        page.push(headline(name, upstream, now));
        page.extend(promotion(upstream, now));
        page.extend(canary(upstream, now));
        page.extend(steps(upstream, now));
        page.extend(roll(upstream, now));
        page.extend(rollback(upstream));
        page.extend(preview(upstream));
        page.extend(maintenance(upstream));
        page.extend(pause(upstream));
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
        Phase::Baking => format!("switched to {colour}, which is being judged"),
    };
    let (id, since) = (&running.id, &running.since);
    let ago = ago(since, now);
    Some(line(Tone::Warn, format!("  promotion {id}: {doing}, since {since}{ago}")))
}

fn canary(upstream: &UpstreamStatus, now: SystemTime) -> Option<Line> {
    let CanaryStatus { colour, weight, since } = upstream.canary.as_ref()?;
    let ago = ago(since, now);
    let text = format!("  canary: {colour} gets {weight} % of the users, since {since}{ago}");
    Some(line(Tone::Warn, text))
}

fn steps(upstream: &UpstreamStatus, now: SystemTime) -> Option<Line> {
    let running = upstream.steps.as_ref()?;
    let StepsStatus { id, colour, weight, step, steps, since, by, .. } = running;
    let ago = ago(since, now);
    let text = format!(
        "  promotion {id} in steps: {colour} at step {step} of {steps} ({weight} %), by {by}, since {since}{ago}"
    );
    Some(line(Tone::Warn, text))
}

fn roll(upstream: &UpstreamStatus, now: SystemTime) -> Option<Line> {
    let RollStatus { since, by } = upstream.roll.as_ref()?;
    let ago = ago(since, now);
    Some(line(Tone::Warn, format!("  rolled by {by}, since {since}{ago}")))
}

fn rollback(upstream: &UpstreamStatus) -> Option<Line> {
    let RollbackStatus { colour, instant_until } = upstream.rollback.as_ref()?;
    let text = format!("  held: a rollback to {colour} is instant until {instant_until}");
    Some(line(Tone::Plain, text))
}

fn preview(upstream: &UpstreamStatus) -> Option<Line> {
    let PreviewStatus { colour, until, .. } = upstream.preview.as_ref()?;
    Some(line(
        Tone::Warn,
        format!("  preview: {colour} is shown to who has the link until {until}"),
    ))
}

fn maintenance(upstream: &UpstreamStatus) -> Option<Line> {
    let order = upstream.maintenance.as_ref()?;
    let mut text = format!("  in maintenance until {}", order.until);
    if !order.allow.is_empty() {
        text.push_str(&format!(", but for {}", order.allow.join(", ")));
    }
    Some(line(Tone::Warn, text))
}

fn pause(upstream: &UpstreamStatus) -> Option<Line> {
    let order = upstream.pause.as_ref()?;
    let what = if order.writes_only { "writes" } else { "requests" };
    let (max, until) = (order.max_seconds, &order.until);
    let text = format!("  paused until {until}: {what} are held, {max} s at most");
    Some(line(Tone::Warn, text))
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
    let differ = if pool.overridden { ", not the file's" } else { "" };
    vec![
        span(tone, format!("{mark}{name}")),
        span(Tone::Plain, format!("{}{differ}", words::count(all, "target"))),
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
        match target.admin {
            Admin::Ready => span(Tone::Plain, &target.address),
            // Beside the health, not instead of it: the one is ordered, the other is found.
            Admin::Draining => span(Tone::Warn, format!("{} (draining)", target.address)),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{
      "version": "0.1.0", "generation": 8,
      "upstreams": {
        "app": {
          "live": "green", "standby": "blue", "since": "2026-11-23T19:57:00Z",
          "promotion": {"id": "p-8", "colour": "green", "phase": "draining", "since": "2026-11-23T19:59:56Z"},
          "steps": {"id": "p-7", "colour": "green", "weight": 2.5, "step": 1, "steps": 3, "pause_seconds": 60,
                    "since": "2026-11-23T19:59:00Z", "by": {"uid": 7, "gid": 7, "pid": 9, "command": "proxyctl promote"}},
          "rollback": {"colour": "blue", "instant_until": "2026-11-23T20:09:56Z"},
          "pools": {
            "blue": {"in_flight": 3, "tunnels": 1, "overridden": true, "file": ["10.0.0.9:80"], "targets": [
              {"address": "10.0.0.11:8080", "admin": "draining", "healthy": true, "ejected": false, "in_flight": 3,
               "last_probe": {"at": "2026-11-23T19:59:59Z", "outcome": "200", "latency_ms": 1.23}},
              {"address": "10.0.0.12:8080", "healthy": true, "ejected": true,
               "ejected_until": "2026-11-23T20:00:09Z", "in_flight": 0, "last_probe": null}]},
            "green": {"in_flight": 12, "tunnels": 0, "targets": [
              {"address": "10.0.0.11:8081", "healthy": false, "in_flight": 0,
               "last_probe": {"at": "2026-11-23T19:59:59Z", "outcome": "503", "latency_ms": 2000}},
              {"address": "10.0.0.12:8081", "healthy": null, "in_flight": 12, "last_probe": null}]}
          }
        },
        "files": {"promotion": null, "roll": {"since": "2026-11-23T19:59:30Z", "by": {"uid": 7, "gid": 7}}, "pools": {"targets": {"in_flight": 0, "tunnels": 0, "targets": []}}}
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
                "  promotion p-7 in steps: green at step 1 of 3 (2.5 %), by uid 7 pid 9 (proxyctl promote), since 2026-11-23T19:59:00Z (1 min)",
                "  held: a rollback to blue is instant until 2026-11-23T20:09:56Z",
                "  POOL   TARGET                     HEALTH      LAST PROBE              IN FLIGHT  TUNNELS",
                "  blue   2 targets, not the file's  1 of 2                              3          1",
                "         10.0.0.11:8080 (draining)  healthy     200 in 1.2 ms, 1 s ago  3",
                "         10.0.0.12:8080             ejected                             0",
                "* green  2 targets                  0 of 2                              12         0",
                "         10.0.0.11:8081             unhealthy   503 in 2.00 s, 1 s ago  0",
                "         10.0.0.12:8081             not probed                          12",
                "",
                "files: one pool, not promotable",
                "  rolled by uid 7, since 2026-11-23T19:59:30Z (30 s)",
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
}

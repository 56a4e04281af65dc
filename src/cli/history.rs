//! `history`: what was changed, by whom, and what came of it.

use crate::cli::args::looks::History;
use crate::cli::query::Query;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::Stopped;
use crate::cli::screen::Line;
use crate::cli::screen::Span;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::screen::span;
use crate::cli::screen::table;
use crate::control::command::history::Entry;
use crate::control::command::history::Who;

/// `history`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn history(hand: &mut Hand<'_>, args: History) -> Result<u8, Stopped> {
    let mut query = Query::new("/v1/history");
    query.add("n", &args.number.to_string());
    query.add_some("upstream", args.upstream.as_deref());
    query.add_some("since", args.since.as_deref());
    let answer = hand.client.get(query.path()).await?;
    let mut answer = hand.accepted(answer).await?;
    let mut entries = Vec::new();
    while let Some(said) = answer.line().await? {
        if hand.json {
            hand.out.pass_on(&said);
        } else if let Ok(entry) = serde_json::from_slice::<Entry>(&said) {
            // What cannot be read is of a newer daemon: `--json` shows it.
            entries.push(entry);
        }
    }
    if !hand.json && !hand.quiet {
        hand.out.print_all(&told(&entries, &name_of));
    }
    Ok(DONE)
}

/// The entries as a table, the newest last. A promotion that has ended is told once.
fn told(entries: &[Entry], name_of: &impl Fn(u32) -> Option<String>) -> Vec<Line> {
    if entries.is_empty() {
        return vec![line(Tone::Plain, "no change is recorded")];
    }
    let heads = ["WHEN", "WHO", "WHAT", "GENERATION", "SECONDS", "OUTCOME"];
    let mut rows = vec![heads.map(|head| span(Tone::Faint, head)).to_vec()];
    let ids: Vec<Option<String>> = entries.iter().map(|entry| entry.id.clone()).collect();
    for (at, entry) in entries.iter().enumerate() {
        let mut later = ids.iter().skip(at + 1);
        let ends_later = entry.id.is_some() && later.any(|id| *id == entry.id);
        if !ends_later {
            rows.push(row(entry, name_of));
        }
    }
    table(rows)
}

fn row(entry: &Entry, name_of: &impl Fn(u32) -> Option<String>) -> Vec<Span> {
    let generation = entry.generation;
    let generation = if generation.before == generation.after {
        generation.after.to_string()
    } else {
        format!("{} to {}", generation.before, generation.after)
    };
    let (tone, outcome) = outcome(entry);
    vec![
        span(Tone::Plain, when(&entry.at)),
        span(Tone::Plain, who(entry, name_of)),
        span(Tone::Strong, what(entry)),
        span(Tone::Plain, generation),
        span(Tone::Plain, format!("{:.1}", entry.seconds)),
        span(tone, outcome),
    ]
}

/// Without the part of the second.
fn when(at: &str) -> String {
    let (whole, _) = at.split_once('.').unwrap_or((at, ""));
    whole.trim_end_matches('Z').replace('T', " ") + "Z"
}

fn who(entry: &Entry, name_of: &impl Fn(u32) -> Option<String>) -> String {
    match (&entry.who, &entry.cause) {
        (Who::Peer { uid, .. }, _) => name_of(*uid).unwrap_or_else(|| format!("uid {uid}")),
        (Who::Itself(name), Some(cause)) => format!("{name} ({cause})"),
        (Who::Itself(name), None) => name.clone(),
    }
}

fn what(entry: &Entry) -> String {
    let mut words = vec![entry.what.clone()];
    words.extend(entry.colour.map(|colour| colour.to_string()));
    words.push(entry.upstreams.join(", "));
    // `maintenance` and its kind are on or off.
    let on = entry.request.as_ref().and_then(|request| request.get("on"));
    words.extend(on.and_then(serde_json::Value::as_bool).map(|on| {
        let word = if on { "on" } else { "off" };
        word.to_owned()
    }));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn outcome(entry: &Entry) -> (Tone, String) {
    let tone = match entry.outcome.as_str() {
        "refused" | "lost" | "reverted" | "frozen" => Tone::Bad,
        "cut" | "reopened" | "unanswered" => Tone::Warn,
        _ => Tone::Good,
    };
    let mut text = entry.outcome.clone();
    if !entry.why.is_empty() {
        text = format!("{text}: {}", entry.why.join("; "));
    }
    (tone, text)
}

/// The account's name, where this machine knows it.
fn name_of(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    user.ok().flatten().map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(entries: &[&str]) -> Vec<String> {
        let read = |json: &&str| -> Entry {
            let json = format!(
                r#"{{"seconds":1.25,"generation":{{"before":7,"after":8}},"upstreams":["app"],{json}}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let entries: Vec<Entry> = entries.iter().map(read).collect();
        let name_of = |uid| (uid == 0).then(|| "root".to_owned());
        let lines = told(&entries, &name_of);
        let text = |line: &Line| line.iter().map(|span| span.text.as_str()).collect();
        lines.iter().skip(1).map(text).collect()
    }

    #[test]
    fn an_entry_is_one_line_that_says_who_did_what_and_how_it_went() {
        let told = text(&[
            r#""at":"2026-11-29T20:00:01.123Z","who":{"uid":0,"gid":0},"what":"rollback","colour":"blue","outcome":"drained""#,
            r#""at":"2026-11-29T20:00:02Z","who":{"uid":9,"gid":0},"what":"maintenance","request":{"on":false},"outcome":"done""#,
            r#""at":"2026-11-29T20:00:03Z","who":"proxyd","cause":"SIGHUP","what":"reload","outcome":"refused","why":["a","b"]"#,
        ]);
        assert_eq!(
            told,
            [
                "2026-11-29 20:00:01Z  root             rollback blue app    7 to 8      1.2      drained",
                "2026-11-29 20:00:02Z  uid 9            maintenance app off  7 to 8      1.2      done",
                "2026-11-29 20:00:03Z  proxyd (SIGHUP)  reload app           7 to 8      1.2      refused: a; b",
            ]
        );
    }

    #[test]
    fn a_promotion_is_told_once_by_its_end() {
        let line = |id: &str, outcome: &str| {
            format!(
                r#""at":"2026-11-29T20:00:01Z","who":"proxyd","what":"promote","id":"{id}","outcome":"{outcome}""#
            )
        };
        let lines = [
            line("a", "switched"),
            line("b", "refused"),
            line("a", "drained"),
            line("c", "switched"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let last = |line: &String| line.split_whitespace().last().unwrap().to_owned();
        let told: Vec<String> = text(&lines).iter().map(last).collect();
        assert_eq!(told, ["refused", "drained", "switched"]);
        assert_eq!(super::told(&[], &name_of).len(), 1);
    }
}

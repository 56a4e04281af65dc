//! The commands that only look, and `reload`: status, standby, probe, events.

use std::time::Duration;
use std::time::SystemTime;

use crate::cli::args::Which;
use crate::cli::notices;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::NO_DAEMON;
use crate::cli::run::REFUSED;
use crate::cli::run::Stopped;
use crate::cli::run::USAGE;
use crate::cli::screen::Line;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::screen::span;
use crate::cli::show;
use crate::control::command::Probe;
use crate::control::command::Probed;
use crate::control::command::Reloaded;
use crate::control::command::event::Notice;
use crate::control::command::status::Status;
use crate::model::colour::Colour;

/// `status`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn status(hand: &mut Hand<'_>) -> Result<u8, Stopped> {
    let body = hand.fetch("/v1/status").await?;
    if hand.json {
        hand.out.pass_on(&body);
    } else if !hand.quiet {
        let status: Status = hand.understand(&body)?;
        hand.out
            .print_all(&show::status(&status, SystemTime::now()));
    }
    Ok(DONE)
}

/// `status --watch`: a page, and a new one `every` so often, until nobody reads any more. A daemon
/// that restarts meanwhile is waited for.
///
/// # Errors
/// No daemon at the beginning.
pub async fn watch(hand: &mut Hand<'_>, every: Duration) -> Result<u8, Stopped> {
    status_page(hand, true).await?;
    while hand.out.failure().is_none() {
        tokio::time::sleep(every).await;
        match status_page(hand, false).await {
            Ok(()) => {}
            Err(Stopped::Said(code)) => return Ok(code),
            Err(Stopped::Lost(lost)) if hand.json => {
                hand.lost(&lost);
            }
            Err(Stopped::Lost(lost)) => hand.out.redraw(&[line(Tone::Bad, lost.to_string())]),
        }
    }
    Ok(DONE)
}

async fn status_page(hand: &mut Hand<'_>, first: bool) -> Result<(), Stopped> {
    let body = hand.fetch("/v1/status").await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(());
    }
    let status: Status = hand.understand(&body)?;
    let mut page = show::status(&status, SystemTime::now());
    if first {
        hand.out.clear();
    }
    page.push(Line::new());
    hand.out.redraw(&page);
    Ok(())
}

/// `standby`.
///
/// # Errors
/// No daemon, or no upstream that can be meant.
pub async fn standby(hand: &mut Hand<'_>, upstream: Option<&str>) -> Result<u8, Stopped> {
    let body = hand.fetch("/v1/status").await?;
    let status: Status = hand.understand(&body)?;
    match standby_of(&status, upstream) {
        Ok((name, colour)) if hand.json => {
            let said = serde_json::json!({ "upstream": name, "standby": colour });
            hand.out.pass_on(said.to_string().as_bytes());
            Ok(DONE)
        }
        Ok((_, colour)) => {
            hand.out.print(&[span(Tone::Plain, colour.as_str())]);
            Ok(DONE)
        }
        Err((what, hint)) => {
            hand.complain(&what, Some(&hint));
            Ok(USAGE)
        }
    }
}

/// The upstream that is meant and its standby colour, or what is wrong and a hint.
pub(super) fn standby_of(
    status: &Status,
    upstream: Option<&str>,
) -> Result<(String, Colour), (String, String)> {
    let promotable: Vec<(&String, Colour)> = status
        .upstreams
        .iter()
        .filter_map(|(name, up)| Some((name, up.standby?)))
        .collect();
    let names = || {
        promotable
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(wanted) = upstream else {
        return match promotable.as_slice() {
            [(name, colour)] => Ok(((*name).clone(), *colour)),
            [] => Err((
                "no upstream has two colours".to_owned(),
                "give one a blue and a green pool in the configuration file".to_owned(),
            )),
            _ => Err((
                format!("several upstreams have two colours, and none is named: {}", names()),
                "add --upstream NAME".to_owned(),
            )),
        };
    };
    if let Some((name, colour)) = promotable.iter().find(|(name, _)| *name == wanted) {
        return Ok(((*name).clone(), *colour));
    }
    let hint = format!("the upstreams with two colours: {}", names());
    if status.upstreams.contains_key(wanted) {
        return Err((format!("{wanted}: has one pool only, and so no standby colour"), hint));
    }
    Err((format!("unknown upstream \"{wanted}\""), hint))
}

/// `probe`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn probe(hand: &mut Hand<'_>, colour: Colour, which: &Which) -> Result<u8, Stopped> {
    let request = Probe { colour: colour.to_string(), upstreams: which.named(), all: which.all };
    // No limit of ours: how long a probe may take is a setting of the daemon's.
    let answer = hand.client.post("/v1/probe", &request).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    let probed: Probed = hand.understand(&body)?;
    if hand.json {
        hand.out.pass_on(&body);
    } else if !hand.quiet {
        hand.out.print_all(&show::probed(&probed));
    }
    Ok(if probed.passed { DONE } else { REFUSED })
}

/// `reload`.
///
/// # Errors
/// No daemon, or a refusal with the problems of the file.
pub async fn reload(hand: &mut Hand<'_>) -> Result<u8, Stopped> {
    let answer = hand
        .client
        .post("/v1/reload", &serde_json::json!({}))
        .await?;
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let reloaded: Reloaded = hand.understand(&body)?;
    if !hand.quiet {
        let text = format!("configuration applied, generation {}", reloaded.generation);
        hand.out.print(&line(Tone::Good, text));
        hand.out
            .print_all(&show::pending(&reloaded.pending_restart));
    }
    Ok(DONE)
}

/// `events`: until the daemon ends it, or nobody reads any more.
///
/// # Errors
/// No daemon, a refusal, or the daemon went away.
pub async fn events(hand: &mut Hand<'_>) -> Result<u8, Stopped> {
    let answer = hand.client.get("/v1/events").await?;
    let mut answer = hand.accepted(answer).await?;
    while let Some(said) = answer.line().await? {
        if hand.json {
            hand.out.pass_on(&said);
        } else if let Ok(notice) = serde_json::from_slice::<Notice>(&said) {
            // What cannot be read is an event of a newer daemon: `--json` shows it.
            hand.out.print(&notices::notice(&notice));
        }
        if hand.out.failure().is_some() {
            return Ok(DONE);
        }
    }
    hand.complain("the daemon ended the events: it stops, or restarts", None);
    Ok(NO_DAEMON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(upstreams: &str) -> Status {
        let text = format!(
            r#"{{"version":"0","generation":1,"upstreams":{{{upstreams}}},"listeners":[],
            "config":{{"path":"p","pending_restart":[],"last_reload":{{"at":"","ok":true,"problems":[]}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn standby_names_one_colour_or_says_which_upstreams_there_are() {
        let two = r#"{"live":"green","standby":"blue","promotion":null,"pools":{}}"#;
        let plain = r#"{"promotion":null,"pools":{}}"#;
        let one = status(&format!(r#""app":{two},"files":{plain}"#));
        assert_eq!(standby_of(&one, None), Ok(("app".to_owned(), Colour::Blue)));
        assert_eq!(standby_of(&one, Some("app")), Ok(("app".to_owned(), Colour::Blue)));
        let wrong = |status: &Status, upstream| standby_of(status, upstream).unwrap_err().0;
        assert_eq!(wrong(&one, Some("nope")), "unknown upstream \"nope\"");
        assert!(wrong(&one, Some("files")).starts_with("files: has one pool only"));
        let several = status(&format!(r#""app":{two},"api":{two}"#));
        assert!(wrong(&several, None).ends_with("none is named: api, app"));
        assert_eq!(wrong(&status(""), None), "no upstream has two colours");
    }
}

//! `pause` and `resume`.

use crate::cli::args::Which;
use crate::cli::args::pause::Pause;
use crate::cli::args::pause::Resume;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::Stopped;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::control::client::Answer;
use crate::control::command::pause;
use crate::control::command::pause::Paused;

/// `pause`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn pause(hand: &mut Hand<'_>, args: Pause) -> Result<u8, Stopped> {
    let Pause { upstream, which, writes_only, max, lasts } = args;
    let request = pause::Pause {
        upstreams: named(upstream, &which),
        all: which.all,
        writes_only,
        max,
        lasts,
    };
    let answer = hand.ask("/v1/pause", &request).await?;
    told(hand, answer).await
}

/// `resume`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn resume(hand: &mut Hand<'_>, args: Resume) -> Result<u8, Stopped> {
    let Resume { upstream, which, over } = args;
    let request = pause::Resume { upstreams: named(upstream, &which), all: which.all, over };
    let answer = hand.ask("/v1/resume", &request).await?;
    told(hand, answer).await
}

fn named(upstream: Option<String>, which: &Which) -> Option<Vec<String>> {
    upstream.map(|name| vec![name]).or_else(|| which.named())
}

async fn told(hand: &mut Hand<'_>, answer: Answer) -> Result<u8, Stopped> {
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let done: Paused = hand.understand(&body)?;
    if !hand.quiet {
        let names = done.upstreams.join(", ");
        let (tone, text) = match done.until {
            Some(until) => (Tone::Warn, format!("{names}: paused until {until}")),
            None => (Tone::Good, format!("{names}: not paused")),
        };
        hand.out.print(&line(tone, text));
    }
    Ok(DONE)
}

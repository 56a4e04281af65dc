//! `target drain` and `target ready`: follows what the daemon says about one target to its end.

use crate::cli::args::target::Target;
use crate::cli::notices;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::NO_DAEMON;
use crate::cli::run::Stopped;
use crate::cli::screen::line;
use crate::control::client::Answer;
use crate::control::command::event::Event;
use crate::control::command::target::SetTarget;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::model::target::Admin;

/// `target`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn target(hand: &mut Hand<'_>, args: Target) -> Result<u8, Stopped> {
    let request = match args {
        Target::Drain { upstream, target, wait, timeout, force } => SetTarget {
            upstream: Some(upstream),
            target,
            state: Admin::Draining,
            wait,
            timeout,
            force,
            gate_timeout: None,
        },
        Target::Ready { upstream, target, gate_timeout, force } => SetTarget {
            upstream: Some(upstream),
            target,
            state: Admin::Ready,
            gate_timeout,
            force,
            ..SetTarget::default()
        },
    };
    if request.force && request.state == Admin::Ready {
        hand.complain("WARNING: --force: nothing vouches for the target", None);
    }
    // No limit of ours: the disk of the daemon may be slow.
    let answer = hand.client.post("/v1/target", &request).await?;
    let mut answer = hand.accepted(answer).await?;
    let mut last = None;
    while let Some((said, event)) = next(&mut answer).await? {
        if hand.json {
            hand.out.pass_on(&said);
        } else {
            print(hand, &event);
        }
        last = Some(event);
    }
    let done = |event: &TargetEvent| {
        let only_begun = !request.wait && event.phase == TargetPhase::Draining;
        event.exit_code().or(only_begun.then_some(DONE))
    };
    if let Some(code) = last.as_ref().and_then(done) {
        return Ok(code);
    }
    hand.complain(
        "the daemon said no more: whether the target is drained is not known",
        Some("proxyctl status"),
    );
    Ok(NO_DAEMON)
}

/// The next event about a target, and how the daemon wrote it; `None` after the last. What cannot be
/// read is an event of a newer daemon.
///
/// # Errors
/// The daemon went away.
pub async fn next(answer: &mut Answer) -> Result<Option<(bytes::Bytes, TargetEvent)>, Stopped> {
    while let Some(said) = answer.line().await? {
        if let Ok(Event::Target(event)) = serde_json::from_slice(&said) {
            return Ok(Some((said, event)));
        }
    }
    Ok(None)
}

/// Prints one event; the receipt as the daemon wrote it.
pub fn print(hand: &mut Hand<'_>, event: &TargetEvent) {
    let (tone, text) = notices::of_target(event);
    if event.exit_code().is_some_and(|code| code != DONE) {
        hand.complain(&text, hint(event).as_deref());
    } else if !hand.quiet {
        hand.out.print(&line(tone, text));
    }
    let Some(receipt) = &event.receipt else { return };
    match serde_json::to_vec(receipt) {
        Ok(json) => hand.out.pass_on(&json),
        Err(error) => hand.complain(&format!("the receipt cannot be written: {error}"), None),
    }
}

fn hint(event: &TargetEvent) -> Option<String> {
    let again = format!("proxyctl target ready {} {}", event.upstream, event.target);
    match event.phase {
        TargetPhase::Refused => Some(format!("once it is well: {again}")),
        TargetPhase::NotDurable => Some("see to the disk under state_dir".to_owned()),
        TargetPhase::Draining
        | TargetPhase::Drained
        | TargetPhase::Cut
        | TargetPhase::TakenBack
        | TargetPhase::Gating
        | TargetPhase::Ready => None,
    }
}

//! `canary` and `preview`.

use crate::cli::args::canary::Canary as CanaryArgs;
use crate::cli::args::canary::Preview as PreviewArgs;
use crate::cli::promote;
use crate::cli::promote::Course;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::Stopped;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::control::command::canary::Canary;
use crate::control::command::canary::Invitation;
use crate::control::command::canary::Preview;
use crate::control::command::canary::Previewed;
use crate::model::split::Share;

/// `canary`.
///
/// # Errors
/// No daemon, or a refusal before the gate.
pub async fn canary(hand: &mut Hand<'_>, args: CanaryArgs) -> Result<u8, Stopped> {
    let ends = args.weight == Share::NONE;
    let wanted = if ends { args.colour.other() } else { args.colour };
    let subject = promote::subject(hand, &args.which, Some(wanted)).await?;
    promote::warn_of_force(hand, &args.manner);
    let course = Course::new(subject, &args.manner, false);
    let course = if ends { course } else { course.of_canary() };
    let request = Canary {
        colour: args.colour.to_string(),
        weight: args.weight,
        upstreams: args.which.named(),
        all: args.which.all,
        gate_timeout: args.manner.gate_timeout,
        drain_timeout: args.manner.drain_timeout,
        wait: !args.manner.no_wait,
        build: args.build,
        force: args.manner.force,
    };
    promote::run(hand, "/v1/canary", &request, course).await
}

/// `preview`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn preview(hand: &mut Hand<'_>, args: PreviewArgs) -> Result<u8, Stopped> {
    let request = Preview {
        colour: args.colour.to_string(),
        off: args.off,
        upstreams: args.which.named(),
        all: args.which.all,
        lasts: args.lasts,
    };
    let answer = hand.ask("/v1/preview", &request).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let done: Previewed = hand.understand(&body)?;
    // The links are what was asked for, as the receipt is.
    for invitation in &done.previews {
        invite(hand, invitation);
    }
    if !done.ended.is_empty() && !hand.quiet {
        let names = done.ended.join(", ");
        hand.out
            .print(&line(Tone::Good, format!("{names}: no preview")));
    }
    Ok(DONE)
}

fn invite(hand: &mut Hand<'_>, invitation: &Invitation) {
    let Invitation { upstream, colour, until, token, url, link, host } = invitation;
    if !hand.quiet {
        let text = format!("{upstream}: {colour} is previewed until {until}");
        hand.out.print(&line(Tone::Warn, text));
    }
    if let Some(host) = host {
        hand.out.say(host);
    }
    match link {
        Some(link) => hand.out.say(link),
        None => hand.complain(
            &format!("{upstream}: no link: that path of its host leads to another upstream"),
            Some("send the header instead"),
        ),
    }
    hand.out
        .say(&format!("curl -H 'X-Proxy-Preview: {token}' {url}"));
}

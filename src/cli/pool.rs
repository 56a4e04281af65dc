//! `pool set`, `pool reset` and `deploy`: targets at run time.

use std::str::FromStr;

use crate::cli::args::Promote;
use crate::cli::args::Which;
use crate::cli::args::target::Deploy;
use crate::cli::args::target::Pool;
use crate::cli::look;
use crate::cli::promote;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::REFUSED;
use crate::cli::run::Stopped;
use crate::cli::run::USAGE;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::control::command::status::Status;
use crate::control::command::target::PoolSet;
use crate::control::command::target::SetPool;
use crate::model::colour::Colour;
use crate::model::target::Address;

/// `pool`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn pool(hand: &mut Hand<'_>, args: Pool) -> Result<u8, Stopped> {
    let request = match args {
        Pool::Set { colour, targets, upstream, force } => {
            SetPool { upstream, colour: colour.to_string(), targets: Some(targets), force }
        }
        Pool::Reset { colour, upstream, force } => {
            SetPool { upstream, colour: colour.to_string(), targets: None, force }
        }
    };
    let answer = hand.ask("/v1/pool", &request).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let set: PoolSet = hand.understand(&body)?;
    if !hand.quiet {
        let differs = if set.overridden { ", not those of the file" } else { ", as in the file" };
        let (upstream, colour, targets) = (set.upstream, set.colour, set.targets.join(", "));
        let tone = if set.overridden { Tone::Warn } else { Tone::Good };
        hand.out
            .print(&line(tone, format!("{upstream}: {colour} has {targets}{differs}")));
    }
    Ok(DONE)
}

/// `deploy`.
///
/// # Errors
/// No daemon, or a refusal before the gate.
pub async fn deploy(hand: &mut Hand<'_>, args: Deploy) -> Result<u8, Stopped> {
    let body = hand.fetch("/v1/status").await?;
    let status: Status = hand.understand(&body)?;
    let (name, colour) = match look::standby_of(&status, args.upstream.as_deref()) {
        Ok(standby) => standby,
        Err((what, hint)) => {
            hand.complain(&what, Some(&hint));
            return Ok(USAGE);
        }
    };
    let (targets, at_once) = (args.targets.clone(), args.steps.is_empty());
    let promote = Promote {
        colour,
        which: Which { upstreams: vec![name.clone()], all: false },
        manner: args.manner,
        // Whoever has deployed meanwhile has made this colour live.
        expect_live: Some(colour.other()),
        build: args.build,
        bake: args.bake,
        steps: args.steps,
        pause: args.pause,
        on_fail: args.on_fail,
        dry_run: false,
    };
    let code = promote::promote_with(hand, promote, Some(args.targets)).await?;
    // Of one in steps, users may have had the new targets before it was refused.
    if code == REFUSED && !hand.json && (at_once || !has(hand, &name, colour, &targets).await?) {
        hand.err
            .say(&format!("  {name}: {colour} has its former targets again, nothing has changed"));
    }
    Ok(code)
}

/// Whether these are the targets of the colour now.
async fn has(
    hand: &mut Hand<'_>,
    name: &str,
    colour: Colour,
    targets: &[String],
) -> Result<bool, Stopped> {
    let body = hand.fetch("/v1/status").await?;
    let status: Status = hand.understand(&body)?;
    let pools = status.upstreams.get(name).map(|upstream| &upstream.pools);
    let pool = pools.and_then(|pools| pools.get(colour.as_str()));
    Ok(pool.is_some_and(|pool| are_same(pool.targets.iter().map(|it| &*it.address), targets)))
}

/// Whether these are the same addresses, however they are spelled.
fn are_same<'a>(given: impl Iterator<Item = &'a str>, wanted: &[String]) -> bool {
    let read = |text: &str| Address::from_str(text).map_err(|_bad| text.to_owned());
    given.map(read).eq(wanted.iter().map(|text| read(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_compared_as_addresses_not_as_text() {
        let wanted = |text: &str| vec![text.to_owned()];
        let given = || std::iter::once("localhost:8081");
        assert!(are_same(given(), &wanted("localhost:08081")));
        assert!(!are_same(given(), &wanted("localhost:8082")));
        assert!(!are_same(given(), &wanted("no address")));
        assert!(!are_same(given(), &[]));
    }
}

//! `maintenance on` and `off`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cli::args::maintenance::Maintenance;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::Stopped;
use crate::cli::run::USAGE;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::control::command::maintenance::Maintain;
use crate::control::command::maintenance::Maintained;

/// More than the daemon takes: it says how much that is.
const PAGE_MAX: u64 = 48 * 1024;

/// `maintenance`.
///
/// # Errors
/// No daemon, a refusal, or a page that cannot be read.
pub async fn maintenance(hand: &mut Hand<'_>, args: Maintenance) -> Result<u8, Stopped> {
    let request = match args {
        Maintenance::On { which, lasts, allow, retry_after, page } => Maintain {
            on: true,
            upstreams: which.named(),
            all: which.all,
            lasts,
            allow,
            retry_after,
            page: page.map(|page| read(hand, &page)).transpose()?,
        },
        Maintenance::Off { which } => {
            Maintain { upstreams: which.named(), all: which.all, ..Maintain::default() }
        }
    };
    let answer = hand.ask("/v1/maintenance", &request).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let done: Maintained = hand.understand(&body)?;
    if !hand.quiet {
        let names = done.upstreams.join(", ");
        let (tone, text) = match done.until {
            Some(until) => (Tone::Warn, format!("{names}: in maintenance until {until}")),
            None => (Tone::Good, format!("{names}: not in maintenance")),
        };
        hand.out.print(&line(tone, text));
    }
    Ok(DONE)
}

fn read(hand: &mut Hand<'_>, page: &Path) -> Result<String, Stopped> {
    let mut text = String::new();
    let read = File::open(page).and_then(|file| file.take(PAGE_MAX).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| {
        let hint = "name a file of HTML in UTF-8 with --page FILE";
        hand.complain(&format!("{}: {error}", page.display()), Some(hint));
        Stopped::Said(USAGE)
    })
}

//! Targets that answer their probes well and some of their requests badly.

use std::io;
use std::io::Write;
use std::sync::PoisonError;
use std::time::Duration;

use super::serve::Exchange;
use super::serve::Then;
use super::wait::pause;

/// What is wrong with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sick {
    /// One in so many requests below this path gets a 500.
    FailsOn(&'static str, usize),
    /// Every answer takes this much longer.
    Slow(Duration),
    /// One in so many answers is broken off by a reset.
    Resets(usize),
}

/// Does what is wrong; `None` if this request is answered as usual.
pub fn answer(exchange: &mut Exchange<'_>) -> io::Result<Option<Then>> {
    let (sick, number) = {
        let told = exchange.state.told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        let below = |path| exchange.head.path().starts_with(path);
        let counts = told.sick.is_some_and(|sick| match sick {
            Sick::FailsOn(path, _) => below(path),
            Sick::Slow(_) | Sick::Resets(_) => true,
        });
        told.sick_requests += usize::from(counts);
        (told.sick.filter(|_| counts), told.sick_requests)
    };
    let hit = |one_in: usize| number.is_multiple_of(one_in);
    match sick {
        Some(Sick::FailsOn(_, one_in)) if hit(one_in) => {
            exchange.reply(500, &[], b"it failed").map(Some)
        }
        Some(Sick::Slow(more)) => {
            pause(more);
            Ok(None)
        }
        Some(Sick::Resets(one_in)) if hit(one_in) => {
            exchange.begin(200, &["Content-Length: 1000"])?;
            exchange.stream.write_all(b"it ends here")?;
            Ok(Some(Then::Reset))
        }
        Some(Sick::FailsOn(..) | Sick::Resets(_)) | None => Ok(None),
    }
}

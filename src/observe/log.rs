//! The daemon's own log: one line an event, to stderr. What a level means: error, someone must act;
//! warn, unexpected but handled; info, a change that an operator made or would want to date; debug,
//! one connection. The access log is a stream of its own.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Where the filter may stand, the first that is set winning.
const VARIABLES: [&str; 2] = ["PROXYD_LOG", "RUST_LOG"];

/// The environment asks for a filter that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable}: \"{value}\" is not a log filter: {why}\n  hint: a level (error, warn, info, debug, off), or levels by room: info,proxyd::control=debug"
)]
pub struct BadFilter {
    variable: &'static str,
    value: String,
    why: String,
}

/// Sends the daemon's log to stderr from here on, as the environment asks: `PROXYD_LOG`, else
/// `RUST_LOG`, else info. Coloured only on a terminal and unless `NO_COLOR` is set. A process that
/// already logs keeps what it has.
///
/// # Errors
///
/// [`BadFilter`] when the filter cannot be understood; nothing is started.
pub fn start() -> Result<(), BadFilter> {
    start_with("info")
}

/// As [`start`], with another level where the environment asks for none.
///
/// # Errors
///
/// As [`start`].
pub fn start_with(default: &str) -> Result<(), BadFilter> {
    let asked = VARIABLES.into_iter().find_map(|variable| {
        let value = env::var_os(variable).filter(|value| !value.is_empty())?;
        Some((variable, value.to_string_lossy().into_owned()))
    });
    let filter = filter(asked, default)?;
    let colours = coloured(
        io::stderr().is_terminal(),
        env::var_os("NO_COLOR").as_deref(),
        env::var_os("TERM").as_deref(),
    );
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .with_env_filter(filter)
        .finish();
    // The error says that a subscriber is there already: a test's, or the demo's.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}

/// What is asked for refines info: `proxyd::control=debug` does not silence the rest.
fn filter(asked: Option<(&'static str, String)>, default: &str) -> Result<EnvFilter, BadFilter> {
    let Some((variable, value)) = asked else { return Ok(EnvFilter::new(default)) };
    EnvFilter::builder()
        .parse(format!("{default},{value}"))
        .map_err(|error| BadFilter { variable, value, why: error.to_string() })
}

/// <https://no-color.org>: set and not empty means no, whatever it says.
fn coloured(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Result<String, BadFilter> {
        filter(Some(("PROXYD_LOG", value.to_owned())), "info").map(|filter| filter.to_string())
    }

    #[test]
    fn info_is_the_default_and_stays_for_rooms_that_are_not_named() {
        assert_eq!(filter(None, "info").unwrap().to_string(), "info");
        assert_eq!(asked("debug").unwrap(), "debug");
        assert_eq!(asked("off").unwrap(), "off");
        assert_eq!(asked("proxyd::control=debug").unwrap(), "proxyd::control=debug,info");
    }

    #[test]
    fn a_filter_that_cannot_be_understood_is_named_with_the_way_out() {
        let error = asked("proxyd=loud").unwrap_err().to_string();
        assert!(error.starts_with("PROXYD_LOG: \"proxyd=loud\" is not a log filter: "), "{error}");
        assert!(error.contains("\n  hint: a level (error, warn"), "{error}");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let (set, empty, dumb) = (OsStr::new("1"), OsStr::new(""), OsStr::new("dumb"));
        assert!(coloured(true, None, None));
        assert!(coloured(true, Some(empty), Some(OsStr::new("xterm"))));
        assert!(!coloured(false, None, None));
        assert!(!coloured(true, Some(set), None));
        assert!(!coloured(true, None, Some(dumb)));
    }
}

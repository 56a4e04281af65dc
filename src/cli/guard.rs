//! `guard`: runs a command only while a colour is neither live nor in use, and holds promotions off
//! until the command has ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::process::Child;
use tokio::process::Command as Process;

use crate::cli::args::Guard as Args;
use crate::cli::run::Hand;
use crate::cli::run::NO_DAEMON;
use crate::cli::run::Stopped;
use crate::cli::run::USAGE;
use crate::cli::signals::Caught;
use crate::cli::story;
use crate::control::client::Answer;
use crate::control::command::Guard;
use crate::control::command::event::Event;

/// The guard itself refused: the command was not run.
const NOT_RUN: u8 = 125;
/// The command is there and cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// `guard`. Says nothing of its own on standard output, which is the command's.
///
/// # Errors
/// No daemon; nothing was run.
pub async fn guard(hand: &mut Hand<'_>, args: Args) -> Result<u8, Stopped> {
    let request = Guard {
        colour: args.colour.to_string(),
        upstream: args.upstream,
        ignore_hold: args.ignore_hold,
    };
    let answer = hand.ask("/v1/guard", &request).await?;
    let mut answer = match hand.accepted(answer).await {
        Err(Stopped::Said(code)) => return Ok(not_run(code)),
        accepted => accepted?,
    };
    if let Some(code) = refused(hand, &mut answer).await? {
        return Ok(code);
    }
    // From here on the command must end before we do: what would end us is caught.
    if let Err(error) = hand.signals.catch_all() {
        hand.complain(&format!("signals cannot be caught, nothing was run: {error}"), None);
        return Ok(NOT_RUN);
    }
    match spawn(&args.command) {
        Ok(child) => Ok(hold(hand, answer, child).await),
        Err(error) => Ok(not_started(hand, &args.command, &error)),
    }
}

/// Wrong usage and a missing daemon keep their codes. Any other refusal is told apart from a command
/// that ran and failed.
fn not_run(code: u8) -> u8 {
    match code {
        USAGE | NO_DAEMON => code,
        _ => NOT_RUN,
    }
}

/// Waits until the daemon holds the guard; the exit code if it does not.
async fn refused(hand: &mut Hand<'_>, answer: &mut Answer) -> Result<Option<u8>, Stopped> {
    while let Some(said) = answer.line().await? {
        match serde_json::from_slice(&said) {
            Ok(Event::Guarded { .. }) => return Ok(None),
            Ok(Event::Refused { code, reasons }) => {
                for reason in &reasons {
                    hand.complain(&story::refusal(code, reason), reason.hint.as_deref());
                }
                return Ok(Some(not_run(code.exit_code())));
            }
            Ok(_) | Err(_) => {}
        }
    }
    hand.complain("the daemon let go before it held the guard: nothing was run", None);
    Ok(Some(NO_DAEMON))
}

fn spawn(command: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::NotFound)?;
    Process::new(program).args(arguments).spawn()
}

fn not_started(hand: &mut Hand<'_>, command: &[OsString], error: &io::Error) -> u8 {
    let program = command
        .first()
        .map(|program| program.to_string_lossy())
        .unwrap_or_default();
    if error.kind() == io::ErrorKind::NotFound {
        hand.complain(&format!("guard: {program}: command not found"), None);
        return NOT_FOUND;
    }
    hand.complain(&format!("guard: {program}: cannot be run: {error}"), None);
    NOT_EXECUTABLE
}

/// Keeps the connection, and with it the guard, until the command has ended.
async fn hold(hand: &mut Hand<'_>, mut answer: Answer, mut child: Child) -> u8 {
    let mut held = true;
    loop {
        tokio::select! {
            ended = child.wait() => return match ended {
                Ok(status) => passed_on(status),
                Err(error) => {
                    hand.complain(&format!("guard: the command cannot be waited for: {error}"), None);
                    NOT_EXECUTABLE
                }
            },
            said = answer.line(), if held => {
                if !matches!(said, Ok(Some(_))) {
                    held = false;
                    hand.complain(
                        "guard: the daemon went away: the command runs on, promotions are no longer held off",
                        Some("proxyctl status"),
                    );
                }
            }
            // Ctrl-C reaches the command by itself: the terminal sends it to the whole group. A
            // SIGTERM is meant for one process, and the command is what it is meant to end.
            caught = hand.signals.next() => if caught == Caught::Terminate {
                pass_on_termination(&child);
            },
        }
    }
}

fn pass_on_termination(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It fails only if the command has just ended, which `wait` reports.
        kill_process(pid, Signal::TERM).ok();
    }
}

/// As a shell says it: 128 and the signal that ended it.
fn passed_on(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(NOT_EXECUTABLE)
}

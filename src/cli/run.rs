//! One command from its words to its exit code.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::CommandFactory;
use clap_complete::Shell;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::args::Args;
use crate::cli::args::Command;
use crate::cli::canary;
use crate::cli::explain;
use crate::cli::guard;
use crate::cli::history;
use crate::cli::look;
use crate::cli::maintenance;
use crate::cli::pause;
use crate::cli::pool;
use crate::cli::promote;
use crate::cli::roll;
use crate::cli::screen::Screen;
use crate::cli::screen::Tone;
use crate::cli::screen::span;
use crate::cli::signals::Signals;
use crate::cli::target;
use crate::cli::why;
use crate::control::client::Answer;
use crate::control::client::Client;
use crate::control::client::Lost;
use crate::control::command::Refusal;

/// Done.
pub const DONE: u8 = 0;
/// Refused, or not all well.
pub const REFUSED: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// No daemon answers, or what answers cannot be understood.
pub const NO_DAEMON: u8 = 7;

/// How long the daemon may take over what it knows by heart.
const PROMPT: Duration = Duration::from_secs(10);

/// From one page of `status --watch` to the next.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What a command works with.
pub struct Hand<'a> {
    /// The daemon.
    pub client: Client,
    /// Why it may be the wrong one; said only if nobody answers.
    pub doubt: Option<String>,
    /// Print what the daemon says unchanged.
    pub json: bool,
    /// Print nothing but errors and answers that are asked for.
    pub quiet: bool,
    /// Standard output.
    pub out: Screen<'a>,
    /// Standard error.
    pub err: Screen<'a>,
    /// Ctrl-C and its relatives.
    pub signals: Signals,
}

/// Why a command could not be carried out: said here, with its exit code.
#[derive(Debug)]
pub enum Stopped {
    /// The daemon cannot be asked, or went away.
    Lost(Lost),
    /// What was to be said has been said.
    Said(u8),
}

impl From<Lost> for Stopped {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl<'a> Hand<'a> {
    /// A hand that talks to the daemon behind `socket`.
    pub fn new(socket: PathBuf, out: Screen<'a>, err: Screen<'a>) -> Self {
        Self {
            client: Client::new(socket),
            doubt: None,
            json: false,
            quiet: false,
            out,
            err,
            signals: Signals::default(),
        }
    }

    /// Carries out `args` (whose global flags this hand overtakes) and returns the exit code.
    pub async fn run(&mut self, args: Args) -> u8 {
        self.json = args.global.json;
        // JSON is for a program, which wants all of it.
        self.quiet = args.global.quiet && !self.json;
        // What has been changed stays changed, whether or not anybody could read about it.
        let changes = matches!(
            args.command,
            Command::Promote(_)
                | Command::Rollback(_)
                | Command::Canary(_)
                | Command::Preview(_)
                | Command::Maintenance(_)
                | Command::Pause(_)
                | Command::Resume(_)
                | Command::Target(_)
                | Command::Pool(_)
                | Command::Deploy(_)
                | Command::Roll(_)
        );
        let ended = Box::pin(self.carry_out(args.command)).await;
        let code = match ended {
            Ok(code) | Err(Stopped::Said(code)) => code,
            Err(Stopped::Lost(lost)) => self.lost(&lost),
        };
        if self.unwritten() && code == DONE && !changes { REFUSED } else { code }
    }

    async fn carry_out(&mut self, command: Command) -> Result<u8, Stopped> {
        match command {
            Command::Status { watch: false } => look::status(self).await,
            Command::Status { watch: true } => look::watch(self, WATCH_EVERY).await,
            Command::Promote(args) => promote::promote(self, args).await,
            Command::Rollback(args) => promote::rollback(self, args).await,
            Command::Canary(args) => canary::canary(self, args).await,
            Command::Preview(args) => canary::preview(self, args).await,
            Command::Guard(args) => guard::guard(self, args).await,
            Command::Standby { upstream } => look::standby(self, upstream.as_deref()).await,
            Command::Probe { colour, which } => look::probe(self, colour, &which).await,
            Command::Pool(args) => pool::pool(self, args).await,
            Command::Deploy(args) => pool::deploy(self, args).await,
            Command::Roll(args) => roll::roll(self, args).await,
            Command::Target(args) => target::target(self, args).await,
            Command::Maintenance(args) => maintenance::maintenance(self, args).await,
            Command::Pause(args) => pause::pause(self, args).await,
            Command::Resume(args) => pause::resume(self, args).await,
            Command::Reload => look::reload(self).await,
            Command::Why(args) => why::why(self, args).await,
            Command::Explain(args) => explain::explain(self, args).await,
            Command::History(args) => history::history(self, args).await,
            Command::Events => look::events(self).await,
            Command::Completions { shell } => Ok(self.completions(shell)),
        }
    }

    fn completions(&mut self, shell: Shell) -> u8 {
        let mut script = Vec::new(); // the generator panics where a writer fails
        clap_complete::generate(shell, &mut Args::command(), "proxyctl", &mut script);
        self.out.pass_on(&script);
        DONE
    }

    /// Prints what is wrong and the way out.
    pub fn complain(&mut self, what: &str, hint: Option<&str>) {
        let mut parts = what.lines();
        let first = parts.next().unwrap_or_default();
        self.err
            .print(&[span(Tone::Bad, "proxyctl:"), span(Tone::Plain, format!(" {first}"))]);
        for part in parts {
            self.err.say(part);
        }
        if let Some(hint) = hint {
            self.err.say(&format!("  hint: {hint}"));
        }
    }

    /// Complains that there is no daemon.
    pub fn lost(&mut self, lost: &Lost) -> u8 {
        self.complain(&lost.to_string(), lost.hint());
        if let (Lost::Unreachable { .. }, Some(doubt)) = (lost, self.doubt.take()) {
            self.err.say(&format!("  hint: {doubt}"));
        }
        NO_DAEMON
    }

    /// An answer that is no refusal, while it may still be going on.
    ///
    /// # Errors
    /// A refusal, which has then been printed.
    pub async fn accepted(&mut self, answer: Answer) -> Result<Answer, Stopped> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.whole().await?;
        Err(Stopped::Said(self.refused(status, &body)))
    }

    /// Prints a refusal and returns its exit code.
    pub fn refused(&mut self, status: StatusCode, body: &Bytes) -> u8 {
        let refusal = serde_json::from_slice::<Refusal>(body);
        if self.json {
            self.out.pass_on(body);
        }
        let Ok(refusal) = refusal else {
            if !self.json {
                let text = String::from_utf8_lossy(body);
                let first: String = text
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(200)
                    .collect();
                let socket = self.client.socket().display().to_string();
                let hint = format!("is {socket} the control socket of a proxyd of this version?");
                self.complain(&format!("answered {status}: {first}"), Some(&hint));
            }
            return NO_DAEMON;
        };
        if !self.json {
            match refusal.problems.as_slice() {
                [] => self.complain(&refusal.detail, refusal.hint.as_deref()),
                // Complete lines of their own, as `proxyd check` prints them.
                problems => problems
                    .iter()
                    .for_each(|problem| self.err.say(&problem.to_string())),
            }
        }
        refusal.code.exit_code()
    }

    /// The whole answer to `GET path`, within `PROMPT`.
    ///
    /// # Errors
    /// A refusal, which has then been printed, or no daemon.
    pub async fn fetch(&mut self, path: &str) -> Result<Bytes, Stopped> {
        let client = self.client.clone();
        let asked = async {
            let answer = client.get(path).await?;
            Ok((answer.status(), answer.whole().await?))
        };
        let (status, body) = self.promptly(asked).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Stopped::Said(self.refused(status, &body)))
    }

    /// The answer to `POST path`, within `PROMPT`.
    ///
    /// # Errors
    /// No daemon.
    pub async fn ask<T: Serialize>(&mut self, path: &str, body: &T) -> Result<Answer, Lost> {
        let client = self.client.clone();
        self.promptly(client.post(path, body)).await
    }

    async fn promptly<T>(&self, asked: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
        match tokio::time::timeout(PROMPT, asked).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Lost::Broken {
                socket: self.client.socket().to_owned(),
                why: format!("no answer within {} s", PROMPT.as_secs()),
            }),
        }
    }

    /// What an answer means.
    ///
    /// # Errors
    /// It means nothing to this version, which has then been said.
    pub fn understand<T: DeserializeOwned>(&mut self, body: &[u8]) -> Result<T, Stopped> {
        serde_json::from_slice(body).map_err(|error| {
            let hint = "proxyctl and proxyd may be of different versions";
            self.complain(&format!("the daemon's answer is not understood: {error}"), Some(hint));
            Stopped::Said(NO_DAEMON)
        })
    }

    /// Admits that the output could not be written. Whoever closes a pipe has read enough.
    fn unwritten(&mut self) -> bool {
        let Some(failure) = self.out.failure() else { return false };
        if failure.kind() == io::ErrorKind::BrokenPipe {
            return false;
        }
        let what = format!("standard output: {failure}");
        self.complain(&what, None);
        true
    }
}

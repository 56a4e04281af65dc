//! One target's course through a roll: drained, worked on, ready again.

use std::io;
use std::process::ExitStatus;
use std::process::Stdio;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::cli::roll::plan::Job;
use crate::control::client::Answer;
use crate::control::client::Client;
use crate::control::client::Lost;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::command::target::SetTarget;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::model::target::Admin;

/// One target's course.
pub struct Course {
    /// The daemon.
    pub client: Client,
    /// The upstream.
    pub upstream: String,
    /// The target and its command.
    pub job: Job,
    /// How long its requests may take.
    pub drain_timeout: Option<String>,
    /// How long to wait for its probes.
    pub gate_timeout: Option<String>,
    /// Standard output is not the command's.
    pub quiet_stdout: bool,
    /// Who prints.
    pub says: mpsc::UnboundedSender<Said>,
    /// True once nothing new is to begin.
    pub stopped: watch::Receiver<bool>,
}

/// What happens on the way.
pub enum Said {
    /// The daemon said so.
    Event(Bytes, Box<TargetEvent>),
    /// The command begins: nothing is in flight on the target.
    Runs {
        /// The target.
        target: String,
        /// The command.
        command: String,
    },
}

/// How a course ended.
pub enum Ended {
    /// It is ready again.
    Done {
        /// Requests on it had to be cut.
        cut: bool,
    },
    /// It is not, and why: it goes on draining.
    Failed(String),
    /// The daemon would not drain it, and why.
    NotBegun(String),
    /// It was told to stop while it drained: nothing was run.
    LeftDraining,
}

/// Why an order came to nothing.
enum Failed {
    /// The daemon would not begin.
    Refused(String),
    /// It went away; the order may stand.
    Broken(String),
}

impl Course {
    /// Runs it to its end.
    pub async fn run(mut self) -> Ended {
        let cut = match self.drain().await {
            Ok(Some(cut)) => cut,
            Ok(None) => return Ended::LeftDraining,
            Err(failed) => return failed,
        };
        let (target, command) = (self.job.target.clone(), self.job.command.clone());
        self.say(Said::Runs { target, command });
        if let Err(why) = self.work().await {
            return Ended::Failed(format!("{}: {why}", self.job.target));
        }
        match self.make_ready().await {
            Ok(()) => Ended::Done { cut },
            Err(why) => Ended::Failed(why),
        }
    }

    /// Whether something had to be cut; `None`: told to stop before nothing was left.
    async fn drain(&mut self) -> Result<Option<bool>, Ended> {
        let request = SetTarget {
            upstream: Some(self.upstream.clone()),
            target: self.job.target.clone(),
            state: Admin::Draining,
            wait: true,
            timeout: self.drain_timeout.clone(),
            ..SetTarget::default()
        };
        let mut stopped = self.stopped.clone();
        let told = tokio::select! {
            biased;
            _told = stopped.wait_for(|stopped| *stopped) => return Ok(None),
            last = self.order(&request) => last.map_err(|failed| match failed {
                Failed::Refused(why) => Ended::NotBegun(why),
                Failed::Broken(why) => Ended::Failed(why),
            })?,
        };
        let safe = told
            .receipt
            .as_ref()
            .is_some_and(|receipt| receipt.safe_to_restart);
        match told.phase {
            TargetPhase::Drained if safe => Ok(Some(false)),
            TargetPhase::Cut if safe => Ok(Some(true)),
            TargetPhase::TakenBack => {
                let why = format!("{}: somebody made it ready while it drained", told.target);
                Err(Ended::NotBegun(why))
            }
            TargetPhase::Drained
            | TargetPhase::Cut
            | TargetPhase::Draining
            | TargetPhase::Gating
            | TargetPhase::Ready
            | TargetPhase::Refused
            | TargetPhase::NotDurable => {
                let left = told.in_flight;
                let why = format!(
                    "{}: {left} in flight after the deadline, nothing was run",
                    told.target
                );
                Err(Ended::Failed(why))
            }
        }
    }

    async fn work(&self) -> Result<(), String> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&self.job.command)
            .stdin(Stdio::null());
        if self.quiet_stdout {
            command.stdout(io::stderr());
        }
        let status = command
            .status()
            .await
            .map_err(|error| format!("the command cannot be run: {error}"))?;
        if status.success() { Ok(()) } else { Err(how(status)) }
    }

    async fn make_ready(&mut self) -> Result<(), String> {
        let request = SetTarget {
            upstream: Some(self.upstream.clone()),
            target: self.job.target.clone(),
            state: Admin::Ready,
            gate_timeout: self.gate_timeout.clone(),
            ..SetTarget::default()
        };
        let told = self.order(&request).await.map_err(|failed| match failed {
            Failed::Refused(why) | Failed::Broken(why) => why,
        })?;
        if told.phase == TargetPhase::Ready { Ok(()) } else { Err(told.reasons.join("; ")) }
    }

    /// Asks the daemon, tells what it says, and returns its last word.
    async fn order(&self, request: &SetTarget) -> Result<TargetEvent, Failed> {
        let broken = |lost: Lost| Failed::Broken(lost.to_string());
        let answer = self.client.post("/v1/target", request).await;
        let mut answer = accepted(answer.map_err(broken)?).await?;
        let mut last = None;
        while let Some(said) = answer.line().await.map_err(broken)? {
            // What cannot be read is an event of a newer daemon.
            let Ok(Event::Target(event)) = serde_json::from_slice(&said) else { continue };
            self.say(Said::Event(said, Box::new(event.clone())));
            last = Some(event);
        }
        let last = last.filter(|event| event.exit_code().is_some());
        let no_more = || format!("{}: the daemon said no more", self.job.target);
        last.ok_or_else(|| Failed::Broken(no_more()))
    }

    fn say(&self, said: Said) {
        // Who printed is gone only when all is over.
        drop(self.says.send(said));
    }
}

async fn accepted(answer: Answer) -> Result<Answer, Failed> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = answer.whole().await;
    let body = body.map_err(|lost| Failed::Broken(lost.to_string()))?;
    let refusal = serde_json::from_slice::<Refusal>(&body);
    let why = refusal.map_or_else(|_| format!("the daemon answered {status}"), |it| it.detail);
    Err(Failed::Refused(why))
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("the command ended with exit code {code}"),
        None => "the command was killed".to_owned(),
    }
}

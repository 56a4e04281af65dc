//! `roll`: takes one target after the other out of service, runs a command on it, and lets it back in
//! once it passes. The daemon drains and gates; what is here is the order of things.

pub mod one;
pub mod plan;

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::cli::args::target::Roll as Args;
use crate::cli::notices;
use crate::cli::roll::one::Course;
use crate::cli::roll::one::Ended;
use crate::cli::roll::one::Said;
use crate::cli::roll::plan::Job;
use crate::cli::roll::plan::Plan;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::NO_DAEMON;
use crate::cli::run::REFUSED;
use crate::cli::run::Stopped;
use crate::cli::run::USAGE;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::signals::Caught;
use crate::cli::words;
use crate::control::client::Answer;
use crate::control::command::event::Event;
use crate::control::command::status::Status;
use crate::control::command::target::Roll;

/// Done, but requests had to be cut.
const CUT: u8 = 3;

/// How long a daemon that has just been told to go on may take to say that it does.
const HELD_WITHIN: Duration = Duration::from_secs(10);

/// How a roll goes.
struct Progress {
    plan: Plan,
    /// The targets that are done.
    done: Vec<String>,
    cut: bool,
}

/// A target that did not come back, or was not let go.
struct Failure {
    target: String,
    why: String,
    drains: bool,
}

/// Why no further target is begun.
enum Halt {
    /// These failed.
    Failed(Vec<Failure>),
    /// Fewer would serve than must.
    TooFew(String),
    /// Ctrl-C, or a job that was aborted; with what was left draining by it.
    Interrupted(Caught, Vec<String>),
    /// The daemon does not hold the upstream any more, or does not answer.
    LetGo(String),
}

/// `roll`.
///
/// # Errors
/// No daemon, or a refusal before anything has changed.
pub async fn roll(hand: &mut Hand<'_>, args: Args) -> Result<u8, Stopped> {
    let status = state(hand).await?;
    let plan = match Plan::new(&args, &status) {
        Ok(plan) => plan,
        Err((what, hint)) => {
            hand.complain(&what, Some(&hint));
            return Ok(USAGE);
        }
    };
    if args.dry_run {
        return Ok(print_plan(hand, &plan, &status));
    }
    if let Err(error) = hand.signals.catch() {
        hand.complain(&format!("signals cannot be caught, nothing was done: {error}"), None);
        return Ok(NO_DAEMON);
    }
    let mut held = hold(hand, &plan.upstream).await?;
    say_begin(hand, &plan);
    let mut progress = Progress { plan, done: Vec::new(), cut: false };
    let halted = take_all(hand, &args, &mut progress, &mut held).await?;
    Ok(finish(hand, &args, &progress, halted.as_ref()))
}

/// The state of the daemon.
async fn state(hand: &mut Hand<'_>) -> Result<Status, Stopped> {
    let body = hand.fetch("/v1/status").await?;
    hand.understand(&body)
}

/// Holds promotions and other rolls off, until the answer is dropped.
async fn hold(hand: &mut Hand<'_>, upstream: &str) -> Result<Answer, Stopped> {
    let request = Roll { upstream: Some(upstream.to_owned()) };
    let answer = hand.ask("/v1/roll", &request).await?;
    let mut answer = hand.accepted(answer).await?;
    let said = tokio::time::timeout(HELD_WITHIN, answer.line()).await;
    if let Ok(Ok(Some(said))) = said
        && let Ok(Event::Rolling { .. }) = serde_json::from_slice(&said)
    {
        if hand.json {
            hand.out.pass_on(&said);
        }
        return Ok(answer);
    }
    hand.complain("the daemon let go before it held the upstream: nothing was done", None);
    Err(Stopped::Said(NO_DAEMON))
}

async fn take_all(
    hand: &mut Hand<'_>,
    args: &Args,
    progress: &mut Progress,
    held: &mut Answer,
) -> Result<Option<Halt>, Stopped> {
    let jobs = progress.plan.jobs.clone();
    for batch in jobs.chunks(progress.plan.parallel.max(1)) {
        let status = match state(hand).await {
            Err(Stopped::Lost(lost)) => return Ok(Some(Halt::LetGo(lost.to_string()))),
            status => status?,
        };
        if let Some(why) = progress.plan.forbids(batch, &status) {
            return Ok(Some(Halt::TooFew(why)));
        }
        match take(hand, args, progress, held, batch).await {
            // Who stops after the last one has done all.
            Some(Halt::Interrupted(..) | Halt::LetGo(_)) if progress.done.len() == jobs.len() => {}
            None => {}
            halted => return Ok(halted),
        }
    }
    Ok(None)
}

/// Takes the targets of one batch, all at once; tells what happens, and hears what may stop it.
async fn take(
    hand: &mut Hand<'_>,
    args: &Args,
    progress: &mut Progress,
    held: &mut Answer,
    batch: &[Job],
) -> Option<Halt> {
    let (says, mut said) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let course = |job: &Job| Course {
        client: hand.client.clone(),
        upstream: progress.plan.upstream.clone(),
        job: job.clone(),
        drain_timeout: args.drain_timeout.clone(),
        gate_timeout: args.gate_timeout.clone(),
        quiet_stdout: hand.json,
        says: says.clone(),
        stopped: stopped.clone(),
    };
    let courses: Vec<Course> = batch.iter().map(course).collect();
    drop(says);
    let mut running =
        Box::pin(futures_util::future::join_all(courses.into_iter().map(Course::run)));
    let (mut caught, mut is_held) = (None, true);
    let ended = loop {
        tokio::select! {
            biased;
            Some(one) = said.recv() => tell(hand, &progress.plan.upstream, one),
            ended = &mut running => break ended,
            signal = hand.signals.next() => {
                if caught.is_some() {
                    let left = batch.iter().map(|job| job.target.clone()).collect();
                    return Some(Halt::Interrupted(signal, left));
                }
                caught = Some(signal);
                // A drain is left as it is; a command and its gate come to their end.
                stop.send_replace(true);
            }
            line = held.line(), if is_held => is_held = matches!(line, Ok(Some(_))),
        }
    };
    while let Ok(one) = said.try_recv() {
        tell(hand, &progress.plan.upstream, one);
    }
    let (mut failed, mut left) = (Vec::new(), Vec::new());
    for (job, ended) in batch.iter().zip(ended) {
        match ended {
            Ended::Done { cut } => {
                progress.done.push(job.target.clone());
                progress.cut |= cut;
            }
            Ended::Failed(why) => {
                failed.push(Failure { target: job.target.clone(), why, drains: true });
            }
            Ended::NotBegun(why) => {
                failed.push(Failure { target: job.target.clone(), why, drains: false });
            }
            Ended::LeftDraining => left.push(job.target.clone()),
        }
    }
    match caught {
        _ if !failed.is_empty() => Some(Halt::Failed(failed)),
        Some(caught) => Some(Halt::Interrupted(caught, left)),
        None if !is_held => {
            let why = "the daemon restarts or stops: promotions are no longer held off";
            Some(Halt::LetGo(why.to_owned()))
        }
        None => None,
    }
}

/// Prints what a target's course says.
fn tell(hand: &mut Hand<'_>, upstream: &str, said: Said) {
    match said {
        Said::Event(line, _) if hand.json => hand.out.pass_on(&line),
        Said::Event(_, event) if !hand.quiet => {
            let (tone, text) = notices::of_target(&event);
            hand.out.print(&line(tone, text));
        }
        Said::Runs { target, command } if hand.json => {
            let step = json!({ "event": "exec", "upstream": upstream, "target": target, "command": command });
            hand.out.pass_on(step.to_string().as_bytes());
        }
        Said::Runs { target, command } if !hand.quiet => {
            hand.out
                .print(&line(Tone::Plain, format!("{upstream}: {target} runs: {command}")));
        }
        Said::Event(..) | Said::Runs { .. } => {}
    }
}

fn say_begin(hand: &mut Hand<'_>, plan: &Plan) {
    if !hand.quiet && !hand.json {
        hand.out.print(&line(Tone::Strong, headline(plan)));
    }
}

fn headline(plan: &Plan) -> String {
    let count = words::count(plan.jobs.len(), "target");
    let (upstream, pool, parallel, least) = (&plan.upstream, &plan.pool, plan.parallel, plan.least);
    format!(
        "{upstream}: rolls {count} of {pool}, {parallel} at a time, never fewer than {least} ready and healthy"
    )
}

/// `--dry-run`.
fn print_plan(hand: &mut Hand<'_>, plan: &Plan, status: &Status) -> u8 {
    let batches = || plan.jobs.chunks(plan.parallel.max(1));
    let refused = batches()
        .next()
        .and_then(|first| plan.forbids(first, status));
    if hand.json {
        let one = |job: &Job| json!({ "target": job.target, "command": job.command });
        let steps: Vec<_> = batches()
            .map(|batch| batch.iter().map(one).collect::<Vec<_>>())
            .collect();
        let told = json!({
            "event": "plan", "upstream": plan.upstream, "pool": plan.pool,
            "min_healthy": plan.least, "steps": steps,
        });
        hand.out.pass_on(told.to_string().as_bytes());
    } else {
        hand.out.print(&line(Tone::Strong, headline(plan)));
        for (at, batch) in batches().enumerate() {
            for job in batch {
                let text = format!("  {}. drain {}, then: {}", at + 1, job.target, job.command);
                hand.out.print(&line(Tone::Plain, text));
            }
        }
    }
    if let Some(why) = refused {
        hand.complain(&format!("{}: {why}", plan.upstream), None);
        return REFUSED;
    }
    DONE
}

/// Says how it ended, what is left to do, and how to go on.
fn finish(hand: &mut Hand<'_>, args: &Args, progress: &Progress, halted: Option<&Halt>) -> u8 {
    let Plan { upstream, jobs, .. } = &progress.plan;
    let (all, done) = (words::count(jobs.len(), "target"), progress.done.len());
    let (code, draining, why) = match halted {
        None => (if progress.cut { CUT } else { DONE }, Vec::new(), String::new()),
        Some(Halt::Failed(failed)) => {
            let drain = failed.iter().filter(|failure| failure.drains);
            let names = drain.map(|failure| failure.target.clone()).collect();
            let why: Vec<&str> = failed.iter().map(|failure| failure.why.as_str()).collect();
            (REFUSED, names, why.join("; "))
        }
        Some(Halt::TooFew(why)) => (REFUSED, Vec::new(), why.clone()),
        Some(Halt::Interrupted(caught, left)) => {
            (caught.exit_code(), left.clone(), "interrupted".to_owned())
        }
        Some(Halt::LetGo(why)) => (NO_DAEMON, Vec::new(), why.clone()),
    };
    let is_left =
        |job: &&Job| !progress.done.contains(&job.target) && !draining.contains(&job.target);
    let left: Vec<&str> = jobs
        .iter()
        .filter(is_left)
        .map(|job| job.target.as_str())
        .collect();
    if hand.json {
        let ended = json!({
            "event": "rolled", "upstream": upstream, "done": progress.done, "exit": code,
            "draining": draining, "left": left, "why": why,
        });
        hand.out.pass_on(ended.to_string().as_bytes());
    }
    if halted.is_none() {
        if !hand.quiet && !hand.json {
            let tone = if progress.cut { Tone::Warn } else { Tone::Good };
            hand.out
                .print(&line(tone, format!("{upstream}: rolled {all}")));
        }
        return code;
    }
    let mut what = format!("{upstream}: {why}\n  stopped after {done} of {all}");
    if !draining.is_empty() {
        what.push_str(&format!("; left draining: {}", draining.join(", ")));
    }
    if !left.is_empty() {
        what.push_str(&format!("; not begun: {}", left.join(", ")));
    }
    hand.complain(&what, Some(&how_to_go_on(args, upstream, &draining, &left)));
    code
}

fn how_to_go_on(args: &Args, upstream: &str, draining: &[String], left: &[&str]) -> String {
    let mut steps: Vec<String> = draining
        .iter()
        .map(|target| format!("proxyctl target ready {upstream} {target}"))
        .collect();
    if !left.is_empty() {
        let targets: Vec<String> = left
            .iter()
            .map(|target| format!("--target {target}"))
            .collect();
        let exec = args.exec.replace('\'', r"'\''");
        steps.push(format!("proxyctl roll {upstream} --exec '{exec}' {}", targets.join(" ")));
    }
    if steps.is_empty() { "proxyctl status".to_owned() } else { steps.join("; then ") }
}

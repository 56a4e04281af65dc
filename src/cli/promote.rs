//! `promote` and `rollback`: follows the daemon's events to the verdict, and says what an end before
//! the verdict means.

use std::time::Duration;

use serde::Serialize;

use crate::cli::args::Manner;
use crate::cli::args::Promote as PromoteArgs;
use crate::cli::args::Rollback as RollbackArgs;
use crate::cli::args::Which;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::NO_DAEMON;
use crate::cli::run::Stopped;
use crate::cli::signals::Caught;
use crate::cli::story;
use crate::cli::story::Story;
use crate::cli::story::Subject;
use crate::control::client::Lost;
use crate::control::command::Promote;
use crate::control::command::Rollback;
use crate::control::command::event::Event;
use crate::control::command::event::Receipt;
use crate::control::command::status::Phase;
use crate::control::command::status::Status;
use crate::model::colour::Colour;
use crate::model::split::Share;

/// How often, and how far apart, the daemon is asked what became of a cancelled promotion.
const SETTLE_TRIES: usize = 20;
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// How long the state may take that is asked for only to find better words.
const GLANCE: Duration = Duration::from_secs(2);

/// A promotion as it is followed.
pub(super) struct Course {
    story: Story,
    /// The answer ends with the drain, not with the switch.
    wait: bool,
    dry_run: bool,
    /// A canary begins: the colour does not become live.
    canary: bool,
    /// It goes in steps: at first a canary begins.
    in_steps: bool,
    /// One of its steps has begun.
    walks: bool,
    /// The switch has been reported.
    switched: bool,
}

/// `promote`.
///
/// # Errors
/// No daemon, or a refusal before the gate.
pub async fn promote(hand: &mut Hand<'_>, args: PromoteArgs) -> Result<u8, Stopped> {
    promote_with(hand, args, None).await
}

/// As [`promote`], of a colour that gets these targets first.
///
/// # Errors
/// No daemon, or a refusal before the gate.
pub async fn promote_with(
    hand: &mut Hand<'_>,
    args: PromoteArgs,
    targets: Option<Vec<String>>,
) -> Result<u8, Stopped> {
    let colour = args.colour;
    let subject = subject(hand, &args.which, Some(colour)).await?;
    warn_of_force(hand, &args.manner);
    let course = Course {
        in_steps: args.steps.iter().any(|share| *share < Share::ALL),
        ..Course::new(subject, &args.manner, args.dry_run)
    };
    let request = Promote {
        colour: colour.to_string(),
        upstreams: args.which.named(),
        all: args.which.all,
        gate_timeout: args.manner.gate_timeout,
        drain_timeout: args.manner.drain_timeout,
        wait: course.wait,
        expect_live: args.expect_live.map(|colour| colour.to_string()),
        build: args.build,
        dry_run: args.dry_run,
        force: args.manner.force,
        bake: args.bake,
        on_fail: args.on_fail.map(|on_fail| on_fail.to_string()),
        steps: args.steps,
        pause: args.pause,
        targets,
    };
    run(hand, "/v1/promote", &request, course).await
}

/// `rollback`.
///
/// # Errors
/// No daemon, or a refusal before the gate.
pub async fn rollback(hand: &mut Hand<'_>, args: RollbackArgs) -> Result<u8, Stopped> {
    let subject = subject(hand, &args.which, None).await?;
    warn_of_force(hand, &args.manner);
    let course = Course::new(subject, &args.manner, false);
    let request = Rollback {
        upstreams: args.which.named(),
        all: args.which.all,
        force: args.manner.force,
        gate_timeout: args.manner.gate_timeout,
        drain_timeout: args.manner.drain_timeout,
        wait: course.wait,
    };
    run(hand, "/v1/rollback", &request, course).await
}

pub(super) fn warn_of_force(hand: &mut Hand<'_>, manner: &Manner) {
    if manner.force {
        hand.complain(
            "WARNING: --force: the gate is skipped, nothing vouches for the colour",
            None,
        );
    }
}

/// Whose promotion it will be. Only for the words of the lines: a daemon that will not say is asked
/// to promote all the same.
pub(super) async fn subject(
    hand: &Hand<'_>,
    which: &Which,
    colour: Option<Colour>,
) -> Result<Subject, Lost> {
    let named = which.upstreams.as_slice();
    Ok(match glance(hand).await {
        Ok(Some(status)) => story::subject(&status, named, colour),
        Err(lost @ Lost::Unreachable { .. }) => return Err(lost),
        Ok(None) | Err(Lost::Broken { .. }) => {
            named.iter().map(|name| (name.clone(), colour)).collect()
        }
    })
}

/// The state, if the daemon tells it soon and in words that are known.
async fn glance(hand: &Hand<'_>) -> Result<Option<Status>, Lost> {
    let asked = async {
        let body = hand.client.get("/v1/status").await?.whole().await?;
        Ok(serde_json::from_slice(&body).ok())
    };
    tokio::time::timeout(GLANCE, asked)
        .await
        .unwrap_or(Ok(None))
}

pub(super) async fn run<T: Serialize>(
    hand: &mut Hand<'_>,
    path: &str,
    request: &T,
    mut course: Course,
) -> Result<u8, Stopped> {
    if let Err(error) = hand.signals.catch() {
        hand.complain(&format!("signals cannot be caught, nothing was asked: {error}"), None);
        return Ok(NO_DAEMON);
    }
    let client = hand.client.clone();
    let answer = tokio::select! {
        answer = client.post(path, request) => answer?,
        caught = hand.signals.next() => return Ok(interrupted(hand, &course, caught).await),
    };
    let mut answer = hand.accepted(answer).await?;
    let caught = loop {
        let said = tokio::select! {
            said = answer.line() => said,
            caught = hand.signals.next() => break caught,
        };
        let verdict = match said {
            Ok(Some(said)) => take_in(hand, &mut course, &said),
            Ok(None) => Some(course.ended(hand, "the daemon said no more")),
            Err(lost) => Some(course.ended(hand, &lost.to_string())),
        };
        if let Some(code) = verdict {
            return Ok(code);
        }
    };
    drop(answer); // closes the connection, which cancels a gate that is still open
    Ok(interrupted(hand, &course, caught).await)
}

/// Prints one event; the exit code if it is the last.
fn take_in(hand: &mut Hand<'_>, course: &mut Course, said: &[u8]) -> Option<u8> {
    if hand.json {
        hand.out.pass_on(said);
    }
    // What cannot be read is an event of a newer daemon; a verdict is never new.
    let event: Event = serde_json::from_slice(said).ok()?;
    course.switched |= matches!(event, Event::Switched { .. });
    course.walks |= matches!(event, Event::Step { .. });
    if !hand.json {
        print(hand, course, &event);
    }
    event.exit_code()
}

fn print(hand: &mut Hand<'_>, course: &mut Course, event: &Event) {
    let told = course.story.tell(event);
    if !hand.quiet {
        hand.out.print_all(&told);
    }
    for warning in story::warnings(event) {
        hand.complain(&warning, None);
    }
    match event {
        Event::Refused { code, reasons } => {
            for reason in reasons {
                hand.complain(&story::refusal(*code, reason), reason.hint.as_deref());
            }
        }
        Event::Drained { receipts }
        | Event::Cut { receipts }
        | Event::Reopened { receipts }
        | Event::Reverted { receipts }
        | Event::Frozen { receipts } => {
            receipts
                .iter()
                .for_each(|receipt| print_receipt(hand, receipt));
        }
        Event::Warming { .. }
        | Event::Gating { .. }
        | Event::Switched { .. }
        | Event::Draining { .. }
        | Event::Baking { .. }
        | Event::Step { .. }
        | Event::Verdict(_)
        | Event::WouldSwitch { .. }
        | Event::Guarded { .. }
        | Event::Probe { .. }
        | Event::Ejection { .. }
        | Event::Ordered { .. }
        | Event::Canary { .. }
        | Event::Target(_)
        | Event::Rolling { .. }
        | Event::Reload { .. } => {}
    }
}

fn print_receipt(hand: &mut Hand<'_>, receipt: &Receipt) {
    match serde_json::to_vec(receipt) {
        Ok(json) => hand.out.pass_on(&json),
        Err(error) => hand.complain(&format!("the receipt cannot be written: {error}"), None),
    }
}

impl Course {
    pub(super) fn new(subject: Subject, manner: &Manner, dry_run: bool) -> Self {
        let (story, wait) = (Story::new(subject), !manner.no_wait);
        let (canary, in_steps, switched, walks) = (false, false, false, false);
        Self { story, wait, dry_run, canary, in_steps, walks, switched }
    }

    /// The same, of a canary that begins.
    pub(super) fn of_canary(self) -> Self {
        Self { canary: true, ..self }
    }

    /// The events ended without a verdict, which is the verdict only of a promotion that was asked
    /// not to wait.
    fn ended(&self, hand: &mut Hand<'_>, why: &str) -> u8 {
        if self.switched && !self.wait {
            return DONE;
        }
        let hint = Some("proxyctl status");
        if self.switched {
            hand.complain(
                &format!("{why}: it had switched, nothing is known to be safe to kill"),
                hint,
            );
        } else if self.dry_run {
            hand.complain(&format!("{why}: a dry run, nothing has changed"), hint);
        } else {
            hand.complain(&format!("{why}: whether it had switched is not known"), hint);
        }
        NO_DAEMON
    }
}

/// Says what an end by a signal means.
async fn interrupted(hand: &mut Hand<'_>, course: &Course, caught: Caught) -> u8 {
    let outcome = if course.switched {
        if course.canary { Outcome::Begun } else { Outcome::Switched }
    } else if course.walks {
        Outcome::Walks
    } else if course.dry_run {
        Outcome::Cancelled
    } else {
        settled(hand, course).await
    };
    let names = course.story.names();
    let whose = if names.is_empty() { names } else { format!("{names}: ") };
    let (what, hint) = match outcome {
        Outcome::Cancelled => ("cancelled, nothing has changed", None),
        Outcome::Begun => ("the canary had begun already", Some("proxyctl status shows it")),
        Outcome::Switched => (
            "it had switched already: the drain runs on, nothing is safe to kill yet",
            Some("proxyctl status shows it; proxyctl rollback is the way back"),
        ),
        Outcome::Walks => (
            "the steps go on by themselves",
            Some("proxyctl status shows how far; proxyctl rollback ends them"),
        ),
        Outcome::Unknown => {
            ("the gate was told to stop", Some("proxyctl status shows what is live"))
        }
    };
    hand.complain(&format!("{whose}interrupted: {what}"), hint);
    caught.exit_code()
}

/// What became of a promotion whose connection was closed before `switched` came.
enum Outcome {
    Walks,
    Begun,
    Cancelled,
    Switched,
    Unknown,
}

/// The switch may have been made while its report was under way: the daemon is asked, until it has
/// noticed that we are gone.
async fn settled(hand: &Hand<'_>, course: &Course) -> Outcome {
    for _ in 0..SETTLE_TRIES {
        let Ok(Some(status)) = glance(hand).await else { return Outcome::Unknown };
        match judged(&status, course) {
            Some(outcome) => return outcome,
            None => tokio::time::sleep(SETTLE_EVERY).await,
        }
    }
    Outcome::Unknown
}

/// `None` while one of them still gates.
fn judged(status: &Status, course: &Course) -> Option<Outcome> {
    let subject = course.story.subject();
    let mut outcome = if subject.is_empty() { Outcome::Unknown } else { Outcome::Cancelled };
    for (name, colour) in subject {
        let (Some(upstream), Some(colour)) = (status.upstreams.get(name), colour) else {
            return Some(Outcome::Unknown);
        };
        let running = upstream.promotion.as_ref();
        if running.is_some_and(|running| running.phase == Phase::Gating) {
            return None;
        }
        let canary = upstream.canary.as_ref().map(|canary| canary.colour);
        let has_begun = canary == Some(*colour);
        match (course.in_steps, &upstream.steps) {
            (true, Some(_)) if has_begun => outcome = Outcome::Walks,
            // The daemon is about to drop them.
            (true, Some(_)) => return None,
            (true, None) if has_begun => outcome = Outcome::Begun,
            _ if course.canary && has_begun => outcome = Outcome::Begun,
            _ if !course.canary && upstream.live == Some(*colour) => outcome = Outcome::Switched,
            _ => {}
        }
    }
    Some(outcome)
}

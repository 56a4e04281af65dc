//! What takes long about one target, beside the supervisor's loop: its drain, and its gate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout_at;

use crate::control::command::event::Cut;
use crate::control::command::event::Event;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::control::command::target::TargetReceipt;
use crate::control::events::Bus;
use crate::control::gate;
use crate::control::promotion::REPORT_EVERY;
use crate::control::promotion::SETTLE;
use crate::control::promotion::in_words;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::tasks::Done;
use crate::model::colour::Colour;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::model::upstream::Upstream;
use crate::sync::uses::Uses;

/// How often a drain looks at its target.
const POLL: Duration = Duration::from_millis(10);

/// This many good probes in a row make a target ready, as they do a colour.
const GOOD_IN_A_ROW: u32 = 2;

/// Events kept for the verdict when the requester reads slowly.
const KEPT_FOR_THE_VERDICT: usize = 4;

/// A target that something was ordered for, and who is told.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) upstream: Arc<str>,
    pub(super) colour: Option<Colour>,
    pub(super) target: Arc<Target>,
    /// Targets of the same address that may still have requests.
    pub(super) older: Vec<Arc<Target>>,
    /// The generation that drained it.
    pub(super) generation: u64,
    pub(super) caller: Caller,
    pub(super) bus: Bus,
    /// `None`: nobody waits.
    pub(super) answer: Option<mpsc::Sender<Event>>,
}

/// What came of the gate of a target.
#[derive(Debug)]
pub(super) enum Vouched {
    /// Two fresh probes in a row were good.
    Good,
    /// Why not.
    Bad(String),
    /// Nobody waits any more.
    Gone,
}

impl About {
    /// What its drain is known by.
    pub(super) fn key(&self) -> (Arc<str>, Address) {
        (Arc::clone(&self.upstream), self.target.address.clone())
    }

    /// Everything that counts requests of its process.
    fn uses(&self) -> impl Iterator<Item = &Uses> {
        let all = std::iter::once(&self.target).chain(&self.older);
        all.map(|target| &target.in_flight)
    }

    fn in_flight(&self) -> usize {
        self.uses().map(Uses::look).sum()
    }

    /// What a drain has ended: requests, and tunnels.
    fn cut(&self) -> Cut {
        let mut cut = Cut::default();
        for ended in self.uses().map(Uses::cut_count) {
            cut.requests += ended.requests;
            cut.tunnels += ended.tunnels;
        }
        cut
    }

    /// An event about it that says only so much.
    pub(super) fn event(&self, phase: TargetPhase) -> TargetEvent {
        TargetEvent {
            upstream: self.upstream.to_string(),
            colour: self.colour,
            target: self.target.name.to_string(),
            phase,
            in_flight: self.in_flight(),
            probe: None,
            reasons: Vec::new(),
            receipt: None,
        }
    }

    /// Tells the requester and everybody who follows the events. A verdict always gets through.
    pub(super) fn tell(&self, event: TargetEvent) {
        let verdict = event.exit_code().is_some();
        let event = Event::Target(event);
        self.bus.tell(event.clone());
        let Some(answer) = &self.answer else { return };
        if verdict || answer.capacity() > KEPT_FOR_THE_VERDICT {
            // The error says that nobody listens any more; the order does not depend on it.
            drop(answer.try_send(event));
        }
    }
}

/// Waits until nothing is left on a target that drains; at the deadline the rest is cut. Over at once
/// when the other half of `standing` is gone: the target was made ready.
pub(super) async fn drain(
    about: About,
    deadline: Instant,
    mut standing: watch::Receiver<()>,
) -> Done {
    let began = Instant::now();
    let emptied = async {
        wait_for_empty(&about, deadline).await;
        if about.in_flight() > 0 {
            about.uses().for_each(Uses::cut);
            wait_for_empty(&about, Instant::now() + SETTLE).await;
        }
    };
    let stands = tokio::select! {
        biased;
        _gone = standing.changed() => false,
        () = emptied => true,
    };
    let (in_flight, cut) = (about.in_flight(), about.cut());
    let phase = match (stands, in_flight + cut.requests + cut.tunnels) {
        (false, _) => TargetPhase::TakenBack,
        (true, 0) => TargetPhase::Drained,
        (true, _) => TargetPhase::Cut,
    };
    let receipt = TargetReceipt {
        target: about.target.name.to_string(),
        generation: about.generation,
        seconds: began.elapsed().as_secs_f64(),
        in_flight,
        cut,
        safe_to_restart: stands && in_flight == 0,
    };
    let event = TargetEvent { in_flight, receipt: Some(receipt), ..about.event(phase) };
    Done::TargetDrained(Box::new((about, event)))
}

/// Tells, now and then, how much is left.
async fn wait_for_empty(about: &About, until: Instant) {
    let mut told = (about.in_flight(), Instant::now());
    loop {
        let (in_flight, now) = (about.in_flight(), Instant::now());
        if in_flight == 0 || now >= until {
            return;
        }
        if in_flight != told.0 && now >= told.1 + REPORT_EVERY {
            told = (in_flight, now);
            about.tell(about.event(TargetPhase::Draining));
        }
        sleep_until(until.min(now + POLL)).await;
    }
}

/// What the fresh probes of one target have said.
#[derive(Debug, Default)]
struct Probed {
    probes: u32,
    failed: u32,
    last_failure: Option<String>,
}

/// Probes a target freshly until two answers in a row are good, or the deadline comes.
pub(super) async fn vouch(about: About, upstream: Upstream, deadline: Instant) -> Done {
    let mut probed = Probed::default();
    let gone = async {
        match &about.answer {
            Some(answer) => answer.closed().await,
            None => std::future::pending().await,
        }
    };
    let passed = tokio::select! {
        biased;
        () = gone => None,
        asked = timeout_at(deadline, ask(&about, &upstream, deadline, &mut probed)) => {
            Some(asked.unwrap_or(false))
        }
    };
    let vouched = match passed {
        Some(true) => Vouched::Good,
        Some(false) => Vouched::Bad(probed.in_words(&about.target)),
        None => Vouched::Gone,
    };
    Done::TargetVouched(Box::new((about, vouched)))
}

/// Whether two good ones in a row came in time.
async fn ask(about: &About, upstream: &Upstream, deadline: Instant, probed: &mut Probed) -> bool {
    let mut good_in_a_row = 0;
    loop {
        let asked = gate::ask_one(upstream, &about.target).await;
        let probe = gate::reports(std::slice::from_ref(&asked)).pop();
        about.tell(TargetEvent { probe, ..about.event(TargetPhase::Gating) });
        probed.probes += 1;
        let outcome = asked.record.outcome;
        if outcome.is_good() {
            good_in_a_row += 1;
        } else {
            good_in_a_row = 0;
            probed.failed += 1;
            probed.last_failure = Some(in_words(&outcome));
        }
        if good_in_a_row >= GOOD_IN_A_ROW {
            return true;
        }
        let next = Instant::now() + upstream.health.interval;
        if next >= deadline {
            return false;
        }
        sleep_until(next).await;
    }
}

impl Probed {
    fn in_words(self, target: &Target) -> String {
        let Self { probes, failed, last_failure } = self;
        let why = last_failure.map_or_else(
            || "had not passed two fresh probes when the gate's time was over".to_owned(),
            |what| format!("{what} ({failed} of {probes} probes)"),
        );
        format!("{} {why}", target.name)
    }
}

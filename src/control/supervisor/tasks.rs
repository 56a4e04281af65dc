//! What takes long, away from the supervisor's loop: each task waits for one thing, says what it
//! was, and ends. The loop owns every one of them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::control::checks;
use crate::control::command::event::Event;
use crate::control::command::target::TargetEvent;
use crate::control::gate;
use crate::control::gate::Asked;
use crate::control::promotion::after_the_deadline;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::target_tasks::About;
use crate::control::supervisor::target_tasks::Vouched;
use crate::control::supervisor::warm::Step;
use crate::control::warmup;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
use crate::model::warmup::Repeat;
use crate::sync::lease::CutCount;

/// How often a drain looks at its pools.
const POLL: Duration = Duration::from_millis(10);

/// Names a running promotion inside the supervisor; never reused.
pub(super) type Serial = u64;

/// What a task has seen.
#[derive(Debug)]
pub(super) enum Done {
    /// One whole round of a gate, colour by colour.
    Round(Serial, Vec<(Colour, Asked)>),
    /// The gate's deadline came first.
    Deadline(Serial),
    /// The targets of a colour that is to be warmed up are well, or were not in time.
    Well(Serial, bool),
    /// A step of warming up.
    Warmed(Serial, Step),
    /// The requester went away first.
    ClientGone(Serial),
    /// Something worth a look happened on the pools of a drain, or its moment has come.
    Look(Serial),
    /// A pool that a reload replaced has no work left, or none that could be ended.
    Emptied(Arc<Pool>, CutCount),
    /// The drain of a target has come to its end; who is told, and what.
    TargetDrained(Box<(About, TargetEvent)>),
    /// The gate of a target has come to its end.
    TargetVouched(Box<(About, Vouched)>),
    /// Every target has been probed once since the start.
    FirstRound,
    /// A part of a promotion in steps has come to its end; `None`: nobody waits for it any more.
    Relayed(Serial, Option<Box<Event>>),
}

/// One round of a gate, unless the requester goes away or the deadline comes.
pub(super) async fn round(
    serial: Serial,
    at: Instant,
    until: Option<Instant>,
    asking: (Vec<(Upstream, Colour)>, Option<String>),
    answer: Option<mpsc::Sender<Event>>,
) -> Done {
    let (members, build) = asking;
    let probing = async {
        sleep_until(at).await;
        probe(&members, build.as_deref()).await
    };
    let gone = gone(answer);
    let late = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        () = gone => Done::ClientGone(serial),
        asked = probing => Done::Round(serial, asked),
        () = late => Done::Deadline(serial),
    }
}

/// Resolves once the requester has gone; never, if there is none.
async fn gone(answer: Option<mpsc::Sender<Event>>) {
    match answer {
        Some(answer) => answer.closed().await,
        None => pending().await,
    }
}

/// Rounds of probes until every target is well, the requester goes away or the deadline comes.
pub(super) async fn until_well(
    serial: Serial,
    interval: Duration,
    deadline: Instant,
    members: Vec<(Upstream, Colour)>,
    answer: Option<mpsc::Sender<Event>>,
) -> Done {
    let well = async {
        loop {
            let asked = probe(&members, None).await;
            let asked: Vec<Asked> = asked.into_iter().map(|(_, asked)| asked).collect();
            if gate::passed(&asked) {
                return;
            }
            sleep(interval).await;
        }
    };
    tokio::select! {
        biased;
        () = gone(answer) => Done::ClientGone(serial),
        () = well => Done::Well(serial, true),
        () = sleep_until(deadline) => Done::Well(serial, false),
    }
}

/// One step of warming up, on every target of every pool at once, unless the requester goes away.
pub(super) async fn warm(
    serial: Serial,
    steps: Vec<(Arc<Pool>, Vec<Vec<Repeat>>)>,
    answer: Option<mpsc::Sender<Event>>,
) -> Done {
    let mut results: Step = steps
        .iter()
        .map(|(_, targets)| vec![Vec::new(); targets.len()])
        .collect();
    let mut asking = JoinSet::new();
    for (pool_at, (pool, targets)) in steps.into_iter().enumerate() {
        for (at, repeats) in targets.into_iter().enumerate() {
            let pool = Arc::clone(&pool);
            asking.spawn(async move { (pool_at, at, warmup::step(&pool, at, repeats).await) });
        }
    }
    let asked = async {
        while let Some(ended) = asking.join_next().await {
            let Ok((pool, at, took)) = ended else { continue };
            if let Some(place) = results
                .get_mut(pool)
                .and_then(|targets| targets.get_mut(at))
            {
                *place = took;
            }
        }
    };
    tokio::select! {
        biased;
        () = gone(answer) => Done::ClientGone(serial),
        () = asked => Done::Warmed(serial, results),
    }
}

async fn probe(members: &[(Upstream, Colour)], build: Option<&str>) -> Vec<(Colour, Asked)> {
    let of = |wanted: Colour| -> Vec<Upstream> {
        members
            .iter()
            .filter(|(_, colour)| *colour == wanted)
            .map(|(upstream, _)| upstream.clone())
            .collect()
    };
    let (blue, green) = (of(Colour::Blue), of(Colour::Green));
    let (blue, green) = tokio::join!(
        gate::round(&blue, Colour::Blue, build),
        gate::round(&green, Colour::Green, build),
    );
    let blue = blue.into_iter().map(|asked| (Colour::Blue, asked));
    let green = green.into_iter().map(|asked| (Colour::Green, asked));
    blue.chain(green).collect()
}

/// Watches the pools of a drain until they are empty, until the count differs from `known` (not
/// before `not_before`), or until the moment has come.
pub(super) async fn watch(
    serial: Serial,
    pools: Vec<Draining>,
    until: Instant,
    known: Option<usize>,
    not_before: Instant,
) -> Done {
    loop {
        let now = Instant::now();
        let in_flight = pools.iter().map(Draining::left).sum();
        let news = known != Some(in_flight) && now >= not_before;
        if in_flight == 0 || news || now >= until || pools.iter().any(Draining::is_done) {
            return Done::Look(serial);
        }
        sleep_until(until.min(now + POLL)).await;
    }
}

/// Passes on what a part of a promotion in steps tells, up to its last word. If nobody listens any
/// more that ends the part, where it can still be `cancelled`.
pub(super) async fn relay(
    serial: Serial,
    mut part: EventStream,
    to: mpsc::Sender<Event>,
    cancelled: bool,
) -> Done {
    loop {
        let event = tokio::select! {
            event = part.next() => event,
            () = to.closed(), if cancelled => None,
        };
        match event {
            Some(event) if event.exit_code().is_none() => drop(to.try_send(event)),
            last => return Done::Relayed(serial, last.map(Box::new)),
        }
    }
}

/// Requests in flight on these pools, tunnels included.
pub(super) fn in_flight(pools: &[Arc<Pool>]) -> usize {
    pools.iter().map(|pool| pool.leases().in_flight()).sum()
}

/// A pool that drains.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) pool: Arc<Pool>,
    /// It is held, or shown to somebody: exceptions may go on using it.
    pub(super) held: bool,
}

impl Draining {
    /// What the drain has to wait for.
    pub(super) fn left(&self) -> usize {
        let leases = self.pool.leases();
        if self.is_spared() { leases.plain() } else { leases.in_flight() }
    }

    /// Whether its exceptions are nothing to the drain. On a pool that is shut nobody follows them any
    /// more, as on one that a reload has replaced: there they have the deadline of all others.
    pub(super) fn is_spared(&self) -> bool {
        self.held && !self.pool.leases().is_shut()
    }

    /// Whether only exceptions use it any more: it may be shut.
    pub(super) fn is_done(&self) -> bool {
        let leases = self.pool.leases();
        !self.held && leases.is_retired() && !leases.is_shut() && leases.plain() == 0
    }
}

/// Waits until a replaced pool is empty; at the deadline what is left is cut, or closed well within
/// `jitter`.
pub(super) async fn empty(pool: Arc<Pool>, deadline: Instant, jitter: Duration) -> Done {
    wait_for_empty(&pool, deadline).await;
    if pool.leases().in_flight() > 0 {
        cut(&pool, jitter);
        wait_for_empty(&pool, Instant::now() + after_the_deadline(jitter)).await;
    }
    let count =
        if pool.leases().is_cut() { pool.leases().cut_count() } else { CutCount::default() };
    Done::Emptied(pool, count)
}

async fn wait_for_empty(pool: &Pool, until: Instant) {
    loop {
        let now = Instant::now();
        if pool.leases().in_flight() == 0 || now >= until {
            return;
        }
        sleep_until(until.min(now + POLL)).await;
    }
}

/// Shuts and cuts. Cuts once: a second cut would forget what the first has counted.
pub(super) fn cut(pool: &Pool, spread: Duration) {
    pool.leases().shut();
    if !pool.leases().is_cut() {
        pool.leases().cut(spread);
    }
}

/// The round of probes before the public listeners open.
pub(super) async fn first_round(snapshot: Arc<Snapshot>) -> Done {
    checks::first_round(&snapshot).await;
    Done::FirstRound
}

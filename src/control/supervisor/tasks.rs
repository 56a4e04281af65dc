//! What takes long, away from the supervisor's loop: each task waits for one thing, says what it
//! was, and ends. The loop owns every one of them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::control::checks;
use crate::control::command::event::Event;
use crate::control::command::target::TargetEvent;
use crate::control::gate;
use crate::control::gate::Asked;
use crate::control::promotion::SETTLE;
use crate::control::supervisor::target_tasks::About;
use crate::control::supervisor::target_tasks::Vouched;
use crate::model::colour::Colour;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;
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
    let gone = async {
        match answer {
            Some(answer) => answer.closed().await,
            None => pending().await,
        }
    };
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
    pools: Vec<Arc<Pool>>,
    until: Instant,
    known: Option<usize>,
    not_before: Instant,
) -> Done {
    loop {
        let now = Instant::now();
        let in_flight = in_flight(&pools);
        let news = known != Some(in_flight) && now >= not_before;
        if in_flight == 0 || news || now >= until || pools.iter().any(|pool| is_done(pool)) {
            return Done::Look(serial);
        }
        sleep_until(until.min(now + POLL)).await;
    }
}

/// Requests in flight on these pools, tunnels included.
pub(super) fn in_flight(pools: &[Arc<Pool>]) -> usize {
    pools.iter().map(|pool| pool.leases().in_flight()).sum()
}

/// Whether only exceptions use this pool any more: it may be shut.
pub(super) fn is_done(pool: &Pool) -> bool {
    let leases = pool.leases();
    leases.is_retired() && !leases.is_shut() && leases.plain() == 0
}

/// Waits until a replaced pool is empty; at the deadline what is left is cut.
pub(super) async fn empty(pool: Arc<Pool>, deadline: Instant) -> Done {
    wait_for_empty(&pool, deadline).await;
    if pool.leases().in_flight() > 0 {
        cut(&pool);
        wait_for_empty(&pool, Instant::now() + SETTLE).await;
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
pub(super) fn cut(pool: &Pool) {
    pool.leases().shut();
    if !pool.leases().is_cut() {
        pool.leases().cut();
    }
}

/// The round of probes before the public listeners open.
pub(super) async fn first_round(snapshot: Arc<Snapshot>) -> Done {
    checks::first_round(&snapshot).await;
    Done::FirstRound
}

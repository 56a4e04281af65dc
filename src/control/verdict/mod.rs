//! Whether a new colour is worse than the one it replaced: a group-sequential test on what the proxy
//! itself has seen. Pure: no clock, no I/O.
//!
//! **What is compared.** On each route the failures of the two colours (500 and above, no connection,
//! resets, timeouts), and how many requests were clearly slower than the old colour's median and than
//! its 90th percentile; and the failures of all routes together. Each route is compared with itself
//! only: another mix of routes is no difference.
//!
//! **The guarantee.** If the two colours are alike, a whole bake is judged bad with a probability of at
//! most [`FALSE_ALARMS`]. The budget is divided over the tests; each test spends at its look number `k`
//! the part `1 / (k (k + 1))` of its own, which sums to 1 however many looks there are (a union bound,
//! so the tests and the looks may depend on each other in any way). A look is an exact test of two
//! samples (`exact`), valid for any number of requests and any distribution of latencies. A route is
//! looked at when its requests with the new colour have grown by a quarter since the last look, first
//! after [`FIRST_LOOK`] of them.
//!
//! **What it assumes.** That without a difference between the colours a request on a route would fail,
//! or be slow, equally likely before the switch and after it, independently of other requests. What
//! changes with the time of day, or an outage of something that both colours need, is blamed on the new
//! colour. During a canary both colours answer at the same time, and this assumption is not needed.
//!
//! **What does not count.** A difference that is certain but small: a verdict needs at least
//! [`FEWEST_FAILURES`] failures, a rate that is one percentage point and a factor of two above the old
//! one's; slowness needs a latency beyond the old quantile by a fifth and 5 ms, of twice as many
//! requests as should be (of the median: one and a half times).

mod exact;
pub mod history;
pub mod pulse;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::verdict::exact::Table;
use crate::control::verdict::exact::real;
use crate::control::verdict::exact::tail_of_all;
use crate::model::conduct;
use crate::model::conduct::Counts;
use crate::model::conduct::Reading;

/// The chance that a release which changes nothing is judged bad, over a whole bake.
pub const FALSE_ALARMS: f64 = 0.005;

/// The requests of each colour below which a bake says nothing.
pub const FEWEST_REQUESTS: u64 = 100;

/// The requests of the new colour on a route at which it is looked at first.
pub const FIRST_LOOK: u64 = 30;

/// Fewer failures are never a verdict.
pub const FEWEST_FAILURES: u64 = 5;

/// How much higher the rate of failures must be, and how many times the old one's.
const RATE_ABOVE: f64 = 0.01;
const RATE_TIMES: f64 = 2.0;

/// How much slower a request must be than the old colour's quantile.
const SLOWER_BY: Duration = Duration::from_millis(5);

/// The parts of the budget: failures of all routes together, of each route, slowness of each.
const PART_ALL: f64 = 0.3;
const PART_FAILURES: f64 = 0.35;
const PART_SLOW: f64 = 0.35;

/// A quantile of the old colour's latencies, and how many of the new colour's must be beyond it.
#[derive(Debug, Clone, Copy)]
struct Quantile {
    name: &'static str,
    /// The part of the old colour's requests that are slower: one in so many.
    beyond: u64,
    /// The part of the new colour's that is too much.
    too_many: f64,
}

const QUANTILES: [Quantile; 2] = [
    Quantile { name: "p50", beyond: 2, too_many: 0.75 },
    Quantile { name: "p90", beyond: 10, too_many: 0.2 },
];

/// So many of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The requests in question.
    pub count: u64,
    /// All of them.
    pub of: u64,
}

/// What was found to be worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// More requests fail.
    Failures,
    /// More requests are slower than this, which is beyond this quantile of the old colour.
    Slow(Duration, &'static str),
    /// No target can be reached any more, while the old colour is well.
    Dead,
}

/// The numbers that decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What.
    pub what: What,
    /// On which route; `None`: on all of them together.
    pub route: Option<usize>,
    /// How it was with the old colour.
    pub old: Share,
    /// How it is with the new one.
    pub new: Share,
    /// How likely that would be by chance, at most.
    pub p: f64,
    /// What it had to be below.
    pub threshold: f64,
}

/// One release under judgement.
#[derive(Debug)]
pub struct Judge {
    /// Among how many routes the budget is divided.
    routes: f64,
    /// Among how many steps of one release it is, before that.
    steps: f64,
    all: Looks,
    each: BTreeMap<usize, Looks>,
}

/// The looks at one route, or at all together.
#[derive(Debug)]
struct Looks {
    taken: u32,
    next: u64,
}

impl Share {
    /// As a part of all; 0 of nothing.
    #[must_use]
    pub fn rate(self) -> f64 {
        real(self.count) / real(self.of.max(1))
    }
}

impl Judge {
    /// A judge who has seen nothing yet, of an upstream to which so many routes lead, in one of so
    /// many steps.
    #[must_use]
    pub fn new(routes: usize, steps: usize) -> Self {
        let whole = |count: usize| real(u64::try_from(count).unwrap_or(1));
        let (routes, steps) = (whole(routes.clamp(1, conduct::ROUTES)), whole(steps.max(1)));
        Self { routes, steps, all: Looks::default(), each: BTreeMap::new() }
    }

    /// Looks at what both colours have done so far, where a look is due. What speaks against the new
    /// one, if that is beyond chance and matters.
    pub fn look(&mut self, old: &Reading, new: &Reading) -> Option<Evidence> {
        let both = || {
            new.iter()
                .filter_map(|(route, new)| Some((*route, new, old.get(route)?)))
        };
        let mut requests = 0;
        for (route, new, old) in both() {
            let looks = self.each.entry(route).or_default();
            let of_route = new.requests();
            requests += of_route;
            let Some(spend) = looks.due(of_route) else { continue };
            let budget = FALSE_ALARMS * spend / self.steps / self.routes;
            let worse = failing(new, old, budget * PART_FAILURES)
                .or_else(|| slow(new, old, budget * PART_SLOW));
            if let Some(evidence) = worse {
                return Some(Evidence { route: Some(route), ..evidence });
            }
        }
        let spend = self.all.due(requests)?;
        let tables: Vec<Table> = both().map(|(_, new, old)| of_failures(new, old)).collect();
        failing_in_all(&tables, FALSE_ALARMS * spend / self.steps * PART_ALL)
    }
}

/// Whether both colours have been asked enough, on the same routes, for their likeness to mean
/// something.
#[must_use]
pub fn is_enough(old: &Reading, new: &Reading) -> bool {
    let sum = |of: &Reading, other: &Reading| -> u64 {
        let both = of.iter().filter(|(route, _)| other.contains_key(route));
        both.map(|(_, counts)| counts.requests()).sum()
    };
    sum(old, new) >= FEWEST_REQUESTS && sum(new, old) >= FEWEST_REQUESTS
}

/// Requests and failures of all routes.
#[must_use]
pub fn total(reading: &Reading) -> Share {
    Share {
        count: reading.values().map(Counts::failures).sum(),
        of: reading.values().map(Counts::requests).sum(),
    }
}

impl Default for Looks {
    fn default() -> Self {
        Self { taken: 0, next: FIRST_LOOK }
    }
}

impl Looks {
    /// The part of the budget that a look at `requests` may spend, if one is due.
    fn due(&mut self, requests: u64) -> Option<f64> {
        if requests < self.next {
            return None;
        }
        self.taken += 1;
        self.next = requests + (requests / 4).max(1);
        let k = f64::from(self.taken);
        Some(1.0 / (k * (k + 1.0)))
    }
}

fn of_failures(new: &Counts, old: &Counts) -> Table {
    Table {
        new_hits: new.failures(),
        new_all: new.requests(),
        old_hits: old.failures(),
        old_all: old.requests(),
    }
}

fn failing(new: &Counts, old: &Counts, threshold: f64) -> Option<Evidence> {
    let table = of_failures(new, old);
    matters(&[table])
        .then(|| table.tail())
        .filter(|p| *p < threshold)
        .map(|p| evidence(&[table], p, threshold))
}

fn failing_in_all(tables: &[Table], threshold: f64) -> Option<Evidence> {
    matters(tables)
        .then(|| tail_of_all(tables))
        .filter(|p| *p < threshold)
        .map(|p| evidence(tables, p, threshold))
}

/// Whether these failures would matter, if they are no chance.
fn matters(tables: &[Table]) -> bool {
    let (old, new) = shares(tables);
    let expected = expected(tables);
    new.count >= FEWEST_FAILURES
        && new.rate() >= expected + RATE_ABOVE
        && new.rate() >= expected * RATE_TIMES
        && old.of > 0
}

/// The rate that the new colour would have if each route failed as it did with the old one.
fn expected(tables: &[Table]) -> f64 {
    let one = |table: &Table| {
        let old = Share { count: table.old_hits, of: table.old_all };
        old.rate() * real(table.new_all)
    };
    tables.iter().map(one).sum::<f64>() / real(shares(tables).1.of.max(1))
}

fn shares(tables: &[Table]) -> (Share, Share) {
    let sum = |of: fn(&Table) -> u64| tables.iter().map(of).sum::<u64>();
    (
        Share { count: sum(|table| table.old_hits), of: sum(|table| table.old_all) },
        Share { count: sum(|table| table.new_hits), of: sum(|table| table.new_all) },
    )
}

fn evidence(tables: &[Table], p: f64, threshold: f64) -> Evidence {
    let (old, new) = shares(tables);
    Evidence { what: What::Failures, route: None, old, new, p, threshold }
}

/// The budget of slowness is divided over the quantiles.
fn slow(new: &Counts, old: &Counts, budget: f64) -> Option<Evidence> {
    let threshold = budget / 2.0;
    QUANTILES
        .iter()
        .find_map(|quantile| slower(new, old, *quantile, threshold))
}

/// At most one in `quantile.beyond` of the old colour's requests is beyond the edge that is compared
/// at, and the test takes it for exactly so many: the count of the new colour's beyond the old one's
/// order statistic has the same distribution whatever the latencies are, and the edge lies beyond it.
fn slower(new: &Counts, old: &Counts, quantile: Quantile, threshold: f64) -> Option<Evidence> {
    let edge = slow_edge(old, quantile)?;
    let old_all = old.requests();
    let table = Table {
        new_hits: new.beyond(edge),
        new_all: new.requests(),
        old_hits: old_all.div_ceil(quantile.beyond),
        old_all,
    };
    let share = Share { count: table.new_hits, of: table.new_all };
    if share.rate() < quantile.too_many || old_all < FIRST_LOOK {
        return None;
    }
    let p = table.tail();
    (p < threshold).then(|| Evidence {
        what: What::Slow(conduct::edge(edge), quantile.name),
        route: None,
        old: Share { count: old.beyond(edge), of: old_all },
        new: share,
        p,
        threshold,
    })
}

/// The bucket beyond whose edge a request is clearly slower than this quantile of the old colour.
fn slow_edge(old: &Counts, quantile: Quantile) -> Option<usize> {
    let mut beyond = old.requests();
    let most = beyond.div_ceil(quantile.beyond);
    let mut buckets = old.latency.iter().enumerate();
    let (own, _) = buckets.find(|(_, count)| {
        beyond -= u64::from(**count);
        beyond <= most
    })?;
    let above = conduct::edge(own) + SLOWER_BY;
    (own + 1..conduct::BUCKETS - 1).find(|bucket| conduct::edge(*bucket) >= above)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

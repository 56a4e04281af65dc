//! One colour that is being judged: what it is compared with, and what it comes to.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::control::command::verdict::Baking;
use crate::control::command::verdict::Counted;
use crate::control::command::verdict::Outcome;
use crate::control::command::verdict::Verdict;
use crate::control::verdict;
use crate::control::verdict::Evidence;
use crate::control::verdict::Judge;
use crate::control::verdict::Share;
use crate::control::verdict::What;
use crate::control::verdict::pulse::Pulse;
use crate::model::colour::Colour;
use crate::model::conduct;
use crate::model::conduct::Reading;
use crate::model::health::ProbeOutcome;
use crate::model::health::Verdict as Standing;
use crate::model::pool::Pool;
use crate::model::settings::Settings;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::upstream::Upstream;

/// One colour under judgement.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) upstream: Arc<str>,
    pub(super) colour: Colour,
    /// The settings it began with: routes are known by their place in them.
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    /// What the pool had counted when it began.
    before: Reading,
    against: Against,
    judge: Judge,
    pulse: Pulse,
    /// A reload has put another pool in the place of its own.
    replaced: bool,
    /// Why it can no longer be judged.
    spoilt: Option<&'static str>,
}

/// What a colour is compared with.
#[derive(Debug)]
enum Against {
    /// What the one that it replaced has done lately.
    Before(Reading),
    /// What the live one does meanwhile, beside it; and what that had counted when it began.
    Beside(Arc<Pool>, Reading),
}

impl Trial {
    /// Begins now, against what the old colour has done.
    pub(super) fn begin(
        snapshot: &Snapshot,
        pool: &Arc<Pool>,
        colour: Colour,
        old: Reading,
    ) -> Self {
        Self::against(snapshot, pool, colour, Against::Before(old), 1)
    }

    /// Begins now, against what the live colour does meanwhile; one of so many `steps`.
    pub(super) fn beside(
        snapshot: &Snapshot,
        pool: &Arc<Pool>,
        live: Arc<Pool>,
        colour: Colour,
        steps: usize,
    ) -> Self {
        let reading = live.conduct().read();
        Self::against(snapshot, pool, colour, Against::Beside(live, reading), steps)
    }

    fn against(
        snapshot: &Snapshot,
        pool: &Arc<Pool>,
        colour: Colour,
        against: Against,
        steps: usize,
    ) -> Self {
        let routes = snapshot.settings.routes.iter();
        let routes = routes.filter(|route| route.upstream == pool.upstream);
        Self {
            upstream: Arc::clone(&pool.upstream),
            colour,
            settings: Arc::clone(&snapshot.settings),
            before: pool.conduct().read(),
            pool: Arc::clone(pool),
            against,
            judge: Judge::new(routes.count(), steps),
            pulse: Pulse::default(),
            replaced: false,
            spoilt: None,
        }
    }

    fn old(&self) -> Cow<'_, Reading> {
        match &self.against {
            Against::Before(old) => Cow::Borrowed(old),
            Against::Beside(live, before) => {
                Cow::Owned(conduct::between(before, &live.conduct().read()))
            }
        }
    }

    fn so_far(&self) -> Reading {
        conduct::between(&self.before, &self.pool.conduct().read())
    }

    /// What speaks against the colour, if anything does.
    pub(super) fn look(&mut self, snapshot: &Snapshot) -> Option<Evidence> {
        self.follow(snapshot);
        let new = self.so_far();
        if !self.replaced && self.is_dead(&new) && self.is_old_usable(snapshot) {
            let (old, new) = (verdict::total(&self.old()), verdict::total(&new));
            let (what, route, p, threshold) = (What::Dead, None, 0.0, verdict::FALSE_ALARMS);
            return Some(Evidence { what, route, old, new, p, threshold });
        }
        if self.spoilt.is_some() {
            return None;
        }
        let old = self.old().into_owned();
        self.judge.look(&old, &new)
    }

    /// A reload may have made it another question.
    fn follow(&mut self, snapshot: &Snapshot) {
        if !Arc::ptr_eq(&self.settings, &snapshot.settings) {
            if self.settings.routes != snapshot.settings.routes {
                self.spoilt = Some("the routes have changed meanwhile");
            }
            self.settings = Arc::clone(&snapshot.settings);
        }
        let now = snapshot.upstream(&self.upstream);
        let now = now.and_then(|upstream| upstream.pool(self.colour));
        let same = |now: Option<&Arc<Pool>>, then| now.is_some_and(|now| Arc::ptr_eq(now, then));
        let live = snapshot.upstream(&self.upstream).map(Upstream::pick);
        let beside = match &self.against {
            Against::Before(_) => true,
            Against::Beside(then, _) => same(live, then),
        };
        self.replaced |= !same(now, &self.pool);
        if self.replaced || !beside {
            self.spoilt = Some("its targets have changed meanwhile");
        }
    }

    /// Whether no target of the colour can be reached: so say requests, or every probe.
    fn is_dead(&mut self, new: &Reading) -> bool {
        let lost = self.pulse.is_lost(new).is_some();
        let gone = self.pool.targets.iter().all(|target| {
            let refused = |outcome: &ProbeOutcome| *outcome == ProbeOutcome::Refused;
            let last = target.health.last();
            target.health.verdict() == Standing::Unhealthy
                || last.is_some_and(|last| refused(&last.outcome))
        });
        lost || gone
    }

    fn is_old_usable(&self, snapshot: &Snapshot) -> bool {
        let upstream = snapshot.upstream(&self.upstream);
        let old = upstream.and_then(|upstream| upstream.pool(self.colour.other()));
        old.is_some_and(|old| old.targets.iter().any(|target| is_well(target)))
    }

    /// How it is doing.
    pub(super) fn report(&self) -> Baking {
        Baking {
            upstream: self.upstream.to_string(),
            colour: self.colour,
            new: counted(verdict::total(&self.so_far())),
            old: counted(verdict::total(&self.old())),
        }
    }

    /// The verdict at the end of the bake.
    pub(super) fn conclude(&self, took: Duration) -> Verdict {
        let new = self.so_far();
        let enough = verdict::is_enough(&self.old(), &new);
        let (result, what) = match self.spoilt {
            Some(why) => (Outcome::Inconclusive, why.to_owned()),
            None if enough => (Outcome::Passed, "no worse than what it replaced".to_owned()),
            None => {
                let fewest = verdict::FEWEST_REQUESTS;
                let what = format!("fewer than {fewest} requests of either colour to compare");
                (Outcome::Inconclusive, what)
            }
        };
        Verdict {
            result,
            what,
            route: None,
            new: counted(verdict::total(&new)),
            old: counted(verdict::total(&self.old())),
            p: None,
            threshold: None,
            ..self.blank(took)
        }
    }

    /// The verdict that this evidence makes.
    pub(super) fn condemn(&self, evidence: &Evidence, took: Duration) -> Verdict {
        let what = match evidence.what {
            What::Failures => "more requests fail".to_owned(),
            What::Slow(than, quantile) => {
                let ms = than.as_secs_f64() * 1e3;
                format!("more requests take longer than {ms:.1} ms, beyond the old {quantile}")
            }
            What::Dead => "no target can be reached".to_owned(),
        };
        let known = !matches!(evidence.what, What::Dead);
        Verdict {
            result: Outcome::Failed,
            what,
            route: evidence.route.and_then(|route| self.route(route)),
            new: counted(evidence.new),
            old: counted(evidence.old),
            p: known.then_some(evidence.p),
            threshold: known.then_some(evidence.threshold),
            ..self.blank(took)
        }
    }

    fn blank(&self, took: Duration) -> Verdict {
        Verdict {
            upstream: self.upstream.to_string(),
            colour: self.colour,
            result: Outcome::Inconclusive,
            what: String::new(),
            route: None,
            new: Counted::default(),
            old: Counted::default(),
            p: None,
            threshold: None,
            requests: verdict::total(&self.so_far()).of,
            seconds: took.as_secs_f64(),
            on_fail: None,
            obstacle: None,
        }
    }

    fn route(&self, number: usize) -> Option<String> {
        let route = self.settings.routes.get(number)?;
        Some(format!("{}{}", route.host, route.path))
    }
}

/// Whether requests may be sent to a target: nobody drains it, and its probes are good, the last one too.
pub(super) fn is_well(target: &Target) -> bool {
    let last = target.health.last();
    target.is_fit() && last.is_some_and(|last| last.outcome.is_good())
}

fn counted(share: Share) -> Counted {
    Counted { count: share.count, of: share.of }
}

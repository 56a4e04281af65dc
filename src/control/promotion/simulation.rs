//! Thousands of random histories against the promises that must hold in every one of them. A failure
//! prints the seed; `SEED=n cargo test --lib promotion::simulation` replays it alone.

use super::*;
use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;

const SEEDS: u64 = 5000;
const STEPS: usize = 60;

/// What the history so far allows, kept apart from the machine under test.
struct Referee {
    seed: u64,
    plan: Plan,
    good_in_a_row: u32,
    asked_to_publish: bool,
    published: bool,
    published_at: Option<Instant>,
    reopened: usize,
    cut: bool,
    judged: Option<Judgement>,
    asked_to_revert: bool,
    ending: Option<Ending>,
}

#[test]
fn every_history_keeps_the_promises() {
    let only = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut endings = std::collections::BTreeMap::<String, u32>::new();
    for seed in seeds {
        let ending = play(seed);
        *endings.entry(format!("{ending:?}")).or_default() += 1;
    }
    if only.is_none() {
        assert_eq!(endings.len(), 9, "every ending must be met: {endings:?}");
    }
}

fn play(seed: u64) -> Ending {
    let mut dice = fastrand::Rng::with_seed(seed);
    let plan = random_plan(&mut dice);
    let mut now = plan.started;
    let mut promotion = Promotion::new(plan.clone());
    let mut referee = Referee {
        seed,
        plan,
        good_in_a_row: 0,
        asked_to_publish: false,
        published: false,
        published_at: None,
        reopened: 0,
        cut: false,
        judged: None,
        asked_to_revert: false,
        ending: None,
    };
    let action = promotion.step(Input::Begin, now);
    referee.judge(Input::Begin, action, now);
    for _ in 0..STEPS {
        now += Duration::from_millis(dice.u64(0..1500));
        let round = random_round(&mut dice);
        let input = referee.random_input(&mut dice, &round);
        let action = promotion.step(input, now);
        referee.judge(input, action, now);
    }
    finish(&mut promotion, &mut referee, now)
}

/// Whatever happened: from any state a terminal event is reached when the world stops moving.
fn finish(promotion: &mut Promotion, referee: &mut Referee, mut now: Instant) -> Ending {
    let empty = Input::Look { in_flight: 0, cut: 0 };
    let judged = Input::Judged(Judgement::Inconclusive);
    for input in
        [Input::NotReverted, Input::Published, Input::Deadline, empty, empty, judged, empty]
    {
        now += Duration::from_secs(200);
        // The supervisor reports a publish only where it was asked for one.
        if matches!(input, Input::Published) && (!referee.asked_to_publish || referee.published) {
            continue;
        }
        if matches!(input, Input::NotReverted) && !referee.asked_to_revert {
            continue;
        }
        let action = promotion.step(input, now);
        referee.judge(input, action, now);
    }
    let Some(ending) = referee.ending else { panic!("seed {}: no terminal event", referee.seed) };
    ending
}

fn random_plan(dice: &mut fastrand::Rng) -> Plan {
    let purposes =
        [Purpose::Change, Purpose::Change, Purpose::Canary, Purpose::DryRun, Purpose::Already];
    Plan {
        purpose: dice.choice(purposes).unwrap(),
        started: Instant::now(),
        rounds: dice.u32(0..3),
        interval: Duration::from_millis(dice.u64(0..2000)),
        gate_timeout: Duration::from_millis(dice.u64(0..20_000)),
        drain_timeout: Duration::from_millis(dice.u64(0..20_000)),
        bake: Duration::from_millis(dice.choice([0, 5000]).unwrap()),
        on_fail: dice.choice(OnFail::ALL).unwrap(),
        close_jitter: Duration::from_millis(dice.u64(0..5000)),
        members: dice.usize(1..4),
    }
}

fn random_round(dice: &mut fastrand::Rng) -> Vec<Answer> {
    let mut answer = |at: usize| Answer {
        upstream: "app".into(),
        colour: Colour::Green,
        target: at.to_string().into(),
        outcome: match dice.u8(0..10) {
            0 => ProbeOutcome::Timeout,
            1 => ProbeOutcome::Status(503),
            _ => ProbeOutcome::Good(200),
        },
    };
    (0..3).map(&mut answer).collect()
}

impl Referee {
    /// What the supervisor could send now. It answers a publish at once, and only then.
    fn random_input<'a>(&self, dice: &mut fastrand::Rng, round: &'a [Answer]) -> Input<'a> {
        if self.asked_to_publish && !self.published && self.ending.is_none() {
            return if dice.u8(0..10) == 0 { Input::NotPublished } else { Input::Published };
        }
        if self.asked_to_revert && self.ending.is_none() {
            return if dice.u8(0..4) == 0 { Input::NotReverted } else { Input::Reopened };
        }
        match dice.u8(0..44) {
            0 => Input::ClientGone,
            1 => Input::Deadline,
            2..=4 if self.published => Input::Reopened,
            5..=24 => Input::Round(round),
            40 => Input::Judged(Judgement::Passed),
            41 => Input::Judged(Judgement::Failed),
            42 => Input::Judged(Judgement::Inconclusive),
            _ => Input::Look { in_flight: dice.usize(0..12), cut: dice.usize(0..3) },
        }
    }

    fn judge(&mut self, input: Input<'_>, action: Action, now: Instant) {
        let seed = self.seed;
        assert!(
            self.ending.is_none() || action == Action::Ignore,
            "seed {seed}: {action:?} after the end"
        );
        self.follow(input, now);
        match action {
            Action::Probe { at, until } => {
                assert!(at >= now, "seed {seed}: a probe in the past");
                assert!(!self.asked_to_publish, "seed {seed}: a probe after the gate");
                let deadline = self.plan.started + self.plan.gate_timeout;
                assert!(until.is_none_or(|until| until == deadline && at < deadline));
            }
            Action::Publish => {
                let changes = matches!(self.plan.purpose, Purpose::Change | Purpose::Canary);
                assert!(changes, "seed {seed}");
                assert!(!self.asked_to_publish, "seed {seed}: published twice");
                assert!(self.good_in_a_row >= self.plan.rounds, "seed {seed}: gate not passed");
                self.asked_to_publish = true;
            }
            Action::Cut { until } => {
                assert_eq!(self.plan.purpose, Purpose::Change, "seed {seed}");
                assert!(!self.cut, "seed {seed}: cut twice");
                let due = self.published_at.map(|at| at + self.plan.drain_timeout);
                assert!(due.is_some_and(|due| now >= due), "seed {seed}: cut too early");
                let least = now + self.plan.close_jitter + LAST_WORDS;
                assert!(until > least, "seed {seed}: what can be closed well had no time");
                self.cut = true;
            }
            Action::Watch { .. } => {
                let may = self.published || self.plan.purpose == Purpose::Already;
                assert!(may, "seed {seed}: drains what was not retired");
                assert_ne!(self.plan.purpose, Purpose::Canary, "seed {seed}: nothing is retired");
            }
            Action::Bake => {
                let waits = self.published && !self.plan.bake.is_zero() && self.judged.is_none();
                assert!(waits, "seed {seed}: waits for a verdict that nobody gives");
            }
            Action::Revert => {
                assert_eq!(self.judged, Some(Judgement::Failed), "seed {seed}");
                assert_eq!(self.plan.on_fail, OnFail::Revert, "seed {seed}");
                assert!(!self.asked_to_revert, "seed {seed}: reverted twice");
                self.asked_to_revert = true;
            }
            Action::End(ending) => self.judge_ending(ending),
            Action::Ignore => {}
        }
    }

    fn follow(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Round(answers) if self.ending.is_none() && !self.asked_to_publish => {
                let good = answers.iter().all(|answer| answer.outcome.is_good());
                self.good_in_a_row = if good { self.good_in_a_row + 1 } else { 0 };
            }
            Input::Published => {
                self.published = true;
                self.published_at = Some(now);
            }
            Input::Reopened => self.reopened += 1,
            Input::NotReverted => self.asked_to_revert = false,
            Input::Judged(judgement) if self.published && self.ending.is_none() => {
                self.judged = self.judged.or(Some(judgement));
            }
            Input::Round(_)
            | Input::Begin
            | Input::Deadline
            | Input::ClientGone
            | Input::NotPublished
            | Input::Judged(_)
            | Input::Look { .. } => {}
        }
    }

    fn judge_ending(&mut self, ending: Ending) {
        let seed = self.seed;
        let switched = self.published || self.plan.purpose == Purpose::Already;
        match ending {
            Ending::Refused | Ending::Cancelled => {
                assert!(!self.published, "seed {seed}: {ending:?}, and yet published");
            }
            Ending::Shared => {
                let shared = self.published && self.plan.purpose == Purpose::Canary;
                assert!(shared, "seed {seed}");
            }
            Ending::WouldSwitch => assert_eq!(self.plan.purpose, Purpose::DryRun, "seed {seed}"),
            Ending::Drained => assert!(switched && self.reopened == 0, "seed {seed}"),
            Ending::Cut => {
                let followed = self.plan.purpose == Purpose::Already;
                assert!((self.cut || followed) && self.reopened == 0, "seed {seed}");
            }
            Ending::Reverted => {
                assert!(self.asked_to_revert && self.reopened >= self.plan.members, "seed {seed}");
            }
            Ending::Frozen => assert_eq!(self.judged, Some(Judgement::Failed), "seed {seed}"),
            Ending::Reopened => assert!(self.published && self.reopened > 0, "seed {seed}"),
        }
        let bakes = self.published && !self.plan.bake.is_zero();
        if bakes && matches!(ending, Ending::Drained | Ending::Cut) {
            assert!(self.judged.is_some(), "seed {seed}: over before the verdict");
            let failed = self.judged == Some(Judgement::Failed);
            assert!(
                !failed || self.plan.on_fail == OnFail::Notify,
                "seed {seed}: bad, and yet done"
            );
        }
        let safe = ending.is_safe_to_kill(0);
        assert!(!safe || (switched && self.reopened == 0), "seed {seed}: not safe");
        self.ending = Some(ending);
    }
}

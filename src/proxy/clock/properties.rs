//! The wheel against the plainest reading of the same rule: a row of times, and every tick goes over all.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What one does beside saying until when it rests, once, when a tick looks at it.
#[derive(Debug, Clone, Copy, Default)]
enum Act {
    #[default]
    Nothing,
    EndsItself,
    Ends(usize),
    Rouses(usize),
    Begins,
}

struct One {
    number: usize,
    says: Cell<Option<Instant>>,
    act: Cell<Act>,
    all: Rc<All>,
    watch: Watch,
}

/// Everyone, and who has been looked at by the present tick.
struct All {
    clock: Rc<Clock>,
    ones: RefCell<Vec<Option<Rc<One>>>>,
    seen: RefCell<Vec<usize>>,
}

impl All {
    fn begin(self: &Rc<Self>) {
        let number = self.ones.borrow().len();
        let (says, act) = Default::default();
        let one = self
            .clock
            .watch(|watch| One { number, says, act, all: Rc::clone(self), watch });
        self.ones.borrow_mut().push(Some(one));
    }

    fn one(&self, number: usize) -> Option<Rc<One>> {
        self.ones.borrow().get(number).cloned().flatten()
    }

    fn end(&self, number: usize) {
        let one = self
            .ones
            .borrow_mut()
            .get_mut(number)
            .and_then(Option::take);
        drop(one);
    }
}

impl Watched for One {
    fn tick(&self, _now: Instant) -> Option<Instant> {
        self.all.seen.borrow_mut().push(self.number);
        match self.act.take() {
            Act::Nothing => {}
            Act::EndsItself => self.all.end(self.number),
            Act::Ends(other) => self.all.end(other),
            Act::Rouses(other) => self.all.ones.borrow()[other]
                .as_ref()
                .unwrap()
                .watch
                .rouse(),
            Act::Begins => self.all.begin(),
        }
        self.says.get()
    }
}

/// One step of a history. Numbers of ones count from the last.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// From now on it says that it rests for so many ms from the last tick.
    Says(usize, Option<i64>),
    Rouse(usize),
    End(usize),
    Will(usize, Act),
    /// So many ms after the last tick.
    Tick(i64, bool),
}

/// Both readings, side by side.
struct World {
    all: Rc<All>,
    /// Until when each rests; `None` is one that has ended.
    naive: Vec<Option<Option<Instant>>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let clock = Rc::new(Clock::default());
        let now = clock.last();
        let (ones, seen) = Default::default();
        Self { all: Rc::new(All { clock, ones, seen }), naive: Vec::new(), now }
    }

    fn number(&self, from_the_last: usize) -> usize {
        self.naive.len().saturating_sub(1 + from_the_last)
    }

    fn after(&self, ms: i64) -> Instant {
        let by = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { self.now.checked_sub(by).unwrap_or(self.now) } else { self.now + by }
    }

    fn step(&mut self, step: Step) {
        let one = |world: &Self, last| world.all.one(world.number(last));
        match step {
            Step::Begin => {
                self.all.begin();
                self.naive.push(Some(None));
            }
            Step::Says(last, ms) => {
                if let Some(one) = one(self, last) {
                    one.says.set(ms.map(|ms| self.after(ms)));
                }
            }
            Step::Rouse(last) => {
                if let Some(one) = one(self, last) {
                    one.watch.rouse();
                    self.naive[one.number] = Some(None);
                }
            }
            Step::End(last) => {
                if let Some(one) = one(self, last) {
                    self.naive[one.number] = None;
                    drop(one);
                    self.all.end(self.number(last));
                }
            }
            Step::Will(last, act) => {
                if let Some(one) = one(self, last) {
                    one.act.set(match act {
                        Act::Ends(other) => Act::Ends(self.number(other)),
                        Act::Rouses(other) => Act::Rouses(self.number(other)),
                        Act::Nothing | Act::EndsItself | Act::Begins => act,
                    });
                }
            }
            Step::Tick(ms, all) => self.tick(ms, all),
        }
    }

    fn tick(&mut self, ms: i64, all: bool) {
        self.now = self.after(ms);
        let is_due = |until: &Option<Instant>| all || until.is_none_or(|until| until <= self.now);
        let due: BTreeSet<usize> = (0..self.naive.len())
            .filter(|number| self.naive[*number].as_ref().is_some_and(is_due))
            .collect();
        let mut acts = Vec::new();
        let mut ending = BTreeSet::new();
        for one in due.iter().filter_map(|number| self.all.one(*number)) {
            // In which order a tick looks at those that are due is nobody's business.
            let act = match one.act.get() {
                Act::Ends(other) | Act::Rouses(other)
                    if due.contains(&other) || self.naive[other].is_none() =>
                {
                    Act::Nothing
                }
                // Nobody can rouse what is gone.
                Act::Ends(other) if !ending.insert(other) => Act::Nothing,
                Act::Nothing | Act::EndsItself | Act::Ends(_) | Act::Rouses(_) | Act::Begins => {
                    one.act.get()
                }
            };
            one.act.set(act);
            acts.push((one.number, act, one.says.get()));
        }
        for (number, act, says) in &mut acts {
            if matches!(act, Act::Rouses(other) if ending.contains(other)) {
                *act = Act::Nothing;
                self.all.one(*number).unwrap().act.set(Act::Nothing);
            }
            self.naive[*number] = Some(*says);
        }
        for (number, act, _) in acts {
            match act {
                Act::Nothing => {}
                Act::EndsItself => self.naive[number] = None,
                Act::Ends(other) => self.naive[other] = None,
                Act::Rouses(other) => self.naive[other] = Some(None),
                Act::Begins => self.naive.push(Some(None)),
            }
        }
        self.all.clock.tick(self.now, all);
        let mut seen = self.all.seen.take();
        seen.sort_unstable();
        assert_eq!(seen, Vec::from_iter(due), "{ms} ms after the tick before");
        assert_eq!(self.all.clock.len(), self.naive.iter().flatten().count());
    }
}

impl Drop for World {
    /// Each one knows all.
    fn drop(&mut self) {
        drop(self.all.ones.take());
    }
}

/// Soon, around a turn of the wheel, several turns away, or past.
fn any_wait() -> impl Strategy<Value = i64> {
    prop_oneof![0..350_i64, 102_000..102_900_i64, 0..400_000_i64, -500..0_i64]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::EndsItself),
        (0..12_usize).prop_map(Act::Ends),
        (0..12_usize).prop_map(Act::Rouses),
        Just(Act::Begins),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = 0..12_usize;
    prop_oneof![
        3 => Just(Step::Begin),
        4 => (one.clone(), proptest::option::weighted(0.8, any_wait()))
            .prop_map(|(one, wait)| Step::Says(one, wait)),
        2 => one.clone().prop_map(Step::Rouse),
        2 => one.clone().prop_map(Step::End),
        2 => (one, any_act()).prop_map(|(one, act)| Step::Will(one, act)),
        8 => (prop_oneof![
            8 => 90..110_i64, 2 => 0..700_i64, 1 => -60..0_i64, 1 => 0..250_000_i64
        ], proptest::bool::weighted(0.03)).prop_map(|(ms, all)| Step::Tick(ms, all)),
    ]
}

proptest! {
    /// Whatever begins, rests, is roused and ends, before a tick and in it, and however late ticks are:
    /// each looks at exactly what is due.
    #[test]
    fn a_tick_looks_at_what_a_look_at_everything_would_find_due(
        steps in proptest::collection::vec(any_step(), 1..120)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}

/// Some minutes of a worker: connections that idle, for less than a turn of the wheel or for more, whose
/// requests come and go between two ticks, and one time in a hundred a tick that is seconds late.
#[test]
fn some_minutes_of_connections_and_requests_goes_by_as_a_look_at_everything_would_have_it() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut world = World::new();
    for _ in 0..1_500 {
        for _ in 0..random.usize(0..3) {
            world.step(Step::Begin);
            let idle = [60_000, 110_000, 100, -1][random.usize(0..4)];
            world.step(Step::Says(0, Some(idle)));
        }
        let one = random.usize(0..60);
        match random.u8(0..4) {
            0 => world.step(Step::Rouse(one)),
            1 => world.step(Step::End(one)),
            2 => world.step(Step::Says(one, None)),
            _ => world.step(Step::Will(one, Act::EndsItself)),
        }
        let late = if random.u8(0..100) == 0 { random.i64(0..9_000) } else { random.i64(0..5) };
        world.step(Step::Tick(100 + late, false));
    }
}

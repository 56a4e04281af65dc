//! Ten thousand releases that change nothing, and some that break something: how often the first are
//! judged bad, and after how many requests the second. Counts are drawn, not requests.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers that are drawn are small, and what was found is to be read"
)]

use std::thread;

use super::*;
use crate::control::verdict::exact::ln_factorial;

const RELEASES: u64 = 10_000;

/// One route as the simulation knows it.
struct Route {
    /// Its part of the traffic.
    share: f64,
    /// How likely a request fails.
    fails: f64,
    /// How likely a latency lies in each bucket.
    latency: Vec<f64>,
    /// Where the judge looks for slow requests.
    edges: [usize; 2],
    /// How likely a request is beyond each.
    beyond: [f64; 2],
}

#[test]
fn of_ten_thousand_releases_that_change_nothing_at_most_one_in_a_hundred_is_judged_bad() {
    let threads = 4;
    let part = |thread: u64| {
        move || {
            (0..RELEASES)
                .skip(thread as usize)
                .step_by(threads as usize)
                .filter(|seed| judged_bad(*seed))
                .count()
        }
    };
    let parts: Vec<_> = (0..threads).map(|at| thread::spawn(part(at))).collect();
    let bad: usize = parts.into_iter().map(|part| part.join().unwrap()).sum();
    println!(
        "{bad} of {RELEASES} releases that change nothing were judged bad (budget {FALSE_ALARMS})"
    );
    assert!(bad as u64 * 100 <= RELEASES, "{bad} of {RELEASES}");
}

/// Replays one seed: whether a release in which both colours are alike is judged bad.
fn judged_bad(seed: u64) -> bool {
    let mut dice = fastrand::Rng::with_seed(seed);
    let rate = 20.0 * 100_f64.powf(dice.f64());
    let bake = 60.0 + 540.0 * dice.f64();
    let (mut routes, old) = world(&mut dice, rate * 900.0);
    settle(&mut routes, &old);
    release(&mut dice, &routes, &old, rate, bake).is_some()
}

/// Lets the new colour serve until it is judged bad or the bake is over: after how many requests and
/// seconds, and what was found.
fn release(
    dice: &mut fastrand::Rng,
    routes: &[Route],
    old: &Reading,
    rate: f64,
    bake: f64,
) -> Option<(u64, f64, Evidence)> {
    let mut judge = Judge::new(routes.len(), 1);
    let mut new = Reading::new();
    // As often as a look can be due, about.
    let (mut now, mut step) = (0.0, 0.25_f64);
    while now < bake {
        step = step.max(now / 5.0).min(bake - now).max(0.01);
        now += step;
        for (number, route) in routes.iter().enumerate() {
            serve(dice, route, rate * route.share * step, new.entry(number).or_default());
        }
        if let Some(evidence) = judge.look(old, &new) {
            return Some((total(&new).of, now, evidence));
        }
    }
    None
}

/// Routes as they come: traffic, errors and latencies of many kinds, and what the old colour has done.
fn world(dice: &mut fastrand::Rng, requests: f64) -> (Vec<Route>, Reading) {
    let number = dice.usize(1..=10);
    let weights: Vec<f64> = (0..number).map(|_| dice.f64() + 0.02).collect();
    let sum: f64 = weights.iter().sum();
    let routes: Vec<Route> = weights
        .iter()
        .map(|weight| Route {
            share: weight / sum,
            fails: if dice.u8(0..4) == 0 { 0.0 } else { 0.02 * dice.f64() },
            latency: latencies(dice),
            edges: [0; 2],
            beyond: [0.0; 2],
        })
        .collect();
    let old = served(dice, &routes, requests);
    (routes, old)
}

/// What the old colour has done in so many requests.
fn served(dice: &mut fastrand::Rng, routes: &[Route], requests: f64) -> Reading {
    let mut old = Reading::new();
    for (number, route) in routes.iter().enumerate() {
        let all = about(dice, requests * route.share);
        let mut counts = Counts::default();
        let (mut left, mut rest) = (all, 1.0);
        for (bucket, part) in route
            .latency
            .iter()
            .enumerate()
            .filter(|(_, part)| **part > 0.0)
        {
            let here = binomial(dice, left, (part / rest).min(1.0));
            counts.latency[bucket] = u32::try_from(here).unwrap();
            (left, rest) = (left - here, (rest - part).max(1e-300));
        }
        counts.failed[0] = u32::try_from(binomial(dice, counts.requests(), route.fails)).unwrap();
        old.insert(number, counts);
    }
    old
}

/// Lognormal latencies with a median of 1 to 300 ms; every third route has a heavy tail.
fn latencies(dice: &mut fastrand::Rng) -> Vec<f64> {
    let median = 0.001 * 300_f64.powf(dice.f64());
    let (sigma, heavy) = (0.1 + 1.4 * dice.f64(), dice.u8(0..3) == 0);
    let below = |seconds: f64| {
        let body = normal((seconds / median).ln() / sigma);
        let tail = (1.0 - (median / seconds).powf(1.1)).max(0.0);
        if heavy { 0.95 * body + 0.05 * tail } else { body }
    };
    let edges = (0..conduct::BUCKETS - 1).map(|bucket| below(conduct::edge(bucket).as_secs_f64()));
    let mut last = 0.0;
    let mut parts: Vec<f64> = edges
        .map(|edge| edge - std::mem::replace(&mut last, edge))
        .collect();
    parts.push(1.0 - last);
    parts
        .iter()
        .map(|part| if *part > 1e-9 { *part } else { 0.0 })
        .collect()
}

/// Works out, once, where the judge will look, so that only three numbers a route are drawn.
fn settle(routes: &mut [Route], old: &Reading) {
    for (number, route) in routes.iter_mut().enumerate() {
        for (at, quantile) in QUANTILES.iter().enumerate() {
            let edge = slow_edge(&old[&number], *quantile).unwrap_or(conduct::BUCKETS - 2);
            route.edges[at] = edge;
            route.beyond[at] = route.latency.iter().skip(edge + 1).sum();
        }
    }
}

fn serve(dice: &mut fastrand::Rng, route: &Route, expected: f64, counts: &mut Counts) {
    let all = about(dice, expected);
    let slow = binomial(dice, all, route.beyond[0].min(1.0));
    let part = if route.beyond[0] > 0.0 { route.beyond[1] / route.beyond[0] } else { 0.0 };
    let slower = binomial(dice, slow, part.min(1.0));
    let mut add = |bucket: usize, more: u64| {
        counts.latency[bucket.min(conduct::BUCKETS - 1)] += u32::try_from(more).unwrap();
    };
    add(0, all - slow);
    add(route.edges[0] + 1, slow - slower);
    add(route.edges[1] + 1, slower);
    counts.failed[0] += u32::try_from(binomial(dice, all, route.fails)).unwrap();
}

fn normal(x: f64) -> f64 {
    // Abramowitz and Stegun 26.2.17, good to seven digits; both colours are drawn from the same.
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * poly;
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// How often something of this chance happens in `n` trials: from the likeliest number outwards. Where
/// that would be far, the normal distribution does.
fn binomial(dice: &mut fastrand::Rng, n: u64, p: f64) -> u64 {
    if n == 0 || p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    let (mean, variance) = (n as f64 * p, n as f64 * p * (1.0 - p));
    if variance > 400.0 {
        let (size, turn) = ((-2.0 * (1.0 - dice.f64()).ln()).sqrt(), dice.f64());
        let drawn = mean + variance.sqrt() * size * (turn * std::f64::consts::TAU).cos();
        return (drawn.round().max(0.0) as u64).min(n);
    }
    let mode = (((n + 1) as f64) * p) as u64;
    let odds = p / (1.0 - p);
    let ln = ln_factorial(n) - ln_factorial(mode) - ln_factorial(n - mode);
    let first = (ln + mode as f64 * p.ln() + (n - mode) as f64 * (1.0 - p).ln()).exp();
    let mut left = dice.f64() - first;
    let (mut low, mut high, mut below, mut above) = (mode, mode, first, first);
    while left > 0.0 && (below > 1e-18 || above > 1e-18) {
        if high < n {
            above *= odds * (n - high) as f64 / (high + 1) as f64;
            high += 1;
            left -= above;
            if left <= 0.0 {
                return high;
            }
        } else {
            above = 0.0;
        }
        if low > 0 {
            below *= low as f64 / (odds * (n - low + 1) as f64);
            low -= 1;
            left -= below;
            if left <= 0.0 {
                return low;
            }
        } else {
            below = 0.0;
        }
    }
    mode
}

/// A whole number of requests, so many on average.
fn about(dice: &mut fastrand::Rng, mean: f64) -> u64 {
    (mean + dice.f64()) as u64
}

/// What is done to the routes of the new colour.
type Fault = fn(&mut [Route]);

/// The faults that the issue names, at 50 requests a second over four routes, each 40 times.
#[test]
fn seeded_faults_are_found_within_seconds() {
    let faults: [(&str, Fault); 4] = [
        ("5 % 500s on one route", |routes| routes[0].fails += 0.05),
        ("+200 ms", |routes| {
            for route in routes {
                route.beyond = [1.0, 1.0];
            }
        }),
        ("1 in 50 resets", |routes| {
            for route in routes {
                route.fails += 0.02;
            }
        }),
        ("half of everything fails", |routes| {
            for route in routes {
                route.fails = 0.5;
            }
        }),
    ];
    for (name, break_it) in faults {
        let mut found: Vec<(u64, f64)> = Vec::new();
        for seed in 0..40 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let usual = |fails| Route {
                share: 0.25,
                fails,
                latency: latencies(&mut fastrand::Rng::with_seed(7)),
                edges: [0; 2],
                beyond: [0.0; 2],
            };
            let mut routes: Vec<Route> = [0.0, 0.001, 0.001, 0.005].map(usual).into();
            let old = served(&mut dice, &routes, 50.0 * 900.0);
            settle(&mut routes, &old);
            break_it(&mut routes);
            let judged = release(&mut dice, &routes, &old, 50.0, 300.0);
            let Some((requests, seconds, _)) = judged else { panic!("{name}: seed {seed} missed") };
            found.push((requests, seconds));
        }
        found.sort_by_key(|(requests, _)| *requests);
        let (median, worst) = (found[20], found[39]);
        println!(
            "{name}: found after {} requests ({:.1} s), at the worst {} ({:.1} s)",
            median.0, median.1, worst.0, worst.1
        );
        assert!(worst.1 < 120.0, "{name}: {worst:?}");
    }
}

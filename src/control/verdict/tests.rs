//! What is found, what is not, and what a look may spend.

use super::*;
use crate::model::conduct::Failing;

const ROUTE: usize = 3;

/// `requests` on one route, `failures` of them failed, each at `latency`.
fn counts(requests: u32, failures: u32, latency: Duration) -> Counts {
    let mut counts = Counts::default();
    counts.latency[conduct::bucket(latency)] = requests;
    counts.failed[Failing::Status as usize] = failures;
    counts
}

fn one(requests: u32, failures: u32) -> Reading {
    Reading::from([(ROUTE, counts(requests, failures, Duration::from_millis(10)))])
}

#[test]
fn a_route_on_which_one_in_twenty_fails_is_found_with_its_numbers() {
    let old = one(20_000, 20);
    let mut judge = Judge::new(4, 1);
    assert_eq!(judge.look(&old, &one(25, 2)), None, "not looked at yet");
    assert_eq!(judge.look(&old, &one(60, 3)), None, "too few failures");
    let evidence = judge.look(&old, &one(120, 6)).unwrap();
    assert_eq!((evidence.what, evidence.route), (What::Failures, Some(ROUTE)));
    assert_eq!(evidence.old, Share { count: 20, of: 20_000 });
    assert_eq!(evidence.new, Share { count: 6, of: 120 });
    assert!(evidence.p < evidence.threshold && evidence.threshold < FALSE_ALARMS);
}

#[test]
fn what_is_certain_but_small_is_no_verdict() {
    // Half a percentage point more, and a third more of what fails anyway.
    for (old, new) in [((1_000_000, 0), (1_000_000, 5000)), ((100_000, 30_000), (100_000, 40_000))]
    {
        let mut judge = Judge::new(1, 1);
        assert_eq!(judge.look(&one(old.0, old.1), &one(new.0, new.1)), None);
    }
}

#[test]
fn failures_that_are_spread_thinly_over_many_routes_are_found_together() {
    let every = |requests, failures| -> Reading {
        let counts = counts(requests, failures, Duration::from_millis(10));
        (0..20).map(|route| (route, counts.clone())).collect()
    };
    let mut judge = Judge::new(20, 1);
    let evidence = judge.look(&every(2000, 0), &every(29, 1)).unwrap();
    assert_eq!((evidence.what, evidence.route), (What::Failures, None));
    assert_eq!((evidence.new.count, evidence.new.of), (20, 580));
}

#[test]
fn two_hundred_milliseconds_more_are_found_and_three_are_not() {
    let at = |latency: u64, requests| {
        Reading::from([(ROUTE, counts(requests, 0, Duration::from_millis(latency)))])
    };
    let old = at(20, 5000);
    let evidence = Judge::new(1, 1).look(&old, &at(220, 40)).unwrap();
    let What::Slow(than, quantile) = evidence.what else { panic!("{evidence:?}") };
    assert!(than >= Duration::from_millis(25) && than < Duration::from_millis(50), "{than:?}");
    assert_eq!((quantile, evidence.new), ("p50", Share { count: 40, of: 40 }));
    assert_eq!(Judge::new(1, 1).look(&at(1, 5000), &at(4, 5000)), None);
}

#[test]
fn a_tail_that_has_grown_is_found_although_the_median_has_not() {
    let mut old = one(5000, 0);
    let mut new = one(400, 0);
    let slow = conduct::bucket(Duration::from_millis(900));
    old.get_mut(&ROUTE).unwrap().latency[slow] = 250;
    new.get_mut(&ROUTE).unwrap().latency[slow] = 200;
    let evidence = Judge::new(1, 1).look(&old, &new).unwrap();
    assert!(matches!(evidence.what, What::Slow(_, "p90")), "{evidence:?}");
}

#[test]
fn a_route_that_the_old_colour_never_served_is_not_compared() {
    let new = Reading::from([(9, counts(1000, 500, Duration::from_millis(1)))]);
    assert_eq!(Judge::new(2, 1).look(&one(1000, 0), &new), None);
    assert!(!is_enough(&one(1000, 0), &new));
}

#[test]
fn little_traffic_says_nothing() {
    assert!(is_enough(&one(100, 0), &one(100, 0)));
    assert!(!is_enough(&one(99, 0), &one(1000, 0)));
    assert!(!is_enough(&one(1000, 0), &one(99, 0)));
    assert!(!is_enough(&Reading::new(), &Reading::new()));
}

#[test]
fn all_looks_together_spend_no_more_than_the_budget() {
    let mut looks = Looks::default();
    let mut spent = 0.0;
    let mut taken = 0;
    for requests in 0..1_000_000 {
        if let Some(part) = looks.due(requests) {
            spent += part;
            taken += 1;
        }
    }
    assert!(spent < 1.0 && taken > 30, "{spent} {taken}");
    const { assert!(PART_ALL + PART_FAILURES + PART_SLOW <= 1.0 + f64::EPSILON) };
}

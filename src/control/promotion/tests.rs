//! The state machine, history by history.

use super::*;
use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;

fn plan() -> Plan {
    Plan {
        purpose: Purpose::Change,
        started: Instant::now(),
        rounds: 2,
        interval: Duration::from_secs(1),
        gate_timeout: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(30),
        bake: Duration::ZERO,
        on_fail: OnFail::Revert,
        close_jitter: Duration::from_secs(5),
        members: 1,
    }
}

fn answers(outcomes: &[ProbeOutcome]) -> Vec<Answer> {
    let answer = |(at, outcome): (usize, &ProbeOutcome)| Answer {
        upstream: "app".into(),
        colour: Colour::Green,
        target: format!("10.0.0.{at}:8081").into(),
        outcome: outcome.clone(),
    };
    outcomes.iter().enumerate().map(answer).collect()
}

fn good() -> Vec<Answer> {
    answers(&[ProbeOutcome::Good(200), ProbeOutcome::Good(200)])
}

fn half() -> Vec<Answer> {
    answers(&[ProbeOutcome::Good(200), ProbeOutcome::Status(503)])
}

#[test]
fn the_gate_opens_after_two_whole_good_rounds_in_a_row_one_interval_apart() {
    let plan = plan();
    let start = plan.started;
    let second = Duration::from_secs(1);
    let deadline = start + plan.gate_timeout;
    let mut promotion = Promotion::new(plan);
    let first = Action::Probe { at: start, until: None };
    assert_eq!(promotion.step(Input::Begin, start), first);
    let mut now = start;
    for round in [good(), half(), good()] {
        let again = Action::Probe { at: now + second, until: Some(deadline) };
        assert_eq!(promotion.step(Input::Round(&round), now), again);
        now += second;
    }
    assert_eq!(promotion.step(Input::Round(&good()), now), Action::Publish);
}

#[test]
fn a_refusal_counts_the_failed_probes_of_each_target() {
    let plan = plan();
    let start = plan.started;
    let mut promotion = Promotion::new(plan);
    promotion.step(Input::Begin, start);
    promotion.step(Input::Round(&half()), start);
    promotion.step(Input::Round(&half()), start);
    let late = start + Duration::from_secs(4);
    assert_eq!(promotion.step(Input::Round(&half()), late), Action::End(Ending::Refused));
    let reasons = promotion.reasons();
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].what, "10.0.0.1:8081 answered 503 (3 of 3 probes)");
}

#[test]
fn a_target_that_dies_after_its_first_good_round_is_refused_at_the_deadline() {
    let plan = plan();
    let deadline = plan.started + plan.gate_timeout;
    let mut promotion = Promotion::new(plan);
    promotion.step(Input::Begin, deadline - Duration::from_secs(5));
    promotion.step(Input::Round(&good()), deadline - Duration::from_secs(4));
    promotion.step(Input::Round(&half()), deadline - Duration::from_secs(2));
    assert_eq!(promotion.step(Input::Deadline, deadline), Action::End(Ending::Refused));
    assert_eq!(promotion.reasons()[0].what, "10.0.0.1:8081 answered 503 (1 of 2 probes)");
}

#[test]
fn good_rounds_that_do_not_fit_the_timeout_are_refused_with_the_way_out() {
    let plan = Plan { gate_timeout: Duration::from_millis(500), ..plan() };
    let start = plan.started;
    let mut promotion = Promotion::new(plan);
    promotion.step(Input::Begin, start);
    assert_eq!(promotion.step(Input::Round(&good()), start), Action::End(Ending::Refused));
    let reason = &promotion.reasons()[0];
    assert!(reason.what.contains("1 of 2 rounds"), "{}", reason.what);
    assert!(reason.hint.is_some());
}

#[test]
fn a_rollback_needs_one_round_and_force_none() {
    let now = Instant::now();
    let mut rollback = Promotion::new(Plan { rounds: 1, ..plan() });
    rollback.step(Input::Begin, now);
    assert_eq!(rollback.step(Input::Round(&good()), now), Action::Publish);
    let mut forced = Promotion::new(Plan { rounds: 0, ..plan() });
    assert_eq!(forced.step(Input::Begin, now), Action::Publish);
}

#[test]
fn a_dry_run_ends_where_the_switch_would_be() {
    let now = Instant::now();
    let mut promotion = Promotion::new(Plan { purpose: Purpose::DryRun, rounds: 1, ..plan() });
    promotion.step(Input::Begin, now);
    assert!(!promotion.is_gating(), "a dry run holds nothing");
    let end = promotion.step(Input::Round(&good()), now);
    assert_eq!(end, Action::End(Ending::WouldSwitch));
}

#[test]
fn a_requester_that_goes_away_cancels_the_gate_but_not_the_drain() {
    let now = Instant::now();
    let mut promotion = Promotion::new(Plan { rounds: 1, ..plan() });
    promotion.step(Input::Begin, now);
    assert_eq!(promotion.step(Input::ClientGone, now), Action::End(Ending::Cancelled));
    let mut promotion = drained_from(now, 1);
    assert_eq!(promotion.step(Input::ClientGone, now), Action::Ignore);
    assert!(promotion.is_draining());
}

fn drained_from(now: Instant, members: usize) -> Promotion {
    let mut promotion = Promotion::new(Plan { rounds: 0, members, ..plan() });
    promotion.step(Input::Begin, now);
    promotion.step(Input::Published, now);
    promotion
}

#[test]
fn a_drain_ends_when_nothing_is_left_and_cuts_at_the_deadline() {
    let now = Instant::now();
    let mut promotion = drained_from(now, 1);
    let look = |in_flight, cut| Input::Look { in_flight, cut };
    assert!(matches!(promotion.step(look(3, 0), now), Action::Watch { known: Some(3), .. }));
    assert_eq!(promotion.step(look(0, 0), now), Action::End(Ending::Drained));

    let mut promotion = drained_from(now, 1);
    let deadline = now + Duration::from_secs(30);
    let until = deadline + Duration::from_secs(5) + LAST_WORDS + SETTLE;
    assert_eq!(promotion.step(look(3, 0), deadline), Action::Cut { until });
    assert!(matches!(promotion.step(look(1, 2), deadline), Action::Watch { .. }));
    assert_eq!(promotion.step(look(1, 2), until), Action::End(Ending::Cut));
    assert!(!Ending::Cut.is_safe_to_kill(1));
    assert!(Ending::Cut.is_safe_to_kill(0));
}

#[test]
fn a_drain_in_which_everything_ended_by_itself_after_the_cut_is_drained() {
    let now = Instant::now();
    let mut promotion = drained_from(now, 1);
    let deadline = now + Duration::from_secs(30);
    promotion.step(Input::Look { in_flight: 1, cut: 0 }, deadline);
    let end = promotion.step(Input::Look { in_flight: 0, cut: 0 }, deadline);
    assert_eq!(end, Action::End(Ending::Drained));
}

#[test]
fn a_reopened_colour_is_never_safe_to_kill() {
    let now = Instant::now();
    let mut promotion = drained_from(now, 1);
    assert_eq!(promotion.step(Input::Reopened, now), Action::End(Ending::Reopened));
    assert!(!Ending::Reopened.is_safe_to_kill(0));
    // Of two, one is reopened: the other still drains, and the verdict stays.
    let mut promotion = drained_from(now, 2);
    assert!(matches!(promotion.step(Input::Reopened, now), Action::Watch { .. }));
    let end = promotion.step(Input::Look { in_flight: 0, cut: 0 }, now);
    assert_eq!(end, Action::End(Ending::Reopened));
}

#[test]
fn a_promotion_of_the_live_colour_waits_and_never_cuts() {
    let now = Instant::now();
    let mut promotion = Promotion::new(Plan { purpose: Purpose::Already, ..plan() });
    assert!(matches!(promotion.step(Input::Begin, now), Action::Watch { .. }));
    let late = now + Duration::from_secs(60);
    let end = promotion.step(Input::Look { in_flight: 2, cut: 0 }, late);
    assert_eq!(end, Action::End(Ending::Cut));
    assert!(!Ending::Cut.is_safe_to_kill(2));
}

fn baked_from(now: Instant, on_fail: OnFail) -> Promotion {
    let bake = Duration::from_secs(60);
    let mut promotion = Promotion::new(Plan { rounds: 0, bake, on_fail, ..plan() });
    promotion.step(Input::Begin, now);
    promotion.step(Input::Published, now);
    promotion
}

#[test]
fn a_promotion_is_over_when_it_has_drained_and_baked() {
    let now = Instant::now();
    let empty = Input::Look { in_flight: 0, cut: 0 };
    let passed = Input::Judged(Judgement::Passed);
    let mut promotion = baked_from(now, OnFail::Revert);
    assert_eq!(promotion.bakes_until(), Some(now + Duration::from_secs(60)));
    assert_eq!(promotion.step(empty, now), Action::Bake);
    assert!(promotion.is_switched() && !promotion.is_draining());
    assert!(matches!(promotion.step(passed, now), Action::Watch { .. }), "shut, and looked at");
    assert_eq!(promotion.step(empty, now), Action::End(Ending::Drained));

    let mut promotion = baked_from(now, OnFail::Revert);
    assert_eq!(promotion.step(passed, now), Action::Ignore);
    assert_eq!(promotion.bakes_until(), None);
    assert_eq!(promotion.step(empty, now), Action::End(Ending::Drained));
}

#[test]
fn a_failed_bake_reverts_freezes_or_notifies() {
    let now = Instant::now();
    let failed = Input::Judged(Judgement::Failed);
    let mut reverts = baked_from(now, OnFail::Revert);
    assert_eq!(reverts.step(failed, now), Action::Revert);
    assert_eq!(reverts.step(Input::Reopened, now), Action::End(Ending::Reverted));
    let mut cannot = baked_from(now, OnFail::Revert);
    cannot.step(failed, now);
    assert_eq!(cannot.step(Input::Look { in_flight: 0, cut: 0 }, now), Action::Bake);
    assert_eq!(cannot.step(Input::NotReverted, now), Action::End(Ending::Frozen));
    let mut freezes = baked_from(now, OnFail::Freeze);
    freezes.step(Input::Look { in_flight: 0, cut: 0 }, now);
    assert_eq!(freezes.step(failed, now), Action::End(Ending::Frozen));
    let mut notifies = baked_from(now, OnFail::Notify);
    assert_eq!(notifies.step(failed, now), Action::Ignore);
    let end = notifies.step(Input::Look { in_flight: 0, cut: 0 }, now);
    assert_eq!(end, Action::End(Ending::Drained));
}

#[test]
fn a_rollback_by_hand_ends_the_bake_as_taken_back() {
    let now = Instant::now();
    let mut promotion = baked_from(now, OnFail::Revert);
    promotion.step(Input::Look { in_flight: 0, cut: 0 }, now);
    assert_eq!(promotion.step(Input::Reopened, now), Action::End(Ending::Reopened));
}

#[test]
fn a_bake_that_ends_frozen_lets_its_drain_come_to_its_end() {
    let now = Instant::now();
    let (failed, left) = (Input::Judged(Judgement::Failed), Input::Look { in_flight: 1, cut: 0 });
    let empty = Input::Look { in_flight: 0, cut: 0 };
    let late = now + Duration::from_secs(30);
    let mut freezes = baked_from(now, OnFail::Freeze);
    let mut cannot = baked_from(now, OnFail::Revert);
    for promotion in [&mut freezes, &mut cannot] {
        promotion.step(left, now);
        promotion.step(failed, now);
        promotion.step(Input::NotReverted, now);
        assert!(promotion.is_draining());
        assert!(matches!(promotion.step(left, late), Action::Cut { .. }), "at its deadline");
        assert_eq!(promotion.step(empty, late), Action::End(Ending::Frozen));
    }
}

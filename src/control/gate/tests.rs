//! A round asks everybody, at once, and is passed only by all.

use tokio::time::Instant;

use super::*;
use crate::control::probe::scripted::Act;
use crate::control::probe::scripted::Scripted;
use crate::control::probe::scripted::coloured;
use crate::control::probe::scripted::single;
use crate::control::probe::scripted::status;
use crate::model::health::Verdict;
use crate::model::settings::HealthSettings;

fn health() -> HealthSettings {
    HealthSettings {
        timeout: Duration::from_secs(5),
        build_header: Some("x-build".to_owned()),
        ..HealthSettings::default()
    }
}

fn answers(asked: &[Asked]) -> Vec<(String, String, bool)> {
    reports(asked)
        .into_iter()
        .map(|report| (report.upstream, report.outcome, report.passed))
        .collect()
}

#[tokio::test]
async fn a_round_asks_every_target_of_the_colour_in_the_order_of_the_file() {
    let good = Scripted::start(status(200)).await;
    let sick = Scripted::start(status(503)).await;
    let also_good = Scripted::start(status(200)).await;
    let mut blue = Scripted::start(status(200)).await;
    let upstreams = [
        coloured("app", health(), &[&blue], &[&good, &sick]),
        single("plain", health(), &[&blue]),
        coloured("web", health(), &[&blue], &[&also_good]),
    ];
    let asked = round(&upstreams, Colour::Green, None).await;
    let expected = [("app", "200", true), ("app", "503", false), ("web", "200", true)]
        .map(|(upstream, outcome, passed)| (upstream.to_owned(), outcome.to_owned(), passed));
    assert_eq!(answers(&asked), expected);
    assert!(!passed(&asked));
    let addresses = reports(&asked).into_iter().map(|report| report.address);
    let in_file = [&good, &sick, &also_good].map(|target| target.address.to_string());
    assert_eq!(addresses.collect::<Vec<_>>(), in_file);
    assert!(blue.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_round_is_passed_when_every_target_answered_as_expected() {
    let (one, two) = (Scripted::start(status(200)).await, Scripted::start(status(200)).await);
    let upstreams = [coloured("app", health(), &[&one], &[&one, &two])];
    assert!(passed(&round(&upstreams, Colour::Green, None).await));
}

#[tokio::test]
async fn a_round_without_targets_is_not_passed() {
    let target = Scripted::start(status(200)).await;
    let upstreams = [single("plain", health(), &[&target])];
    assert!(!passed(&round(&upstreams, Colour::Blue, None).await));
    assert!(!passed(&round(&[], Colour::Blue, None).await));
}

#[tokio::test]
async fn a_round_takes_as_long_as_its_slowest_target() {
    let stalls = Scripted::start(Act::SayAndStay(Vec::new())).await;
    let health = HealthSettings { timeout: Duration::from_millis(300), ..health() };
    let upstreams = [coloured("app", health, &[&stalls], &[&stalls, &stalls, &stalls, &stalls])];
    let began = Instant::now();
    let asked = round(&upstreams, Colour::Green, None).await;
    assert!(
        asked
            .iter()
            .all(|one| one.record.outcome == ProbeOutcome::Timeout)
    );
    assert!(began.elapsed() < Duration::from_millis(300) * 4);
}

#[tokio::test]
async fn a_target_that_dies_after_its_first_good_answer_fails_the_second_round() {
    let dies = Scripted::start(Act::GoodFor(1)).await;
    let upstreams = [coloured("app", health(), &[&dies], &[&dies])];
    assert!(passed(&round(&upstreams, Colour::Green, None).await));
    assert!(!passed(&round(&upstreams, Colour::Green, None).await));
}

#[tokio::test]
async fn a_gate_probe_counts_for_the_health_of_its_target() {
    let sick = Scripted::start(status(503)).await;
    let upstreams = [coloured("app", health(), &[&sick], &[&sick])];
    let asked = round(&upstreams, Colour::Green, None).await;
    let target = &asked[0].target;
    assert_eq!(target.health.verdict(), Verdict::Unhealthy);
    assert_eq!(target.health.last(), Some(asked[0].record.clone()));
}

#[tokio::test]
async fn another_build_fails_the_round_but_is_no_illness() {
    let answer = b"HTTP/1.1 200 OK\r\nx-build: v7\r\ncontent-length: 0\r\n\r\n";
    let old = Scripted::start(Act::Say(answer.to_vec())).await;
    let upstreams = [coloured("app", HealthSettings { fall: 1, ..health() }, &[&old], &[&old])];
    assert!(passed(&round(&upstreams, Colour::Green, Some("v7")).await));
    let asked = round(&upstreams, Colour::Green, Some("v8")).await;
    assert_eq!(answers(&asked), [("app".to_owned(), "build v7".to_owned(), false)]);
    assert!(!passed(&asked));
    assert_eq!(asked[0].target.health.verdict(), Verdict::Healthy);
}

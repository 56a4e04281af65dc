//! Who is probed, how often, and what is told about it. Real sockets, short intervals.

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::control::probe::scripted::Act;
use crate::control::probe::scripted::Scripted;
use crate::control::probe::scripted::coloured;
use crate::control::probe::scripted::single;
use crate::control::probe::scripted::status;
use crate::model::route::Routes;
use crate::model::settings::AccessLog;
use crate::model::settings::ControlSettings;
use crate::model::settings::Limits;
use crate::model::settings::Settings;
use crate::model::settings::Timeouts;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

fn every(interval: Duration) -> HealthSettings {
    HealthSettings { interval, timeout: Duration::from_secs(5), ..HealthSettings::default() }
}

fn snapshot(upstreams: Vec<Upstream>) -> Snapshot {
    let settings = Settings {
        listeners: Vec::new(),
        routes: Vec::new(),
        upstreams: std::collections::BTreeMap::new(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        workers: None,
        trusted_proxies: Vec::new(),
        control: ControlSettings::default(),
        admin: None,
        access_log: AccessLog::default(),
        state_dir: PathBuf::new(),
        user: None,
    };
    Snapshot {
        generation: 1,
        routes: Routes::new(Vec::new()),
        upstreams,
        settings: settings.into(),
    }
}

fn checks() -> (Checks, mpsc::UnboundedReceiver<Flip>) {
    let (flips, reported) = mpsc::unbounded_channel();
    (Checks::new(|_, _, _, _| {}, flips), reported)
}

fn targets(upstream: &Upstream) -> Vec<Arc<Target>> {
    upstream
        .all_pools()
        .flat_map(|pool| pool.targets.clone())
        .collect()
}

/// The next thing that comes; a test whose thing never comes fails instead of hanging.
async fn next<T>(coming: &mut mpsc::UnboundedReceiver<T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), coming.recv()).await;
    waited
        .expect("it never came")
        .expect("nothing can come any more")
}

async fn asked(scripted: &mut Scripted, times: usize) {
    for _ in 0..times {
        next(&mut scripted.heads).await;
    }
}

fn forget_what_came(scripted: &mut Scripted) {
    while scripted.heads.try_recv().is_ok() {}
}

#[tokio::test]
async fn each_change_of_verdict_is_reported_once() {
    let mut dies = Scripted::start(Act::GoodFor(4)).await;
    let (mut checks, mut flips) = checks();
    checks.follow(&snapshot(vec![single("plain", every(SHORT), &[&dies])]));
    let first = next(&mut flips).await;
    assert_eq!((first.healthy, first.outcome.as_str()), (true, "200"));
    assert_eq!((&*first.upstream, first.colour), ("plain", None));
    let second = next(&mut flips).await;
    assert_eq!((second.healthy, second.outcome.as_str()), (false, "503"));
    forget_what_came(&mut dies);
    asked(&mut dies, 10).await;
    assert!(flips.try_recv().is_err());
}

#[tokio::test]
async fn both_colours_are_probed_and_named() {
    let (good, sick) = (Scripted::start(status(200)).await, Scripted::start(status(503)).await);
    let (mut checks, mut flips) = checks();
    checks.follow(&snapshot(vec![coloured("app", every(SHORT), &[&good], &[&sick])]));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let flip = next(&mut flips).await;
        seen.push((flip.colour, flip.healthy, flip.target.name.to_string()));
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            (Some(Colour::Blue), true, good.address.to_string()),
            (Some(Colour::Green), false, sick.address.to_string()),
        ]
    );
}

#[tokio::test]
async fn a_verdict_that_a_gate_changed_is_reported_too() {
    let sick = Scripted::start(status(503)).await;
    let app = single("plain", every(SHORT), &[&sick]);
    let target = targets(&app).remove(0);
    let (mut checks, mut flips) = checks();
    checks.follow(&snapshot(vec![app]));
    assert!(!next(&mut flips).await.healthy);
    target.health.vouch();
    assert!(next(&mut flips).await.healthy);
    assert!(!next(&mut flips).await.healthy);
}

#[tokio::test]
async fn a_removed_target_is_no_longer_probed() {
    let mut stays = Scripted::start(status(200)).await;
    let mut goes = Scripted::start(status(200)).await;
    let staying = single("a", every(SHORT), &[&stays]);
    let (mut checks, _flips) = checks();
    checks.follow(&snapshot(vec![staying.clone(), single("b", every(SHORT), &[&goes])]));
    asked(&mut goes, 3).await;
    checks.follow(&snapshot(vec![staying]));
    // What was under way has arrived once the other one has been asked again a few times.
    forget_what_came(&mut stays);
    asked(&mut stays, 5).await;
    forget_what_came(&mut goes);
    asked(&mut stays, 30).await;
    assert!(goes.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_target_that_stays_keeps_its_one_task() {
    let mut stays = Scripted::start(status(200)).await;
    let app = single("a", every(SHORT), &[&stays]);
    let (mut checks, mut flips) = checks();
    for _ in 0..5 {
        checks.follow(&snapshot(vec![app.clone()]));
    }
    assert_eq!(checks.followed.len(), 1);
    asked(&mut stays, 5).await;
    assert!(next(&mut flips).await.healthy);
    assert!(flips.try_recv().is_err());
}

#[tokio::test]
async fn changed_health_settings_take_effect_at_once_and_report_nothing_twice() {
    let mut scripted = Scripted::start(status(200)).await;
    let mut app = single("a", every(LONG), &[&scripted]);
    let (mut checks, mut flips) = checks();
    checks.follow(&snapshot(vec![app.clone()]));
    // The task goes to sleep for up to an hour.
    tokio::task::yield_now().await;
    app.health = every(SHORT);
    checks.follow(&snapshot(vec![app.clone()]));
    asked(&mut scripted, 3).await;
    app.health.path = "/ready".to_owned();
    app.public_host = Some("app.example".to_owned());
    checks.follow(&snapshot(vec![app]));
    let mut head = String::new();
    while !head.starts_with("GET /ready") {
        head = next(&mut scripted.heads).await;
    }
    assert!(head.contains("host: app.example\r\n"), "{head}");
    for _ in 0..5 {
        assert!(
            scripted
                .heads
                .recv()
                .await
                .unwrap()
                .starts_with("GET /ready")
        );
    }
    assert!(next(&mut flips).await.healthy);
    assert!(flips.try_recv().is_err());
}

#[tokio::test]
async fn a_probe_in_flight_is_never_doubled() {
    let mut stalls = Scripted::start(Act::SayAndStay(Vec::new())).await;
    let health = HealthSettings { timeout: Duration::from_millis(40), ..every(SHORT) };
    let ended = Arc::new(AtomicUsize::new(0));
    let (flips, _reported) = mpsc::unbounded_channel();
    let counting = Arc::clone(&ended);
    let observe = move |_: &str, _: &str, _: &str, _: Duration| {
        counting.fetch_add(1, Ordering::Relaxed);
    };
    let mut checks = Checks::new(observe, flips);
    checks.follow(&snapshot(vec![single("a", health, &[&stalls])]));
    for begun_before in 0..6 {
        asked(&mut stalls, 1).await;
        assert!(ended.load(Ordering::Relaxed) >= begun_before);
    }
}

#[tokio::test]
async fn every_probe_is_observed_with_its_labels() {
    let (blue, green) = (Scripted::start(status(200)).await, Scripted::start(status(200)).await);
    let (told, mut observed) = mpsc::unbounded_channel();
    let (flips, _reported) = mpsc::unbounded_channel();
    let observe = move |upstream: &str, colour: &str, target: &str, _: Duration| {
        told.send([upstream, colour, target].map(str::to_owned))
            .unwrap();
    };
    let mut checks = Checks::new(observe, flips);
    checks.follow(&snapshot(vec![coloured("app", every(SHORT), &[&blue], &[&green])]));
    let mut missing = HashSet::from([
        ["app".to_owned(), "blue".to_owned(), blue.address.to_string()],
        ["app".to_owned(), "green".to_owned(), green.address.to_string()],
    ]);
    while !missing.is_empty() {
        missing.remove(&next(&mut observed).await);
    }
}

#[tokio::test]
async fn nothing_is_probed_once_the_checks_are_dropped() {
    let scripted = Scripted::start(status(200)).await;
    let (mut checks, mut flips) = checks();
    checks.follow(&snapshot(vec![single("a", every(SHORT), &[&scripted])]));
    assert!(next(&mut flips).await.healthy);
    drop(checks);
    // Every task holds a sender: the channel closes when the last task has ended.
    assert!(flips.recv().await.is_none());
}

#[tokio::test]
async fn the_first_round_probes_every_pool_of_every_upstream() {
    let (good, sick) = (Scripted::start(status(200)).await, Scripted::start(status(503)).await);
    let stalls = Scripted::start(Act::SayAndStay(Vec::new())).await;
    let short = HealthSettings { timeout: Duration::from_millis(200), ..every(LONG) };
    let upstreams =
        vec![coloured("app", short.clone(), &[&good], &[&sick]), single("b", short, &[&stalls])];
    let all = upstreams.iter().flat_map(targets).collect::<Vec<_>>();
    first_round(&snapshot(upstreams)).await;
    let verdicts = all
        .iter()
        .map(|target| target.health.verdict())
        .collect::<Vec<_>>();
    assert_eq!(verdicts, [Verdict::Healthy, Verdict::Unhealthy, Verdict::Unhealthy]);
}

#[test]
fn an_interval_strays_by_a_tenth_at_most_and_a_start_lies_within_it() {
    let interval = Duration::from_secs(10);
    for _ in 0..1000 {
        let strayed = jittered(interval);
        assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&strayed));
        assert!(somewhere_in(interval) < interval);
    }
}

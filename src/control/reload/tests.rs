//! What a reload shares and what it replaces.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::control::journal::Remembered;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::health::Verdict;
use crate::model::settings::AccessLog;
use crate::model::settings::ControlSettings;
use crate::model::settings::HealthSettings;
use crate::model::settings::Limits;
use crate::model::settings::PreviewSettings;
use crate::model::settings::PromotionSettings;
use crate::model::settings::TimeoutOverrides;
use crate::model::settings::Timeouts;

fn targets(ports: &[u16]) -> Vec<TargetSettings> {
    ports
        .iter()
        .map(|port| TargetSettings {
            address: format!("10.0.0.1:{port}").parse().unwrap(),
            weight: 1,
            backup: false,
        })
        .collect()
}

fn route(host: &str, upstream: &str, response: Option<u64>) -> RouteSettings {
    RouteSettings {
        host: host.parse().unwrap(),
        path: "/".to_owned(),
        upstream: upstream.into(),
        timeouts: TimeoutOverrides {
            response: response.map(Duration::from_secs),
            ..TimeoutOverrides::default()
        },
    }
}

fn settings(blue: &[u16], green: &[u16]) -> Settings {
    let app = UpstreamSettings {
        canary: Arc::default(),
        preview: PreviewSettings::default(),
        skew: None,
        pools: PoolSettings::Coloured {
            blue: targets(blue),
            green: targets(green),
            live: Colour::Blue,
        },
        health: HealthSettings::default(),
        promotion: PromotionSettings::default(),
        timeouts: TimeoutOverrides {
            connect: Some(Duration::from_secs(7)),
            response: Some(Duration::from_secs(8)),
            ..TimeoutOverrides::default()
        },
    };
    let plain = UpstreamSettings { pools: PoolSettings::Single(targets(&[9000])), ..app.clone() };
    Settings {
        listeners: Vec::new(),
        routes: vec![
            route("*", "app", None),
            route("*.example.com", "app", None),
            route("www.example.com", "app", Some(9)),
            route("later.example.com", "app", None),
        ],
        upstreams: BTreeMap::from([("app".into(), app), ("plain".into(), plain)]),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        workers: None,
        trusted_proxies: Vec::new(),
        control: ControlSettings::default(),
        admin: None,
        access_log: AccessLog::default(),
        state_dir: "/nowhere".into(),
        user: None,
    }
}

fn build(settings: Settings, old: Option<&Snapshot>, memory: &[(&str, Colour)]) -> Snapshot {
    let since = SystemTime::UNIX_EPOCH;
    let upstreams = memory
        .iter()
        .map(|(name, live)| {
            let remembered = Remembered { live: *live, previous: Some(live.other()), since };
            ((*name).to_owned(), remembered)
        })
        .collect();
    let memory = Memory { upstreams, ..Memory::default() };
    let key = &Arc::new(SigningKey::new(&[0; 32]));
    let ground = Ground { generation: 1, memory: &memory, old, workers: 2, key, now: since };
    snapshot(Arc::new(settings), ground)
}

fn pool_of(snapshot: &Snapshot, colour: Colour) -> &Arc<Pool> {
    snapshot.upstream("app").unwrap().pool(colour).unwrap()
}

#[test]
fn the_standby_pool_is_born_retired_and_the_live_one_open() {
    let first = build(settings(&[1, 2], &[3]), None, &[]);
    assert!(!pool_of(&first, Colour::Blue).leases().is_retired());
    assert!(pool_of(&first, Colour::Green).leases().is_retired());
    assert!(
        !first
            .upstream("plain")
            .unwrap()
            .pick()
            .leases()
            .is_retired()
    );
}

#[test]
fn the_remembered_colour_wins_over_the_files() {
    let first = build(settings(&[1], &[3]), None, &[("app", Colour::Green)]);
    assert_eq!(first.upstream("app").unwrap().live(), Some(Colour::Green));
    assert!(pool_of(&first, Colour::Blue).leases().is_retired());
    assert!(!pool_of(&first, Colour::Green).leases().is_retired());
}

#[test]
fn unchanged_pools_are_the_same_and_changed_ones_keep_their_known_targets() {
    let first = build(settings(&[1, 2], &[3]), None, &[]);
    let kept = &pool_of(&first, Colour::Blue).targets[1];
    let probe = ProbeRecord {
        at: SystemTime::UNIX_EPOCH,
        outcome: ProbeOutcome::Good(200),
        latency: Duration::ZERO,
    };
    kept.health.record(probe, &HealthSettings::default());
    let second = build(settings(&[2, 4], &[3]), Some(&first), &[]);
    assert!(Arc::ptr_eq(pool_of(&first, Colour::Green), pool_of(&second, Colour::Green)));
    let plain = |snapshot: &Snapshot| Arc::clone(snapshot.upstream("plain").unwrap().pick());
    assert!(Arc::ptr_eq(&plain(&first), &plain(&second)));
    let blue = pool_of(&second, Colour::Blue);
    assert!(!Arc::ptr_eq(pool_of(&first, Colour::Blue), blue));
    assert!(Arc::ptr_eq(kept, &blue.targets[0]), "10.0.0.1:2 moved up in the list");
    assert_eq!(blue.targets[0].health.verdict(), Verdict::Healthy);
    assert_eq!(blue.targets[1].health.verdict(), Verdict::Unknown);
    let gone = replaced(&first, &second);
    assert_eq!(gone.len(), 1);
    assert!(Arc::ptr_eq(&gone[0], pool_of(&first, Colour::Blue)));
}

#[test]
fn another_weight_is_another_target() {
    let first = build(settings(&[1], &[3]), None, &[]);
    let mut heavier = settings(&[1], &[3]);
    let app = heavier.upstreams.get_mut("app").unwrap();
    let PoolSettings::Coloured { blue, .. } = &mut app.pools else { panic!("coloured") };
    blue[0].weight = 2;
    let second = build(heavier, Some(&first), &[]);
    assert_eq!(replaced(&first, &second).len(), 1);
}

#[test]
fn a_route_wins_over_its_upstream_and_that_over_the_file() {
    let snapshot = build(settings(&[1], &[3]), None, &[]);
    let route = snapshot.routes.find("www.example.com", "/").unwrap();
    assert_eq!(route.timeouts.response, Duration::from_secs(9));
    assert_eq!(route.timeouts.connect, Duration::from_secs(7));
    assert_eq!(route.timeouts.send, Timeouts::default().send);
    let upstream = snapshot.upstream("app").unwrap();
    assert_eq!(upstream.public_host.as_deref(), Some("www.example.com"));
    assert_eq!(snapshot.upstream("plain").unwrap().public_host, None);
}

#[test]
fn what_only_a_restart_changes_is_named() {
    let before = settings(&[1], &[3]);
    let mut after = settings(&[1], &[4]);
    assert!(pending_restart(&before, &after).is_empty());
    after.workers = Some(3);
    after.state_dir = "/elsewhere".into();
    after.user = Some("proxy".to_owned());
    assert_eq!(pending_restart(&before, &after), ["workers", "state_dir", "user"]);
}

//! The page as a scraper reads it: parsed strictly, by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::fault::Fault;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::route::Routes;
use crate::model::settings::AccessLog;
use crate::model::settings::ControlSettings;
use crate::model::settings::HealthSettings;
use crate::model::settings::Limits;
use crate::model::settings::PromotionSettings;
use crate::model::settings::Settings;
use crate::model::settings::TargetSettings;
use crate::model::settings::Timeouts;
use crate::model::signed::SigningKey;
use crate::model::split::Split;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        listeners: Vec::new(),
        routes: Vec::new(),
        upstreams: BTreeMap::new(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        workers: None,
        trusted_proxies: Vec::new(),
        control: ControlSettings::default(),
        admin: None,
        access_log: AccessLog::default(),
        state_dir: PathBuf::new(),
        user: None,
    })
}

fn pool(upstream: &str, colour: Option<Colour>, targets: &[&str]) -> Arc<Pool> {
    let target = |address: &&str| {
        let address = address.parse().unwrap();
        Arc::new(Target::new(&TargetSettings { address, weight: 1, backup: false }, 2))
    };
    let targets = targets.iter().map(target).collect();
    Arc::new(Pool::new(upstream.into(), colour, targets, 2))
}

fn upstream(name: &str, pools: Pools) -> Upstream {
    Upstream {
        skew: None,
        warmup: None,
        name: name.into(),
        pools,
        health: HealthSettings::default(),
        public_host: None,
        promotion: PromotionSettings::default(),
        canary: Arc::default(),
        preview_host: None,
        key: Arc::new(SigningKey::new(&[0; 32])),
        orders: Arc::default(),
    }
}

fn coloured(name: &str, blue: &Arc<Pool>, green: &Arc<Pool>) -> Upstream {
    let pools = Pools::Coloured {
        blue: Arc::clone(blue),
        green: Arc::clone(green),
        split: Split::AllTo(Colour::Green),
        since: UNIX_EPOCH,
        previous: None,
    };
    upstream(name, pools)
}

fn snapshot(upstreams: Vec<Upstream>) -> Snapshot {
    Snapshot { generation: 7, routes: Routes::default(), upstreams, settings: settings() }
}

/// `app` with two pools, green live, and the plain `static`.
fn example() -> (Snapshot, Arc<Pool>, Arc<Pool>, Arc<Pool>) {
    let blue = pool("app", Some(Colour::Blue), &["10.0.0.1:80", "10.0.0.2:80"]);
    let green = pool("app", Some(Colour::Green), &["10.0.0.1:81"]);
    let plain = pool("static", None, &["unix:/run/\"odd\\name\".sock"]);
    let upstreams =
        vec![coloured("app", &blue, &green), upstream("static", Pools::Single(Arc::clone(&plain)))];
    (snapshot(upstreams), blue, green, plain)
}

/// Every sample by its name and labels as they stand, after checking the whole page.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut kind, mut helped) = (String::new(), String::new(), String::new());
    let mut seen = Vec::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 10 && help.ends_with('.'), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, what) = rest.split_once(' ').unwrap();
            assert_eq!(helped, name, "HELP stands before TYPE");
            assert!(!seen.contains(&name.to_owned()), "{name} is told twice");
            assert_eq!(name.ends_with("_total"), what == "counter", "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&what), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            (family, kind) = (name.to_owned(), what.to_owned());
            seen.push(family.clone());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let expected = suffixes.iter().map(|suffix| format!("{family}{suffix}"));
            assert!(expected.into_iter().any(|expected| expected == name), "{line} in {family}");
            check_labels(series.strip_prefix(name).unwrap(), line);
            let value = value.parse().unwrap();
            assert_eq!(samples.insert(series.to_owned(), value), None, "{line} is told twice");
        }
    }
    samples
}

fn check_labels(labels: &str, line: &str) {
    const KNOWN: [&str; 10] = [
        "upstream", "colour", "target", "listener", "code", "outcome", "phase", "name", "version",
        "le",
    ];
    let Some(labels) = labels.strip_prefix('{') else { return assert!(labels.is_empty()) };
    let mut rest = labels.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(KNOWN.contains(&name), "{line}");
        let mut escaped = false;
        let end = value.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[test]
fn every_metric_of_the_interface_exists_at_zero_from_the_start() {
    let (snapshot, ..) = example();
    let metrics = Metrics::new("0.1.0");
    drop(metrics.listener("0.0.0.0:443"));
    let page = metrics.render(&snapshot);
    let samples = samples(&page);
    for series in [
        r#"proxy_requests_total{upstream="app",colour="blue",code="200"}"#,
        r#"proxy_requests_total{upstream="app",colour="green",code="503"}"#,
        r#"proxy_requests_total{upstream="static",colour="",code="404"}"#,
        r#"proxy_requests_total{upstream="",colour="",code="308"}"#,
        r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="0.0005"}"#,
        r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="+Inf"}"#,
        r#"proxy_request_duration_seconds_count{upstream="",colour=""}"#,
        r#"proxy_upstream_errors_total{upstream="app",colour="blue",target="10.0.0.2:80",outcome="connect"}"#,
        r#"proxy_retries_total{upstream="app",colour="green"}"#,
        r#"proxy_retries_over_budget_total{upstream="app",colour="green"}"#,
        r#"proxy_fail_open_total{upstream="static",colour=""}"#,
        r#"proxy_target_draining{upstream="app",colour="blue",target="10.0.0.1:80"}"#,
        r#"proxy_target_ejected{upstream="app",colour="blue",target="10.0.0.1:80"}"#,
        r#"proxy_ejections_total{upstream="app",colour="blue",target="10.0.0.2:80"}"#,
        r#"proxy_requests_in_flight{upstream="static",colour=""}"#,
        r#"proxy_live{upstream="app",colour="blue"}"#,
        r#"proxy_probe_duration_seconds_sum{upstream="app",colour="green",target="10.0.0.1:81"}"#,
        r#"proxy_promotions_total{upstream="app",colour="green",outcome="refused"}"#,
        r#"proxy_promotion_seconds_count{upstream="app",phase="drain"}"#,
        r#"proxy_requests_cut_total{upstream="app",colour="blue"}"#,
        r#"proxy_requests_held{upstream="app"}"#,
        r#"proxy_requests_held_total{upstream="static"}"#,
        r#"proxy_connections{listener="0.0.0.0:443"}"#,
        r#"proxy_connections_total{listener="0.0.0.0:443",outcome="accepted"}"#,
        r#"proxy_tls_handshakes_total{listener="0.0.0.0:443",outcome="timeout"}"#,
        r#"proxy_requests_outcome_total{outcome="lost"}"#,
        r#"proxy_client_errors_total{listener="0.0.0.0:443",outcome="malformed"}"#,
        r#"proxy_config_reloads_total{outcome="refused"}"#,
        "proxy_access_log_dropped_total",
        "proxy_history_lost_total",
    ] {
        assert_eq!(samples.get(series), Some(&0.0), "{series}\n{page}");
    }
    for series in [
        r#"proxy_live{upstream="app",colour="green"}"#,
        r#"proxy_live{upstream="static",colour=""}"#,
        r#"proxy_target_healthy{upstream="app",colour="blue",target="10.0.0.1:80"}"#,
        r#"proxy_target_healthy{upstream="static",colour="",target="unix:/run/\"odd\\name\".sock"}"#,
        r#"proxy_build_info{version="0.1.0"}"#,
        "proxy_config_last_reload_successful",
    ] {
        assert_eq!(samples.get(series), Some(&1.0), "{series}\n{page}");
    }
    assert_eq!(samples.get("proxy_generation"), Some(&7.0));
    assert!(samples.contains_key("process_cpu_seconds_total"));
    assert!(samples["process_open_fds"] > 0.0);
    assert!(!page.contains(r#"proxy_promotions_total{upstream="static""#));
}

#[test]
fn what_is_counted_is_told_by_every_worker_together() {
    let (snapshot, blue, green, _) = example();
    let metrics = Metrics::new("0.1.0");
    let workers = [metrics.pool(&blue), metrics.pool(&blue)];
    for worker in &workers {
        worker.answered(200, Duration::from_millis(3));
        worker.retried();
    }
    workers[0].answered(418, Duration::from_secs(90));
    workers[0].answered(999, Duration::ZERO);
    metrics.unrouted().answered(404, Duration::ZERO);
    metrics.target(&blue, &blue.targets[0]).fault(Fault::Reset);
    metrics
        .target(&blue, &blue.targets[0])
        .fault(Fault::ClientGone);
    metrics.outcome(Outcome::Answered);
    metrics.probe("app", Some(Colour::Green), "10.0.0.1:81", Duration::from_millis(1));
    metrics.promotion("app", Colour::Green, PromotionOutcome::Switched);
    metrics.promotion_phase("app", Phase::Gate, Duration::from_secs(2));
    metrics.requests_cut("app", Some(Colour::Blue), 3);
    metrics.reload(false);
    metrics.access_log_dropped(5);
    metrics.history_lost();
    let failed =
        ProbeRecord { at: UNIX_EPOCH, outcome: ProbeOutcome::Refused, latency: Duration::ZERO };
    green.targets[0]
        .health
        .record(failed, &HealthSettings::default());
    let lease = blue.lease(1).unwrap();
    let samples = samples(&metrics.render(&snapshot));
    drop(lease);
    for (series, value) in [
        (r#"proxy_requests_total{upstream="app",colour="blue",code="200"}"#, 2.0),
        (r#"proxy_requests_total{upstream="app",colour="blue",code="418"}"#, 1.0),
        (r#"proxy_requests_total{upstream="app",colour="blue",code="599"}"#, 1.0),
        (r#"proxy_requests_total{upstream="",colour="",code="404"}"#, 1.0),
        (r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="0.0025"}"#, 1.0),
        (r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="0.005"}"#, 3.0),
        (r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="60"}"#, 3.0),
        (r#"proxy_request_duration_seconds_bucket{upstream="app",colour="blue",le="+Inf"}"#, 4.0),
        (r#"proxy_request_duration_seconds_sum{upstream="app",colour="blue"}"#, 90.006),
        (r#"proxy_retries_total{upstream="app",colour="blue"}"#, 2.0),
        (
            r#"proxy_upstream_errors_total{upstream="app",colour="blue",target="10.0.0.1:80",outcome="reset"}"#,
            1.0,
        ),
        (r#"proxy_requests_in_flight{upstream="app",colour="blue"}"#, 1.0),
        (r#"proxy_requests_outcome_total{outcome="answered"}"#, 1.0),
        (r#"proxy_target_healthy{upstream="app",colour="green",target="10.0.0.1:81"}"#, 0.0),
        (
            r#"proxy_probe_duration_seconds_count{upstream="app",colour="green",target="10.0.0.1:81"}"#,
            1.0,
        ),
        (r#"proxy_promotions_total{upstream="app",colour="green",outcome="switched"}"#, 1.0),
        (r#"proxy_promotion_seconds_sum{upstream="app",phase="gate"}"#, 2.0),
        (r#"proxy_requests_cut_total{upstream="app",colour="blue"}"#, 3.0),
        (r#"proxy_config_reloads_total{outcome="refused"}"#, 1.0),
        ("proxy_config_last_reload_successful", 0.0),
        ("proxy_access_log_dropped_total", 5.0),
        ("proxy_history_lost_total", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn what_is_held_is_counted_by_upstream_and_goes_with_it() {
    let (before, blue, green, _) = example();
    let metrics = Metrics::new("0.1.0");
    metrics.follow(&before);
    let workers = [metrics.held("app"), metrics.held("app"), metrics.held("static")];
    workers.iter().for_each(HeldMeters::held);
    workers[1].let_go();
    let told = samples(&metrics.render(&before));
    for (series, value) in [
        (r#"proxy_requests_held{upstream="app"}"#, 1.0),
        (r#"proxy_requests_held_total{upstream="app"}"#, 2.0),
        (r#"proxy_requests_held{upstream="static"}"#, 1.0),
    ] {
        assert_eq!(told.get(series), Some(&value), "{series}");
    }
    let after = snapshot(vec![coloured("app", &blue, &green)]);
    metrics.follow(&after);
    let told = samples(&metrics.render(&after));
    assert_eq!(told[r#"proxy_requests_held{upstream="app"}"#], 1.0);
    assert!(!told.contains_key(r#"proxy_requests_held{upstream="static"}"#));
}

#[test]
fn connections_are_open_until_they_are_dropped() {
    let (snapshot, ..) = example();
    let metrics = Metrics::new("0.1.0");
    let listener = metrics.listener("[::]:80");
    let (first, second) = (listener.accepted(), listener.accepted());
    listener.turned_away(ConnectionOutcome::RefusedLimit);
    listener.handshake(HandshakeOutcome::Ok);
    listener.fault(Fault::BodyTooLarge);
    listener.fault(Fault::Reset);
    drop(first);
    drop(listener); // The worker ends; its counts stay, and so does the connection's.
    let before = samples(&metrics.render(&snapshot));
    assert_eq!(before[r#"proxy_connections{listener="[::]:80"}"#], 1.0);
    drop(second);
    let after = samples(&metrics.render(&snapshot));
    for (series, value) in [
        (r#"proxy_connections{listener="[::]:80"}"#, 0.0),
        (r#"proxy_connections_total{listener="[::]:80",outcome="accepted"}"#, 2.0),
        (r#"proxy_connections_total{listener="[::]:80",outcome="refused_limit"}"#, 1.0),
        (r#"proxy_tls_handshakes_total{listener="[::]:80",outcome="ok"}"#, 1.0),
        (r#"proxy_client_errors_total{listener="[::]:80",outcome="too_large"}"#, 1.0),
    ] {
        assert_eq!(after.get(series), Some(&value), "{series}");
    }
}

#[test]
fn a_new_pool_of_the_same_colour_continues_the_series_and_the_old_one_stays_in_flight() {
    let (before, blue, green, _) = example();
    let metrics = Metrics::new("0.1.0");
    metrics.follow(&before);
    let worker = metrics.pool(&blue);
    worker.answered(200, Duration::ZERO);
    let lease = blue.lease(0).unwrap();
    let fresh = pool("app", Some(Colour::Blue), &["10.0.0.2:80", "10.0.0.3:80"]);
    let after = snapshot(vec![coloured("app", &fresh, &green)]);
    metrics.follow(&after);
    metrics.pool(&fresh).answered(200, Duration::ZERO);
    worker.answered(200, Duration::ZERO);
    let page = metrics.render(&after);
    let samples = samples(&page);
    assert_eq!(samples[r#"proxy_requests_total{upstream="app",colour="blue",code="200"}"#], 3.0);
    assert_eq!(samples[r#"proxy_requests_in_flight{upstream="app",colour="blue"}"#], 1.0);
    drop(lease);
    for gone in ["10.0.0.1:80", "static"] {
        assert!(!page.contains(gone), "{gone}\n{page}");
    }
    assert!(page.contains(r#"target="10.0.0.3:80""#));
}

#[test]
fn names_that_run_together_are_told_apart() {
    let (blue, green) =
        (pool("app", Some(Colour::Blue), &["a:1"]), pool("app", Some(Colour::Green), &["a:2"]));
    let plain = pool("appblue", None, &["a:3"]);
    let snapshot = snapshot(vec![
        coloured("app", &blue, &green),
        upstream("appblue", Pools::Single(Arc::clone(&plain))),
    ]);
    let metrics = Metrics::new("0.1.0");
    metrics.pool(&plain).answered(200, Duration::ZERO);
    let samples = samples(&metrics.render(&snapshot));
    assert_eq!(samples[r#"proxy_requests_total{upstream="appblue",colour="",code="200"}"#], 1.0);
    assert_eq!(samples[r#"proxy_requests_total{upstream="app",colour="blue",code="200"}"#], 0.0);
}

#[test]
fn certificates_are_replaced_as_a_whole() {
    let (snapshot, ..) = example();
    let metrics = Metrics::new("0.1.0");
    let at = |name: &str, seconds| (name.to_owned(), UNIX_EPOCH + Duration::from_secs(seconds));
    metrics.certificates([at("old.example", 1)].into_iter());
    metrics.certificates([at("a.example", 9), at("a.example", 5)].into_iter());
    let page = metrics.render(&snapshot);
    let expiry = r#"proxy_certificate_expiry_timestamp_seconds{name="a.example"}"#;
    assert_eq!(samples(&page)[expiry], 5.0);
    assert!(!page.contains("old.example"));
}

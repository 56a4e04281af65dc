//! What is counted, what is logged, and what the admin listener says.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::Client;
use crate::harness::Health;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;

/// Name, type, labels: to the letter.
const METRICS: [(&str, &str, &[&str]); 22] = [
    ("proxy_requests_total", "counter", &["upstream", "colour", "code"]),
    ("proxy_request_duration_seconds", "histogram", &["upstream", "colour"]),
    ("proxy_upstream_errors_total", "counter", &["upstream", "colour", "target", "outcome"]),
    ("proxy_retries_total", "counter", &["upstream", "colour"]),
    ("proxy_requests_in_flight", "gauge", &["upstream", "colour"]),
    ("proxy_live", "gauge", &["upstream", "colour"]),
    ("proxy_target_healthy", "gauge", &["upstream", "colour", "target"]),
    ("proxy_probe_duration_seconds", "histogram", &["upstream", "colour", "target"]),
    ("proxy_generation", "gauge", &[]),
    ("proxy_promotions_total", "counter", &["upstream", "colour", "outcome"]),
    ("proxy_promotion_seconds", "histogram", &["upstream", "phase"]),
    ("proxy_requests_cut_total", "counter", &["upstream", "colour"]),
    ("proxy_connections", "gauge", &["listener"]),
    ("proxy_connections_total", "counter", &["listener", "outcome"]),
    ("proxy_tls_handshakes_total", "counter", &["listener", "outcome"]),
    ("proxy_requests_accepted_total", "counter", &[]),
    ("proxy_requests_outcome_total", "counter", &["outcome"]),
    ("proxy_client_errors_total", "counter", &["listener", "outcome"]),
    ("proxy_config_reloads_total", "counter", &["outcome"]),
    ("proxy_config_last_reload_successful", "gauge", &[]),
    ("proxy_certificate_expiry_timestamp_seconds", "gauge", &["name"]),
    ("proxy_build_info", "gauge", &["version"]),
];

#[test]
fn every_metric_exists_from_the_start_with_its_type_and_labels() {
    let (_blue, _green, proxy) = app();
    let metrics = proxy.metrics();
    for (name, kind, labels) in METRICS {
        assert_eq!(metrics.types.get(name).map(String::as_str), Some(kind), "{name}");
        assert!(metrics.helps.get(name).is_some_and(|help| help.len() > 8), "help of {name}");
        let series = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let found = metrics.matching(&series, &[]);
        assert!(!found.is_empty(), "{name} has no series");
        let expected: BTreeSet<&str> = labels.iter().copied().collect();
        for one in found {
            let has: BTreeSet<&str> = one.labels.keys().map(String::as_str).collect();
            assert_eq!(has, expected, "{name}");
        }
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(metrics.types.contains_key(name), "{name}");
    }
}

#[test]
fn both_colours_are_there_at_zero() {
    let (_blue, green, proxy) = app();
    let metrics = proxy.metrics();
    let target = green.address.to_string();
    assert_eq!(metrics.value("proxy_live", &[("upstream", "app"), ("colour", "blue")]), 1.0);
    assert_eq!(metrics.value("proxy_live", &[("upstream", "app"), ("colour", "green")]), 0.0);
    for outcome in ["connect", "timeout", "reset", "protocol"] {
        let labels = [("target", target.as_str()), ("colour", "green"), ("outcome", outcome)];
        assert_eq!(metrics.value("proxy_upstream_errors_total", &labels), 0.0);
    }
    for outcome in ["switched", "refused", "cut"] {
        let labels = [("upstream", "app"), ("colour", "green"), ("outcome", outcome)];
        assert_eq!(metrics.value("proxy_promotions_total", &labels), 0.0);
    }
    for phase in ["gate", "switch", "drain"] {
        let labels = [("upstream", "app"), ("phase", phase)];
        assert_eq!(metrics.value("proxy_promotion_seconds_count", &labels), 0.0);
    }
    let outcomes = metrics.matching("proxy_requests_outcome_total", &[]);
    assert!(outcomes.len() >= 8 && outcomes.iter().all(|series| series.value == 0.0));
}

#[test]
fn requests_are_counted_once_by_colour_code_and_outcome() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    for _ in 0..3 {
        client.get("/").expect(200);
    }
    client.get("/status?code=404").expect(404);
    proxy.h2().get("/").expect(200);
    proxy.promote("green");
    client.get("/").expect(200);
    blue.kill();
    let count = |colour, code| {
        let labels = [("upstream", "app"), ("colour", colour), ("code", code)];
        proxy.metrics().sum("proxy_requests_total", &labels)
    };
    eventually("all are booked", || count("green", "200") == 1.0);
    assert_eq!(count("blue", "200"), 4.0);
    assert_eq!(count("blue", "404"), 1.0);
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("proxy_requests_outcome_total", &[("outcome", "answered")]), 6.0);
    assert_eq!(metrics.sum("proxy_requests_outcome_total", &[]), 6.0, "each in exactly one");
    let durations = metrics.sum("proxy_request_duration_seconds_count", &[("upstream", "app")]);
    assert_eq!(durations, 6.0);
}

#[test]
fn what_the_proxy_answers_itself_has_no_upstream() {
    let routes = serde_json::json!({ "routes": [{ "host": "only.test", "upstream": "app" }] });
    let (_blue, _green, proxy) = app_with(&routes);
    proxy.http().get("/").expect(404);
    let labels = [("upstream", ""), ("colour", ""), ("code", "404")];
    eventually("it is booked", || proxy.metrics().sum("proxy_requests_total", &labels) == 1.0);
    let replied = [("outcome", "replied")];
    assert_eq!(
        proxy
            .metrics()
            .sum("proxy_requests_outcome_total", &replied),
        1.0
    );
}

#[test]
fn promotions_are_counted_and_timed() {
    let (blue, green, proxy) = app();
    green.health(Health::Status(503));
    proxy
        .ctl(["promote", "green", "--gate-timeout", "1s"])
        .expect(1);
    green.health(Health::Status(200));
    let generation = proxy.metrics().value("proxy_generation", &[]);
    proxy.promote("green");
    let metrics = proxy.metrics();
    let promotions = |outcome| {
        metrics.value("proxy_promotions_total", &[("colour", "green"), ("outcome", outcome)])
    };
    assert_eq!((promotions("switched"), promotions("refused"), promotions("cut")), (1.0, 1.0, 0.0));
    assert_eq!(metrics.value("proxy_generation", &[]), generation + 1.0);
    assert_eq!(metrics.value("proxy_live", &[("colour", "green")]), 1.0);
    assert_eq!(metrics.value("proxy_live", &[("colour", "blue")]), 0.0);
    for phase in ["switch", "drain"] {
        let count = metrics.value("proxy_promotion_seconds_count", &[("phase", phase)]);
        assert_eq!(count, 1.0, "{phase}");
    }
    let address = blue.address.to_string();
    let healthy = [("target", address.as_str())];
    assert_eq!(metrics.value("proxy_target_healthy", &healthy), 1.0);
    assert!(metrics.value("proxy_probe_duration_seconds_count", &healthy) > 0.0);
}

#[test]
fn connections_and_certificates_are_counted() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.https();
    client.get("/").expect(200);
    let metrics = proxy.metrics();
    assert!(metrics.sum("proxy_connections", &[]) >= 1.0);
    assert!(metrics.sum("proxy_connections_total", &[]) >= 1.0);
    assert!(metrics.sum("proxy_tls_handshakes_total", &[]) >= 1.0);
    let expiry = metrics.sum("proxy_certificate_expiry_timestamp_seconds", &[]);
    assert!(expiry > 1_700_000_000.0, "{expiry}");
}

#[test]
fn the_admin_listener_answers_its_four_paths_and_no_other() {
    let (_blue, _green, proxy) = app();
    let mut admin = Client::plain(proxy.admin_address(), "admin").unwrap();
    admin.get("/healthz").expect(200);
    admin.get("/readyz").expect(200);
    let status = admin.get("/status").expect(200).json();
    assert_eq!(status["upstreams"]["app"]["live"], "blue");
    let metrics = admin.get("/metrics").expect(200);
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    admin.get("/v1/promote").expect(404);
    admin.get("/").expect(404);
    assert!(!(200..300).contains(&admin.post("/status", b"").status));
}

/// The line of the access log about this path.
fn logged(proxy: &crate::harness::Proxy, path: &str) -> String {
    crate::harness::eventually_some("the request is logged", || {
        proxy
            .access_log()
            .into_iter()
            .find(|line| line.contains(path))
    })
}

#[test]
fn a_line_of_the_access_log_says_all_of_a_request() {
    let (blue, _green, proxy) = app();
    proxy
        .http()
        .request("GET", "/line?secret=1", &[("X-Request-ID", "abc-123")], b"")
        .expect(200);
    let line = logged(&proxy, "/line");
    let entry: Value = serde_json::from_str(&line).unwrap();
    assert!(entry.is_object());
    for known in ["blue", "200", "GET", "app.test", "127.0.0.1", "abc-123", "answered"] {
        assert!(line.contains(known), "{known} in {line}");
    }
    assert!(line.contains(&blue.address.to_string()), "{line}");
    assert_eq!(entry["colour"], "blue", "{line}");
    assert_eq!(entry["upstream"], "app", "{line}");
    assert_eq!(entry["status"], 200, "{line}");
    assert_eq!(entry["attempts"], 1, "{line}");
}

#[test]
fn the_access_log_says_why_a_request_failed() {
    let (_blue, _green, proxy) = app();
    proxy.http().get("/reset").expect(502);
    let line = logged(&proxy, "/reset");
    assert!(line.contains("502") && line.contains("reset"), "{line}");
    assert!(line.contains("upstream_fault"), "{line}");
}

#[test]
fn the_combined_format_is_what_log_readers_know() {
    let (blue, green) =
        (crate::harness::Origin::start("blue-1"), crate::harness::Origin::start("green-1"));
    let setup = crate::harness::Proxy::setup()
        .blue(&[&blue])
        .green(&[&green]);
    let to = setup.folder().join("access.log");
    let log = serde_json::json!({ "access_log": { "to": to, "format": "combined" } });
    let proxy = setup.with(&log).start();
    let fields = [("User-Agent", "tests/1"), ("Referer", "http://a/")];
    proxy
        .http()
        .request("GET", "/line", &fields, b"")
        .expect(200);
    let line = logged(&proxy, "/line");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /line HTTP/1.1\" 200 "), "{line}");
    assert!(line.contains("\"http://a/\" \"tests/1\""), "{line}");
}

#[test]
fn sigusr1_reopens_the_log() {
    let (_blue, _green, proxy) = app();
    proxy.http().get("/before").expect(200);
    logged(&proxy, "/before");
    let (log, rotated) = (proxy.file("access.log"), proxy.file("access.log.1"));
    std::fs::rename(&log, &rotated).unwrap();
    proxy.signal(Signal::USR1);
    eventually("a new file is opened", || log.exists());
    proxy.http().get("/after").expect(200);
    logged(&proxy, "/after");
    assert!(!std::fs::read_to_string(rotated).unwrap().contains("/after"));
}

#[test]
fn a_client_cannot_forge_a_line_of_the_log() {
    let (_blue, _green, proxy) = app();
    proxy
        .http()
        .request("GET", "/a%0a\"forged", &[("User-Agent", "x\\\"y\t")], b"");
    let line = logged(&proxy, "forged");
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
}

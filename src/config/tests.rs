//! The file, the schema and the manual against each other.

mod manual;
mod problems;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use serde_json::json;

use crate::config::file;
use crate::config::read::Known;
use crate::config::schema;
use crate::config::written;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::settings::Limits;
use crate::model::settings::LogDestination;
use crate::model::settings::LogFormat;
use crate::model::settings::PoolSettings;
use crate::model::settings::Settings;
use crate::model::settings::Sticky;
use crate::model::settings::TimeoutOverrides;
use crate::model::settings::Timeouts;

/// A file with every key of the format in it; as JSON, which is YAML.
const EVERYTHING: &str = r#"{
  "listeners": [
    {"bind": "[::]:80", "redirect_to_https": true},
    {"bind": "0.0.0.0:443", "tls": {"certificates": [{"cert": "a.pem", "key": "/keys/a.pem"}]}}
  ],
  "routes": [{
    "upstream": "app", "host": "*.example.com", "path": "/api",
    "timeouts": {"request_body": "1s", "send": "2s", "connect": "3s", "response": "4s", "tunnel": "5s"}
  }],
  "upstreams": {
    "app": {
      "blue": ["10.0.0.1:80", {"address": "unix:b.sock", "weight": 3, "backup": true}],
      "green": ["app.internal:8081"], "live": "green",
      "health": {
        "path": "/health?x=1", "expect": [200, "202-204"], "interval": "500ms", "timeout": "1s",
        "rise": 2, "fall": 4, "host": "www.example.com", "build_header": "X-Build"
      },
      "promotion": {"gate_timeout": "2m", "drain_timeout": "1h", "rescue": "on", "warmup": {
        "paths": ["/"], "requests": 9, "rate": 8, "within": 2, "timeout": "7s", "connections": 0
      }, "bake": "5m", "on_fail": "freeze", "hold": "10m", "close_jitter": "3s"},
      "canary": {
        "sticky": "cookie", "cookie": "who",
        "pins": [{"header": "X-Tester", "value": 1}, {"cookie": "t", "value": "no", "colour": "blue"}]
      },
      "preview": {"host": "Preview.example.com"},
      "skew": {"paths": ["/assets/*", "*.js"]},
      "timeouts": {"response": "9s"}
    },
    "plain": {"targets": ["10.0.0.2:80"]}
  },
  "timeouts": {
    "tls_handshake": "1s", "request_header": "2s", "request_body": "3s", "idle": "4s", "send": "5s",
    "connect": "6s", "response": "7s", "tunnel": "8s", "shutdown": "9s"
  },
  "limits": {
    "request_header": "32768B", "request_headers": 50, "request_body": "1MiB",
    "request_body_rate": "1KiB", "request_body_grace": "7s", "http2_streams": 9,
    "connections": 10, "connections_per_address": 5, "requests": 8, "requests_per_address": 4,
    "paused": 6, "idle_upstream_connections": 0
  },
  "workers": 3, "trusted_proxies": ["10.0.0.0/8", "::1"],
  "control": {"socket": "c.sock", "mode": "0600"}, "admin": {"bind": "127.0.0.1:9090"},
  "access_log": {"to": "access.log", "format": "combined"},
  "state_dir": "state", "user": "proxyd"
}"#;

const SMALLEST: &str = r#"{
  "listeners": [{"bind": "127.0.0.1:80"}], "routes": [{"upstream": "app"}],
  "upstreams": {"app": {"blue": ["10.0.0.1:80"], "green": ["10.0.0.2:80"]}}
}"#;

fn settings(text: &str) -> Settings {
    match file::parse(text, Path::new("/etc/proxyd/proxy.yaml")) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!(
            "{}",
            problems
                .iter()
                .map(|p| format!("{p}\n"))
                .collect::<String>()
        ),
    }
}

fn root() -> Json {
    serde_json::from_str(&schema::json()).unwrap()
}

/// The section that a schema stands for: itself, or what it refers to.
fn section<'s>(root: &'s Json, schema: &'s Json) -> Option<(String, &'s Json)> {
    let reference = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str());
    let name = reference?.rsplit('/').next()?;
    Some((name.to_owned(), &root["definitions"][name]))
}

#[test]
fn every_key_of_the_schema_is_read_and_every_key_that_is_read_is_in_the_schema() {
    let read: &[(&str, &[Known])] = &[
        ("Listener", written::Listener::KEYS),
        ("Tls", written::Tls::KEYS),
        ("Certificate", written::Certificate::KEYS),
        ("Route", written::Route::KEYS),
        ("Upstream", written::Upstream::KEYS),
        ("Target", written::Target::KEYS),
        ("Health", written::Health::KEYS),
        ("Promotion", written::Promotion::KEYS),
        ("Warmup", written::Warmup::KEYS),
        ("Canary", written::Canary::KEYS),
        ("Pin", written::Pin::KEYS),
        ("Preview", written::Preview::KEYS),
        ("Skew", written::Skew::KEYS),
        ("Timeouts", written::Timeouts::KEYS),
        ("TimeoutOverrides", written::TimeoutOverrides::KEYS),
        ("Limits", written::Limits::KEYS),
        ("Control", written::Control::KEYS),
        ("Admin", written::Admin::KEYS),
        ("AccessLog", written::AccessLog::KEYS),
    ];
    let root = root();
    assert_eq!(root["definitions"].as_object().unwrap().len(), read.len());
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let top = ("Proxy", written::Proxy::KEYS);
    for (name, keys) in read.iter().copied().chain([top]) {
        let schema = if name == "Proxy" { &root } else { &root["definitions"][name] };
        let properties: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(properties, keys.iter().map(|key| key.name).collect(), "{name}");
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let must = keys
            .iter()
            .filter(|key| key.required)
            .map(|key| json!(key.name));
        assert_eq!(
            required
                .iter()
                .map(Json::to_string)
                .collect::<BTreeSet<_>>(),
            must.map(|key| key.to_string()).collect::<BTreeSet<_>>(),
            "{name}"
        );
        assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        known.extend(
            keys.iter()
                .map(|key| (name.to_owned(), key.name.to_owned())),
        );
    }
    // And a file in which each of them stands is accepted.
    settings(EVERYTHING);
    let mut used = BTreeSet::new();
    use_keys(&root, ("Proxy", &root), &serde_json::from_str(EVERYTHING).unwrap(), &mut used);
    assert_eq!(used, known);
}

/// Notes every key of `value` with the section of the schema it belongs to.
fn use_keys(root: &Json, at: (&str, &Json), value: &Json, used: &mut BTreeSet<(String, String)>) {
    let (name, schema) = at;
    if let Some((name, section)) = section(root, schema) {
        return use_keys(root, (&name, section), value, used);
    }
    for branch in schema["anyOf"].as_array().into_iter().flatten() {
        let fits = section(root, branch).is_some() == value.is_object();
        if fits {
            use_keys(root, (name, branch), value, used);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        use_keys(root, (name, &schema["items"]), item, used);
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        if schema["additionalProperties"].is_object() {
            use_keys(root, (name, &schema["additionalProperties"]), item, used);
        } else if schema["properties"][key].is_object() {
            used.insert((name.to_owned(), key.clone()));
            use_keys(root, (name, &schema["properties"][key]), item, used);
        }
    }
}

#[test]
fn every_key_means_what_it_says() {
    let all = settings(EVERYTHING);
    check_upstream_and_listener(&all);
    assert_eq!(all.workers, Some(3));
    assert_eq!(all.control.mode, 0o600);
    assert_eq!(all.control.socket, Path::new("/etc/proxyd/c.sock"));
    assert_eq!(all.state_dir, Path::new("/etc/proxyd/state"));
    let seconds = Duration::from_secs;
    let timeouts = Timeouts {
        tls_handshake: seconds(1),
        request_header: seconds(2),
        request_body: seconds(3),
        idle: seconds(4),
        send: seconds(5),
        connect: seconds(6),
        response: seconds(7),
        tunnel: seconds(8),
        shutdown: seconds(9),
    };
    assert_eq!(all.timeouts, timeouts);
    let limits = Limits {
        request_header: 32768,
        request_headers: 50,
        request_body: Some(1 << 20),
        request_body_rate: std::num::NonZeroU64::new(1 << 10),
        request_body_grace: seconds(7),
        http2_streams: 9,
        connections: 10,
        connections_per_address: 5,
        requests: 8,
        requests_per_address: 4,
        paused: 6,
        idle_upstream_connections: 0,
    };
    assert_eq!(all.limits, limits);
    let overrides = TimeoutOverrides {
        request_body: Some(seconds(1)),
        send: Some(seconds(2)),
        connect: Some(seconds(3)),
        response: Some(seconds(4)),
        tunnel: Some(seconds(5)),
    };
    assert_eq!(all.routes[0].timeouts, overrides);
    assert_eq!(all.access_log.format, LogFormat::Combined);
    assert_eq!(all.access_log.to, LogDestination::File("/etc/proxyd/access.log".into()));
    assert_eq!(all.user.as_deref(), Some("proxyd"));
    assert_eq!(all.trusted_proxies[1].to_string(), "::1/128");
}

fn check_upstream_and_listener(all: &Settings) {
    let app = &all.upstreams["app"];
    let PoolSettings::Coloured { blue, green, live } = &app.pools else { panic!("{app:?}") };
    assert_eq!(*live, Colour::Green);
    assert_eq!(blue[1].address.to_string(), "unix:/etc/proxyd/b.sock");
    assert_eq!((blue[1].weight, blue[1].backup), (3, true));
    assert_eq!(green[0].address.to_string(), "app.internal:8081");
    assert_eq!(app.health.expect, vec![200..=200, 202..=204]);
    assert_eq!(app.health.interval.as_millis(), 500);
    assert_eq!(app.health.build_header.as_deref(), Some("x-build"));
    assert_eq!(app.promotion.drain_timeout.as_secs(), 3600);
    assert_eq!((app.canary.sticky, &*app.canary.cookie), (Sticky::Cookie, "who"));
    assert_eq!(app.canary.pins[1].colour, Some(Colour::Blue));
    assert_eq!(app.preview.host.as_deref(), Some("preview.example.com"));
    assert!(app.promotion.rescue);
    let warmup = app.promotion.warmup.as_ref().unwrap();
    assert_eq!((warmup.requests, warmup.within, warmup.timeout.as_secs()), (9, 200, 7));
    let skew = app.skew.as_ref().unwrap();
    assert!(skew.covers(b"GET", b"/a.js") && skew.paths.len() == 2);
    assert_eq!((app.promotion.bake.as_secs(), app.promotion.hold.as_secs()), (300, 600));
    assert_eq!(app.promotion.on_fail, OnFail::Freeze);
    assert_eq!(app.promotion.close_jitter.as_secs(), 3);
    let certificate = &all.listeners[1].tls.as_ref().unwrap()[0];
    assert_eq!(certificate.cert, Path::new("/etc/proxyd/a.pem"));
    assert_eq!(certificate.key, Path::new("/keys/a.pem"));
    assert_eq!(certificate.place, "listeners[1].tls.certificates[0]");
}

/// Puts every default that a section's schema names into `value`, and does so below.
fn fill(root: &Json, schema: &Json, value: &mut Json) {
    let properties = schema["properties"].as_object().unwrap();
    for (key, property) in properties {
        if let Some(default) = property.get("default") {
            if value.get(key).is_none() {
                value[key] = default.clone();
            }
        } else if let Some((_, section)) = section(root, property)
            && section["required"].is_null()
        {
            value[key] = value.get(key).cloned().unwrap_or(json!({}));
            fill(root, section, &mut value[key]);
        }
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_model() {
    let root = root();
    let mut full: Json = serde_json::from_str(SMALLEST).unwrap();
    fill(&root, &root["definitions"]["Upstream"], &mut full["upstreams"]["app"]);
    fill(&root, &root["definitions"]["Route"], &mut full["routes"][0]);
    fill(&root, &root["definitions"]["Listener"], &mut full["listeners"][0]);
    fill(&root, &root, &mut full);
    let long = json!({"to": "stdout", "format": "json"});
    assert_eq!(settings(&full.to_string()), settings(SMALLEST));
    full["access_log"] = long;
    assert_eq!(full["upstreams"]["app"]["promotion"]["gate_timeout"], "100s");
    assert_eq!(settings(&full.to_string()), settings(SMALLEST));
}

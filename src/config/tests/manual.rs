//! The manual and the examples say what the program knows.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::SMALLEST;
use super::root;
use super::settings;
use crate::config::file;
use crate::model::colour::Colour;
use crate::model::settings::PoolSettings;

/// The headings under which the manual explains each section.
const HEADINGS: &[(&str, &str)] = &[
    ("Proxy", "## The file"),
    ("Listener", "## A listener"),
    ("Tls", "### TLS"),
    ("Certificate", "### A certificate"),
    ("Route", "## A route"),
    ("Upstream", "## An upstream"),
    ("Target", "### A target"),
    ("Health", "### Health"),
    ("Promotion", "### Promotion"),
    ("Warmup", "### Warm-up"),
    ("Skew", "### Skew"),
    ("Canary", "### Canary"),
    ("Pin", "### A pin"),
    ("Preview", "### Preview"),
    ("Timeouts", "## Timeouts"),
    ("TimeoutOverrides", "### Timeouts of an upstream or a route"),
    ("Limits", "## Limits"),
    ("Control", "## Control"),
    ("Admin", "## Admin"),
    ("AccessLog", "## Access log"),
];

#[test]
fn the_manual_explains_every_key_with_its_default() {
    let manual = fs::read_to_string(top("docs/CONFIGURATION.md")).unwrap();
    let root = root();
    assert_eq!(HEADINGS.len(), root["definitions"].as_object().unwrap().len() + 1);
    for (name, heading) in HEADINGS {
        let schema = if *name == "Proxy" { &root } else { &root["definitions"][name] };
        let begin = format!("\n{heading}\n");
        let (_, text) = manual
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no {heading}"));
        let text = text.split("\n#").next().unwrap();
        for (key, property) in schema["properties"].as_object().unwrap() {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("{heading}: no row for {key}"));
            if let Some(default) = property.get("default") {
                let plain = default.as_str().map_or(default.to_string(), str::to_owned);
                let shown = row.split('|').nth(2).unwrap().replace(['`', '"'], "");
                assert_eq!(shown.trim(), plain, "{heading}: {key}");
            }
        }
    }
}

fn top(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

#[test]
fn the_example_for_one_machine_loads() {
    let loaded = file::load(&top("proxy.yaml")).unwrap();
    let binds: Vec<String> = loaded
        .settings
        .listeners
        .iter()
        .map(|l| l.bind.to_string())
        .collect();
    assert_eq!(binds, ["0.0.0.0:80", "0.0.0.0:443"]);
    let names = ["certs-example/localhost-key.pem", "certs-example/localhost.pem", "proxy.yaml"];
    assert_eq!(loaded.watched(), names.map(top));
    assert_eq!(loaded.settings.admin.unwrap().to_string(), "127.0.0.1:9090");
    // What it spells out are the defaults.
    let smallest = settings(SMALLEST);
    assert_eq!(loaded.settings.timeouts, smallest.timeouts);
    assert_eq!(loaded.settings.limits, smallest.limits);
    assert_eq!(loaded.settings.control, smallest.control);
    assert_eq!(loaded.settings.state_dir, smallest.state_dir);
    assert_eq!(loaded.settings.upstreams["app"].health, smallest.upstreams["app"].health);
}

#[test]
fn every_key_that_the_example_comments_out_is_one() {
    let text = fs::read_to_string(top("proxy.yaml")).unwrap();
    let keys = ["# host: www", "# build_header:", "# pins:", "# preview:", "# timeouts: {response"];
    for key in keys.into_iter().chain(["# user:"]) {
        assert!(text.contains(key), "{key}");
        let with = text.replace(key, key.trim_start_matches("# "));
        file::parse(&with, &top("proxy.yaml")).unwrap();
    }
}

#[test]
fn the_example_for_two_hosts_loads() {
    let settings = file::load(&top("examples/momo.yaml")).unwrap().settings;
    let app = &settings.upstreams["app"];
    let PoolSettings::Coloured { blue, green, live: Colour::Blue } = &app.pools else {
        panic!("{app:?}");
    };
    let addresses = |pool: &[crate::model::settings::TargetSettings]| {
        pool.iter()
            .map(|target| target.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(blue), ["10.0.0.11:8080", "10.0.0.12:8080"]);
    assert_eq!(addresses(green), ["10.0.0.11:8081", "10.0.0.12:8081"]);
    assert_eq!(app.health.path, "/actuator/health");
    assert_eq!(settings.routes[0].host.to_string(), "dev-api.moyeora.site");
}

#[test]
fn the_smallest_file_of_the_manual_loads() {
    let manual = fs::read_to_string(top("docs/CONFIGURATION.md")).unwrap();
    let yaml = manual
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    settings(yaml);
}

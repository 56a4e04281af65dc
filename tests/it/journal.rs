//! What is remembered: the live colour survives a stop, a kill at any instant, and damaged files;
//! what cannot be remembered is not done.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::Health;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;
use crate::harness::wait::pause;

fn state_files(proxy: &Proxy) -> Vec<PathBuf> {
    let entries = fs::read_dir(proxy.file("state")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

#[test]
fn the_live_colour_survives_a_restart() {
    let (_blue, _green, mut proxy) = app();
    proxy.promote("green");
    let (generation, since) = (proxy.generation(), proxy.app()["since"].clone());
    proxy.restart();
    assert_eq!(proxy.colour(), "green");
    assert!(proxy.generation() >= generation);
    assert_eq!(proxy.app()["since"], since);
    proxy.ctl(["rollback"]).expect(0);
    proxy.restart();
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn the_live_key_counts_only_at_the_very_first_start() {
    let (_blue, _green, mut proxy) = app();
    proxy.promote("green");
    proxy.rewrite_config(&serde_json::json!({ "upstreams": { "app": { "live": "blue" } } }));
    proxy.restart();
    assert_eq!(proxy.colour(), "green");
}

#[test]
fn killed_at_any_instant_it_restarts_with_a_colour_that_had_passed_its_gate() {
    let (_blue, green, mut proxy) = app();
    for nth in 0..50 {
        let green_is_good = nth % 2 == 0;
        green.health(Health::Status(if green_is_good { 200 } else { 503 }));
        let before = proxy.live();
        let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
        pause(Duration::from_millis(fastrand::u64(0..150)));
        proxy.kill9();
        let mut switched = false;
        while let Some((_, line)) = promote.line() {
            switched |= line.contains("\"switched\"") || line.contains("\"already\":true");
        }
        promote.finish();
        proxy.start_again();
        let after = proxy.live();
        if before == "blue" && !green_is_good {
            assert_eq!(after, "blue", "green never passed a gate");
        }
        if switched {
            assert_eq!(after, "green", "what was answered is durable");
        }
        assert_eq!(proxy.colour(), after);
        if after == "green" {
            proxy.ctl(["rollback"]).expect(0);
        }
    }
}

#[test]
fn a_proxy_killed_within_its_drain_restarts_with_the_new_colour() {
    let (blue, _green, mut proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/hold", &[], b"");
    blue.wait_until_held(1);
    let mut promote = proxy.ctl_start(["promote", "green", "--json"]);
    promote.event("draining");
    proxy.kill9();
    assert_eq!(promote.finish().code, 7);
    proxy.start_again();
    assert_eq!(proxy.colour(), "green");
    assert!(proxy.app()["promotion"].is_null());
}

#[test]
fn one_damaged_copy_is_as_good_as_none() {
    let (_blue, _green, mut proxy) = app();
    proxy.promote("green");
    let count = state_files(&proxy).len();
    assert!(count >= 2, "the state is kept in two copies");
    for nth in 0..count {
        proxy.stop();
        let files = state_files(&proxy);
        let damaged = &files[nth.min(files.len() - 1)];
        let text = fs::read(damaged).unwrap();
        let damage: &[u8] = match nth % 3 {
            0 => b"",
            1 => b"\0\0\0\0 not what was written",
            _ => &text[..text.len() / 2],
        };
        fs::write(damaged, damage).unwrap();
        proxy.start_again();
        assert_eq!(proxy.colour(), "green", "with {} damaged", damaged.display());
    }
}

#[test]
fn when_every_copy_is_damaged_the_healthy_colour_is_preferred_loudly() {
    for healthy in ["blue", "green"] {
        let (blue, green, mut proxy) = app();
        proxy.promote("green");
        proxy.stop();
        for file in state_files(&proxy) {
            fs::write(file, b"damaged").unwrap();
        }
        let sick = if healthy == "blue" { &green } else { &blue };
        sick.health(Health::Status(503));
        proxy.start_again();
        assert_eq!(proxy.colour(), healthy);
        let stderr = proxy.stderr();
        assert!(stderr.contains("ERROR") && stderr.contains("damaged"), "{stderr}");
        sick.health(Health::Status(200));
    }
}

#[test]
fn what_cannot_be_made_durable_is_not_done() {
    let (_blue, _green, proxy) = app();
    let generation = proxy.generation();
    let (state, aside) = (proxy.file("state"), proxy.file("aside"));
    fs::rename(&state, &aside).unwrap();
    fs::write(&state, "a file where the folder was").unwrap();
    let output = proxy.ctl(["promote", "green"]).expect(8);
    assert!(output.stderr.contains("state"), "{}", output.stderr);
    assert_eq!(proxy.colour(), "blue");
    assert_eq!(proxy.generation(), generation);
    fs::remove_file(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    proxy.promote("green");
}

#[test]
fn a_full_disk_refuses_the_promote_and_changes_nothing() {
    let (_blue, _green, mut proxy) = app();
    let state = proxy.file("state");
    let Some(_mounted) = SmallDisk::over(&state) else { return };
    proxy.stop();
    proxy.start_again();
    fill(&state.join("filler"));
    let output = proxy.ctl(["promote", "green"]).expect(8);
    assert!(!output.stderr.is_empty());
    assert_eq!(proxy.colour(), "blue");
    fs::remove_file(state.join("filler")).unwrap();
    proxy.promote("green");
    proxy.stop();
}

/// A disk of a few pages, where the tests may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(folder: &std::path::Path) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=32k", "tmpfs"])
            .arg(folder);
        let output = mount.output().ok()?;
        output.status.success().then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .ok();
    }
}

fn fill(file: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(file).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

#[test]
fn a_state_of_upstreams_that_are_gone_or_new_does_not_matter() {
    let (_blue, _green, mut proxy) = app();
    proxy.promote("green");
    let other = crate::harness::Origin::start("other-1");
    let upstream = serde_json::json!({ "targets": [other.address.to_string()] });
    proxy.rewrite_config(&serde_json::json!({ "upstreams": { "more": upstream } }));
    eventually("it is applied", || proxy.status()["upstreams"]["more"].is_object());
    proxy.restart();
    assert_eq!(proxy.colour(), "green");
}

//! The laws of the layout, as a test: who may import whom, how long a file may grow, and where each
//! outside crate may be named. `docs/ARCHITECTURE.md` explains them; this file enforces them.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources should stop")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may import. Lower rooms come first; a cycle cannot be written down.
const ROOMS: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("model", &["sync"]),
    ("config", &["model"]),
    ("net", &["sync"]),
    ("http1", &["model"]),
    ("observe", &["model"]),
    ("proxy", &["sync", "model", "net", "http1", "observe"]),
    ("control", &["sync", "model", "config", "net", "observe"]),
    ("cli", &["model", "config", "control"]),
    ("daemon", &["sync", "model", "config", "net", "http1", "observe", "proxy", "control"]),
];

/// Each outside crate and the only files that may name it.
const DOORWAYS: &[(&str, &[&str])] = &[
    ("arc_swap", &["src/sync/published.rs"]),
    ("aws_lc_rs", &["src/net/stream/records.rs", "src/net/stream/testing.rs", "src/net/tls.rs"]),
    ("notify", &["src/config/watch.rs"]),
    ("serde_yaml", &["src/config/file.rs"]),
    ("prometheus", &["src/observe/metrics/exposition.rs"]),
    ("hmac", &["src/model/signed.rs"]),
    ("data_encoding", &["src/model/signed.rs"]),
    ("wide", &["src/http1/scan.rs"]),
];

/// The only file that may replace the snapshot.
const WRITER: &str = "src/control/supervisor/mod.rs";

const LINES_PER_FILE_MAX: usize = 400;

#[test]
fn rooms_import_only_the_rooms_below_them() {
    for (at, (room, may_import)) in ROOMS.iter().enumerate() {
        for lower in *may_import {
            let position = ROOMS.iter().position(|(name, _)| name == lower);
            assert!(
                position.is_some_and(|p| p < at),
                "{room} lists {lower}, which is not below it"
            );
        }
        for file in rust_files(&Path::new("src").join(room)) {
            // A grouped import would hide a room from the check below.
            assert_never_named(&file, &["use crate::{".to_owned()]);
            let above = ROOMS
                .iter()
                .filter(|(other, _)| other != room && !may_import.contains(other));
            for (other, _) in above {
                assert_never_named(
                    &file,
                    &[format!("crate::{other}::"), format!("crate::{other};")],
                );
            }
        }
    }
}

#[test]
fn outside_crates_come_in_by_one_door() {
    for file in rust_files(Path::new("src")) {
        let closed = DOORWAYS
            .iter()
            .filter(|(_, doors)| doors.iter().all(|d| Path::new(d) != file));
        for (outside, _) in closed {
            // A word of its own: `notify::` must not match `sd_notify::`.
            assert_never_named(
                &file,
                &[
                    format!(" {outside}::"),
                    format!("({outside}::"),
                    format!("<{outside}::"),
                    format!("&{outside}::"),
                ],
            );
        }
    }
}

#[test]
fn only_the_supervisor_publishes() {
    for file in rust_files(Path::new("src")) {
        if file == Path::new(WRITER) {
            continue;
        }
        // Who does not own this type cannot publish a snapshot.
        assert_never_named(&file, &["Publisher<Snapshot>".to_owned()]);
        // Cells of their own: `sync` is the means, a target's addresses, a listener's certificates.
        let own = ["src/sync", "src/model", "src/net"];
        if !own.iter().any(|room| file.starts_with(room)) {
            assert_never_named(&file, &[".publish(".to_owned()]);
        }
    }
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_PER_FILE_MAX, "{}: {lines} lines", file.display());
        assert!(text.starts_with("//! "), "{}: opens without a `//!` sentence", file.display());
        assert!(!text.contains("FIXME"), "{}: leftover FIXME", file.display());
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found }; // a room that is not built yet
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn assert_never_named(file: &Path, names: &[String]) {
    let text = fs::read_to_string(file).unwrap();
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start().starts_with("//");
        for name in names {
            assert!(comment || !line.contains(name), "{}:{}: {name}", file.display(), index + 1);
        }
    }
}

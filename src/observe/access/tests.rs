//! The log as a whole: what workers write, and what then stands in the file.

use super::*;
use crate::model::fault::Outcome;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

fn to(path: &Path, format: LogFormat) -> AccessLogSettings {
    AccessLogSettings { to: LogDestination::File(path.to_owned()), format }
}

fn off() -> AccessLogSettings {
    AccessLogSettings { to: LogDestination::Off, format: LogFormat::Json }
}

static PLACE: LazyLock<Fixed> = LazyLock::new(|| Fixed::target("app", "blue", "127.0.0.1:8080"));
static LISTENER: LazyLock<Fixed> = LazyLock::new(|| Fixed::listener("127.0.0.1:80"));

fn entry(path: &str) -> Entry<'_> {
    Entry {
        at: Duration::ZERO,
        client: "192.0.2.1",
        method: b"GET",
        scheme: "http",
        host: b"localhost",
        target: path.as_bytes(),
        protocol: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 2,
        place: &PLACE,
        attempts: 1,
        connect: None,
        first_byte: None,
        took: Duration::ZERO,
        outcome: Outcome::Answered,
        fault: None,
        request_id: b"",
        referer: None,
        user_agent: None,
        generation: 1,
        moved: None,
        listener: &LISTENER,
    }
}

/// The paths in the file's lines, in their order.
fn paths(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let value = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    text.lines()
        .map(|line| value(line)["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_line_is_in_the_file_after_the_close() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let metrics = Metrics::new("0");
    let log = AccessLog::open(&to(&file, LogFormat::Json), metrics.clone()).unwrap();
    let worker = |worker: usize| {
        let writer = log.writer();
        move || {
            // 500 lines of 400 bytes: more than one buffer.
            (0..500).for_each(|n| writer.write(&entry(&format!("/{worker}/{n}"))));
        }
    };
    thread::scope(|scope| {
        scope.spawn(worker(0));
        scope.spawn(worker(1));
    });
    log.close();
    let found = paths(&file);
    for worker in 0..2 {
        let prefix = format!("/{worker}/");
        let own: Vec<&String> = found
            .iter()
            .filter(|path| path.starts_with(&prefix))
            .collect();
        let expected: Vec<String> = (0..500).map(|n| format!("/{worker}/{n}")).collect();
        assert!(own.into_iter().eq(&expected));
    }
    assert_eq!((found.len(), metrics.dropped()), (1000, 0));
}

#[test]
fn a_line_longer_than_a_whole_buffer_is_written_whole_and_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = AccessLog::open(&to(&file, LogFormat::Json), Metrics::new("0")).unwrap();
    let long = format!("/{}", "\"é".repeat(5 * ROOM));
    let writer = log.writer();
    for path in ["/before", &long, "/after"] {
        writer.write(&entry(path));
    }
    drop(writer);
    log.close();
    assert!(paths(&file).iter().eq(["/before", &long, "/after"]));
}

#[test]
fn a_reopen_after_a_rotation_loses_nothing_and_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = AccessLog::open(&to(&file, LogFormat::Json), Metrics::new("0")).unwrap();
    let writer = log.writer();
    writer.write(&entry("/before"));
    writer.flush();
    fs::rename(&file, &rotated).unwrap();
    log.reopen();
    writer.write(&entry("/after"));
    writer.flush();
    log.close();
    assert_eq!(paths(&rotated), ["/before"]);
    assert_eq!(paths(&file), ["/after"]);
}

#[test]
fn a_reload_changes_path_and_format_and_may_turn_the_log_on() {
    let folder = tempfile::tempdir().unwrap();
    let (json, plain) = (folder.path().join("json.log"), folder.path().join("plain.log"));
    let log = AccessLog::open(&off(), Metrics::new("0")).unwrap();
    let writer = log.writer();
    assert!(!writer.is_on());
    writer.write(&entry("/unseen"));
    log.reconfigure(&to(&json, LogFormat::Json)).unwrap();
    assert!(writer.is_on());
    writer.write(&entry("/json"));
    writer.flush();
    log.reconfigure(&to(&plain, LogFormat::Combined)).unwrap();
    writer.write(&entry("/plain"));
    drop(writer);
    log.close();
    assert_eq!(paths(&json), ["/json"]);
    assert_eq!(
        fs::read_to_string(&plain).unwrap(),
        "192.0.2.1 - - [01/Jan/1970:00:00:00 +0000] \"GET /plain HTTP/1.1\" 200 2 \"-\" \"-\"\n"
    );
}

#[test]
fn a_reload_that_names_an_impossible_path_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = AccessLog::open(&to(&file, LogFormat::Json), Metrics::new("0")).unwrap();
    let writer = log.writer();
    let impossible = to(Path::new("/nowhere/at/all.log"), LogFormat::Combined);
    assert!(log.reconfigure(&impossible).is_err());
    writer.write(&entry("/still"));
    drop(writer);
    drop(log);
    assert_eq!(paths(&file), ["/still"]);
}

#[test]
fn a_disk_that_does_not_keep_up_costs_counted_lines_and_no_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RWXU, 0).unwrap();
    // Open for both, so that opening waits for nobody; and nobody reads.
    let end = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let metrics = Metrics::new("0");
    let log = AccessLog::open(&to(&pipe, LogFormat::Json), metrics.clone()).unwrap();
    let writer = log.writer();
    let long = "/".repeat(8 * 1024);
    let mut written = 0;
    while metrics.dropped() == 0 {
        (0..100).for_each(|_| writer.write(&entry(&long)));
        written += 100;
    }
    drop(end); // Now writing fails instead of waiting, and the log can be closed.
    drop(writer);
    log.close();
    let lost = metrics.dropped();
    // The pipe itself held 64 KiB, and the thread a buffer.
    assert!(lost <= written && lost > written - 64, "{lost} of {written}");
}

//! The history on a disk that fills, tears, fails and is moved about.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tempfile::tempdir;

use super::file::NAME;
use super::file::OLDER;
use super::file::SIZE_MAX;
use super::file::read;
use super::*;
use crate::control::command::history::Generations;

const NONE: Generations = Generations { before: 1, after: 1 };

fn entry(what: &str) -> Entry {
    Entry { upstreams: vec!["app".to_owned()], ..blank(what, "done", NONE) }
}

fn all() -> Wanted {
    Wanted { count: usize::MAX, ..Wanted::default() }
}

/// What the entries are about, the newest last.
fn told(folder: &TempDir, wanted: &Wanted) -> Vec<String> {
    let lines = read(folder.path(), wanted).unwrap();
    let what = |line: &String| serde_json::from_str::<Entry>(line).unwrap().what;
    lines.iter().map(what).collect()
}

fn append(appender: &mut Appender, what: &str) {
    appender.append(&written(&entry(what))).unwrap();
}

#[test]
fn lines_are_appended_and_only_the_group_may_read_them() {
    let folder = tempdir().unwrap();
    assert_eq!(told(&folder, &all()), [""; 0], "no file is no history");
    let mut appender = Appender::new(folder.path(), SIZE_MAX);
    append(&mut appender, "one");
    append(&mut appender, "two");
    append(&mut Appender::new(folder.path(), SIZE_MAX), "three");
    assert_eq!(told(&folder, &all()), ["one", "two", "three"]);
    let mode = fs::metadata(folder.path().join(NAME))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn the_newest_are_told_and_those_of_one_upstream_and_of_late() {
    let folder = tempdir().unwrap();
    let mut appender = Appender::new(folder.path(), SIZE_MAX);
    let old = Entry { at: "2026-01-01T00:00:00.000Z".to_owned(), ..entry("old") };
    appender.append(&written(&old)).unwrap();
    append(&mut appender, "mine");
    let other = Entry { upstreams: vec!["api".to_owned()], ..entry("other") };
    appender.append(&written(&other)).unwrap();
    assert_eq!(told(&folder, &Wanted { count: 2, ..all() }), ["mine", "other"]);
    assert_eq!(told(&folder, &Wanted { count: 0, ..all() }), [""; 0]);
    assert_eq!(told(&folder, &Wanted { upstream: Some("app".into()), ..all() }), ["old", "mine"]);
    let since = Some(SystemTime::now() - Duration::from_secs(3600));
    assert_eq!(told(&folder, &Wanted { since, ..all() }), ["mine", "other"]);
}

#[test]
fn a_full_file_becomes_the_older_one_and_there_are_never_more_than_two() {
    let folder = tempdir().unwrap();
    let mut appender = Appender::new(folder.path(), 1000);
    for number in 0..50 {
        append(&mut appender, &number.to_string());
    }
    let size = |name| fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(size(NAME) <= 1000 && size(OLDER) <= 1000);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let told = told(&folder, &all());
    assert_eq!(told.last().map(String::as_str), Some("49"));
    let numbers: Vec<usize> = told.iter().map(|what| what.parse().unwrap()).collect();
    assert!(numbers.len() > 5 && numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
}

#[test]
fn a_line_that_a_crash_has_torn_spoils_no_other() {
    let folder = tempdir().unwrap();
    append(&mut Appender::new(folder.path(), SIZE_MAX), "one");
    let path = folder.path().join(NAME);
    let whole = fs::read(&path).unwrap();
    for torn in 0..=whole.len() {
        fs::write(&path, [&whole[..], &whole[..torn]].concat()).unwrap();
        append(&mut Appender::new(folder.path(), SIZE_MAX), "next");
        let told = told(&folder, &all());
        assert_eq!(
            (told.first().unwrap().as_str(), told.last().unwrap().as_str()),
            ("one", "next")
        );
    }
}

#[test]
fn a_file_that_is_moved_away_is_begun_anew() {
    let folder = tempdir().unwrap();
    let mut appender = Appender::new(folder.path(), SIZE_MAX);
    append(&mut appender, "one");
    fs::rename(folder.path().join(NAME), folder.path().join("elsewhere")).unwrap();
    append(&mut appender, "two");
    assert_eq!(told(&folder, &all()), ["two"]);
}

#[tokio::test]
async fn what_could_not_be_written_is_counted_and_said_once_it_can() {
    let folder = tempdir().unwrap();
    // A folder in the file's place: no line can be written.
    let obstacle = folder.path().join(NAME);
    fs::create_dir(&obstacle).unwrap();
    let metrics = Metrics::new("test");
    let recorder = Recorder::new(folder.path(), metrics.clone());
    recorder.record(&entry("one"));
    recorder.record(&entry("two"));
    recorder.written().await;
    assert_eq!(metrics.histories_lost(), 2);
    fs::remove_dir(&obstacle).unwrap();
    recorder.record(&entry("three"));
    recorder.record(&entry("four"));
    let lines = recorder.read(all()).await.unwrap();
    let entries: Vec<Entry> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let what: Vec<&str> = entries.iter().map(|entry| &*entry.what).collect();
    assert_eq!(what, ["history", "three", "four"]);
    assert_eq!(entries[0].why, ["2 entries could not be written"]);
    assert_eq!(metrics.histories_lost(), 2);
}

#[tokio::test]
async fn a_caller_is_what_the_kernel_says_and_its_command_what_it_says_itself() {
    let folder = tempdir().unwrap();
    let recorder = Recorder::new(folder.path(), Metrics::new("test"));
    let caller = |pid| Caller { uid: 1000, gid: 100, pid: Some(pid) };
    recorder.heard(caller(7), "proxyctl promote green");
    recorder.heard(caller(7), "proxyctl rollback\n");
    let who = |pid, command: Option<&str>| Who::Peer {
        uid: 1000,
        gid: 100,
        pid: Some(pid),
        command: command.map(str::to_owned),
    };
    assert_eq!(recorder.who(caller(7)), who(7, Some("proxyctl rollback?")));
    assert_eq!(recorder.who(caller(8)), who(8, None));
    for pid in 100..1000 {
        recorder.heard(caller(pid), "x");
    }
    assert_eq!(recorder.who(caller(7)), who(7, None), "forgotten");
}

#[tokio::test]
async fn an_entry_that_is_too_long_goes_without_its_event() {
    let folder = tempdir().unwrap();
    let recorder = Recorder::new(folder.path(), Metrics::new("test"));
    let event = Some(serde_json::json!({ "reasons": "x".repeat(LINE_MAX) }));
    recorder.record(&Entry { event, ..entry("promote") });
    let lines = recorder.read(all()).await.unwrap();
    assert!(lines[0].contains("promote") && lines[0].len() < 1000, "{}", lines[0].len());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_nobody_up() {
    let folder = tempdir().unwrap();
    let metrics = Metrics::new("test");
    // As if the thread stood in its first write for ever.
    let (lines, stuck) = mpsc::sync_channel(WAITING_MAX);
    let lost = Lost { unsaid: Arc::default(), metrics: metrics.clone() };
    let folder_of = folder.path().to_owned();
    let recorder =
        Recorder(Arc::new(Inner { folder: folder_of, lines, lost, heard: Mutex::default() }));
    for _ in 0..WAITING_MAX - 1 {
        recorder.record(&entry("promote"));
    }
    // A reader waits for a moment only, and gets what there is.
    assert_eq!(recorder.read(all()).await.unwrap(), [""; 0]);
    for _ in 0..5 {
        recorder.record(&entry("promote"));
    }
    assert_eq!(metrics.histories_lost(), 5);
    drop(stuck);
}

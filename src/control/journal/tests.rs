//! The journal against everything that can happen to it: a process that ends at any step, a disk
//! that refuses any step, and files that are not what was written.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::any;
use proptest::prop_assert;
use proptest::prop_assert_eq;
use proptest::proptest;
use tempfile::TempDir;

use super::*;

/// More steps than any write takes.
const STEPS: usize = 16;

fn state(generation: u64, live: Colour) -> State {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_000 + generation);
    let app = Remembered { live, previous: Some(live.other()), since };
    let upstreams = BTreeMap::from([("app".to_owned(), app)]);
    State { generation, memory: Memory { upstreams, ..Memory::default() } }
}

fn old() -> State {
    state(7, Colour::Blue)
}

fn new() -> State {
    state(8, Colour::Green)
}

fn saved(state: State) -> Recovered {
    Recovered::Saved { state, warning: None }
}

/// A folder in which the old state was written.
fn with_old() -> TempDir {
    let folder = TempDir::new().unwrap();
    Journal::open(folder.path())
        .unwrap()
        .0
        .write(&old())
        .unwrap();
    folder
}

fn reopened(folder: &TempDir) -> Recovered {
    Journal::open(folder.path()).unwrap().1
}

fn bytes(folder: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(name)).unwrap()
}

fn put(folder: &TempDir, name: &str, bytes: &[u8]) {
    std::fs::write(folder.path().join(name), bytes).unwrap();
}

fn warned(recovered: Recovered) -> (State, String) {
    let Recovered::Saved { state, warning: Some(warning) } = recovered else {
        panic!("no warning: {recovered:?}");
    };
    (state, warning)
}

#[test]
fn a_first_start_makes_the_folder_and_a_later_one_finds_the_state() {
    let above = TempDir::new().unwrap();
    let folder = above.path().join("var").join("lib");
    let (mut journal, recovered) = Journal::open(&folder).unwrap();
    assert_eq!(recovered, Recovered::First);
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    journal.write(&old()).unwrap();
    journal.write(&new()).unwrap();
    drop(journal);
    assert_eq!(Journal::open(&folder).unwrap().1, saved(new()));
    let mut names: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, COPIES);
}

#[test]
fn a_second_daemon_on_the_folder_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let first = Journal::open(folder.path()).unwrap();
    let refused = Journal::open(folder.path()).unwrap_err().to_string();
    let path = folder.path().display();
    assert!(refused.starts_with(&format!("state_dir: {path}: another proxyd holds it (hint: ")));
    drop(first);
    assert!(Journal::open(folder.path()).is_ok());
}

#[test]
fn a_process_that_ends_at_any_step_leaves_the_old_state_or_the_new_one() {
    for torn in [false, true] {
        let mut found = Vec::new();
        for step in 0..STEPS {
            let folder = with_old();
            let (mut journal, _) = Journal::open(folder.path()).unwrap();
            journal.disk.faults.crash(step, torn);
            let written = journal.write(&new());
            drop(journal);
            let recovered = reopened(&folder);
            found.push(recovered == saved(new()));
            assert!(
                recovered == saved(old()) || recovered == saved(new()),
                "{step}: {recovered:?}"
            );
            if written.is_ok() {
                assert_eq!(recovered, saved(new()), "{step}");
            }
            // What the crash left unequal has been repaired, and nothing lies about.
            assert_eq!(bytes(&folder, COPIES[0]), bytes(&folder, COPIES[1]));
            assert_eq!(folder.path().read_dir().unwrap().count(), 2);
            Journal::open(folder.path())
                .unwrap()
                .0
                .write(&state(9, Colour::Blue))
                .unwrap();
            assert_eq!(reopened(&folder), saved(state(9, Colour::Blue)));
        }
        // Old up to the first rename, new from there on.
        assert!(found.is_sorted() && found.contains(&false) && found.contains(&true));
    }
}

#[test]
fn a_process_that_ends_during_the_very_first_write_leaves_nothing_or_the_new_state() {
    for step in 0..STEPS {
        let folder = TempDir::new().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.disk.faults.crash(step, true);
        let written = journal.write(&new());
        drop(journal);
        match reopened(&folder) {
            Recovered::First => assert!(written.is_err(), "{step}"),
            Recovered::Saved { state, .. } => assert_eq!(state, new(), "{step}"),
            Recovered::Damaged { warning } => panic!("{step}: {warning}"),
        }
    }
}

#[test]
fn a_power_loss_before_the_folder_is_synced_leaves_either_copy_either_way() {
    let (older, newer) = (copy::encode(&old()), copy::encode(&new()));
    for (a, b, expected) in [
        (&older, &older, old()),
        (&newer, &older, new()),
        (&older, &newer, new()),
        (&newer, &newer, new()),
    ] {
        let folder = with_old();
        put(&folder, COPIES[0], a);
        put(&folder, COPIES[1], b);
        put(&folder, "state-b.json.new", b"half of someth");
        assert_eq!(reopened(&folder), saved(expected));
    }
}

#[test]
fn after_a_failed_write_nothing_has_changed() {
    let mut refused = 0;
    for step in 0..STEPS {
        let folder = with_old();
        let before = COPIES.map(|name| bytes(&folder, name));
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.disk.faults.fail(&[step]);
        let Err(error) = journal.write(&new()) else { continue };
        refused += 1;
        assert!(matches!(error, JournalError::NotWritten { .. }), "{step}: {error}");
        assert_eq!(COPIES.map(|name| bytes(&folder, name)), before, "{step}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "{step}");
        // The same journal goes on once the disk does.
        journal.write(&new()).unwrap();
        drop(journal);
        assert_eq!(reopened(&folder), saved(new()), "{step}");
    }
    assert_eq!(refused, 5, "two files, two renames, one sync");
}

#[test]
fn after_a_failed_first_write_there_is_still_no_state() {
    for step in 0..STEPS {
        let folder = TempDir::new().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.disk.faults.fail(&[step]);
        if journal.write(&new()).is_ok() {
            continue;
        }
        drop(journal);
        assert_eq!(reopened(&folder), Recovered::First, "{step}");
    }
}

#[test]
fn a_second_failure_while_taking_back_is_survived_or_said() {
    let mut torn = Vec::new();
    for (first, second) in (0..STEPS).flat_map(|a| (a + 1..STEPS).map(move |b| (a, b))) {
        let folder = with_old();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.disk.faults.fail(&[first, second]);
        match journal.write(&new()) {
            Ok(()) => {}
            Err(JournalError::Torn { .. }) => torn.push((first, second)),
            Err(_) => {
                drop(journal);
                let Recovered::Saved { state, .. } = reopened(&folder) else { panic!() };
                assert_eq!(state, old(), "{first}, {second}");
            }
        }
    }
    // Two failures never suffice: the third way, removing the copy, still works.
    assert_eq!(torn, []);
}

#[test]
fn a_disk_that_fails_for_good_is_said_to_be_torn() {
    let folder = with_old();
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    journal.disk.faults.fail(&(3..STEPS).collect::<Vec<_>>());
    let error = journal.write(&new()).unwrap_err();
    assert!(matches!(error, JournalError::Torn { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("a restart may find the new state"),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_named_with_the_way_out_and_changes_nothing() {
    let folder = with_old();
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    let new_a = folder.path().join("state-a.json.new");
    std::os::unix::fs::symlink("/dev/full", &new_a).unwrap();
    let error = journal.write(&new()).unwrap_err();
    let path = new_a.display();
    assert_eq!(
        error.to_string(),
        format!(
            "state_dir: {path}: the disk is full: nothing has changed (hint: free some space there, or point state_dir elsewhere)"
        )
    );
    drop(journal);
    assert_eq!(reopened(&folder), saved(old()));
}

#[test]
fn a_file_in_place_of_the_folder_is_named() {
    let above = TempDir::new().unwrap();
    let file = above.path().join("state");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("deeper")] {
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Folder { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("not a folder (hint: point state_dir"),
            "{error}"
        );
    }
}

#[test]
fn one_damaged_copy_is_survived_said_kept_and_repaired() {
    for name in COPIES {
        let whole = copy::encode(&old());
        let half = &whole[..whole.len() / 2];
        for damaged in [&b""[..], half, &[0; 300], b"{}", b"null"] {
            let folder = with_old();
            put(&folder, name, damaged);
            let (state, warning) = warned(reopened(&folder));
            assert_eq!(state, old());
            let path = folder.path().join(name);
            assert!(warning.starts_with(&format!("{} is damaged: ", path.display())), "{warning}");
            assert!(warning.ends_with("; going on with generation 7"), "{warning}");
            assert_eq!(bytes(&folder, &format!("{name}.damaged")), damaged);
            assert_eq!(bytes(&folder, name), whole);
            assert_eq!(reopened(&folder), saved(old()));
        }
    }
}

#[test]
fn a_missing_copy_is_said_and_made_again() {
    for name in COPIES {
        let folder = with_old();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let (state, warning) = warned(reopened(&folder));
        assert_eq!(state, old());
        assert!(warning.contains("is missing"), "{warning}");
        assert_eq!(reopened(&folder), saved(old()));
    }
}

#[test]
fn a_state_of_which_no_copy_can_be_believed_stays_damaged_until_it_is_written_anew() {
    let folder = with_old();
    put(&folder, COPIES[0], b"");
    put(&folder, COPIES[1], b"{}");
    for _ in 0..2 {
        let Recovered::Damaged { warning } = reopened(&folder) else { panic!() };
        for said in ["state-a.json is damaged: it is empty", "which colour is live is not known"] {
            assert!(warning.contains(said), "{warning}");
        }
    }
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    journal.disk.faults.fail(&[4]);
    assert!(journal.write(&new()).is_err());
    drop(journal);
    assert!(matches!(reopened(&folder), Recovered::Damaged { .. }));
    Journal::open(folder.path())
        .unwrap()
        .0
        .write(&new())
        .unwrap();
    assert_eq!(reopened(&folder), saved(new()));
}

#[test]
fn one_damaged_copy_without_the_other_is_no_first_start() {
    let folder = TempDir::new().unwrap();
    put(&folder, COPIES[1], b"garbage");
    assert!(matches!(reopened(&folder), Recovered::Damaged { .. }));
}

#[test]
fn copies_of_one_generation_that_differ_are_said_and_the_first_is_believed() {
    let folder = with_old();
    put(&folder, COPIES[1], &copy::encode(&state(7, Colour::Green)));
    let (state, warning) = warned(reopened(&folder));
    assert_eq!(state, old());
    assert!(warning.contains("one generation and differ"), "{warning}");
}

#[test]
fn a_copy_that_cannot_be_repaired_is_said_and_the_state_is_found_all_the_same() {
    let folder = with_old();
    // A folder has the copy's name: it can be neither read nor replaced.
    std::fs::remove_file(folder.path().join(COPIES[1])).unwrap();
    std::fs::create_dir(folder.path().join(COPIES[1])).unwrap();
    let (state, warning) = warned(reopened(&folder));
    assert_eq!(state, old());
    assert!(warning.contains("the copies stay unequal"), "{warning}");
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    assert!(matches!(journal.write(&new()), Err(JournalError::NotWritten { .. })));
    drop(journal);
    assert_eq!(warned(reopened(&folder)).0, old());
}

proptest! {
    #[test]
    fn any_single_byte_of_one_copy_may_change(second: bool, at: usize, byte in any::<u8>()) {
        let folder = with_old();
        let name = COPIES[usize::from(second)];
        let mut damaged = bytes(&folder, name);
        let at = at % damaged.len();
        let changed = damaged[at] != byte;
        damaged[at] = byte;
        put(&folder, name, &damaged);
        let Recovered::Saved { state, warning } = reopened(&folder) else {
            panic!("byte {at} became {byte:#x}");
        };
        prop_assert_eq!(state, old());
        // Only white space may change unnoticed.
        let harmless = !changed || byte.is_ascii_whitespace();
        prop_assert!(warning.is_some() || harmless, "byte {} became {:#x}", at, byte);
        prop_assert_eq!(bytes(&folder, COPIES[0]), bytes(&folder, COPIES[1]));
    }

    #[test]
    fn whatever_a_copy_holds_it_is_never_a_panic_and_never_believed(garbage: Vec<u8>) {
        prop_assert!(copy::decode(&garbage).is_err());
    }

    #[test]
    fn any_state_is_found_as_it_was_written(generation: u64, seconds in 0u64..100_000_000_000,
                                            nanos in 0u32..1_000_000_000, name: String, green: bool) {
        let since = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let live = if green { Colour::Green } else { Colour::Blue };
        let app = Remembered { live, previous: None, since };
        let upstreams = BTreeMap::from([(name, app)]);
        let state = State { generation, memory: Memory { upstreams, ..Memory::default() } };
        prop_assert_eq!(copy::decode(&copy::encode(&state)).unwrap().state, state);
    }
}

//! What counts as a change of a file, however it is made.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A folder with `proxy.yaml`, followed.
fn following(file: &str) -> (TempDir, PathBuf, Watch) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    fs::write(&path, "one").unwrap();
    let mut watch = Watch::new();
    // The poll must not be what finds it.
    watch.poll = tokio::time::interval_at(Instant::now() + POLL * 1000, POLL);
    watch.follow(vec![path.clone()]);
    (folder, path, watch)
}

async fn soon(watch: &mut Watch) {
    tokio::time::timeout(Duration::from_secs(20), watch.changed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_write_in_place_is_a_change() {
    let (_folder, path, mut watch) = following("proxy.yaml");
    fs::write(&path, "two").unwrap();
    soon(&mut watch).await;
    fs::write(&path, "three").unwrap();
    soon(&mut watch).await;
}

#[tokio::test]
async fn an_atomic_rename_is_a_change() {
    let (folder, path, mut watch) = following("proxy.yaml");
    for content in ["two", "three"] {
        let fresh = folder.path().join(".proxy.yaml.tmp");
        fs::write(&fresh, content).unwrap();
        fs::rename(&fresh, &path).unwrap();
        soon(&mut watch).await;
    }
}

#[tokio::test]
async fn a_file_that_vanishes_and_one_that_comes_are_changes() {
    let (_folder, path, mut watch) = following("proxy.yaml");
    fs::remove_file(&path).unwrap();
    soon(&mut watch).await;
    fs::write(&path, "one").unwrap();
    soon(&mut watch).await;
}

/// Kubernetes: `tls.crt -> ..data/tls.crt`, `..data -> ..v1`, and `..data` is replaced.
#[tokio::test]
async fn a_flipped_folder_link_is_a_change_and_the_new_folder_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["..v1", "..v2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("tls.crt"), version).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/tls.crt", at("tls.crt")).unwrap();
    let mut watch = Watch::new();
    watch.poll = tokio::time::interval_at(Instant::now() + POLL * 1000, POLL);
    watch.follow(vec![at("tls.crt")]);
    symlink("..v2", at("..tmp")).unwrap();
    fs::rename(at("..tmp"), at("..data")).unwrap();
    soon(&mut watch).await;
    fs::write(at("..v2").join("tls.crt"), "renewed").unwrap();
    soon(&mut watch).await;
}

/// certbot: `live/x/privkey.pem -> ../../archive/x/privkey1.pem`.
#[tokio::test]
async fn the_archive_behind_a_link_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("live/x")).unwrap();
    fs::create_dir_all(at("archive/x")).unwrap();
    fs::write(at("archive/x/privkey1.pem"), "one").unwrap();
    symlink("../../archive/x/privkey1.pem", at("live/x/privkey.pem")).unwrap();
    let found = folders(&at("live/x/privkey.pem"));
    let real: BTreeSet<_> = found.iter().map(|f| f.canonicalize().unwrap()).collect();
    let wanted = ["live/x", "archive/x"].map(|f| at(f).canonicalize().unwrap());
    assert_eq!(real, BTreeSet::from(wanted));
}

#[tokio::test]
async fn an_event_without_another_content_is_silent() {
    let (folder, path, mut watch) = following("proxy.yaml");
    fs::write(folder.path().join("other.yaml"), "x").unwrap();
    watch.listen().await;
    assert!(!watch.compare().await);
    fs::write(&path, "one").unwrap();
    watch.listen().await;
    assert!(!watch.compare().await);
}

/// The first event in a folder with `proxy.yaml` that is worth a look, of what `work` does there.
fn first_told(work: impl FnOnce(&Path)) -> EventKind {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    fs::write(&path, "one").unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let mut events = recommended_watcher(tell).unwrap();
    events
        .watch(folder.path(), RecursiveMode::NonRecursive)
        .unwrap();
    work(&path);
    let mut kinds = told.iter().map(|event| event.unwrap().kind);
    kinds.find(|kind| !is_passing(*kind)).unwrap()
}

#[test]
fn reading_a_file_is_not_taken_for_a_change() {
    let first = first_told(|path| {
        assert!(hash(path).is_some());
        fs::remove_file(path).unwrap();
    });
    assert!(matches!(first, EventKind::Remove(_)), "{first:?}");
}

#[test]
fn a_log_in_the_same_folder_wakes_nobody_until_it_is_closed() {
    let first = first_told(|path| {
        let mut log = File::options().append(true).open(path).unwrap();
        io::Write::write_all(&mut log, b"a line\n").unwrap();
        io::Write::write_all(&mut log, b"another\n").unwrap();
    });
    assert_eq!(first, EventKind::Access(AccessKind::Close(AccessMode::Write)));
}

#[tokio::test(start_paused = true)]
async fn the_poll_finds_what_no_event_told() {
    let (_folder, path, mut watch) = following("proxy.yaml");
    watch.events = None;
    watch.poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
    fs::write(&path, "two").unwrap();
    watch.changed().await;
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let (_folder, path, mut watch) = following("proxy.yaml");
    fs::write(&path, "two").unwrap();
    let first = tokio::time::timeout(QUIET / 3, watch.changed()).await;
    assert!(first.is_err());
    soon(&mut watch).await;
}

#[tokio::test]
async fn following_again_keeps_what_was_known() {
    let (_folder, path, mut watch) = following("proxy.yaml");
    fs::write(&path, "two").unwrap();
    watch.follow(vec![path.clone()]);
    soon(&mut watch).await;
    assert!(!watch.compare().await);
}

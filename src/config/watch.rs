//! Tells when the content of a set of files has changed. The only door to file system events.
//!
//! Events are hints, never the truth: editors replace files by renaming, certbot and Kubernetes by
//! flipping a symbolic link, network file systems send nothing at all. So the folders are watched
//! (those of the files and of every link on the way to them), whatever is heard waits for a quiet
//! moment, and then the contents are compared by hash; and they are compared every few seconds
//! even if nothing is heard.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;
use notify::event::AccessKind;
use notify::event::AccessMode;
use notify::event::ModifyKind;
use notify::recommended_watcher;
use sha2::Digest;
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

/// How long it must be quiet before the contents are read: a half-written file is not worth a look.
const QUIET: Duration = Duration::from_millis(300);
/// … but a folder that never rests is looked into this long after its first event.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// How often the contents are compared although nothing was heard.
const POLL: Duration = Duration::from_secs(5);
/// Links on the way to one file, as the kernel limits them.
const LINKS_MAX: usize = 40;

/// What a file held when it was last looked at: the hash of its content, or `None` if it could not
/// be read.
type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// A watch on the contents of some files.
///
/// [`follow`](Self::follow) takes the picture against which later contents are compared. To miss
/// nothing, follow a file before reading it for use.
#[derive(Debug)]
pub struct Watch {
    /// `None` where the system offers no events: then the poll alone finds changes.
    events: Option<RecommendedWatcher>,
    heard: Arc<Notify>,
    poll: Interval,
    folders: BTreeSet<PathBuf>,
    contents: Contents,
    /// An event whose comparison has not ended: survives a cancelled [`changed`](Self::changed).
    pending: bool,
}

impl Watch {
    /// A watch that follows nothing yet. Must be called inside a Tokio runtime with time enabled.
    #[must_use]
    pub fn new() -> Self {
        let heard = Arc::new(Notify::new());
        let ear = Arc::clone(&heard);
        let listener = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !is_passing(event.kind)) {
                ear.notify_one();
            }
        };
        let events = recommended_watcher(listener)
            .inspect_err(|why| {
                tracing::warn!(
                    "no file system events: {why}; files are compared every 5 s instead"
                );
            })
            .ok();
        let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (folders, contents) = (BTreeSet::new(), Contents::new());
        Self { events, heard, poll, folders, contents, pending: false }
    }

    /// Follows these files from now on, and no others. A file that was followed before keeps the
    /// content it was last known to have. Reads the files: blocks on the disk.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let mut known = std::mem::take(&mut self.contents);
        self.contents = files
            .into_iter()
            .map(|file| {
                let content = known.remove(&file).unwrap_or_else(|| hash(&file));
                (file, content)
            })
            .collect();
        self.watch_folders();
    }

    /// Waits until the content of a followed file is another than before. A file that appears,
    /// vanishes or becomes unreadable counts too.
    ///
    /// Cancel safe: a change is reported by the next call if this one is dropped.
    pub async fn changed(&mut self) {
        loop {
            self.listen().await;
            if self.compare().await {
                return;
            }
        }
    }

    /// Waits for a reason to compare, and then for a quiet moment.
    async fn listen(&mut self) {
        if !self.pending {
            tokio::select! {
                () = self.heard.notified() => {}
                _ = self.poll.tick() => {}
            }
            self.pending = true;
        }
        let latest = Instant::now() + QUIET_MAX;
        loop {
            let quiet = Instant::now() + QUIET;
            let more = tokio::time::timeout_at(quiet.min(latest), self.heard.notified()).await;
            if more.is_err() {
                return;
            }
        }
    }

    /// Whether a content has changed since the last look.
    async fn compare(&mut self) -> bool {
        // A link may lead elsewhere now, a folder may be another one under the old name.
        self.watch_folders();
        let files: Vec<PathBuf> = self.contents.keys().cloned().collect();
        // The disk may be a network away: not on the runtime's thread.
        let look = || {
            files
                .into_iter()
                .map(|file| (hash(&file), file))
                .map(|(h, f)| (f, h))
                .collect()
        };
        let Ok(now) = tokio::task::spawn_blocking::<_, Contents>(look).await else { return false };
        self.pending = false;
        let changed = now != self.contents;
        self.contents = now;
        changed
    }

    /// Brings the watched folders in line with where the files are now.
    fn watch_folders(&mut self) {
        let Some(events) = &mut self.events else { return };
        let wanted: BTreeSet<PathBuf> = self
            .contents
            .keys()
            .flat_map(|file| folders(file))
            .collect();
        for folder in self.folders.difference(&wanted) {
            // It may be gone already: then there is nothing to end.
            drop(events.unwatch(folder));
        }
        // Again those that are watched already: a folder that was replaced is another one.
        let mut watched = BTreeSet::new();
        for folder in wanted {
            match events.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(why) => tracing::debug!("{} is not watched: {why}", folder.display()),
            }
        }
        self.folders = watched;
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// What need not be looked into: reads, of which our own would wake us for ever, and each write into
/// an open file, which ends with its closing. A log in the same folder is never closed.
fn is_passing(kind: EventKind) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    matches!(kind, EventKind::Access(access) if access != written)
        || matches!(kind, EventKind::Modify(ModifyKind::Data(_)))
}

fn hash(file: &Path) -> Option<[u8; 32]> {
    let mut content = Sha256::new();
    let mut file = File::open(file).ok()?;
    // Never wait for the other end of a pipe, nor read a device to its end.
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    io::copy(&mut file, &mut Sink(&mut content)).ok()?;
    Some(content.finalize().into())
}

struct Sink<'a>(&'a mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The folders in which a change can give `file` another content: its own, and that of every
/// symbolic link on the way to it.
fn folders(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut ahead: VecDeque<OsString> = steps(file).collect();
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        let next = here.join(&step);
        let link = std::fs::read_link(&next).ok().filter(|_| links < LINKS_MAX);
        if let Some(target) = link {
            links += 1;
            found.insert(named(&here));
            for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(step);
            }
        } else {
            here = next;
        }
    }
    found.extend(here.parent().map(named));
    found
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components()
        .filter(|step| *step != Component::CurDir)
        .map(|step| step.as_os_str().to_owned())
}

/// The folder of a bare file name is the current one.
fn named(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

#[cfg(test)]
mod tests;

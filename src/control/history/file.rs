//! The files of the history: one JSON object a line, only ever appended; one older file beside it.

use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Deserialize;

/// The file that is written.
pub(super) const NAME: &str = "history.jsonl";

/// What it becomes once it is full; the one before is gone then.
pub(super) const OLDER: &str = "history.jsonl.1";

/// When it is full, in bytes: thousands of changes, and read in a moment.
pub(super) const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// The group of the state directory may read who did what, others may not.
const MODE: u32 = 0o640;

/// Appends lines.
#[derive(Debug)]
pub(super) struct Appender {
    folder: PathBuf,
    size_max: u64,
    open: Option<File>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The newest so many.
    pub count: usize,
    /// About this upstream only.
    pub upstream: Option<String>,
    /// Since this moment only.
    pub since: Option<SystemTime>,
}

/// What is looked at of a line to know whether it is wanted.
#[derive(Deserialize)]
struct Glance {
    at: String,
    #[serde(default)]
    upstreams: Vec<String>,
}

impl Appender {
    pub(super) fn new(folder: &Path, size_max: u64) -> Self {
        Self { folder: folder.to_owned(), size_max, open: None }
    }

    /// Appends a line, with its end, and waits until the disk has it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let done = self.try_append(line);
        if done.is_err() {
            // Opened anew, whatever was written of this line is closed first.
            self.open = None;
        }
        done
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take() {
            // Whoever has moved or removed it wants a new one.
            Some(file) if is_still_at(&file, &self.folder.join(NAME)) => file,
            Some(_) | None => self.open()?,
        };
        let size = file.metadata()?.len();
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if size > 0 && size.saturating_add(length) > self.size_max {
            fs::rename(self.folder.join(NAME), self.folder.join(OLDER))?;
            file = self.open()?;
        }
        file.write_all(line)?;
        file.sync_data()?;
        self.open = Some(file);
        Ok(())
    }

    /// Opens the file; a last line that a crash has torn gets an end, so that it spoils no other.
    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(MODE);
        let mut file = options.open(self.folder.join(NAME))?;
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let same = |ours: fs::Metadata, there: fs::Metadata| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    let found = file
        .metadata()
        .and_then(|ours| Ok(same(ours, fs::metadata(path)?)));
    found.unwrap_or(false)
}

/// The wanted lines, the newest last, each without its end. What is no entry (a torn line) is left out.
/// Blocks on the disk.
///
/// # Errors
///
/// A file is there and cannot be read.
pub(super) fn read(folder: &Path, wanted: &Wanted) -> io::Result<Vec<String>> {
    // The newer file first: one that becomes the older one meanwhile is read once, and not missed.
    let newer = open(&folder.join(NAME))?;
    let older = open(&folder.join(OLDER))?;
    let identity = |file: &File| file.metadata().map(|file| (file.dev(), file.ino())).ok();
    let older = older.filter(|older| newer.as_ref().and_then(identity) != identity(older));
    let mut kept = VecDeque::new();
    for file in older.into_iter().chain(newer) {
        let mut bytes = Vec::new();
        // A line may be a little over the edge; more was not written by us.
        file.take(2 * SIZE_MAX).read_to_end(&mut bytes)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if !wanted.takes(line) {
                continue;
            }
            if kept.len() >= wanted.count {
                kept.pop_front();
            }
            kept.push_back(line.to_owned());
        }
    }
    kept.truncate(wanted.count);
    Ok(kept.into())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Wanted {
    fn takes(&self, line: &str) -> bool {
        let Ok(glance) = serde_json::from_str::<Glance>(line) else { return false };
        let of_upstream = |name: &String| glance.upstreams.contains(name);
        let is_since = |since: SystemTime| {
            humantime::parse_rfc3339_weak(&glance.at).is_ok_and(|at| at >= since)
        };
        self.upstream.as_ref().is_none_or(of_upstream) && self.since.is_none_or(is_since)
    }
}

//! The history: every change, by whom and what came of it, appended as a line of JSON to
//! `state_dir/history.jsonl`. The writing is a thread's own: a slow disk delays nobody, and what it
//! could not take is counted and said.

mod file;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::control::command::history::Entry;
use crate::control::command::history::Generations;
use crate::control::command::history::Who;
use crate::control::command::history::said;
use crate::control::history::file::Appender;
use crate::control::supervisor::handle::Caller;
use crate::observe::metrics::Metrics;

pub use crate::control::history::file::Wanted;

/// Lines that may wait for the disk; what comes on top is lost, and counted.
const WAITING_MAX: usize = 1024;

/// A longer line goes without the request and the event.
const LINE_MAX: usize = 64 * 1024;

/// Callers whose command lines are remembered.
const HEARD_MAX: usize = 256;

/// How long a reader waits for lines that are on their way to the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes entries in. Clones write the same history.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    lines: SyncSender<Message>,
    lost: Lost,
    /// What callers have said they are; the newest last.
    heard: Mutex<VecDeque<(Caller, Arc<str>)>>,
}

/// Lines that nobody will read, until the history itself says so.
#[derive(Debug, Clone)]
struct Lost {
    unsaid: Arc<AtomicU64>,
    metrics: Metrics,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// To be answered when everything before it has been written.
    Written(oneshot::Sender<()>),
}

impl Recorder {
    /// A recorder of this folder. Nothing is opened before the first entry.
    #[must_use]
    pub fn new(folder: &Path, metrics: Metrics) -> Self {
        let (lines, waiting) = mpsc::sync_channel(WAITING_MAX);
        let lost = Lost { unsaid: Arc::default(), metrics };
        let writer = Writer {
            file: Appender::new(folder, file::SIZE_MAX),
            lost: lost.clone(),
            failing: false,
        };
        // Without its thread every line is lost, and counted.
        let named = thread::Builder::new().name("history".to_owned());
        if let Err(error) = named.spawn(move || writer.run(&waiting)) {
            tracing::error!(%error, "the history cannot be written");
        }
        let folder = folder.to_owned();
        Self(Arc::new(Inner { folder, lines, lost, heard: Mutex::default() }))
    }

    /// Takes in an entry. Never waits.
    pub fn record(&self, entry: &Entry) {
        let mut line = written(entry);
        if line.len() > LINE_MAX {
            line = written(&Entry { request: None, event: None, ..entry.clone() });
        }
        if self.0.lines.try_send(Message::Line(line)).is_err() {
            self.0.lost.count();
        }
    }

    /// Remembers the command line that a caller says it is.
    pub fn heard(&self, caller: Caller, command: &str) {
        let mut heard = self.heard_so_far();
        heard.retain(|(other, _)| *other != caller);
        if heard.len() == HEARD_MAX {
            heard.pop_front();
        }
        heard.push_back((caller, said(command).into()));
    }

    /// The caller, with what it says it is.
    #[must_use]
    pub fn who(&self, caller: Caller) -> Who {
        let heard = self.heard_so_far();
        let command = heard.iter().find(|(other, _)| *other == caller);
        let command = command.map(|(_, command)| command.to_string());
        Who::Peer { uid: caller.uid, gid: caller.gid, pid: caller.pid, command }
    }

    fn heard_so_far(&self) -> std::sync::MutexGuard<'_, VecDeque<(Caller, Arc<str>)>> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was recorded before is on the disk, for a moment at the most.
    pub async fn written(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.lines.try_send(Message::Written(done)).is_ok() {
            // Too slow, or the thread is gone: then the reader gets what there is.
            drop(tokio::time::timeout(PATIENCE, is_done).await);
        }
    }

    /// The wanted entries as lines, the newest last, read from the files away from this thread.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub async fn read(&self, wanted: Wanted) -> io::Result<Vec<String>> {
        self.written().await;
        let folder = self.0.folder.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&folder, &wanted));
        read.await
            .unwrap_or_else(|failed| Err(io::Error::other(failed)))
    }
}

impl Lost {
    fn count(&self) {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        self.metrics.history_lost();
    }
}

/// The thread that writes.
struct Writer {
    file: Appender,
    lost: Lost,
    failing: bool,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Message>) {
        while let Ok(message) = waiting.recv() {
            match message {
                Message::Line(line) => self.write(&line),
                // Who has stopped waiting wants no answer.
                Message::Written(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let unsaid = self.lost.unsaid.load(Ordering::Relaxed);
        let first = if unsaid == 0 { Ok(()) } else { self.file.append(&written(&lost(unsaid))) };
        if first.is_ok() {
            self.lost.unsaid.fetch_sub(unsaid, Ordering::Relaxed);
        }
        let done = first.and_then(|()| self.file.append(line));
        match done {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.lost.count();
                // Once for a time of failing, not for each line.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the history cannot be written: changes go unrecorded");
                }
            }
        }
    }
}

/// The entry that says how many are missing before it.
fn lost(count: u64) -> Entry {
    Entry {
        why: vec![format!("{count} entries could not be written")],
        ..blank("history", "lost", Generations { before: 0, after: 0 })
    }
}

/// An entry of proxyd's own, of this moment.
#[must_use]
pub fn blank(what: &str, outcome: &str, generation: Generations) -> Entry {
    Entry {
        at: now(),
        who: Who::proxyd(),
        cause: None,
        what: what.to_owned(),
        id: None,
        upstreams: Vec::new(),
        colour: None,
        outcome: outcome.to_owned(),
        code: None,
        why: Vec::new(),
        seconds: 0.0,
        generation,
        request: None,
        event: None,
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn written(entry: &Entry) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

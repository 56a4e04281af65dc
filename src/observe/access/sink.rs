//! The one thread that writes the access log. It alone waits for the disk; nobody waits for it.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;

use crate::model::settings::LogDestination;
use crate::observe::metrics::Metrics;

/// A buffer that grew beyond this under a burst of long lines is not kept.
const KEPT_BUFFER_MAX: usize = 256 * 1024;

/// What reaches the thread, in the order in which it was sent: an order takes effect after the lines
/// that were handed over before it.
#[derive(Debug)]
pub(super) enum Message {
    /// A buffer that is filled so far with whole lines, how many, and the way back for it.
    Lines { bytes: Vec<u8>, filled: usize, lines: u64, back: SyncSender<Vec<u8>> },
    /// Write there from now on.
    Switch(Sink),
    /// Open the file by its path again.
    Reopen,
    /// Write what is queued, then end.
    Close,
}

/// How many buffers wait for the disk. The channel itself has no bound, so that an order always gets
/// through; this count keeps it short.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicUsize);

impl Waiting {
    /// Takes a place, unless `max` are taken.
    pub(super) fn enter(&self, max: usize) -> bool {
        let entered = self.0.fetch_add(1, Ordering::Relaxed) < max;
        if !entered {
            self.leave();
        }
        entered
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Sink {
    to: LogDestination,
    /// `None`: nowhere.
    file: Option<File>,
}

impl Sink {
    /// Opens the destination for appending.
    ///
    /// # Errors
    ///
    /// A message that names the path and the way out.
    pub(super) fn open(to: &LogDestination) -> io::Result<Self> {
        let file = match to {
            LogDestination::Off => None,
            // Not through std's Stdout: that one looks for line ends and keeps a buffer of its own.
            LogDestination::Stdout => Some(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            LogDestination::File(path) => Some(open_file(path)?),
        };
        Ok(Self { to: to.clone(), file })
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // 0640: client addresses and query strings are nobody else's business.
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path);
    opened.map_err(|error| {
        let kind = error.kind();
        let hint = if kind == io::ErrorKind::NotFound {
            "create the folder, or change access_log"
        } else if kind == io::ErrorKind::PermissionDenied {
            "give proxyd's account the right to write there, or change access_log"
        } else {
            "change access_log, or use stdout"
        };
        let message =
            format!("access_log: {}: cannot be opened: {error}\n  hint: {hint}", path.display());
        io::Error::new(kind, message)
    })
}

/// The thread's own state.
pub(super) struct Scribe {
    sink: Sink,
    pen: Pen,
    waiting: Arc<Waiting>,
    metrics: Metrics,
}

impl Scribe {
    pub(super) fn new(sink: Sink, waiting: Arc<Waiting>, metrics: Metrics) -> Self {
        Self { sink, pen: Pen::default(), waiting, metrics }
    }

    /// Writes until told to close, or until nobody can send any more.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(message) = queue.recv() {
            match message {
                Message::Lines { bytes, filled, lines, back } => {
                    self.write(bytes.get(..filled).unwrap_or_default(), lines);
                    give_back(bytes, &back);
                }
                Message::Switch(sink) => self.switch(sink),
                Message::Reopen => self.reopen(),
                Message::Close => return,
            }
        }
    }

    fn write(&mut self, bytes: &[u8], lines: u64) {
        if let Some(file) = &mut self.sink.file {
            let lost = self.pen.write(file, bytes, lines);
            self.metrics.access_log_dropped(lost);
        }
        self.waiting.leave();
    }

    fn switch(&mut self, sink: Sink) {
        self.sink = sink;
        self.pen = Pen::default();
    }

    /// A file that cannot be opened again costs no line: the old one is kept.
    fn reopen(&mut self) {
        if !matches!(self.sink.to, LogDestination::File(_)) {
            return;
        }
        match Sink::open(&self.sink.to) {
            Ok(sink) => {
                self.switch(sink);
                tracing::info!("the access log is reopened");
            }
            Err(error) => tracing::error!("{error}\n  (the old file is kept)"),
        }
    }
}

/// The error says that the worker has ended, or has spare buffers enough.
fn give_back(bytes: Vec<u8>, back: &SyncSender<Vec<u8>>) {
    if bytes.capacity() <= KEPT_BUFFER_MAX {
        drop(back.try_send(bytes));
    }
}

/// Writes whole lines to something that may fail in the middle of one.
#[derive(Debug, Default)]
struct Pen {
    /// The last write broke off within a line: the next one begins on a new line.
    torn: bool,
    /// Said once until writing works again.
    failing: bool,
}

impl Pen {
    /// Writes `bytes`, which are `lines` whole lines; returns how many of them did not get out.
    fn write(&mut self, to: &mut impl Write, bytes: &[u8], lines: u64) -> u64 {
        match self.try_write(to, bytes) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the access log is being written again");
                }
                0
            }
            Err((rest, error)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the access log cannot be written: lines are lost");
                }
                let lost = rest.iter().filter(|byte| **byte == b'\n').count();
                lines.min(lost as u64)
            }
        }
    }

    fn try_write<'a>(
        &mut self,
        to: &mut impl Write,
        bytes: &'a [u8],
    ) -> Result<(), (&'a [u8], io::Error)> {
        if self.torn {
            to.write_all(b"\n").map_err(|error| (bytes, error))?;
            self.torn = false;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(written) if written > 0 => {
                    let (out, after) = rest.split_at(written.min(rest.len()));
                    self.torn = out.last() != Some(&b'\n');
                    rest = after;
                }
                Ok(_) => return Err((rest, io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((rest, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then is full.
    struct Full {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.taken.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_within_a_line_tears_that_line_only() {
        let mut pen = Pen::default();
        let mut disk = Full { taken: Vec::new(), room: 6 };
        assert_eq!(pen.write(&mut disk, b"one\ntwo\nthree\n", 3), 2);
        assert_eq!(pen.write(&mut disk, b"four\n", 1), 1);
        disk.room = 100;
        assert_eq!(pen.write(&mut disk, b"five\n", 1), 0);
        assert_eq!(disk.taken, b"one\ntw\nfive\n");
    }

    #[test]
    fn a_destination_that_cannot_be_opened_is_named_with_the_way_out() {
        let to = LogDestination::File("/nowhere/at/all/access.log".into());
        let error = Sink::open(&to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.starts_with("access_log: /nowhere/at/all/access.log: cannot be opened: "));
        assert!(text.ends_with("\n  hint: create the folder, or change access_log"), "{text}");
    }
}

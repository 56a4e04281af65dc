//! The access log: one line a request, formatted by the worker into a buffer of its own and written
//! by one thread. A slow disk costs lines, which are counted, and never a request's time.

mod escape;
mod fixed;
mod line;
mod plain;
mod room;
mod sink;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use crate::model::settings::AccessLog as AccessLogSettings;
use crate::model::settings::LogDestination;
use crate::model::settings::LogFormat;
use crate::observe::access::line::Shape;
use crate::observe::access::line::Stamp;
use crate::observe::access::sink::Message;
use crate::observe::access::sink::Scribe;
use crate::observe::access::sink::Sink;
use crate::observe::access::sink::Waiting;
use crate::observe::metrics::Metrics;

pub use crate::observe::access::fixed::Fixed;
pub use crate::observe::access::line::Entry;
pub use crate::observe::access::line::Moved;

/// A worker's buffer is handed over once it holds so many bytes. Each time wakes the thread that
/// writes, on a core that a worker may be using: with 32 KiB that, the write and whoever watches the
/// log's folder took 8 % of the CPU of a busy worker with small requests.
const BUFFER: usize = 128 * 1024;

/// How long a buffer is: what a line needs that begins just below [`BUFFER`], unless it is very long.
const ROOM: usize = BUFFER + 8 * 1024;

/// How many buffers may wait for the disk: 4 MiB, or ten thousand lines.
const QUEUE: usize = 32;

/// How many written buffers a worker gets back for use again.
const SPARE: usize = 4;

/// How long closing waits for the disk; a stuck one must not keep the process from ending.
const CLOSE: Duration = Duration::from_secs(5);

/// The values of [`AccessLog::shape`].
const OFF: u8 = 0;
const JSON: u8 = 1;
const COMBINED: u8 = 2;

/// The control plane's handle. Dropping it [closes](Self::close) the log.
#[derive(Debug)]
pub struct AccessLog {
    settings: Mutex<AccessLogSettings>,
    /// The shape that workers write in, or [`OFF`].
    shape: Arc<AtomicU8>,
    queue: Sender<Message>,
    waiting: Arc<Waiting>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
    metrics: Metrics,
}

/// One worker's end of the access log.
#[derive(Debug)]
pub struct AccessWriter {
    /// The shape asked for; a reload may change it at any time.
    shape: Arc<AtomicU8>,
    queue: Sender<Message>,
    waiting: Arc<Waiting>,
    metrics: Metrics,
    buffer: RefCell<Buffer>,
    back: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Buffer {
    /// As long as there is room: what is behind `filled` is of no meaning.
    bytes: Vec<u8>,
    filled: usize,
    lines: u64,
    /// The shape of the lines in it, as a number and as what writes them; `None`: off.
    number: u8,
    shape: Option<Shape>,
}

impl AccessLog {
    /// Opens the destination and starts the thread that writes.
    ///
    /// # Errors
    ///
    /// The destination cannot be opened: the message names it and ends with a hint. Or the thread
    /// cannot be started.
    pub fn open(settings: &AccessLogSettings, metrics: Metrics) -> io::Result<Self> {
        let sink = Sink::open(&settings.to)?;
        let waiting = Arc::new(Waiting::default());
        let (queue, lines) = mpsc::channel();
        let (ending, ended) = mpsc::sync_channel(1);
        let scribe = Scribe::new(sink, Arc::clone(&waiting), metrics.clone());
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                scribe.run(&lines);
                drop::<SyncSender<()>>(ending);
            })?;
        Ok(Self {
            settings: Mutex::new(settings.clone()),
            shape: Arc::new(AtomicU8::new(number_of(settings))),
            queue,
            waiting,
            ended: Mutex::new(ended),
            metrics,
        })
    }

    /// The end for one more worker. It is there while the log is off too: a reload may turn it on.
    #[must_use]
    pub fn writer(&self) -> AccessWriter {
        let (back, spare) = mpsc::sync_channel(SPARE);
        AccessWriter {
            shape: Arc::clone(&self.shape),
            queue: self.queue.clone(),
            waiting: Arc::clone(&self.waiting),
            metrics: self.metrics.clone(),
            buffer: RefCell::new(Buffer::default()),
            back,
            spare,
        }
    }

    /// Opens the file by its path again (SIGUSR1, after a rotation has renamed it). Returns at once;
    /// no line is lost, also if it cannot be opened: then the old file is kept and an error logged.
    pub fn reopen(&self) {
        self.order(Message::Reopen);
    }

    /// Changes destination and format as a reload asks. Lines that workers have formatted already,
    /// a tenth of a second's worth, go to the new destination as they are.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); then nothing has changed.
    pub fn reconfigure(&self, settings: &AccessLogSettings) -> io::Result<()> {
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if current.to != settings.to {
            let sink = Sink::open(&settings.to)?;
            self.order(Message::Switch(sink));
        }
        self.shape.store(number_of(settings), Ordering::Relaxed);
        *current = settings.clone();
        Ok(())
    }

    /// Writes what workers have handed over and ends the thread; waits for that, but not longer than
    /// five seconds. Workers' writers must have been dropped or flushed before: what they hand over
    /// afterwards is lost.
    pub fn close(&self) {
        self.order(Message::Close);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(
                "the access log is still being written after {CLOSE:?}: lines are lost"
            );
        }
    }

    /// The error says that the thread has ended: the log is closed, and nothing is left to do.
    fn order(&self, message: Message) {
        drop(self.queue.send(message));
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl AccessWriter {
    /// Whether lines are wanted: where not, an entry need not be put together.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shape.load(Ordering::Relaxed) != OFF
    }

    /// Appends a request's line to the buffer, and hands it over if it is full. Never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        let number = self.shape.load(Ordering::Relaxed);
        if number != buffer.number {
            self.hand_over(&mut buffer);
            buffer.number = number;
            buffer.shape = shape_of(number);
        }
        while !buffer.append(entry) {
            // A line that does not fit behind others begins a buffer, which then grows to hold it.
            if buffer.lines > 0 {
                self.hand_over(&mut buffer);
            } else {
                let room = buffer.bytes.len().saturating_mul(2).max(ROOM);
                buffer.bytes.resize(room, 0);
            }
        }
        if buffer.filled >= BUFFER {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what is buffered, so that no line waits longer than the worker's tick.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.borrow_mut());
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut buffer.lines);
        let filled = std::mem::take(&mut buffer.filled);
        if !self.waiting.enter(QUEUE) {
            // The disk does not keep up.
            self.metrics.access_log_dropped(lines);
            return;
        }
        let spare = self.spare.try_recv();
        let fresh = spare.unwrap_or_else(|_none| vec![0; ROOM]);
        let bytes = std::mem::replace(&mut buffer.bytes, fresh);
        let message = Message::Lines { bytes, filled, lines, back: self.back.clone() };
        if self.queue.send(message).is_err() {
            // The log is closed.
            self.metrics.access_log_dropped(lines);
        }
    }
}

impl Buffer {
    /// Adds a request's line if it is wanted and there is room for it; `false`: there is none.
    fn append(&mut self, entry: &Entry<'_>) -> bool {
        let Some(shape) = &mut self.shape else { return true };
        let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let Ok(length) = shape.write(room, entry) else { return false };
        self.filled += length;
        self.lines += 1;
        true
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

fn number_of(settings: &AccessLogSettings) -> u8 {
    match (&settings.to, settings.format) {
        (LogDestination::Off, LogFormat::Json | LogFormat::Combined) => OFF,
        (LogDestination::Stdout | LogDestination::File(_), LogFormat::Json) => JSON,
        (LogDestination::Stdout | LogDestination::File(_), LogFormat::Combined) => COMBINED,
    }
}

fn shape_of(number: u8) -> Option<Shape> {
    match number {
        JSON => Some(Shape::Json(Stamp::default())),
        COMBINED => Some(Shape::Combined(Stamp::default())),
        _ => None,
    }
}

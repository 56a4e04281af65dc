//! What a TLS connection has yet to send: sealed records, and the plaintext of the one being filled.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::task::Poll;

use rustls::ContentType;

use crate::net::direct;
use crate::net::socket::ClientSocket;
use crate::net::stream::records::OVERHEAD_MAX;
use crate::net::stream::records::PLAIN_MAX;
use crate::net::stream::records::Sealer;
use crate::net::stream::records::WIRE_MAX;

/// The longest record of ours.
const RECORD: usize = PLAIN_MAX + OVERHEAD_MAX;

/// A buffer takes this many full records: what is sent by one system call, and all that a
/// connection ever holds for a client that takes nothing.
const RECORDS: usize = 4;

/// Kept free for alerts and key updates, which must find room at any time.
const CONTROL: usize = 256;

/// Buffers that a thread keeps for the next connection that writes.
const SPARE: usize = 16;

/// What one read of the socket takes: as many full records of the peer.
pub(in crate::net) const SCRATCH: usize = 4 * WIRE_MAX;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static READING: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Borrows the thread's buffer for one read of a socket.
pub(in crate::net) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut scratch = READING
        .take()
        .unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice());
    let result = use_it(&mut scratch);
    READING.set(Some(scratch));
    result
}

/// Records on their way out. Without a buffer as long as nothing waits.
#[derive(Default)]
pub(super) struct Outgoing {
    buffer: Option<Box<[u8]>>,
    /// Up to here it was sent.
    start: usize,
    /// Up to here it is sealed.
    end: usize,
    /// Plaintext of the record being filled, which begins at `end`.
    staged: usize,
}

impl Outgoing {
    /// Records that were sealed elsewhere, and go out before all others.
    ///
    /// # Errors
    /// They are longer than a buffer.
    pub(super) fn sealed_before(bytes: &[u8]) -> io::Result<Self> {
        let mut this = Self::default();
        if !bytes.is_empty() {
            this.place(0, bytes.len())?.copy_from_slice(bytes);
            this.end = bytes.len();
        }
        Ok(this)
    }

    /// Bytes that wait, those of the record being filled included.
    pub(super) fn unsent(&self) -> usize {
        self.end - self.start + self.staged
    }

    /// Whether not one byte more fits.
    pub(super) fn is_full(&self) -> bool {
        self.staged == 0 && !self.has_room() && !self.can_move()
    }

    fn has_room(&self) -> bool {
        self.end + RECORD <= RECORDS * RECORD
    }

    /// Whether moving what waits to the front makes room for a record.
    fn can_move(&self) -> bool {
        self.start >= RECORD
    }

    /// What can be sent now.
    pub(super) fn sealed(&self) -> &[u8] {
        self.buffer
            .as_deref()
            .and_then(|buffer| buffer.get(self.start..self.end))
            .unwrap_or_default()
    }

    /// The socket took `count` bytes.
    pub(super) fn sent(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        self.give_back_if_empty();
    }

    /// Offers a little to a socket that is believed to be full, see [`direct::insist`]. Ready if it took some.
    pub(super) fn insist(&mut self, socket: &ClientSocket) -> Poll<usize> {
        let took = direct::insist(socket, self.sealed());
        self.sent(took);
        if took > 0 { Poll::Ready(0) } else { Poll::Pending }
    }

    /// Takes plaintext, as much as fits, into full records where there is enough of it. What does
    /// not fill a record waits for more, or for [`seal`](Self::seal).
    pub(super) fn push(&mut self, sealer: &mut Sealer, mut plain: &[u8]) -> io::Result<usize> {
        let all = plain.len();
        while !plain.is_empty() && !self.is_full() {
            self.make_room();
            let room = PLAIN_MAX - self.staged;
            let (now, later) = plain.split_at(room.min(plain.len()));
            plain = later;
            if now.len() == PLAIN_MAX {
                let length = sealer.length(PLAIN_MAX);
                sealer.seal(now, self.place(self.end, length)?)?;
                self.end += length;
                continue;
            }
            let at = self.end + sealer.before() + self.staged;
            self.place(at, now.len())?.copy_from_slice(now);
            self.staged += now.len();
            if self.staged == PLAIN_MAX {
                self.seal(sealer)?;
            }
        }
        Ok(all - plain.len())
    }

    /// Seals the record being filled, however short it is.
    pub(super) fn seal(&mut self, sealer: &mut Sealer) -> io::Result<()> {
        if self.staged > 0 {
            let length = sealer.length(self.staged);
            sealer.seal_in_place(ContentType::ApplicationData, self.place(self.end, length)?)?;
            self.end += length;
            self.staged = 0;
        }
        Ok(())
    }

    /// Puts a whole message that is not data behind what waits.
    pub(super) fn control(
        &mut self,
        sealer: &mut Sealer,
        kind: ContentType,
        message: &[u8],
    ) -> io::Result<()> {
        self.seal(sealer)?;
        let (before, length) = (sealer.before(), sealer.length(message.len()));
        let record = self.place(self.end, length)?;
        if let Some(place) = record.get_mut(before..before + message.len()) {
            place.copy_from_slice(message);
        }
        sealer.seal_in_place(kind, record)?;
        self.end += length;
        Ok(())
    }

    fn make_room(&mut self) {
        if self.staged == 0 && !self.has_room() && self.can_move() {
            let waits = self.start..self.end;
            (self.start, self.end) = (0, waits.len());
            self.buffer().copy_within(waits, 0);
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| {
            POOL.with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; RECORDS * RECORD + CONTROL].into_boxed_slice())
        })
    }

    fn place(&mut self, at: usize, length: usize) -> io::Result<&mut [u8]> {
        self.buffer()
            .get_mut(at..at + length)
            .ok_or_else(|| io::Error::other("no room for a record"))
    }

    fn give_back_if_empty(&mut self) {
        if self.start < self.end || self.staged > 0 {
            return;
        }
        (self.start, self.end) = (0, 0);
        if let Some(buffer) = self.buffer.take() {
            keep(buffer);
        }
    }
}

fn keep(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < SPARE {
            pool.push(buffer);
        }
    });
}

//! Buffers that belong to the worker, not to a connection: bytes are read into one scratch buffer,
//! and what must outlive a step is kept in a buffer that goes back to the worker when it is done.
//! So an idle connection owns none.

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::thread::LocalKey;

use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

use crate::http1::head::Fields;

/// How much is read at once into the scratch buffer: a head with a body of up to 31 KiB comes and
/// goes with one system call each.
const SCRATCH: usize = 32 * 1024;

/// How much one transfer moves at once. Two of nginx's largest usual buffers; more gains nothing that
/// we could measure, and each active large transfer owns one of these.
const TRANSFER: usize = 64 * 1024;

/// A small buffer that grew beyond this is not kept.
const SMALL_MAX: usize = 64 * 1024;

/// How many buffers of each kind a worker keeps for later.
const KEPT: usize = 64;

thread_local! {
    static SPARE_SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SPARE_FIELDS: RefCell<Fields> = RefCell::default();
    static SMALL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LARGE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends the worker's scratch buffer. What it holds is worthless afterwards.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    // Taken, not borrowed: a second loan within the first gets a buffer of its own, not a panic.
    let mut scratch = SPARE_SCRATCH.with(RefCell::take);
    if scratch.is_empty() {
        scratch = vec![0; SCRATCH];
    }
    let done = work(&mut scratch);
    SPARE_SCRATCH.with(|spare| spare.replace(scratch));
    done
}

/// Lends the worker's room for the fields of a head.
pub(crate) fn with_fields<T>(work: impl FnOnce(&mut Fields) -> T) -> T {
    SPARE_FIELDS.with(|spare| match spare.try_borrow_mut() {
        Ok(mut fields) => work(&mut fields),
        // A loan within a loan: none is made, and a panic would be a high price for one.
        Err(_lent) => work(&mut Fields::default()),
    })
}

/// Reads what there is into the scratch buffer and hands it over; nothing at the stream's end.
pub(crate) fn poll_read_scratch<S, T>(
    stream: &mut S,
    cx: &mut Context<'_>,
    work: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>>
where
    S: AsyncRead + Unpin,
{
    with_scratch(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(work(buffer.filled())))
    })
}

/// A growing buffer of the worker's. Empty when taken.
#[derive(Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// One that was used before, if there is one.
    pub(crate) fn take() -> Self {
        Self(SMALL.with_borrow_mut(Vec::pop).unwrap_or_default())
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if (1..=SMALL_MAX).contains(&self.0.capacity()) {
            let mut bytes = std::mem::take(&mut self.0);
            bytes.clear();
            give_back(&SMALL, bytes);
        }
    }
}

/// The buffer of one large transfer: filled by one read, then written to its end.
pub(crate) struct Transfer {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Transfer {
    /// One that was used before, if there is one.
    pub(crate) fn take() -> Self {
        let kept = LARGE.with_borrow_mut(Vec::pop);
        Self { bytes: kept.unwrap_or_else(|| vec![0; TRANSFER]), from: 0, to: 0 }
    }

    /// What has been read and not been written.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// `written` bytes of it have been.
    pub(crate) fn advance(&mut self, written: usize) {
        self.from = self.to.min(self.from + written);
    }

    /// Reads anew, when nothing waits; 0 at the stream's end.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.bytes);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        (self.from, self.to) = (0, buffer.filled().len());
        Poll::Ready(Ok(self.to))
    }

    /// Keeps only the first `length` bytes of what was read.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.to = self.to.min(self.from + length);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        give_back(&LARGE, std::mem::take(&mut self.bytes));
    }
}

fn give_back(kept: &'static LocalKey<RefCell<Vec<Vec<u8>>>>, bytes: Vec<u8>) {
    // A buffer that outlives the worker's own store, when its thread ends, is just dropped.
    let keep = |kept: &RefCell<Vec<Vec<u8>>>| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT {
            kept.push(bytes);
        }
    };
    kept.try_with(keep).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_with_its_room() {
        let mut buffer = Buffer::take();
        buffer.extend_from_slice(b"left over");
        let room = buffer.capacity();
        drop(buffer);
        let again = Buffer::take();
        assert!(again.is_empty());
        assert_eq!(again.capacity(), room);
    }

    #[test]
    fn a_buffer_that_grew_too_large_is_not_kept() {
        let mut buffer = Buffer::take();
        buffer.reserve(SMALL_MAX + 1);
        drop(buffer);
        assert!(Buffer::take().capacity() <= SMALL_MAX);
    }

    #[test]
    fn a_loan_within_a_loan_gets_a_buffer_of_its_own() {
        with_scratch(|outer| {
            outer.fill(1);
            with_scratch(|inner| inner.fill(2));
            assert!(outer.iter().all(|byte| *byte == 1));
        });
    }

    #[tokio::test]
    async fn a_transfer_is_written_to_its_end_before_it_is_filled_again() {
        let mut source: &[u8] = b"blue and green";
        let mut transfer = Transfer::take();
        let read = std::future::poll_fn(|cx| transfer.poll_fill(&mut source, cx)).await;
        assert_eq!(read.unwrap(), 14);
        transfer.advance(5);
        assert_eq!(transfer.waiting(), b"and green");
        transfer.truncate(3);
        assert_eq!(transfer.waiting(), b"and");
        transfer.advance(99);
        assert_eq!(transfer.waiting(), b"");
    }
}

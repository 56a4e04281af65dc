//! How far HTTP/2 clients may run ahead of their targets: the windows of each are as wide as a long
//! link needs, and all clients of a worker together have so much memory.
//!
//! A window is a promise to take what fits into it, and hyper's cannot be taken back. So what is
//! bounded is not the windows but the reading: from a client that is far ahead, while too much waits
//! in all, nothing is read. TCP then holds it back, as it does with every client of HTTP/1.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::rc::Weak;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// What may wait for the targets of one worker before clients are held back. The buffers of `h2` take
/// up to twice as much memory.
const TOGETHER: usize = 32 * 1024 * 1024;

/// What may wait of one client whatever the others do.
const SHARE: usize = 1024 * 1024;

/// What a frame costs beside its content while it waits: its place in a queue, its share of a buffer.
const FRAME: usize = 256;

/// The bytes that every client begins with (RFC 9113 §3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The type of the frames that windows count (RFC 9113 §6.1).
const DATA: u8 = 0;

thread_local! {
    static WAITS: Cell<usize> = const { Cell::new(0) };
    static HELD_BACK: RefCell<Vec<Weak<Ahead>>> = const { RefCell::new(Vec::new()) };
}

/// How far one client is ahead.
pub(crate) struct Ahead {
    /// What waits, as far as is known: content that came and was not taken.
    waits: Cell<usize>,
    /// Streams whose content is not all taken.
    uploads: Cell<usize>,
    stream_window: usize,
    held_back: RefCell<Option<Waker>>,
}

/// A stream whose content is still to be taken.
pub(crate) struct Upload(Rc<Ahead>);

/// A client's bytes, read only while there is room for them.
pub(crate) struct Metered<S> {
    inner: S,
    ahead: Rc<Ahead>,
    frames: Frames,
}

/// Where in a client's frames its bytes are.
struct Frames {
    /// Bytes to come before the next frame's head.
    skip: usize,
    /// How much of a frame's head has come, and its first bytes: length and type.
    has: usize,
    head: [u8; 4],
}

impl Ahead {
    /// A client that has sent nothing; none of its streams may be further ahead than `stream_window`.
    pub(crate) fn new(stream_window: u32) -> Rc<Self> {
        Rc::new(Self {
            waits: Cell::new(0),
            uploads: Cell::new(0),
            stream_window: usize::try_from(stream_window).unwrap_or(usize::MAX),
            held_back: RefCell::new(None),
        })
    }

    /// A stream has begun whose content will be taken.
    pub(crate) fn begin(self: &Rc<Self>) -> Upload {
        self.uploads.set(self.uploads.get() + 1);
        Upload(Rc::clone(self))
    }

    /// Sets what waits. Content of a stream that nobody took to its end is gone with it, unseen from
    /// here; so the streams that are left bound what can still be waiting.
    fn set(&self, waits: usize) {
        // Content and at most as much again for its frames: h2 allows few that are smaller.
        let most = self.stream_window.saturating_mul(2 * self.uploads.get());
        let waits = waits.min(most);
        let before = self.waits.replace(waits);
        let all = WAITS.get();
        WAITS.set(all.saturating_sub(before).saturating_add(waits));
        if waits <= SHARE {
            self.go_on();
        }
        if all > TOGETHER && WAITS.get() <= TOGETHER {
            for other in HELD_BACK.take() {
                other.upgrade().inspect(|other| other.go_on());
            }
        }
    }

    fn go_on(&self) {
        if let Some(waker) = self.held_back.take() {
            waker.wake();
        }
    }

    fn poll_room(self: &Rc<Self>, cx: &Context<'_>) -> Poll<()> {
        if self.waits.get() <= SHARE || WAITS.get() <= TOGETHER {
            return Poll::Ready(());
        }
        let known = self.held_back.replace(Some(cx.waker().clone()));
        if known.is_none() {
            HELD_BACK.with_borrow_mut(|all| {
                all.retain(|other| other.strong_count() > 0);
                all.push(Rc::downgrade(self));
            });
        }
        Poll::Pending
    }
}

impl Upload {
    /// The content of one frame has been taken.
    pub(crate) fn taken(&self, bytes: usize) {
        self.0.set(self.0.waits.get().saturating_sub(bytes + FRAME));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.uploads.set(self.0.uploads.get().saturating_sub(1));
        self.0.set(self.0.waits.get());
    }
}

impl Frames {
    /// What the frames of content that begin in `bytes` will cost while they wait.
    fn cost(&mut self, mut bytes: &[u8]) -> usize {
        let mut cost = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((first, rest)) = bytes.split_first() else { return cost };
            bytes = rest;
            cost += self.head(*first);
        }
    }

    /// Takes the next byte of a frame's head: what the frame will cost, once that shows.
    fn head(&mut self, byte: u8) -> usize {
        if let Some(place) = self.head.get_mut(self.has) {
            *place = byte;
        }
        self.has += 1;
        if self.has < self.head.len() {
            return 0;
        }
        let [a, b, c, kind] = self.head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
        // The flags and the stream's number are of no interest here.
        self.skip = 5 + length;
        self.has = 0;
        if kind == DATA { length + FRAME } else { 0 }
    }
}

impl<S> Metered<S> {
    /// Reads `inner`, from its first byte on, on the account of `ahead`.
    pub(crate) fn new(inner: S, ahead: Rc<Ahead>) -> Self {
        Self { inner, ahead, frames: Frames { skip: PREFACE, has: 0, head: [0; 4] } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.ahead.poll_room(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let cost = self
            .frames
            .cost(buffer.filled().get(before..).unwrap_or_default());
        if cost > 0 {
            self.ahead.set(self.ahead.waits.get() + cost);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Wake;

    use super::*;

    const WINDOW: u32 = 4 * 1024 * 1024;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client that is ahead by as much as it may with `uploads` streams.
    fn far_ahead(uploads: usize) -> (Rc<Ahead>, Vec<Upload>) {
        let ahead = Ahead::new(WINDOW);
        let uploads = std::iter::repeat_with(|| ahead.begin())
            .take(uploads)
            .collect();
        ahead.set(usize::MAX);
        (ahead, uploads)
    }

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let head = [0, 0, length, kind, 1, 0, 0, 0, 1];
        [&head[..], &vec![DATA; usize::from(length)]].concat()
    }

    #[test]
    fn only_frames_of_content_count_in_whatever_pieces_they_come() {
        let all = [
            &[DATA; PREFACE][..],
            &frame(4, 30),
            &frame(DATA, 100),
            &frame(1, 0),
            &frame(DATA, 0),
            &frame(8, 4),
            &frame(DATA, 200),
        ]
        .concat();
        for length in 1..all.len() {
            let mut frames = Frames { skip: PREFACE, has: 0, head: [0; 4] };
            let cost: usize = all.chunks(length).map(|part| frames.cost(part)).sum();
            assert_eq!(cost, 300 + 3 * FRAME, "in pieces of {length}");
        }
    }

    #[test]
    fn a_client_is_held_back_only_when_it_and_all_are_too_far_ahead() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let (one, uploads) = far_ahead(1);
        assert!(one.poll_room(&cx).is_ready(), "there is room for more");
        let (others, mut theirs) = far_ahead(4);
        assert!(one.poll_room(&cx).is_pending());
        assert!(others.poll_room(&cx).is_pending());
        assert!(Ahead::new(WINDOW).poll_room(&cx).is_ready(), "whatever the others do");
        // What one has sent is taken.
        for upload in &uploads {
            upload.taken(usize::try_from(2 * WINDOW).unwrap() - SHARE);
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(one.poll_room(&cx).is_ready());
        assert!(others.poll_room(&cx).is_pending());
        // A stream of the others ends.
        theirs.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert!(others.poll_room(&cx).is_ready());
    }

    #[test]
    fn with_its_last_stream_nothing_of_a_client_waits() {
        let (ahead, uploads) = far_ahead(3);
        assert_eq!(WAITS.get(), ahead.waits.get());
        drop(uploads);
        assert_eq!((ahead.waits.get(), WAITS.get()), (0, 0));
    }
}

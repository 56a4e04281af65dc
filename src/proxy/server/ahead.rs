//! How far HTTP/2 clients may run ahead of their targets: the windows of each are as wide as a long
//! link needs, and all clients of a worker together have so much memory.
//!
//! A window is a promise to take what fits into it, and `h2` takes none back. So what is
//! bounded is not the windows but the reading: from a client that is far ahead, while too much waits
//! in all, nothing is read. TCP then holds it back, as it does with every client of HTTP/1.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::proxy::server::frames::FRAME;

/// What may wait for the targets of one worker before clients are held back. The buffers of `h2` take
/// up to twice as much memory.
const TOGETHER: usize = 32 * 1024 * 1024;

/// What may wait of one client whatever the others do.
const SHARE: usize = 1024 * 1024;

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

    /// Content has come that costs so much while it waits.
    #[inline]
    pub(super) fn comes(&self, cost: usize) {
        if cost > 0 {
            self.set(self.waits.get() + cost);
        }
    }

    fn go_on(&self) {
        if let Some(waker) = self.held_back.take() {
            waker.wake();
        }
    }

    /// Ready while there is room for more.
    pub(super) fn poll_room(self: &Rc<Self>, cx: &Context<'_>) -> Poll<()> {
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

//! What the streams of one HTTP/2 connection write in one turn leaves in as few system calls and TLS
//! records as hold it.
//!
//! `h2` flushes after each frame of content. A frame has 9 bytes of its own and up to 16 KiB of
//! content, so that each would be sent by itself, as a full record and one of 9 bytes. And it asks for
//! more to read with each request that is taken from it, however often it was told that there is none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// A stream whose flushes wait for the end of the turn.
pub(crate) struct Gathering<S>(Rc<RefCell<Inner<S>>>);

/// Ends the turns of a [`Gathering`].
pub(crate) struct Turns<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    /// Something was written and not flushed yet.
    due: bool,
    /// Why the last flush failed: the next write is told.
    failed: Option<io::Error>,
    /// Nothing is left to read: whoever asked in this turn is woken when there is more.
    dry: bool,
}

/// `stream`, and what ends its turns.
pub(crate) fn gather<S: AsyncWrite + Unpin>(stream: S) -> (Gathering<S>, Turns<S>) {
    let inner = Rc::new(RefCell::new(Inner { stream, due: false, failed: None, dry: false }));
    (Gathering(Rc::clone(&inner)), Turns(inner))
}

impl<S: AsyncWrite + Unpin> Turns<S> {
    /// Flushes what was written. What the stream does not take now goes out in the next turn, for
    /// which its waker is then that of `cx`.
    pub(crate) fn end(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        inner.dry = false;
        if !inner.due {
            return;
        }
        match Pin::new(&mut inner.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => inner.due = false,
            Poll::Ready(Err(error)) => {
                inner.due = false;
                inner.failed = Some(error);
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
    }
}

impl<S> Turns<S> {
    /// The stream, once nobody else writes to it.
    pub(crate) fn into_stream(self) -> Option<S> {
        Rc::into_inner(self.0).map(|inner| inner.into_inner().stream)
    }
}

impl<S> Inner<S> {
    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        inner.check()?;
        if inner.dry {
            return Poll::Pending;
        }
        let read = Pin::new(&mut inner.stream).poll_read(cx, buffer);
        inner.dry = read.is_pending();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        inner.check()?;
        inner.due = true;
        Pin::new(&mut inner.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        inner.check()?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Counts its flushes, of which the first `refused` are pending.
    #[derive(Default)]
    struct Flushed {
        wrote: Vec<u8>,
        flushes: usize,
        refused: usize,
        broken: bool,
    }

    impl AsyncWrite for Flushed {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.wrote.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.flushes += 1;
            if self.flushes <= self.refused { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    /// Has nothing to read, and counts who asks.
    #[derive(Default)]
    struct Silent {
        wrote: Flushed,
        asked: usize,
    }

    impl AsyncRead for Silent {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.asked += 1;
            Poll::Pending
        }
    }

    impl AsyncWrite for Silent {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.wrote).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.wrote).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[tokio::test]
    async fn frames_of_one_turn_are_flushed_together() {
        let (mut stream, turns) = gather(Flushed::default());
        for frame in [b"blue", b"gree"] {
            stream.write_all(frame).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(turns.0.borrow().stream.flushes, 0);
        turns.end(&mut context());
        turns.end(&mut context());
        let inner = turns.0.borrow();
        assert_eq!((inner.stream.flushes, inner.stream.wrote.as_slice()), (1, &b"bluegree"[..]));
    }

    #[tokio::test]
    async fn one_turn_asks_once_for_what_is_not_there() {
        let (mut stream, turns) = gather(Silent::default());
        let mut asks = || {
            let mut room = [0; 8];
            let mut room = ReadBuf::new(&mut room);
            assert!(
                Pin::new(&mut stream)
                    .poll_read(&mut context(), &mut room)
                    .is_pending()
            );
        };
        for _turn in 0..2 {
            (0..3).for_each(|_| asks());
            turns.end(&mut context());
        }
        assert_eq!(turns.0.borrow().stream.asked, 2);
    }

    #[tokio::test]
    async fn what_is_not_taken_is_flushed_again_in_the_next_turn() {
        let (mut stream, turns) = gather(Flushed { refused: 1, ..Flushed::default() });
        stream.write_all(b"green").await.unwrap();
        for _turn in 0..3 {
            turns.end(&mut context());
        }
        assert_eq!(turns.0.borrow().stream.flushes, 2);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_seen_at_the_next_write() {
        let (mut stream, turns) = gather(Flushed { broken: true, ..Flushed::default() });
        stream.write_all(b"green").await.unwrap();
        stream.flush().await.unwrap();
        turns.end(&mut context());
        let seen = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(seen.kind(), io::ErrorKind::BrokenPipe);
    }
}

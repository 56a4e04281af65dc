//! An HTTP/2 client's bytes on their way to `h2`: read only while there is room for what they hold,
//! and no further than to the frame that ends the connection.
//!
//! `h2` has no way to end a connection with an error that it did not find itself. So nothing more is
//! read for it, and once it has written whole frames, nothing more is written for it either: then the
//! last word is ours.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::proxy::server::ahead::Ahead;
use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;
use crate::proxy::server::broken::GOAWAY;
use crate::proxy::server::frames::Frames;

/// A client's byte stream as `h2` sees it.
pub(super) struct Metered<S> {
    inner: S,
    ahead: Rc<Ahead>,
    frames: Frames,
    conduct: Rc<Conduct>,
}

/// How long the head of a frame is.
const HEAD: usize = 9;

/// How a client behaves.
pub(super) struct Conduct {
    broken: Cell<Option<Broken>>,
    /// The last stream that the client began.
    last: Cell<u32>,
    /// Whether all that was written are whole frames.
    is_whole: Cell<bool>,
}

impl Conduct {
    /// The last stream that the client began, by what has been read.
    #[inline]
    pub(super) fn last(&self) -> u32 {
        self.last.get()
    }

    /// Why the connection must end, and the last stream that the client began, once the last word can
    /// be said.
    pub(super) fn broken(&self) -> Option<(Broken, u32)> {
        let broken = self.broken.get().filter(|_| self.is_whole.get())?;
        Some((broken, self.last.get()))
    }
}

impl<S> Metered<S> {
    /// Reads `inner`, from its first byte on, on the account of `ahead`; and how it behaves.
    pub(super) fn new(inner: S, ahead: Rc<Ahead>) -> (Self, Rc<Conduct>) {
        let conduct = Rc::new(Conduct {
            broken: Cell::new(None),
            last: Cell::new(0),
            is_whole: Cell::new(true),
        });
        let metered = Self { inner, ahead, frames: Frames::new(), conduct: Rc::clone(&conduct) };
        (metered, conduct)
    }

    fn breaks(&self, broken: Broken) {
        self.conduct.broken.set(Some(broken));
    }

    /// Whether nothing may be written any more, of which `bytes` would be the first.
    #[inline]
    fn is_over(&self, bytes: &[u8]) -> bool {
        if !self.conduct.is_whole.get() {
            return false;
        }
        if self.frames.brought_block() {
            self.look_for_error(bytes);
        }
        self.conduct.broken.get().is_some()
    }

    /// What `h2` writes before it asks for more shows whether it gave up a block, but not why.
    #[cold]
    fn look_for_error(&self, bytes: &[u8]) {
        if has_protocol_error(bytes) && self.frames.cannot_be_undone() {
            let why = "a header block that cannot be undone";
            self.breaks(Broken { code: Code::Compression, why });
        }
    }

    #[inline]
    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            self.conduct.is_whole.set(false);
            self.frames.allowance.earn(*bytes);
        }
    }
}

/// Whether frames end with one that tells of a protocol error.
fn has_protocol_error(mut bytes: &[u8]) -> bool {
    while let Some(([a, b, c, kind, ..], rest)) = bytes.split_first_chunk::<HEAD>() {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
        let Some((payload, rest)) = rest.split_at_checked(length) else { return false };
        if *kind == GOAWAY {
            return payload.get(4..8) == Some(&[0, 0, 0, Code::Protocol as u8]);
        }
        bytes = rest;
    }
    false
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.conduct.broken.get().is_some() {
            return Poll::Pending;
        }
        self.frames.go_on();
        ready!(self.ahead.poll_room(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let seen = self
            .frames
            .take(buffer.filled().get(before..).unwrap_or_default());
        self.ahead.comes(seen.cost);
        self.conduct.last.set(self.frames.last());
        let Some((at, broken)) = seen.broken else { return Poll::Ready(Ok(())) };
        self.breaks(broken);
        buffer.set_filled(before + at);
        // Nothing at all would be the end of the stream.
        if at == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(bytes) {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(slices.first().map_or(&[], |first| &**first)) {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // `h2` flushes when it has written the last byte of all that it had begun to write.
        self.conduct.is_whole.set(true);
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

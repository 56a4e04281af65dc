//! Reading from and writing to a socket: tried at once, and waited for only where the kernel says so.
//! Knows nothing of what the bytes mean.
//!
//! A task that is woken finds its socket ready nearly always, and what it writes fits. To register
//! with the runtime first, as its own `poll_read` and `poll_write` do, costs more than the attempt.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::recv;
use rustix::net::send;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::task::coop::poll_proceed;

/// How much is offered at once to a socket that is believed to be full.
pub const LITTLE: usize = 1024;

/// A socket that can be waited for.
pub trait Socket {
    /// Does `io` on its descriptor unless it is known that it would block.
    ///
    /// # Errors
    /// Those of `io`; `WouldBlock`.
    fn try_io<R>(
        &self,
        on: Interest,
        io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R>;

    /// Does `io` on its descriptor, whatever is known of it.
    ///
    /// # Errors
    /// Those of `io`.
    fn with<R>(&self, io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R>;

    /// Ready once there may be something to read.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once there may be room to write.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! socket {
    ($stream:ident) => {
        impl Socket for $stream {
            #[inline(always)]
            fn try_io<R>(
                &self,
                on: Interest,
                io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
            ) -> io::Result<R> {
                self.try_io(on, || io(self.as_fd()))
            }

            fn with<R>(&self, io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
                io(self.as_fd())
            }

            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }

            fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(cx)
            }
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

/// As [`AsyncRead::poll_read`](tokio::io::AsyncRead::poll_read).
#[inline]
pub(in crate::net) fn poll_read(
    socket: &impl Socket,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    // A peer that always has something for us must let others have their turn.
    let coop = ready!(poll_proceed(cx));
    loop {
        let room = buffer.initialize_unfilled();
        let most = room.len();
        let read = attempt(socket, Interest::READABLE, most, |socket| {
            recv(socket, room, RecvFlags::empty()).map(|(_, count)| count)
        });
        match read {
            Ok(count) => {
                coop.made_progress();
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            Err(Some(error)) => return Poll::Ready(Err(error)),
            Err(None) => ready!(socket.poll_read_ready(cx))?,
        }
    }
}

/// As [`AsyncWrite::poll_write`](tokio::io::AsyncWrite::poll_write).
#[inline]
pub(in crate::net) fn poll_write(
    socket: &impl Socket,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    poll_send(socket, cx, bytes, SendFlags::empty())
}

/// As [`poll_write`], of the last bytes of a stream that is shut down in the next moment: what does not
/// fill a segment waits for that, and goes in one with it.
#[inline]
pub(in crate::net) fn poll_write_last(
    socket: &impl Socket,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    poll_send(socket, cx, bytes, SendFlags::MORE)
}

#[inline(always)]
fn poll_send(
    socket: &impl Socket,
    cx: &mut Context<'_>,
    bytes: &[u8],
    flags: SendFlags,
) -> Poll<io::Result<usize>> {
    // What is written was read, and whoever reads gives others their turn.
    loop {
        match attempt_write(socket, bytes, flags) {
            Ok(count) => return Poll::Ready(Ok(count)),
            Err(Some(error)) => return Poll::Ready(Err(error)),
            Err(None) => ready!(socket.poll_write_ready(cx))?,
        }
    }
}

/// Writes what the socket takes at once.
///
/// # Errors
///
/// `WouldBlock` where it takes nothing, or what the kernel says.
pub(in crate::net) fn write_now(socket: &impl Socket, bytes: &[u8]) -> io::Result<usize> {
    attempt_write(socket, bytes, SendFlags::empty())
        .map_err(|error| error.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
}

/// Offers a little of `bytes` to a socket that is believed to be full; how much it took. The kernel
/// tells of room only once a third of its buffer is free, which may be a megabyte, and at the pace of a
/// slow client a quarter of an hour. But it begins another segment as soon as there is any room: where
/// it has none, it has some again only if the client took something.
pub(in crate::net) fn insist(socket: &impl Socket, bytes: &[u8]) -> usize {
    let little = bytes.get(..LITTLE.min(bytes.len())).unwrap_or_default();
    if little.is_empty() {
        return 0;
    }
    // Without the mark the next offer would be added to this one's segment, room or not.
    let flags = SendFlags::NOSIGNAL | SendFlags::EOR;
    let took = socket.with(|socket| Ok(send(socket, little, flags)?));
    took.unwrap_or(0)
}

#[inline]
fn attempt_write(
    socket: &impl Socket,
    bytes: &[u8],
    flags: SendFlags,
) -> Result<usize, Option<io::Error>> {
    attempt(socket, Interest::WRITABLE, bytes.len(), |socket| {
        send(socket, bytes, SendFlags::NOSIGNAL | flags)
    })
}

/// Tries to move up to `most` bytes; no error says that it would block.
///
/// Fewer than `most` are all there is for now: with `WouldBlock` the runtime takes note, and the next
/// attempt does not ask the kernel only to hear the same. That an end was reached stays known.
#[inline(always)]
fn attempt(
    socket: &impl Socket,
    on: Interest,
    most: usize,
    io: impl FnOnce(BorrowedFd<'_>) -> Result<usize, Errno>,
) -> Result<usize, Option<io::Error>> {
    let mut moved = Err(None);
    let _noted: io::Result<()> = socket.try_io(on, |socket| match io(socket) {
        Ok(count) => {
            moved = Ok(count);
            if 0 < count && count < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
        Err(Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => {
            moved = Err(Some(error.into()));
            Ok(())
        }
    });
    moved
}

#[cfg(test)]
mod tests;

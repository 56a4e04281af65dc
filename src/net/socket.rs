//! A client's socket, of which the runtime hears only once it must be waited for.
//!
//! The first request of a connection is mostly there before anybody looks, and its answer fits. To
//! register the socket and to take it out again are two system calls, and bring an event that says no
//! more than that it can be written to.

use std::cell::Cell;
use std::cell::OnceCell;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::TcpStream as Fresh;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::net::shutdown;
use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::net::direct;
use crate::net::direct::Socket;
use crate::net::sockets;

/// A client's TCP socket.
#[derive(Debug)]
pub struct ClientSocket {
    /// As long as the runtime does not know it.
    fresh: RefCell<Option<Fresh>>,
    /// While it is fresh: the last read took all there was.
    is_drained: Cell<bool>,
    /// As soon as it does.
    watched: OnceCell<TcpStream>,
}

impl ClientSocket {
    /// A socket that does not block.
    #[must_use]
    pub fn new(fresh: Fresh) -> Self {
        Self {
            fresh: RefCell::new(Some(fresh)),
            is_drained: Cell::new(false),
            watched: OnceCell::new(),
        }
    }

    /// The socket, known to the runtime from now on.
    fn watched(&self) -> io::Result<&TcpStream> {
        if let Some(watched) = self.watched.get() {
            return Ok(watched);
        }
        let fresh = self.fresh.take().ok_or(io::ErrorKind::NotConnected)?;
        let watched = TcpStream::from_std(fresh)?;
        Ok(self.watched.get_or_init(|| watched))
    }

    /// As the runtime knows it, once it has been waited for.
    #[must_use]
    pub fn known(&self) -> Option<&TcpStream> {
        self.watched.get()
    }

    /// Whether the other side has ended its stream, or all of it, as far as the runtime has heard:
    /// also where something that it sent before is unread.
    pub(in crate::net) fn has_hung_up(&self) -> bool {
        let Ok(watched) = self.watched() else { return true };
        let mut cx = Context::from_waker(Waker::noop());
        let ready = pin!(watched.ready(Interest::READABLE)).poll(&mut cx);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Ready once something can be read, or the other side has ended its stream: then with 0.
    pub(in crate::net) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.watched()?
            .poll_peek(cx, &mut ReadBuf::new(&mut [0; 1]))
    }

    /// Lets the kernel take much more for this client than it may send at once, or as little as for
    /// others.
    ///
    /// # Errors
    ///
    /// What the kernel says; all is as it was then.
    pub fn give_ahead(&self, much: bool) -> io::Result<()> {
        self.with(|socket| sockets::give_ahead(socket, much))
    }

    /// Closing it is to reset the connection.
    pub fn reset_at_the_end(&self) {
        // A refusal means that the connection is gone already.
        let told = self.with(|socket| SockRef::from(&socket).set_linger(Some(Duration::ZERO)));
        told.ok();
    }
}

/// One that the runtime knows already.
#[cfg(test)]
impl From<TcpStream> for ClientSocket {
    fn from(watched: TcpStream) -> Self {
        Self {
            fresh: RefCell::default(),
            is_drained: Cell::default(),
            watched: OnceCell::from(watched),
        }
    }
}

impl Socket for ClientSocket {
    #[inline]
    fn try_io<R>(
        &self,
        on: Interest,
        io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if let Some(watched) = self.watched.get() {
            return Socket::try_io(watched, on, io);
        }
        // What has come since is found when it is registered.
        if on.is_readable() && self.is_drained.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let done = self.with(io);
        let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if on.is_readable() && done.as_ref().is_err_and(would_block) {
            self.is_drained.set(true);
        }
        done
    }

    fn with<R>(&self, io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        if let Some(watched) = self.watched.get() {
            return io(watched.as_fd());
        }
        match &*self.fresh.borrow() {
            Some(fresh) => io(fresh.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_write_ready(cx)
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        direct::poll_read(&*self, cx, buffer)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        direct::poll_write(&*self, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.with(|socket| Ok(shutdown(socket, Shutdown::Write)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn pair() -> (Fresh, ClientSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = Fresh::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (far, ClientSocket::new(near))
    }

    #[tokio::test]
    async fn what_is_there_is_read_and_answered_without_the_runtime() {
        let (mut far, mut near) = pair();
        far.write_all(b"hello").unwrap();
        let mut read = [0; 8];
        assert_eq!(near.read(&mut read).await.unwrap(), 5);
        near.write_all(b"bye").await.unwrap();
        near.shutdown().await.unwrap();
        assert!(near.watched.get().is_none());
        drop(near);
        let mut said = String::new();
        far.read_to_string(&mut said).unwrap();
        assert_eq!(said, "bye");
    }

    #[tokio::test]
    async fn what_comes_after_everything_was_read_is_waited_for() {
        let (mut far, mut near) = pair();
        let mut read = [0; 8];
        far.write_all(b"hello").unwrap();
        assert_eq!(near.read(&mut read).await.unwrap(), 5);
        for _ in 0..3 {
            let mut reading = pin!(near.read(&mut read));
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(reading.as_mut().poll(cx).is_pending());
            far.write_all(b"hello").unwrap();
            assert_eq!(reading.await.unwrap(), 5);
        }
        assert!(near.watched.get().is_some());
    }

    #[tokio::test]
    async fn what_comes_between_a_read_and_the_next_is_not_lost() {
        let (mut far, mut near) = pair();
        let mut read = [0; 8];
        for _ in 0..3 {
            far.write_all(b"hello").unwrap();
            assert_eq!(near.read(&mut read).await.unwrap(), 5);
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_waited_for() {
        let (mut far, mut near) = pair();
        let bytes = vec![b'x'; 16 << 20];
        let expected = bytes.len();
        let taken = std::thread::spawn(move || {
            let mut came = Vec::new();
            far.read_to_end(&mut came).unwrap();
            came.len()
        });
        near.write_all(&bytes).await.unwrap();
        drop(near);
        assert_eq!(taken.join().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_hangup_is_heard_of_by_whoever_asks() {
        let (far, near) = pair();
        assert!(!near.has_hung_up());
        drop(far);
        assert_eq!(poll_fn(|cx| near.poll_peek(cx)).await.unwrap(), 0);
        assert!(near.has_hung_up());
    }

    fn is_reset(mut far: Fresh, near: ClientSocket) -> bool {
        near.reset_at_the_end();
        drop(near);
        let read = far.read(&mut [0; 8]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    #[tokio::test]
    async fn a_connection_that_is_to_be_reset_is() {
        let (far, near) = pair();
        assert!(is_reset(far, near));
        let (far, near) = pair();
        near.watched().unwrap();
        assert!(is_reset(far, near));
    }
}

//! Bytes from one TCP socket to another without a copy through this process: splice(2) by way of a
//! pipe.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::pipe::PipeFlags;
use rustix::pipe::SpliceFlags;
use rustix::pipe::fcntl_setpipe_size;
use rustix::pipe::pipe_with;
use rustix::pipe::splice;
use tokio::io::Interest;

pub use crate::net::direct::Socket;
use crate::net::limits;

/// What a pipe may hold. The kernel's limit for a user who is not root, in all, is 64 MiB by default
/// (`fs.pipe-user-pages-soft`): beyond it pipes stay small, and still work.
const SIZE: usize = 512 * 1024;

/// How many empty pipes a thread keeps.
const KEPT: usize = 16;

/// A pipe's two ends: to read from, to write to.
type Ends = (OwnedFd, OwnedFd);

thread_local! {
    static SPARE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    holds: usize,
}

impl Pipe {
    /// An empty pipe: one that this thread used before, or a new one.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn take() -> io::Result<Self> {
        let ends = match SPARE.with_borrow_mut(Vec::pop) {
            Some(ends) => ends,
            None => open()?,
        };
        Ok(Self { ends: Some(ends), holds: 0 })
    }

    /// Bytes that are in it.
    #[must_use]
    pub fn holds(&self) -> usize {
        self.holds
    }

    /// Moves up to `most` bytes from a socket into the empty pipe; 0 at the stream's end.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &impl Socket,
        most: u64,
    ) -> Poll<io::Result<u64>> {
        let Some((_, write)) = &self.ends else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most).unwrap_or(SIZE).min(SIZE);
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, |from| {
                Ok(splice(from, None, write, None, most, flags())?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.holds += moved;
                    return Poll::Ready(Ok(u64::try_from(moved).unwrap_or(u64::MAX)));
                }
            }
        }
    }

    /// Reads up to `most` bytes of what the pipe holds behind what is in `into`.
    pub fn read(&mut self, most: usize, into: &mut Vec<u8>) {
        let Some((read, _)) = &self.ends else { return };
        let before = into.len();
        into.resize(before + most.min(self.holds), 0);
        let came = into
            .get_mut(before..)
            .map(|room| rustix::io::read(read, room));
        let came = came.and_then(Result::ok).unwrap_or(0);
        into.truncate(before + came);
        self.holds = self.holds.saturating_sub(came);
    }

    /// Moves what the pipe holds, or a part of it, into a socket.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &impl Socket) -> Poll<io::Result<()>> {
        let Some((read, _)) = &self.ends else { return Poll::Ready(Ok(())) };
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, |to| {
                Ok(splice(read, None, to, None, self.holds, flags())?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.holds = self.holds.saturating_sub(moved);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // One that still holds something would hand it to a stranger.
        let Some(ends) = self.ends.take().filter(|_| self.holds == 0) else { return };
        let keep = |spare: &RefCell<Vec<Ends>>| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(ends);
            }
        };
        SPARE.try_with(keep).ok();
    }
}

fn open() -> io::Result<Ends> {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    if limits::is_reserved(&read) || limits::is_reserved(&write) {
        return Err(limits::out_of_files());
    }
    // A smaller one serves as well.
    fcntl_setpipe_size(&write, SIZE).ok();
    Ok((read, write))
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stream::testing::sockets;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    /// Fills an empty pipe, or drains one that holds something; how much it took in.
    async fn step(pipe: &mut Pipe, from: &TcpStream, to: &TcpStream, most: u64) -> u64 {
        if pipe.holds() == 0 {
            return poll_fn(|cx| pipe.poll_fill(cx, from, most)).await.unwrap();
        }
        poll_fn(|cx| pipe.poll_drain(cx, to)).await.unwrap();
        0
    }

    #[tokio::test]
    async fn what_goes_in_at_one_socket_comes_out_at_the_other() {
        let ((mut writer, from), (to, mut reader)) = (sockets().await, sockets().await);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let length = sent.len();
        let expected = sent.clone();
        let writing = tokio::spawn(async move { writer.write_all(&sent).await });
        let reading = tokio::spawn(async move {
            let mut got = vec![0; length];
            reader.read_exact(&mut got).await.map(|_| got)
        });
        let mut pipe = Pipe::take().unwrap();
        let mut left = u64::try_from(length).unwrap();
        while left > 0 || pipe.holds() > 0 {
            left -= step(&mut pipe, &from, &to, left).await;
        }
        writing.await.unwrap().unwrap();
        assert!(reading.await.unwrap().unwrap() == expected);
        drop(from);
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_told_and_a_full_pipe_is_never_used_again() {
        let (mut writer, from) = sockets().await;
        writer.write_all(b"blue").await.unwrap();
        drop(writer);
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from, 99)).await.unwrap(), 4);
        drop(pipe);
        assert_eq!(SPARE.with_borrow(Vec::len), 0, "it holds four bytes of somebody's");
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from, 99)).await.unwrap(), 0);
        drop(pipe);
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
    }
}

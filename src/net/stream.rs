//! A client's byte stream as the rest of the proxy sees it, plaintext or TLS.

mod outgoing;
pub mod plain;
mod records;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tls;

use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

pub use crate::net::direct::LITTLE;
use crate::net::socket::ClientSocket;
use crate::net::sockets;

/// Bytes that the kernel takes for a client beyond what it may send at once, unless it is to take
/// more.
pub const UNSENT: u64 = sockets::UNSENT_MAX as u64;

/// What a client did while nothing was read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// It has gone: the end of its stream, a `close_notify`, a reset or any other error.
    Gone,
    /// It has sent something, which the next read returns.
    Sent,
}

/// Whether the other side has ended its stream, or all of it, as far as the runtime has heard: also
/// where something that it sent before is unread. Once the runtime watches the socket it makes no
/// system call.
#[must_use]
pub fn has_hung_up(socket: &ClientSocket) -> bool {
    socket.has_hung_up()
}

/// A client's byte stream, plaintext or TLS.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// The TCP socket underneath.
    fn socket(&self) -> &ClientSocket;

    /// The socket, where bytes pass as they are: splice(2) may be used on it. `None` for TLS.
    fn plain(&self) -> Option<&ClientSocket>;

    /// Ready once the client has gone or has sent something, which is kept for the next read.
    /// Makes no system call as long as nothing happened, save the one that has the socket watched.
    /// Pending keeps the waker.
    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup>;

    /// Bytes that were written and that the socket has not taken yet. Where a flush stays Pending
    /// and this falls, the client is taking something.
    fn unsent(&self) -> usize;

    /// Offers a little to a socket that is believed to be full: of what it holds back, where it does,
    /// else of `bytes`. Ready if something was taken, with how many of `bytes`.
    fn insist(&mut self, bytes: &[u8]) -> Poll<usize>;

    /// What is written from now on is all that there is still to write, and the stream is shut down right
    /// after it: its end may go with it, in one segment.
    fn last_words(&mut self);

    /// Nothing more will be written: what says goodbye goes with what the next flush sends, where the
    /// stream has such words (`close_notify`, RFC 8446 §6.1).
    fn farewell(&mut self);

    /// Gives back every buffer that a later write can do without: for a connection that goes idle.
    fn rest(&mut self);
}

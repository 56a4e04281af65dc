//! A client's plaintext connection.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::direct;
use crate::net::socket::ClientSocket;
use crate::net::stream::Hangup;
use crate::net::stream::Transport;

/// A client's plaintext connection.
#[derive(Debug)]
pub struct PlainStream {
    socket: ClientSocket,
    /// What is written is the last, and the stream's end follows at once.
    ends: bool,
}

impl PlainStream {
    /// The connection over this socket.
    #[must_use]
    pub fn new(socket: ClientSocket) -> Self {
        Self { socket, ends: false }
    }
}

impl Transport for PlainStream {
    fn socket(&self) -> &ClientSocket {
        &self.socket
    }

    fn plain(&self) -> Option<&ClientSocket> {
        Some(&self.socket)
    }

    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        Poll::Ready(match ready!(self.socket.poll_peek(cx)) {
            Ok(0) | Err(_) => Hangup::Gone,
            Ok(_) => Hangup::Sent,
        })
    }

    fn unsent(&self) -> usize {
        0
    }

    fn insist(&mut self, bytes: &[u8]) -> Poll<usize> {
        match direct::insist(&self.socket, bytes) {
            0 => Poll::Pending,
            took => Poll::Ready(took),
        }
    }

    fn last_words(&mut self) {
        self.ends = true;
    }

    fn farewell(&mut self) {}

    fn rest(&mut self) {}
}

impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        direct::poll_read(&self.socket, cx, buffer)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ends {
            return direct::poll_write_last(&self.socket, cx, bytes);
        }
        direct::poll_write(&self.socket, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

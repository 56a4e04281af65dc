//! How much must have come for a socket to count as readable (SO_RCVLOWAT).

use nix::libc;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetUsize;
use tokio::net::TcpStream;

#[derive(Clone, Copy)]
struct ReceiveLowWater;

nix::setsockopt_impl!(ReceiveLowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, usize, SetUsize);

/// How much must have come for one socket to count as readable. A read takes whatever is there, as
/// ever, and the end of the stream is told at once; so is what fills the receive window, which the
/// kernel makes larger where it is smaller than that.
#[derive(Debug)]
pub struct LowWater(usize);

impl Default for LowWater {
    /// Any byte, as with every new socket.
    fn default() -> Self {
        Self(1)
    }
}

impl LowWater {
    /// Whether more than a byte must have come.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.0 > 1
    }

    /// From now on so many bytes must have come on `socket`, always the same one. Where as many are
    /// there already, the runtime hears of them. No system call where nothing changes.
    pub fn set(&mut self, socket: &TcpStream, bytes: usize) {
        let bytes = bytes.max(1);
        // A refusal leaves it as it is.
        if bytes != self.0 && ReceiveLowWater.set(&socket, &bytes).is_ok() {
            self.0 = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stream::testing::sockets;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    async fn pair() -> (TcpStream, TcpStream) {
        let (writer, reader) = sockets().await;
        // A new socket is believed to be readable until it is tried.
        assert!(reader.try_read(&mut [0]).is_err());
        (writer, reader)
    }

    /// Whether `socket` becomes readable.
    async fn wakes(socket: &TcpStream) -> bool {
        let limit = Duration::from_millis(200);
        timeout(limit, socket.readable()).await.is_ok()
    }

    fn fill(writer: &TcpStream) {
        while writer.try_write(&[0; 100_000]).is_ok() {}
    }

    #[tokio::test]
    async fn less_than_the_mark_wakes_nobody_until_it_is_lowered() {
        let (mut writer, reader) = pair().await;
        let mut mark = LowWater::default();
        mark.set(&reader, 100_000);
        assert!(mark.is_high());
        writer.write_all(b"a little").await.unwrap();
        assert!(!wakes(&reader).await);
        mark.set(&reader, 1);
        assert!(wakes(&reader).await);
    }

    #[tokio::test]
    async fn the_mark_the_end_and_a_full_window_wake_whoever_waits() {
        for (mark, sent, ends) in [(100_000, 100_000, false), (100_000, 9, true)] {
            let (mut writer, reader) = pair().await;
            LowWater::default().set(&reader, mark);
            writer.write_all(&vec![0; sent]).await.unwrap();
            let writer = (!ends).then_some(writer);
            assert!(wakes(&reader).await, "{sent} of {mark}");
            drop(writer);
        }
        let (writer, reader) = pair().await;
        LowWater::default().set(&reader, usize::try_from(i32::MAX).unwrap());
        let mut full = false;
        for _ in 0..20 {
            fill(&writer);
            full = full || wakes(&reader).await;
        }
        assert!(full, "the mark is more than the kernel ever holds");
    }
}

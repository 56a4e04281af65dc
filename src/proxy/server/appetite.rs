//! How much the kernel is given for a client beyond what it may send: little, until the client has
//! shown that it takes much.

use tokio::time::Instant;

use crate::net::socket::ClientSocket;
use crate::net::stream::UNSENT;
use crate::proxy::clock::TICK;

/// What a client is known to take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Appetite {
    /// Nothing is known: no more was to come than the kernel took at once.
    #[default]
    Unknown,
    /// The kernel took nothing more at this tick, so much into the answer.
    Watched(Instant, u64),
    /// It takes much, and the kernel is given much.
    Large,
}

impl Appetite {
    /// Another answer begins. What a client once took it takes again.
    pub(super) fn begin(&mut self) {
        if !matches!(self, Self::Large) {
            *self = Self::Unknown;
        }
    }

    /// The kernel takes nothing more at the moment, after `taken` bytes of the answer. `tick`: the last
    /// one of the worker's clock.
    pub(super) fn is_sated(&mut self, socket: &ClientSocket, tick: Instant, taken: u64) {
        *self = match *self {
            Self::Large => return,
            Self::Unknown => Self::Watched(tick, taken),
            // So much has really left since then: what the kernel holds is as much as it was.
            Self::Watched(since, from) if taken.saturating_sub(from) >= UNSENT => {
                if tick.saturating_duration_since(since) <= TICK && socket.give_ahead().is_ok() {
                    Self::Large
                } else {
                    Self::Watched(tick, taken)
                }
            }
            watched @ Self::Watched(..) => watched,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use socket2::Socket;
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    /// A client's socket, and another handle of the same one.
    async fn socket() -> (ClientSocket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let same = SockRef::from(&stream).try_clone().unwrap();
        same.set_tcp_notsent_lowat(1).unwrap();
        (stream.into(), same)
    }

    /// What the kernel takes ahead on `socket`, after it was full at these moments.
    async fn ahead_after(full: &[(u64, u64)]) -> u32 {
        let ((socket, same), start) = (socket().await, Instant::now());
        let mut appetite = Appetite::default();
        for (millis, taken) in full {
            appetite.is_sated(&socket, start + Duration::from_millis(*millis), *taken);
        }
        same.tcp_notsent_lowat().unwrap()
    }

    #[tokio::test]
    async fn a_client_that_takes_much_within_a_tick_is_given_much() {
        assert!(ahead_after(&[(0, 200_000), (0, 300_000), (100, 400_000)]).await > 1);
    }

    #[tokio::test]
    async fn a_client_that_takes_it_slowly_is_given_little() {
        assert_eq!(ahead_after(&[(0, 200_000), (100, 300_000), (200, 400_000)]).await, 1);
        assert_eq!(ahead_after(&[(0, 9_000_000)]).await, 1, "the kernel has it, not the client");
    }

    #[tokio::test]
    async fn every_answer_shows_anew_what_its_client_takes() {
        let ((socket, same), now) = (socket().await, Instant::now());
        let mut appetite = Appetite::default();
        appetite.is_sated(&socket, now, 0);
        appetite.begin();
        appetite.is_sated(&socket, now, 1_000_000);
        assert_eq!(same.tcp_notsent_lowat().unwrap(), 1);
    }
}

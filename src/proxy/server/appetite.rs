//! How much the kernel is given for a client beyond what it may send: little, until the client has
//! shown that it takes much, and little again once it is in doubt.
//!
//! What the kernel holds for a client that then takes nothing stays there until its time is over. So a
//! worker gives much to a few at once, and those who come later wait for the place of one that leaves.

use std::cell::Cell;

use tokio::time::Instant;

use crate::net::socket::ClientSocket;
use crate::net::stream::UNSENT;
use crate::proxy::clock::TICK;

/// How many clients of a worker are given much at once: a megabyte each.
const PLACES: usize = 64;

thread_local! {
    /// Those that are.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// A place among those that are given much; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(());

/// What a client is known to take.
#[derive(Debug, Default)]
pub(super) enum Appetite {
    /// Nothing is known: no more was to come than the kernel took at once.
    #[default]
    Unknown,
    /// The kernel took nothing more at this tick, so much into the answer.
    Watched(Instant, u64),
    /// It takes much, and the kernel is given much.
    Large(Place),
}

impl Place {
    fn take() -> Option<Self> {
        let taken = TAKEN.get();
        (taken < PLACES).then(|| {
            TAKEN.set(taken + 1);
            Self(())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.set(TAKEN.get().saturating_sub(1));
    }
}

impl Appetite {
    /// Another answer begins. What a client once took it takes again.
    pub(super) fn begin(&mut self) {
        if !matches!(self, Self::Large(_)) {
            *self = Self::Unknown;
        }
    }

    /// The kernel takes nothing more at the moment, after `taken` bytes of the answer. `tick`: the last
    /// one of the worker's clock.
    pub(super) fn is_sated(&mut self, socket: &ClientSocket, tick: Instant, taken: u64) {
        match *self {
            Self::Large(_) => {}
            Self::Unknown => *self = Self::Watched(tick, taken),
            // So much has really left since then: what the kernel holds is as much as it was.
            Self::Watched(since, from) if taken.saturating_sub(from) >= UNSENT => {
                let soon = tick.saturating_duration_since(since) <= TICK;
                *self = match Place::take().filter(|_| soon) {
                    Some(place) if socket.give_ahead(true).is_ok() => Self::Large(place),
                    Some(_) | None => Self::Watched(tick, taken),
                };
            }
            Self::Watched(..) => {}
        }
    }

    /// The client takes nothing that shows: it is given as little as others.
    pub(super) fn is_lost(&mut self, socket: &ClientSocket) {
        // A refusal means that the connection is gone.
        if matches!(self, Self::Large(_)) && socket.give_ahead(false).is_ok() {
            *self = Self::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stream::testing::sockets;
    use socket2::SockRef;
    use socket2::Socket;
    use std::time::Duration;

    /// A client's socket, and another handle of the same one.
    async fn socket() -> (ClientSocket, Socket) {
        let (_client, stream) = sockets().await;
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
    async fn a_client_in_doubt_is_given_little_again_and_its_place_is_free() {
        let ((socket, same), now) = (socket().await, Instant::now());
        let mut appetite = Appetite::default();
        appetite.is_sated(&socket, now, 0);
        appetite.is_sated(&socket, now, UNSENT);
        assert!(same.tcp_notsent_lowat().unwrap() > UNSENT as u32);
        assert_eq!(TAKEN.get(), 1);
        appetite.is_lost(&socket);
        assert_eq!(same.tcp_notsent_lowat().unwrap(), UNSENT as u32);
        assert_eq!(TAKEN.get(), 0);
    }

    #[tokio::test]
    async fn much_is_given_to_a_few_at_once() {
        let ((socket, same), now) = (socket().await, Instant::now());
        let mut places: Vec<_> = std::iter::from_fn(Place::take).collect();
        assert_eq!(places.len(), PLACES);
        let mut appetite = Appetite::default();
        appetite.is_sated(&socket, now, 0);
        appetite.is_sated(&socket, now, UNSENT);
        assert_eq!(same.tcp_notsent_lowat().unwrap(), 1, "none is free");
        places.pop();
        appetite.is_sated(&socket, now, 2 * UNSENT);
        assert!(same.tcp_notsent_lowat().unwrap() > 1);
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

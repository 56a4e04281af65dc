//! Connections that are one too many: told so in one write, and kept for a moment, because closing on
//! bytes that nobody read would take the answer away from a client that has not read it yet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream as Socket;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::limits;
use crate::proxy::reply;

/// How many a worker keeps at most: each holds a descriptor. Beyond it the oldest is closed.
const KEPT: usize = 16;

/// How long: a client's request is on its way for a round trip.
const KEPT_FOR: Duration = Duration::from_millis(500);

/// The refused connections of one worker.
#[derive(Default)]
pub(crate) struct Refused {
    kept: RefCell<VecDeque<Kept>>,
}

struct Kept {
    since: Instant,
    socket: Socket,
}

impl Refused {
    /// Tells a client that the proxy is full, over a socket that does not block.
    pub(crate) fn add(&self, mut socket: Socket, now: Instant) {
        let told = socket.write_all(reply::FULL.as_bytes());
        let told = told.and_then(|()| socket.shutdown(Shutdown::Write));
        if told.is_err() || limits::is_reserved(&socket) {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() == KEPT {
            Kept::close(kept.pop_front());
        }
        kept.push_back(Kept { since: now, socket });
    }

    /// Closes those that have had their time.
    pub(crate) fn reap(&self, now: Instant) {
        let mut kept = self.kept.borrow_mut();
        let has_had_its_time = |kept: &mut Kept| now - kept.since >= KEPT_FOR;
        while let Some(first) = kept.pop_front_if(has_had_its_time) {
            Kept::close(Some(first));
        }
    }
}

impl Kept {
    /// Takes what the client has sent, so that the end of the connection is no reset.
    fn close(kept: Option<Self>) {
        let mut unread = [0; 16 * 1024];
        let read = kept.map(|mut kept| kept.socket.read(&mut unread));
        // Whatever it was, or that it was nothing: nobody looks at it.
        drop(read);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    async fn refused(refused: &Refused, now: Instant) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        refused.add(accepted.unwrap().0.into_std().unwrap(), now);
        client.unwrap()
    }

    #[tokio::test]
    async fn a_client_that_asks_after_it_was_refused_reads_why_and_an_end_that_is_no_reset() {
        let (kept, now) = (Refused::default(), Instant::now());
        let mut client = refused(&kept, now).await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        kept.reap(now + KEPT_FOR / 2);
        assert_eq!(kept.kept.borrow().len(), 1);
        kept.reap(now + KEPT_FOR);
        assert_eq!(kept.kept.borrow().len(), 0);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, reply::FULL);
    }

    #[tokio::test]
    async fn however_many_are_refused_few_are_kept() {
        let (kept, now) = (Refused::default(), Instant::now());
        let mut clients = Vec::new();
        for _ in 0..3 * KEPT {
            clients.push(refused(&kept, now).await);
        }
        assert_eq!(kept.kept.borrow().len(), KEPT);
        for mut client in clients {
            let mut said = String::new();
            client.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, reply::FULL);
        }
    }
}

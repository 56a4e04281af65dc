//! Connections as they come in at one listening socket.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream as Socket;
use std::os::fd::OwnedFd;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::net::acceptfrom_with;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A worker's end of a listening socket.
///
/// The runtime's own accepts until the kernel says that nobody waits any more, and that is dear:
/// accept(2) makes a socket and a file before it looks (6 of 100 of what a short connection costs the
/// kernel). Here poll(2) is asked before.
#[derive(Debug)]
pub struct Incoming {
    /// The listening socket. As a stream: the runtime's type for these lets nobody else accept.
    socket: TcpStream,
    /// Nothing has said that a connection waits since the last one was taken.
    unsure: bool,
}

impl Incoming {
    /// Accepts on a socket that does not block.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        let socket = TcpStream::from_std(Socket::from(OwnedFd::from(listener)))?;
        Ok(Self { socket, unsure: true })
    }

    /// The next connection, and who is at its other end. It does not block, and the runtime does not
    /// know it.
    ///
    /// # Errors
    /// Those of accept(2). What has gone wrong may concern that one connection only.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, SocketAddr)>> {
        let Self { socket, unsure } = self;
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let accepted = socket.try_io(Interest::READABLE, || accept(socket, mem::take(unsure)));
            match accepted {
                // The runtime has taken note, and says when somebody comes.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => {
                    *unsure = accepted.is_ok();
                    return Poll::Ready(accepted);
                }
            }
        }
    }

    /// The socket, which the runtime does not watch any more.
    ///
    /// # Errors
    /// The runtime does not let go of it.
    pub fn into_listener(self) -> io::Result<TcpListener> {
        Ok(TcpListener::from(OwnedFd::from(self.socket.into_std()?)))
    }
}

fn accept(listener: &TcpStream, unsure: bool) -> io::Result<(Socket, SocketAddr)> {
    if unsure && !somebody_waits(listener) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    // A connection of TCP has a peer; one without has gone.
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((Socket::from(socket), peer.ok_or(Errno::CONNABORTED)?))
}

fn somebody_waits(listener: &TcpStream) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut listeners = [PollFd::new(listener, PollFlags::IN)];
    // Where that cannot be told accept(2) tells it.
    poll(&mut listeners, Some(&at_once)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::task::Waker;

    use super::*;

    fn open() -> (Incoming, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (Incoming::new(listener).unwrap(), address)
    }

    async fn next(incoming: &mut Incoming) -> (Socket, SocketAddr) {
        poll_fn(|cx| incoming.poll_accept(cx)).await.unwrap()
    }

    async fn all_come(incoming: &mut Incoming, clients: &[Socket]) {
        for client in clients {
            let (accepted, peer) = next(incoming).await;
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(accepted.peer_addr().unwrap(), peer);
        }
    }

    #[tokio::test]
    async fn each_connection_comes_once_whether_it_waits_alone_or_not() {
        let (mut incoming, address) = open();
        for together in [1, 3, 1, 2] {
            let clients: Vec<_> = (0..together)
                .map(|_| Socket::connect(address).unwrap())
                .collect();
            all_come(&mut incoming, &clients).await;
            let nobody = incoming.poll_accept(&mut Context::from_waker(Waker::noop()));
            assert!(nobody.is_pending());
        }
    }

    #[tokio::test]
    async fn one_that_comes_while_the_last_is_looked_at_is_not_lost() {
        let (mut incoming, address) = open();
        let first = Socket::connect(address).unwrap();
        next(&mut incoming).await;
        let second = Socket::connect(address).unwrap();
        assert_eq!(next(&mut incoming).await.1, second.local_addr().unwrap());
        let waiting = tokio::spawn(async move { next(&mut incoming).await.1 });
        tokio::task::yield_now().await;
        let third = Socket::connect(address).unwrap();
        assert_eq!(waiting.await.unwrap(), third.local_addr().unwrap());
        drop(first);
    }

    #[tokio::test]
    async fn what_is_accepted_does_not_block_and_the_rest_stays_with_the_socket() {
        let (mut incoming, address) = open();
        let mut clients = [0, 1].map(|_| Socket::connect(address).unwrap());
        let (accepted, _) = next(&mut incoming).await;
        let nothing = io::Read::read(&mut &accepted, &mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let (left, _) = incoming.into_listener().unwrap().accept().unwrap();
        clients[1].write_all(b"x").unwrap();
        assert_eq!(left.peer_addr().unwrap(), clients[1].local_addr().unwrap());
    }
}

//! The listening sockets of one address: one for each worker, and nobody else's beside them.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use socket2::Domain;
use socket2::Protocol;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;

/// Connections the kernel holds for each worker until it accepts them; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Bytes the kernel takes from us beyond what it may send at once. Without it a socket counts as
/// writable only when a third of a buffer of megabytes is free again, and a client that takes less
/// than that within its time limit looks like one that takes nothing.
pub(super) const UNSENT_MAX: u32 = 128 * 1024;

/// The same for a client that takes much.
const UNSENT_AHEAD: u32 = 1024 * 1024;

/// One socket for each worker, all on the same address (SO_REUSEPORT): the kernel spreads new
/// connections over them.
#[derive(Debug)]
pub(super) struct Sockets {
    each: Vec<TcpListener>,
    address: SocketAddr,
}

impl Sockets {
    /// Opens `workers` sockets on `bind`, listening.
    ///
    /// SO_REUSEPORT would let a second process of the same account join in silence and take half of
    /// the connections. So the first socket binds and listens without it, which fails if anybody is
    /// there, and only then opens the port to its siblings: no gap in between. `ours` says that
    /// this process already holds an overlapping address (`0.0.0.0:443` beside `[::]:443`), which
    /// has passed that test.
    pub(super) fn open(bind: SocketAddr, workers: usize, ours: bool) -> io::Result<Self> {
        let first = socket(bind, ours)?;
        first.set_reuse_port(true)?;
        let first = TcpListener::from(first);
        let address = first.local_addr()?;
        let mut each = vec![first];
        for _ in 1..workers {
            each.push(TcpListener::from(socket(address, true)?));
        }
        Ok(Self { each, address })
    }

    /// Where they listen: port 0 resolved.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A duplicate of that worker's socket: the same accept queue.
    pub(super) fn duplicate(&self, worker: usize) -> io::Result<TcpListener> {
        let socket = self.each.get(worker).ok_or_else(|| {
            let sockets = self.each.len();
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("worker {worker} of {sockets} has no socket"),
            )
        })?;
        socket.try_clone()
    }
}

fn socket(bind: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(bind), Type::STREAM, Some(Protocol::TCP))?;
    if bind.is_ipv6() {
        socket.set_only_v6(false)?; // whatever net.ipv6.bindv6only says: `[::]` is both families
    }
    socket.set_reuse_address(true)?; // a restart does not wait for TIME_WAIT
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Linux hands these on to every connection accepted here: no system call for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether from now on the kernel takes much more from us for this client than it may send at once, or
/// as little as for others. To be woken for every half of that little costs more than to hand over a
/// megabyte.
pub(super) fn give_ahead(socket: BorrowedFd<'_>, much: bool) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_notsent_lowat(if much { UNSENT_AHEAD } else { UNSENT_MAX })
}

/// Finds a peer that vanished without a word within about two minutes.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// What to tell an operator about a failed [`Sockets::open`]: the message and the way out.
pub(super) fn explain(bind: SocketAddr, error: &io::Error) -> (String, Option<String>) {
    let port = bind.port();
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let (why, hint) = if error.kind() == io::ErrorKind::PermissionDenied {
        let program = std::env::current_exe().unwrap_or_else(|_| "proxyd".into());
        let hint = format!(
            "a port below 1024 needs a right: `setcap 'cap_net_bind_service=+ep' {}`, or systemd's `AmbientCapabilities=CAP_NET_BIND_SERVICE`, or a port above 1023",
            program.display()
        );
        ("permission denied".to_owned(), Some(hint))
    } else if error.kind() == io::ErrorKind::AddrInUse {
        let hint = format!("`ss -ltnp 'sport = :{port}'` names the process that has it");
        ("already in use".to_owned(), Some(hint))
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        let hint = format!("`ip addr` lists what it has; 0.0.0.0:{port} listens on all of them");
        ("this machine has no such address".to_owned(), Some(hint))
    } else if is(Errno::AFNOSUPPORT) {
        let hint = format!("write 0.0.0.0:{port}");
        ("this machine has no IPv6".to_owned(), Some(hint))
    } else if is(Errno::MFILE) {
        let hint = "raise `ulimit -n` or systemd's `LimitNOFILE=`".to_owned();
        ("too many open files".to_owned(), Some(hint))
    } else {
        (error.to_string(), None)
    };
    (format!("{bind}: {why}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: Errno) -> (String, String) {
        let bind = "0.0.0.0:443".parse().unwrap();
        let (what, hint) = explain(bind, &io::Error::from_raw_os_error(errno.raw_os_error()));
        (what, hint.unwrap())
    }

    #[test]
    fn a_port_without_the_right_is_refused_with_three_ways_out() {
        let (what, hint) = refusal(Errno::ACCESS);
        assert_eq!(what, "0.0.0.0:443: permission denied");
        for way in ["setcap 'cap_net_bind_service=+ep'", "AmbientCapabilities", "above 1023"] {
            assert!(hint.contains(way), "{hint}");
        }
    }

    #[test]
    fn other_refusals_name_the_address_and_a_way_out() {
        let (what, hint) = refusal(Errno::ADDRINUSE);
        assert_eq!(what, "0.0.0.0:443: already in use");
        assert!(hint.contains("ss -ltnp 'sport = :443'"), "{hint}");
        let (what, _) = refusal(Errno::ADDRNOTAVAIL);
        assert_eq!(what, "0.0.0.0:443: this machine has no such address");
        let (what, _) = refusal(Errno::AFNOSUPPORT);
        assert_eq!(what, "0.0.0.0:443: this machine has no IPv6");
        let (what, _) = refusal(Errno::MFILE);
        assert_eq!(what, "0.0.0.0:443: too many open files");
    }

    #[test]
    fn the_kernel_spreads_connections_and_hands_on_nodelay() {
        let sockets = Sockets::open("127.0.0.1:0".parse().unwrap(), 2, false).unwrap();
        let clients: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(sockets.address()).unwrap())
            .collect();
        let mut accepted = [0, 0];
        for (worker, count) in accepted.iter_mut().enumerate() {
            let socket = sockets.duplicate(worker).unwrap();
            while let Ok((stream, _)) = socket.accept() {
                assert!(stream.nodelay().unwrap());
                assert!(SockRef::from(&stream).keepalive().unwrap());
                *count += 1;
            }
        }
        assert_eq!(accepted.iter().sum::<usize>(), clients.len());
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
        assert!(sockets.duplicate(2).is_err());
    }
}

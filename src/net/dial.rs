//! Connections to targets: TCP or a Unix socket, within one time limit.

use std::io;
use std::io::IoSlice;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::net::direct;
use crate::net::limits;
use crate::net::sockets::keepalive;

/// How soon a Unix socket whose queue is full is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// A connection to a target.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Connects to the first of `addresses` that answers, in order. All attempts share `limit`; each may
/// take an equal part of what is left, so that a silent address cannot starve the ones behind it. None
/// takes a [reserved](limits::is_reserved) descriptor.
/// The stream is [`tune`]d.
///
/// # Errors
/// `NotFound` if there is no address; `TimedOut`; else what the last attempt met.
pub async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<Stream> {
    let deadline = Instant::now() + limit;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "does not resolve");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let waiting = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(left / waiting, connect_tcp(*address)).await {
            Ok(Ok(stream)) => return Ok(Stream::Tcp(stream)),
            Ok(Err(error)) => last = error,
            Err(_) => last = timed_out(limit),
        }
    }
    Err(last)
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    unreserved(&socket)?;
    let stream = socket.connect(address).await?;
    // A port that nobody listens on and that the kernel may also give to clients can meet itself:
    // TCP's simultaneous open. That is nobody there, not a target.
    if stream.local_addr().is_ok_and(|local| local == address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tune(&stream);
    Ok(stream)
}

/// Connects to a Unix socket. A full accept queue, which the kernel reports at once instead of
/// waiting as it does for TCP, is tried again until `limit`.
///
/// # Errors
/// `TimedOut`, or what the kernel says.
pub async fn connect_unix(path: &Path, limit: Duration) -> io::Result<Stream> {
    let deadline = Instant::now() + limit;
    let attempts = async {
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(QUEUE_FULL_PAUSE).await;
                }
                done => {
                    let stream = done?;
                    unreserved(&stream)?;
                    return Ok(Stream::Unix(stream));
                }
            }
        }
    };
    timeout_at(deadline, attempts)
        .await
        .unwrap_or_else(|_| Err(timed_out(limit)))
}

/// The addresses of `host`, in the order of the system's resolver; a literal address (IPv6 also in
/// brackets) is itself. Blocks a helper thread, not this one; the resolver's own time limit can be
/// long, so put one around it.
///
/// # Errors
/// `NotFound` if the name has no address, or what the resolver says.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} does not resolve")));
    }
    Ok(found)
}

/// Sets TCP_NODELAY (a proxy writes whole messages: waiting for more only delays them) and
/// keepalive. Only needed for streams that were not accepted from our listeners. A refusal means
/// that the peer is gone already, which the next read tells better.
pub fn tune(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    SockRef::from(stream).set_tcp_keepalive(&keepalive()).ok();
}

fn unreserved(file: &impl AsFd) -> io::Result<()> {
    if limits::is_reserved(file) { Err(limits::out_of_files()) } else { Ok(()) }
}

fn timed_out(limit: Duration) -> io::Error {
    let text = format!("no answer within {}", humantime::format_duration(limit));
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl Stream {
    /// Whether the peer has neither sent anything nor closed, as far as the runtime has heard: no
    /// system call while it has not. What it sent is lost.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The TCP stream, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => direct::poll_read(stream, cx, buf),
            Self::Unix(stream) => direct::poll_read(stream, cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => direct::poll_write(stream, cx, buf),
            Self::Unix(stream) => direct::poll_write(stream, cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(10);

    /// A port on which nobody listens.
    fn closed() -> SocketAddr {
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
    }

    /// A listener whose accept queue is full: the kernel drops further handshakes in silence.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            filling.push(stream);
        }
        (listener, filling)
    }

    #[tokio::test]
    async fn a_refused_address_leads_to_the_next_and_bytes_pass_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed(), listener.local_addr().unwrap()];
        let mut stream = connect(&addresses, LONG).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        let Stream::Tcp(tcp) = &stream else { panic!("tcp") };
        assert!(tcp.nodelay().unwrap());
        assert!(stream.is_write_vectored());
        let parts = [IoSlice::new(b"bl"), IoSlice::new(b"ue")];
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), 4);
        stream.shutdown().await.unwrap();
        let mut seen = String::new();
        accepted.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "blue");
        accepted.write_all(b"green").await.unwrap();
        drop(accepted);
        seen.clear();
        stream.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "green");
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_no_address() {
        let refused = connect(&[closed()], LONG).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let none = connect(&[], LONG).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        assert_eq!(none.to_string(), "does not resolve");
    }

    #[tokio::test]
    async fn a_silent_address_times_out_without_starving_the_next() {
        let (silent, _filling) = silent().await;
        let silent = silent.local_addr().unwrap();
        let limit = Duration::from_millis(300);
        let error = connect(&[silent], limit).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "no answer within 300ms");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [silent, listener.local_addr().unwrap()];
        let (started, limit) = (Instant::now(), Duration::from_secs(2));
        connect(&addresses, limit).await.unwrap();
        assert!(started.elapsed() < limit, "the second had no time of its own");
    }

    #[tokio::test]
    async fn a_full_unix_socket_is_waited_for_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.sock");
        let missing = connect_unix(&path, LONG).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            filling.push(stream);
        }
        let full = connect_unix(&path, Duration::from_millis(30)).await;
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (connected, accepted) = tokio::join!(connect_unix(&path, LONG), listener.accept());
        assert!(matches!(connected.unwrap(), Stream::Unix(_)));
        accepted.unwrap();
    }

    #[tokio::test]
    async fn a_literal_address_needs_no_resolver_and_localhost_resolves() {
        assert_eq!(
            resolve("10.0.0.5", 80).await.unwrap(),
            ["10.0.0.5:80".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(
            resolve("[::1]", 80).await.unwrap(),
            ["[::1]:80".parse::<SocketAddr>().unwrap()]
        );
        let found = resolve("localhost", 8080).await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 8080)
        );
    }
}

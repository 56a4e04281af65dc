//! A byte stream to someone: TCP, TLS over TCP, or a Unix socket; blocking, with a deadline.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::StreamOwned;
use rustls::pki_types::ServerName;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use super::certs;
use super::wait::DEADLINE;

#[derive(Debug)]
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Wire {
    pub fn plain(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::Plain(tcp(address)?))
    }

    /// From this address of ours.
    pub fn plain_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Ok(Self::Plain(patient(socket.into())?))
    }

    /// For whose unread bytes the kernel keeps as little room as it can; over TLS with that name.
    pub fn narrow(address: SocketAddr, name: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(1)?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        let stream = patient(socket.into())?;
        match name {
            Some(name) => secure(stream, name, certs::client_config(&["http/1.1"])),
            None => Ok(Self::Plain(stream)),
        }
    }

    /// TLS with the server name `name`, offering `protocols` by ALPN; the handshake is complete.
    pub fn tls(address: SocketAddr, name: &str, protocols: &[&str]) -> io::Result<Self> {
        Self::tls_with(address, name, certs::client_config(protocols))
    }

    /// TLS as `config` says; the handshake is complete.
    pub fn tls_with(
        address: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        secure(tcp(address)?, name, config)
    }

    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self::Unix(stream))
    }

    /// The protocol that ALPN chose.
    pub fn protocol(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        stream
            .conn
            .alpn_protocol()
            .map(|p| String::from_utf8_lossy(p).into_owned())
    }

    /// The other side's certificate, in DER.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        Some(stream.conn.peer_certificates()?.first()?.to_vec())
    }

    /// How long a read may wait.
    pub fn patience(&self, time: Duration) {
        match self {
            Self::Plain(stream) => stream.set_read_timeout(Some(time)).unwrap(),
            Self::Tls(stream) => stream.sock.set_read_timeout(Some(time)).unwrap(),
            Self::Unix(stream) => stream.set_read_timeout(Some(time)).unwrap(),
        }
    }

    /// The TCP connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
            Self::Unix(_) => panic!("a Unix socket has no TCP connection"),
        }
    }

    /// Nothing more will be sent; reading goes on.
    pub fn finish_sending(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush().ok();
        }
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write).ok(),
            Self::Plain(_) | Self::Tls(_) => self.tcp().shutdown(Shutdown::Write).ok(),
        };
    }
}

fn secure(stream: TcpStream, name: &str, config: Arc<ClientConfig>) -> io::Result<Wire> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Wire::Tls(Box::new(stream)))
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect_timeout(&address, DEADLINE)?)
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

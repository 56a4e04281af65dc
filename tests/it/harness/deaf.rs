//! A target that neither takes nor refuses a connection.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;

/// A listener whose queue is full: connecting to it hangs.
#[derive(Debug)]
pub struct Deaf {
    pub address: SocketAddr,
    _listener: Socket,
    _queue: Vec<Socket>,
}

impl Deaf {
    pub fn listen() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket
                .connect_timeout(&address.into(), Duration::from_millis(100))
                .ok();
            socket
        };
        let queue = (0..4).map(fill).collect();
        Self { address, _listener: listener, _queue: queue }
    }
}

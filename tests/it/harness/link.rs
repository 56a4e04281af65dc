//! A long link inside one process: every byte comes out later by a delay, at whatever rate it went in.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::wait::pause;

/// A relay to one address. It holds as much as is under way: only what the two ends agree on limits
/// how far a sender runs ahead.
#[derive(Debug)]
pub struct Link {
    pub address: SocketAddr,
}

/// What was sent, and when it arrives. Nothing: the sender is done.
type Parcel = (Instant, Vec<u8>);

impl Link {
    /// A link to `target`: its round trip takes twice the `delay`.
    pub fn to(target: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                relay(&near, target, delay).ok();
            }
        });
        Self { address }
    }
}

fn relay(near: &TcpStream, target: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    for (from, to) in [(near, &far), (&far, near)] {
        from.set_nodelay(true)?;
        one_way(from.try_clone()?, to.try_clone()?, delay);
    }
    Ok(())
}

fn one_way(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (under_way, arrivals) = mpsc::channel::<Parcel>();
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let length = from.read(&mut buffer).unwrap_or(0);
            let parcel = (Instant::now() + delay, buffer[..length].to_vec());
            if under_way.send(parcel).is_err() || length == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arrivals {
            pause(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                to.shutdown(Shutdown::Write).ok();
            }
        }
    });
}

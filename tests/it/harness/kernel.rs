//! What the kernel knows of a connection whose other end is on this machine.

use std::fs;
use std::net::SocketAddr;
use std::net::TcpStream;

use super::wait::eventually;

/// Waits until whoever is at the other end has taken every byte that was sent, or has closed: what is
/// sent then comes to it in another read.
#[track_caller]
pub fn wait_until_read(stream: &TcpStream) {
    let (Ok(own), Ok(other)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let row = format!(": {} {} ", named(other), named(own));
    eventually("the other side has read what was sent", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let of_other = table.split_once(&row);
        of_other.is_none_or(|(_, row)| is_read(row))
    });
}

/// An address as the table names it: a number in the machine's own order, and a port.
fn named(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is in another table") };
    let number = u32::from_ne_bytes(address.ip().octets());
    format!("{number:08X}:{:04X}", address.port())
}

/// Whether nothing waits to be read; behind the addresses come the state and both queues.
fn is_read(row: &str) -> bool {
    let queues = row.split(' ').nth(1).unwrap_or("");
    queues.ends_with(":00000000")
}

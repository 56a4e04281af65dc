//! Loopback addresses of our own: ports on them can be fixed, and the port of somebody who was killed
//! is never taken by another test, whether of this process or of another one.

use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::config::ADMIN_PORT;
use super::config::PLAIN_PORT;
use super::config::TLS_PORT;

/// Where targets listen.
pub const TARGET_PORT: u16 = 8000;

/// Blocks of addresses are 127.16.0.0/24 to 127.235.255.0/24.
const FIRST: u32 = 16;
const NETWORKS: u32 = 220;
const BLOCKS: u32 = NETWORKS * 256;

/// How many addresses of a block are given out.
const IN_A_BLOCK: u8 = 250;

/// The last address of a block, on which whoever uses the block holds a socket.
const CLAIM: u8 = 255;

/// What this process uses. It is kept until the process ends: nobody gives an address back.
#[derive(Debug)]
struct Claimed {
    sockets: Vec<UdpSocket>,
    /// The block at hand, and how many of its addresses have been given out.
    block: u32,
    used: u8,
}

/// An address that nobody uses, on none of the ports that tests use.
pub fn own() -> String {
    static CLAIMED: Mutex<Option<Claimed>> = Mutex::new(None);
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let claimed = claimed.get_or_insert_with(|| Claimed {
        sockets: Vec::new(),
        block: std::process::id() % BLOCKS,
        used: IN_A_BLOCK,
    });
    loop {
        if claimed.used == IN_A_BLOCK {
            claimed.next_block();
        }
        claimed.used += 1;
        let address = address(claimed.block, claimed.used);
        // Who was killed may have left a process behind that does not know of claims.
        let ports = [TARGET_PORT, PLAIN_PORT, TLS_PORT, ADMIN_PORT];
        if ports
            .iter()
            .all(|port| TcpListener::bind((address, *port)).is_ok())
        {
            return address.to_string();
        }
    }
}

impl Claimed {
    /// Claims the next block that nobody holds: a UDP port is bound by one socket or by none.
    fn next_block(&mut self) {
        for _ in 0..BLOCKS {
            self.block = (self.block + 1) % BLOCKS;
            if let Ok(socket) = UdpSocket::bind((address(self.block, CLAIM), TARGET_PORT)) {
                self.sockets.push(socket);
                self.used = 0;
                return;
            }
        }
        panic!("no block of loopback addresses is free");
    }
}

fn address(block: u32, number: u8) -> Ipv4Addr {
    let byte = |number: u32| u8::try_from(number).unwrap();
    Ipv4Addr::new(127, byte(FIRST + block % NETWORKS), byte(block / NETWORKS), number)
}

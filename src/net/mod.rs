//! Sockets and TLS. Knows addresses, not upstreams.

pub mod certs;
pub mod dial;
mod direct;
pub mod handshake;
pub mod incoming;
pub mod limits;
pub mod listen;
pub mod low_water;
mod pem;
pub mod pipe;
pub mod socket;
mod sockets;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
mod turns;

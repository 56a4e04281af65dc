//! Sockets and TLS. Knows addresses, not upstreams.

pub mod certs;
pub mod dial;
pub mod limits;
pub mod listen;
mod pem;
mod sockets;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;

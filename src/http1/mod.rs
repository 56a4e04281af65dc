//! The wire: HTTP/1 as bytes in, decisions out. No socket, no clock, no allocation that lasts.
//!
//! One rule stands above all others: what a target is sent is exactly one unambiguous request for
//! each request that the client made, or the client got an error and the connection ends. So
//! whatever two readers could read in two ways is refused (RFC 9112 §11.2).

pub mod chunked;
pub mod framing;
pub mod head;
mod names;
pub mod rewrite;
mod scan;

#[cfg(test)]
mod second_opinion;

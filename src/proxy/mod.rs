//! The data plane: what one request touches, on one thread.
//!
//! Five stops: `accept` (a connection comes to one worker) → `server` (speaks HTTP/1.1 or HTTP/2 to
//! the client) → `handler` (route, colour, lease: every decision, on a view of the head) → `forward`
//! (headers, a connection, both bodies) → the target. Knows nothing of the control plane: both meet
//! in the published snapshot and in leases.

mod accept;
mod admission;
mod aside;
#[doc(hidden)]
pub mod balance;
mod body;
mod budget;
mod buffers;
mod call;
mod choose;
mod client;
#[doc(hidden)]
pub mod clock;
mod connection;
mod downstream;
mod events;
mod exchange;
mod forward;
mod handler;
mod head;
mod hold;
mod idle;
mod preopen;
mod refused;
mod reply;
mod rescue;
mod server;
mod share;
mod skew;
mod special;
mod strides;
#[cfg(test)]
mod testing;
mod tries;
mod tunnel;
mod view;
pub mod worker;

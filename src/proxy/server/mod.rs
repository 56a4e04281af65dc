//! Speaks HTTP/1.1 or HTTP/2 to the client, and watches the connection's patience.

pub(crate) mod ahead;
pub(crate) mod broken;
mod held;
pub(crate) mod http1;
pub(crate) mod http2;

mod allowance;
mod appetite;
mod deliver;
mod farewell;
mod frames;
mod gather;
mod hpack;
mod metered;
mod request_body;
mod seats;
mod side;
mod stream;

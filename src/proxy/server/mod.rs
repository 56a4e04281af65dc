//! Speaks HTTP/1.1 or HTTP/2 to the client, and watches the connection's patience.

pub(crate) mod ahead;
pub(crate) mod http1;
pub(crate) mod http2;

mod deliver;
mod gather;
mod request_body;
mod side;

//! The proxy's own HTTP/1, from outside: what passes to the byte, what is held back, what is never
//! passed on, and what it costs.

mod connections;
mod framing;
mod heads;
mod interim;
mod large;
mod strides;

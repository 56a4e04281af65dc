//! Life: the only room that sees both planes. Start and stop order, signals, the demo.

pub mod account;
pub mod demo;
pub mod life;
pub mod signals;
pub mod verify;

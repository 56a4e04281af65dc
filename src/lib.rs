//! `proxyd`: a reverse proxy that knows two versions of an application, and moves all traffic from
//! one to the other in one atomic store, when the new one has proven itself.
//!
//! The map, lowest room first. `docs/ARCHITECTURE.md` tells the story; `tests/tidy.rs` holds the
//! laws of who may import whom.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod http1;
pub mod model;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod sync;

//! Eyes: metrics, access log, the daemon's own log. Takes facts in, changes nothing.

pub mod access;
pub mod log;
pub mod metrics;
pub mod time;

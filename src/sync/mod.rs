//! How threads talk: publishing a value to every worker, counting work in flight, stopping.
//! Knows no word of the domain: no colour, no request, no address.

pub mod lease;
pub mod published;
pub mod recent;
pub mod shutdown;
pub mod striped;
pub mod uses;

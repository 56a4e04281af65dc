//! The control plane: who may change the snapshot, and how.

pub mod admin;
mod answer;
pub mod checks;
pub mod client;
pub mod command;
pub mod events;
pub mod explain;
pub mod gate;
pub mod history;
pub mod journal;
pub mod probe;
pub mod promotion;
pub mod reload;
mod serve;
pub mod signing;
pub mod socket;
pub mod status;
pub mod supervisor;
pub mod verdict;
pub(crate) mod warmup;
pub mod why;

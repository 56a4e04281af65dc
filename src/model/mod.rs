//! The words both planes share, as plain values: no I/O, no clock, no YAML.

pub mod choice;
pub mod colour;
pub mod conduct;
pub mod extras;
pub mod fault;
pub mod health;
pub mod on_fail;
pub mod orders;
pub mod pattern;
pub mod pool;
pub mod problem;
pub mod route;
pub mod settings;
pub mod signed;
pub mod snapshot;
pub mod split;
pub mod target;
pub mod upstream;
pub mod warmup;

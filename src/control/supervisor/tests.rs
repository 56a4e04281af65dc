//! The supervisor against real targets, a real file and a real state directory.

mod promotions;
mod reloads;
mod restarts;
mod rules;

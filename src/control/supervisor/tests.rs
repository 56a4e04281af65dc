//! The supervisor against real targets, a real file and a real state directory.

mod exceptions;
mod holds;
mod promotions;
mod reloads;
mod restarts;
mod rules;
mod targets;
mod verdicts;
mod walks;

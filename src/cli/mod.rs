//! The hand: what `proxyctl` prints and runs.

pub mod args;
pub mod canary;
pub mod explain;
pub mod guard;
pub mod history;
pub mod locate;
pub mod look;
pub mod maintenance;
pub mod notices;
pub mod pause;
pub mod pool;
pub mod promote;
pub mod query;
pub mod roll;
pub mod run;
pub mod screen;
pub mod show;
pub mod signals;
pub mod story;
pub mod target;
pub mod verdict;
pub mod why;
pub mod words;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

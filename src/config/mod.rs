//! FILE -> MODEL: reads the file as it is written, checks what it means, watches it. The only room that knows YAML.
//!
//! `file` turns the text into a `tree` in which every value knows its place; `read` walks the tree
//! into the sections of `written`, whose single values are in `values` and `words`; `check` turns
//! those into [`Settings`](crate::model::settings::Settings). Only broken syntax stops early: all
//! other problems are collected and reported at once. `schema` is generated from the very same
//! sections.

pub mod check;
pub mod file;
pub(crate) mod nearest;
mod numbers;
pub mod place;
pub mod pool;
mod read;
mod release;
pub mod schema;
mod tree;
pub mod watch;
mod words;
mod written;

#[cfg(test)]
mod tests;

pub use crate::config::file::Loaded;
pub use crate::config::file::find;
pub use crate::config::file::load;
pub use crate::config::file::parse;
pub use crate::config::place::Places;

//! Which colour is live, durably: two copies of one generation, each sealed by a checksum.
//!
//! A write first makes both new copies beside the old ones, whole and on the disk. What can run out
//! of space has then happened. Only after that are they put in place: copy a, copy b, the folder.
//! At the next start the newest generation that can be believed wins, so that a process that ends at
//! any instant leaves a state it had meant to write:
//!
//! | it ends                                  | copy a | copy b | the next start finds |
//! |------------------------------------------|--------|--------|----------------------|
//! | while the new copies are made            | old    | old    | the old state        |
//! | after copy a was put in place            | new    | old    | the new state        |
//! | after copy b was, too                    | new    | new    | the new state        |
//! | the machine, before the folder is synced | either | either | the newest there is  |
//!
//! The new state may be found although nobody was told that it was written. It had passed its gate:
//! the journal is written after it. A write that *fails* is different, because somebody is told that
//! nothing changed: whatever was put in place is taken back before the failure is reported.
//! What one crash leaves unequal, and what is damaged, is repaired at the next start; the bytes of a
//! damaged copy are kept beside it (`state-a.json.damaged`) for whoever wants to know why.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::control::journal::disk::Disk;
use crate::control::journal::disk::Failed;
use crate::control::journal::recover::Found;
use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::orders::held::Held;

mod copy;
mod disk;
mod error;
mod recover;
#[cfg(test)]
mod tests;

pub use crate::control::journal::error::JournalError;

/// The two copies, in the order in which they are put in place.
const COPIES: [&str; 2] = ["state-a.json", "state-b.json"];

/// What a new copy is called until it is put in place.
const NEW: &str = ".new";

/// What is remembered across restarts.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The generation in service when this was written; the newest one wins.
    pub generation: u64,
    /// All that is to be true at the next start, too.
    pub memory: Memory,
}

/// What is true whatever the file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Which colour is live, by the upstream's name.
    pub upstreams: BTreeMap<String, Remembered>,
    /// What is ordered, by the upstream's name; none of them empty.
    pub orders: BTreeMap<String, Orders>,
}

impl Memory {
    /// Its colour is decided: no canary and no preview of the other one stands any longer, and the
    /// targets that it was given for this are no trial any more.
    pub fn end_trials(&mut self, upstream: &str) {
        let Some(orders) = self.orders.get_mut(upstream) else { return };
        (orders.canary, orders.preview) = (None, None);
        orders.former = None;
        if orders.is_empty() {
            self.orders.remove(upstream);
        }
    }

    /// This colour is no way back any more.
    pub fn give_up(&mut self, upstream: &str, colour: Colour) {
        let Some(orders) = self.orders.get_mut(upstream) else { return };
        Held::give_up(&mut orders.held, colour);
        if orders.is_empty() {
            self.orders.remove(upstream);
        }
    }
}

/// What is remembered of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The colour that new requests get.
    pub live: Colour,
    /// The one that was live before, if one ever was.
    pub previous: Option<Colour>,
    /// Since when the live colour is live.
    pub since: SystemTime,
}

/// What the folder held at the start.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovered {
    /// Nothing: the very first start.
    First,
    /// A state that can be believed.
    Saved {
        /// It.
        state: State,
        /// What was wrong with one of the copies; to be said loudly.
        warning: Option<String>,
    },
    /// A state was written here, and no copy of it can be believed.
    Damaged {
        /// What is wrong with the copies; to be said loudly.
        warning: String,
    },
}

/// The folder in which the state is kept; no other daemon can open it meanwhile.
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    /// The bytes of each copy, as they are on the disk: what a failed write puts back.
    held: [Option<Vec<u8>>; 2],
}

impl Journal {
    /// Opens the folder, making it (0750, with its parents) if it is missing; recovers what it holds,
    /// and repairs a copy that is missing, damaged or left behind. A folder that cannot be written
    /// opens all the same, with a warning in the log: reading suffices to start. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: the folder cannot be made or opened, another daemon holds it, or what it
    /// holds may not be read.
    pub fn open(folder: &Path) -> Result<(Self, Recovered), JournalError> {
        let disk = Disk::open(folder)
            .map_err(|Failed { path, error }| JournalError::Folder { path, error })?;
        if !disk.lock() {
            return Err(JournalError::Held { path: folder.to_owned() });
        }
        if !disk.is_writable() {
            let path = folder.display();
            tracing::warn!(%path, "state_dir cannot be written: promotions will be refused");
        }
        let found = COPIES.map(|name| Found::read(&disk, name));
        let mut recovered = recover::choose(&disk, &found)?;
        let best = recover::best(&found).map(|(bytes, _)| bytes.to_vec());
        let mut journal = Self { disk, held: found.map(Found::into_bytes) };
        journal.sweep();
        if let (Recovered::Saved { warning, .. }, Some(best)) = (&mut recovered, best)
            && let Err(error) = journal.repair(&best)
        {
            let mut said: Vec<_> = warning.take().into_iter().collect();
            said.push(format!("the copies stay unequal: {error}"));
            *warning = Some(said.join("; "));
        }
        Ok((journal, recovered))
    }

    /// Makes `state` what the next start finds. Blocks until the disk has it.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotWritten`]: the next start finds the old state. [`JournalError::Torn`]: it
    /// may find either.
    pub fn write(&mut self, state: &State) -> Result<(), JournalError> {
        self.replace(copy::encode(state))
    }

    fn replace(&mut self, bytes: Vec<u8>) -> Result<(), JournalError> {
        let prepared = COPIES
            .iter()
            .try_for_each(|name| self.disk.write(&format!("{name}{NEW}"), &bytes));
        let mut placed = 0;
        let done = prepared.and_then(|()| self.put_in_place(&mut placed));
        let Err(Failed { path, error }) = done else {
            self.held = [Some(bytes.clone()), Some(bytes)];
            return Ok(());
        };
        let taken_back = self.take_back(placed);
        self.sweep();
        match taken_back {
            Ok(()) => Err(JournalError::NotWritten { path, error }),
            Err(Failed { path, error }) => Err(JournalError::Torn { path, error }),
        }
    }

    /// From the first step on, a crash leaves the new state. Counts the copies that are in place.
    fn put_in_place(&self, placed: &mut usize) -> Result<(), Failed> {
        for name in COPIES {
            self.disk.rename(&format!("{name}{NEW}"), name)?;
            *placed += 1;
        }
        self.disk.sync()
    }

    /// Gives the first `placed` copies their old bytes again. Where that fails, removing the copy does
    /// as well, provided that the other one holds the same old state: removing needs no space.
    fn take_back(&self, placed: usize) -> Result<(), Failed> {
        if placed == 0 {
            return Ok(());
        }
        let copies = || COPIES.into_iter().zip(&self.held);
        let mut old: Vec<_> = copies().skip(placed).map(|(_, held)| held).collect();
        let mut left = Vec::new();
        for (name, held) in copies().take(placed) {
            match self.restore(name, held.as_deref()) {
                Ok(()) => old.push(held),
                Err(failed) => left.push((name, held, failed)),
            }
        }
        for (name, held, failed) in left {
            let kept = held.is_some() && old.contains(&held);
            if !kept || self.disk.remove(name).is_err() {
                return Err(failed);
            }
        }
        // What the names say now is what a restart finds. If not even this reaches the disk, only a
        // loss of power could still bring the new state back.
        drop(self.disk.sync());
        Ok(())
    }

    fn restore(&self, name: &str, held: Option<&[u8]>) -> Result<(), Failed> {
        let Some(bytes) = held else { return self.disk.remove(name) };
        let new = format!("{name}{NEW}");
        self.disk.write(&new, bytes)?;
        self.disk.rename(&new, name)
    }

    /// Removes what an earlier write may have left half made. Nobody ever reads it.
    fn sweep(&self) {
        for name in COPIES {
            drop(self.disk.remove(&format!("{name}{NEW}")));
        }
    }

    /// Makes both copies equal again, so that the next damage, too, leaves a good one.
    fn repair(&mut self, best: &[u8]) -> Result<(), JournalError> {
        let equal = self.held.iter().all(|held| held.as_deref() == Some(best));
        if equal { Ok(()) } else { self.replace(best.to_vec()) }
    }
}

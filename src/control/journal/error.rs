//! Why the journal fails, in words that an operator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the journal cannot be opened or written. Displayed as one line that names the path, the
/// reason and the way out; [`what`](Self::what) and [`hint`](Self::hint) give the parts.
#[derive(Debug)]
pub enum JournalError {
    /// The folder cannot be made or opened.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another daemon has the folder.
    Held {
        /// The folder.
        path: PathBuf,
    },
    /// A state may be there, but this account may not read it: guessing would be worse than asking.
    Unreadable {
        /// The copy.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The state could not be written. Nothing has changed: the old one is what a restart finds.
    NotWritten {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The state could not be written, nor could what was written be taken back: a restart may find
    /// the new one. Needs two failures in a row of a disk that had just taken both copies.
    Torn {
        /// What could not be put in place or taken back.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl JournalError {
    /// The way out, where one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held { .. } => {
                Some("stop the other one, or give this one a state_dir of its own")
            }
            Self::Folder { error, .. }
            | Self::Unreadable { error, .. }
            | Self::NotWritten { error, .. }
            | Self::Torn { error, .. } => known(error).map(|(_, hint)| hint),
        }
    }

    /// What, which, why, without the hint.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Held { path } => {
                format!("state_dir: {}: another proxyd holds it", path.display())
            }
            Self::Folder { path, error } => {
                format!("state_dir: {}: {}", path.display(), why(error))
            }
            Self::Unreadable { path, error } => {
                format!(
                    "state_dir: {}: which colour is live cannot be read: {}",
                    path.display(),
                    why(error)
                )
            }
            Self::NotWritten { path, error } => {
                format!("state_dir: {}: {}: nothing has changed", path.display(), why(error))
            }
            Self::Torn { path, error } => {
                format!(
                    "state_dir: {}: {}: nothing has changed now, but a restart may find the new state",
                    path.display(),
                    why(error)
                )
            }
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.hint()
            .map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for JournalError {}

/// The errors that an operator can do something about: in plain words, and what.
const KNOWN: [(io::ErrorKind, &str, &str); 6] = [
    (
        io::ErrorKind::StorageFull,
        "the disk is full",
        "free some space there, or point state_dir elsewhere",
    ),
    (
        io::ErrorKind::QuotaExceeded,
        "the disk quota is used up",
        "raise it, or free some space there",
    ),
    (
        io::ErrorKind::ReadOnlyFilesystem,
        "the file system is read-only",
        "make it writable (systemd: StateDirectory=proxyd), or point state_dir elsewhere",
    ),
    (
        io::ErrorKind::PermissionDenied,
        "permission denied",
        "give it to the account that proxyd runs as, or point state_dir elsewhere",
    ),
    (io::ErrorKind::NotADirectory, "not a folder", "point state_dir at a folder"),
    // What making a folder says where a file has its name.
    (io::ErrorKind::AlreadyExists, "not a folder", "point state_dir at a folder"),
];

fn known(error: &io::Error) -> Option<(&'static str, &'static str)> {
    let (_, why, hint) = KNOWN.into_iter().find(|(kind, ..)| *kind == error.kind())?;
    Some((why, hint))
}

fn why(error: &io::Error) -> String {
    known(error).map_or_else(|| error.to_string(), |(why, _)| why.to_owned())
}

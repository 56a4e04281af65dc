//! What the two copies say together: which one is believed, and what is said about the other.

use std::io;

use crate::control::journal::COPIES;
use crate::control::journal::JournalError;
use crate::control::journal::Recovered;
use crate::control::journal::copy;
use crate::control::journal::copy::Decoded;
use crate::control::journal::disk::Disk;

/// Where the bytes of a damaged copy are kept.
const DAMAGED: &str = ".damaged";

/// One copy, as it was found.
#[derive(Debug)]
pub(super) enum Found {
    Missing,
    Good {
        bytes: Vec<u8>,
        decoded: Decoded,
    },
    /// It is there, and cannot be believed.
    Damaged {
        bytes: Option<Vec<u8>>,
        why: String,
    },
    /// It is there, and this account may not read it.
    Closed(io::Error),
}

impl Found {
    pub(super) fn read(disk: &Disk, name: &str) -> Self {
        match disk.read(name) {
            Ok(None) => Self::Missing,
            Ok(Some(bytes)) => match copy::decode(&bytes) {
                Ok(decoded) => Self::Good { bytes, decoded },
                Err(why) => Self::Damaged { bytes: Some(bytes), why },
            },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::Closed(error),
            Err(error) => Self::Damaged { bytes: None, why: error.to_string() },
        }
    }

    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Good { bytes, .. } => Some(bytes),
            Self::Damaged { bytes, .. } => bytes,
            Self::Missing | Self::Closed(_) => None,
        }
    }

    fn good(&self) -> Option<(&[u8], &Decoded)> {
        match self {
            Self::Good { bytes, decoded } => Some((bytes, decoded)),
            Self::Missing | Self::Damaged { .. } | Self::Closed(_) => None,
        }
    }
}

/// The good copy of the newest generation; of two equal ones the first.
pub(super) fn best(found: &[Found; 2]) -> Option<(&[u8], &Decoded)> {
    let good = found.iter().filter_map(Found::good);
    good.reduce(
        |first, second| {
            if second.1.state.generation > first.1.state.generation { second } else { first }
        },
    )
}

/// What the copies say together. Keeps the bytes of damaged ones aside, as far as that is possible.
pub(super) fn choose(disk: &Disk, found: &[Found; 2]) -> Result<Recovered, JournalError> {
    let mut complaints: Vec<_> = COPIES
        .iter()
        .zip(found)
        .filter_map(|(name, found)| complaint(disk, name, found))
        .collect();
    if let Some((_, Decoded { state, newer })) = best(found) {
        if let Some(version) = newer {
            complaints.push(format!(
                "written by a newer proxyd (version {version}): read as far as this one knows it"
            ));
        }
        if contradict(found) {
            complaints.push(
                "the copies name one generation and differ: the first is believed".to_owned(),
            );
        }
        let generation = state.generation;
        let warning = (!complaints.is_empty())
            .then(|| format!("{}; going on with generation {generation}", complaints.join("; ")));
        return Ok(Recovered::Saved { state: state.clone(), warning });
    }
    for (name, found) in COPIES.iter().zip(found) {
        if let Found::Closed(error) = found {
            let (path, error) = (disk.path(name), error.kind().into());
            return Err(JournalError::Unreadable { path, error });
        }
    }
    if found.iter().all(|found| matches!(found, Found::Missing)) {
        return Ok(Recovered::First);
    }
    Ok(Recovered::Damaged {
        warning: format!("{}; which colour is live is not known", complaints.join("; ")),
    })
}

/// What is wrong with one copy.
fn complaint(disk: &Disk, name: &str, found: &Found) -> Option<String> {
    let path = disk.path(name);
    let path = path.display();
    match found {
        Found::Good { .. } => None,
        Found::Missing => Some(format!("{path} is missing")),
        Found::Closed(error) => Some(format!("{path} cannot be read: {error}")),
        Found::Damaged { bytes, why } => {
            let aside = format!("{name}{DAMAGED}");
            let kept = bytes
                .as_ref()
                .is_some_and(|bytes| disk.write(&aside, bytes).is_ok());
            let kept = if kept { format!(" (kept as {aside})") } else { String::new() };
            Some(format!("{path} is damaged: {why}{kept}"))
        }
    }
}

/// Whether both copies are good, of one generation, and yet not the same.
fn contradict([first, second]: &[Found; 2]) -> bool {
    let (Some((_, first)), Some((_, second))) = (first.good(), second.good()) else { return false };
    first.state.generation == second.state.generation && first.state != second.state
}

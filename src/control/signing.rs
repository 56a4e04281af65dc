//! The key that signs what clients are given to bring back: made once, kept in `state_dir`.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::model::signed::KEY_LENGTH;
use crate::model::signed::SigningKey;

/// Its name in `state_dir`.
pub const FILE: &str = "signing.key";

/// What a new one is called until it is whole.
const NEW: &str = "signing.key.new";

/// The key in this folder, made if there is none. Where it can be neither read nor written, one that
/// is forgotten at the end: cookies and links of before are then worth nothing, and no request fails.
/// Blocks on the disk.
#[must_use]
pub fn key(folder: &Path) -> SigningKey {
    let kept = read(folder).and_then(|kept| match kept {
        Some(key) => Ok(key),
        None => make(folder),
    });
    let key = kept.unwrap_or_else(|error| {
        let path = folder.join(FILE).display().to_string();
        tracing::warn!(path, %error, "the key that signs cookies is kept in memory alone: they are worth nothing after a restart");
        random()
    });
    SigningKey::new(&key)
}

/// `None`: there is none, or it is damaged.
fn read(folder: &Path) -> io::Result<Option<[u8; KEY_LENGTH]>> {
    let file = match File::open(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(KEY_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    let key = <[u8; KEY_LENGTH]>::try_from(bytes).ok();
    if key.is_none() {
        tracing::warn!(folder = %folder.display(), "{FILE} is damaged, and made anew: cookies of before are worth nothing");
    }
    Ok(key)
}

/// Writes a new key beside its place and then puts it there: nobody ever reads a part of one.
fn make(folder: &Path) -> io::Result<[u8; KEY_LENGTH]> {
    let (key, new) = (random(), folder.join(NEW));
    if !folder.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)?;
    }
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&key)?;
    let place = File::open(folder)?;
    let owner = place.metadata()?;
    // Started as root for an account that the folder belongs to: it must read it, too. Only root can.
    drop(std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid())));
    file.sync_all()?;
    std::fs::rename(&new, folder.join(FILE))?;
    place.sync_all()?;
    Ok(key)
}

/// From the kernel.
fn random() -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    let mut filled = 0;
    while let Some(rest) = key.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // No kernel that runs this program is without it.
                tracing::error!(%error, "no random bytes from the kernel");
                rest.fill_with(|| fastrand::u8(..));
                break;
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signed::Purpose;

    fn signed(folder: &Path) -> String {
        key(folder).sign(Purpose::User, 7)
    }

    #[test]
    fn a_key_is_made_once_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = signed(&state);
        assert_eq!(signed(&state), first);
        let mode = state.join(FILE).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!state.join(NEW).exists());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(signed(other.path()), first);
    }

    #[test]
    fn a_damaged_key_is_made_anew_and_what_an_end_in_the_middle_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        for damaged in [&b""[..], &[1; KEY_LENGTH - 1], &[1; KEY_LENGTH + 1]] {
            std::fs::write(folder.path().join(FILE), damaged).unwrap();
            std::fs::write(folder.path().join(NEW), damaged).unwrap();
            assert_eq!(signed(folder.path()), signed(folder.path()));
            assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap().len(), KEY_LENGTH);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_gives_a_key_for_this_life() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_ne!(signed(&file), signed(&file));
    }
}

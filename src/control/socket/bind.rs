//! The socket file: made, taken over, protected, removed.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use tokio::net::UnixListener;

/// For the folder of a socket, where it is missing: the group may look in, others may not.
const FOLDER_MODE: u32 = 0o750;

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Two daemons must not share a socket, nor a state directory.
    #[error("another proxyd answers on {0}")]
    Live(PathBuf),
    /// What lies there is not ours to remove.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("{path}: {what}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// The file; removed when dropped, unless it is another's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = identity(&self.path).is_ok_and(|now| now == self.identity);
        if still_ours && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the control socket could not be removed");
        }
    }
}

pub(super) fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |what: &'static str| {
        move |error: io::Error| SocketError::Io { path: path.to_owned(), what, error }
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(failed("its folder cannot be made"))?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("cannot be bound"))?;
    let identity = identity(path).map_err(failed("vanished"))?;
    // From here on an error takes the file away again.
    let file = SocketFile { path: path.to_owned(), identity };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("its mode cannot be set"))?;
    give_to_owner_of(folder, path);
    Ok((listener, file))
}

/// A socket nobody answers on is left from a daemon that was killed.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |what: &'static str, error| SocketError::Io { path: path.to_owned(), what, error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("cannot be looked at", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("is stale and cannot be removed", error))
        }
        Err(error) => Err(failed("cannot be asked whether anybody is there", error)),
    }
}

/// The folder says who may use the socket: its owner and group become the socket's.
fn give_to_owner_of(folder: &Path, path: &Path) {
    let given = fs::metadata(folder).and_then(|folder| {
        let ours = fs::metadata(path)?;
        if (ours.uid(), ours.gid()) == (folder.uid(), folder.gid()) {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(folder.uid()), Some(folder.gid()))
    });
    if let Err(error) = given {
        let path = path.display();
        tracing::warn!(%path, %error, "the control socket keeps our own owner and group");
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

//! Becoming another account, and what must be that account's own for it to do its work.

use std::fmt;
use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::User;

use crate::model::settings::Settings;
use crate::net::limits;

/// The folders of the state and of the control socket that were not there at the start, and the
/// socket: whatever is there afterwards, this start has made, as the account it was started with.
#[derive(Debug)]
pub struct Ours {
    folders: Vec<PathBuf>,
    socket: PathBuf,
    state: PathBuf,
}

impl Ours {
    /// Notes what is missing. Must come before anything is made.
    #[must_use]
    pub fn note(settings: &Settings) -> Self {
        let (state, socket) = (settings.state_dir.clone(), settings.control.socket.clone());
        let parents = socket.parent().into_iter().chain([state.as_path()]);
        let folders = parents
            .flat_map(Path::ancestors)
            .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_owned)
            .collect();
        Self { folders, socket, state }
    }

    /// Becomes `account` for good. What this start has made goes with it; what was there before
    /// belongs to whoever made it, and is only judged.
    ///
    /// # Errors
    ///
    /// No such account, not started as root, or a folder cannot be given away.
    pub fn become_account(&self, account: &str) -> Result<(), String> {
        if nix::unistd::Uid::effective().is_root()
            && let Ok(Some(user)) = User::from_name(account)
        {
            self.give_to(&user).map_err(|failed| failed.to_string())?;
        }
        limits::drop_to_user(account).map_err(|failed| failed.to_string())?;
        let folder = &self.state;
        if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
            let path = folder.display();
            tracing::error!(
                "state_dir: {path}: {account} cannot write there: promotions will be refused (hint: `chown {account} {path}`)"
            );
        }
        Ok(())
    }

    fn give_to(&self, user: &User) -> Result<(), NotGiven> {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        let give = |path: &Path| {
            lchown(path, Some(uid), Some(gid))
                .map_err(|error| NotGiven { path: path.to_owned(), error })
        };
        for folder in self.folders.iter().filter(|folder| folder.exists()) {
            give(folder)?;
        }
        // The socket has its folder's owner: who may look in may promote.
        let follows = self
            .socket
            .parent()
            .is_some_and(|folder| self.folders.iter().any(|ours| ours == folder));
        if follows { give(&self.socket) } else { Ok(()) }
    }
}

/// A path that could not be given to the account.
#[derive(Debug)]
struct NotGiven {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user: {}: cannot be given away: {}", self.path.display(), self.error)
    }
}

//! The steps by which the journal touches its folder. Each may fail, and in tests each does.

use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

/// No copy is ever nearly as large; what is larger is damaged.
const READ_MAX: u64 = 1024 * 1024;

/// A step failed: which path, and how.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// The folder, held open and locked as long as this lives.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    handle: File,
    #[cfg(test)]
    pub(super) faults: faults::Faults,
}

impl Disk {
    /// Creates the folder with its parents if it is missing (0750), and opens it.
    pub(super) fn open(folder: &Path) -> Result<Self, Failed> {
        let failed = |error| Failed { path: folder.to_owned(), error };
        if !folder.is_dir() {
            let created = DirBuilder::new().recursive(true).mode(0o750).create(folder);
            created.map_err(failed)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            handle: File::open(folder).map_err(failed)?,
            #[cfg(test)]
            faults: faults::Faults::default(),
        })
    }

    /// Whether nobody else holds the folder; if so, it is ours until this is dropped, or until the
    /// process ends in whatever way.
    pub(super) fn lock(&self) -> bool {
        match rustix::fs::flock(&self.handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(rustix::io::Errno::WOULDBLOCK) => false,
            Err(error) => {
                // Some network file systems know no locks. The control socket still tells two
                // daemons apart.
                let path = self.folder.display();
                tracing::warn!(%path, %error, "state_dir cannot be locked");
                true
            }
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        rustix::fs::access(&self.folder, rustix::fs::Access::WRITE_OK).is_ok()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a file holds; `None`: there is none.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match File::open(self.path(name)) {
            Ok(file) => file
                .take(READ_MAX)
                .read_to_end(&mut bytes)
                .map(|_| Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a file that holds these bytes, on the disk itself when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failed> {
        self.step(name, |path| {
            let mut file = File::create(path)?;
            #[cfg(test)]
            self.faults.tear(&mut file, bytes)?;
            file.write_all(bytes)?;
            file.sync_all()
        })
    }

    /// Puts one file in the place of another, atomically.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Failed> {
        self.step(to, |path| std::fs::rename(self.path(from), path))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), Failed> {
        self.step(name, |path| match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            ended => ended,
        })
    }

    /// Brings the names in the folder to the disk, which `rename` and `remove` alone do not.
    pub(super) fn sync(&self) -> Result<(), Failed> {
        self.step("", |_| match self.handle.sync_all() {
            // A file system that cannot do it for folders says so in this way.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            ended => ended,
        })
    }

    fn step(&self, name: &str, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Failed> {
        let path = if name.is_empty() { self.folder.clone() } else { self.path(name) };
        #[cfg(test)]
        let act = |path: &Path| self.faults.step().and_then(|()| act(path));
        act(&path).map_err(|error| Failed { path, error })
    }
}

#[cfg(test)]
pub(super) mod faults {
    //! Failures on order: tests count the steps of a write and let each of them fail in turn.

    use std::cell::Cell;
    use std::cell::RefCell;
    use std::fs::File;
    use std::io;
    use std::io::Write;

    /// What is to fail.
    #[derive(Debug, Default)]
    pub(in super::super) struct Faults {
        taken: Cell<usize>,
        fail: RefCell<Vec<usize>>,
        crash: Cell<Option<usize>>,
        torn: Cell<bool>,
    }

    impl Faults {
        /// Lets these steps fail, counted from the next one.
        pub(in super::super) fn fail(&self, steps: &[usize]) {
            self.taken.set(0);
            self.fail.replace(steps.to_vec());
        }

        /// Ends the process, as it were, at this step: from there on nothing is done any more.
        /// `torn`: where the step writes a file, half of it is written.
        pub(in super::super) fn crash(&self, step: usize, torn: bool) {
            self.taken.set(0);
            self.crash.set(Some(step));
            self.torn.set(torn);
        }

        fn crashed(&self, step: usize) -> bool {
            self.crash.get().is_some_and(|at| step >= at)
        }

        pub(super) fn step(&self) -> io::Result<()> {
            let step = self.taken.replace(self.taken.get() + 1);
            let tears = self.torn.get() && self.crash.get() == Some(step);
            let fails = self.fail.borrow().contains(&step) || (self.crashed(step) && !tears);
            if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        /// Within a write: writes half of it and fails, if this is where the process ends.
        pub(super) fn tear(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            let step = self.taken.get() - 1;
            if self.torn.get() && self.crash.get() == Some(step) {
                file.write_all(&bytes[..bytes.len() / 2])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
}

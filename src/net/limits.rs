//! What the kernel lets this process do: how many files it may open, and as whom it runs.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;

use nix::unistd::Uid;
use nix::unistd::User;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Raises the soft limit of open files to the hard one. Returns the soft limit as it then is.
///
/// # Errors
/// The kernel refuses; the limit is as it was.
pub fn raise_nofile() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX)) // none: unlimited
}

/// The first descriptor that is reserved.
static RESERVED_FROM: AtomicI32 = AtomicI32::new(RawFd::MAX);

/// Keeps the descriptors from this one on for whoever does not ask whether they are
/// [reserved](is_reserved): the control socket, the admin listener, probes, logs.
pub fn reserve(from: u64) {
    RESERVED_FROM.store(RawFd::try_from(from).unwrap_or(RawFd::MAX), Ordering::Relaxed);
}

/// Whether this descriptor, just made, is one of those that traffic must leave to others. The kernel
/// gives out the lowest number that is free: so many are in use then.
#[must_use]
pub fn is_reserved(file: &impl AsFd) -> bool {
    file.as_fd().as_raw_fd() >= RESERVED_FROM.load(Ordering::Relaxed)
}

/// Whether this descriptor was made, or might have been, while half of those that traffic may take
/// were in use: it is no time to keep one that nobody needs at the moment.
#[must_use]
pub fn is_scarce(file: &impl AsFd) -> bool {
    is_in_upper_half(file.as_fd().as_raw_fd(), RESERVED_FROM.load(Ordering::Relaxed))
}

fn is_in_upper_half(file: RawFd, reserved_from: RawFd) -> bool {
    file >= reserved_from / 2
}

/// The error of a call that would have taken a reserved descriptor.
#[must_use]
pub fn out_of_files() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

/// Whether a call failed because this process, or the machine, may open no more files.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = rustix::io::Errno::from_io_error(error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Why the process could not become another user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserError {
    /// What and why: `user: www-data: no such account`.
    pub what: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UserError {}

/// Becomes the account `name` for good, with its groups. Does nothing if the process is that account
/// already. All threads follow (the C library sees to that), but what was opened before stays open,
/// so call it once the listeners are bound, and before threads touch files.
///
/// # Errors
/// No such account, or not started as root. The process is then unchanged, except after a failure
/// half way, which it must not survive: end it.
pub fn drop_to_user(name: &str) -> Result<(), UserError> {
    let failed = |why: &str, hint: Option<&str>| UserError {
        what: format!("user: {name}: {why}"),
        hint: hint.map(str::to_owned),
    };
    let user = User::from_name(name)
        .map_err(|error| failed(&format!("cannot be looked up: {error}"), None))?;
    let create = format!("`useradd --system --shell /usr/sbin/nologin {name}` creates it");
    let user = user.ok_or_else(|| failed("no such account", Some(&create)))?;
    if Uid::effective() == user.uid && Uid::current() == user.uid {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        let hint = "start as root, or leave `user` away and let systemd's `User=` choose";
        return Err(failed("only root can become another account", Some(hint)));
    }
    let step = |what: &str, error: nix::Error| failed(&format!("{what}: {error}"), None);
    // In this order: the user comes last, because from then on nothing more is allowed.
    let c_name =
        std::ffi::CString::new(user.name.as_str()).map_err(|_nul| failed("is not a name", None))?;
    nix::unistd::initgroups(&c_name, user.gid).map_err(|error| step("groups", error))?;
    nix::unistd::setgid(user.gid).map_err(|error| step("group", error))?;
    nix::unistd::setuid(user.uid).map_err(|error| step("user", error))?;
    if nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(failed("the way back to root is still open", None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let raised = raise_nofile().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), raised);
        assert_eq!(raise_nofile().unwrap(), raised);
    }

    #[test]
    fn descriptors_are_scarce_from_the_half_of_what_traffic_may_take() {
        assert_eq!([447, 448, 900].map(|file| is_in_upper_half(file, 896)), [false, true, true]);
        assert!(!is_in_upper_half(500_000, RawFd::MAX), "before anything is reserved");
    }

    #[test]
    fn a_call_without_a_descriptor_is_told_from_others() {
        assert!(is_out_of_files(&out_of_files()));
        assert!(!is_out_of_files(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn an_unknown_account_is_refused_with_the_way_to_create_it() {
        let error = drop_to_user("no-such-account").unwrap_err();
        assert_eq!(error.what, "user: no-such-account: no such account");
        assert!(error.to_string().contains("\n  hint: `useradd"), "{error}");
    }

    #[test]
    fn becoming_oneself_changes_nothing() {
        let me = User::from_uid(Uid::effective()).unwrap().unwrap();
        drop_to_user(&me.name).unwrap();
        assert_eq!(Uid::effective(), me.uid);
    }

    const CHILD: &str = "PROXYD_TEST_DROP";

    /// The drop is for good, so a child process takes it: this test again, told to by its
    /// environment.
    #[test]
    fn root_becomes_the_account_for_good_and_nobody_else_may() {
        let Some(user) = User::from_name("nobody").unwrap() else { return };
        if std::env::var_os(CHILD).is_some() {
            let waiting = std::thread::spawn(std::thread::park);
            drop_to_user("nobody").unwrap();
            waiting.thread().unpark();
            waiting.join().unwrap();
            assert_eq!(Uid::effective(), user.uid);
            assert_eq!(nix::unistd::getegid(), user.gid);
            assert!(nix::unistd::setuid(Uid::from_raw(0)).is_err());
            let error = drop_to_user("root").unwrap_err();
            assert_eq!(error.what, "user: root: only root can become another account");
            return;
        }
        if Uid::effective().is_root() {
            let name = "net::limits::tests::root_becomes_the_account_for_good_and_nobody_else_may";
            let child = Command::new(std::env::current_exe().unwrap())
                .args([name, "--exact"])
                .env(CHILD, "1")
                .output()
                .unwrap();
            assert!(child.status.success(), "{child:?}");
        } else {
            let error = drop_to_user("nobody").unwrap_err();
            assert!(error.hint.is_some(), "{error}");
        }
    }
}

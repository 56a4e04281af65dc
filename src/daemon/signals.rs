//! What the daemon does when it is sent a signal.

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// What somebody outside wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM, SIGQUIT: finish what is there, then end.
    Stop,
    /// SIGINT: end at once.
    StopNow,
    /// SIGHUP: apply the configuration file.
    Reload,
    /// SIGUSR1: reopen the log files.
    Reopen,
}

/// The signals that mean something. Waits for them from the moment it is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// The kernel refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next wish. Cancel safe.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::StopNow,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.user_1.recv() => Wish::Reopen,
        }
    }
}

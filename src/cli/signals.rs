//! Ctrl-C and its relatives, for the commands that must not die of them on the spot.

use std::io;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// A signal that was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: an aborted job.
    Terminate,
    /// SIGHUP or SIGQUIT; caught only by `guard`.
    Other,
}

/// Where signals come from.
#[derive(Debug, Default)]
pub enum Signals {
    /// Nothing is caught: each signal does what it does by default.
    #[default]
    Default,
    /// These are caught.
    Caught(Vec<(Caught, Signal)>),
    /// A test sends them.
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::UnboundedReceiver<Caught>),
}

impl Caught {
    /// What a shell reports for a program that died of it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Other => 129,
        }
    }
}

impl Signals {
    /// Catches SIGINT and SIGTERM.
    ///
    /// # Errors
    /// The system refuses to tell of signals.
    pub fn catch(&mut self) -> io::Result<()> {
        self.listen(&[
            (Caught::Interrupt, SignalKind::interrupt()),
            (Caught::Terminate, SignalKind::terminate()),
        ])
    }

    /// Catches all that a terminal or a job runner may send to a whole group of processes.
    ///
    /// # Errors
    /// As [`catch`](Self::catch).
    pub fn catch_all(&mut self) -> io::Result<()> {
        self.listen(&[
            (Caught::Interrupt, SignalKind::interrupt()),
            (Caught::Terminate, SignalKind::terminate()),
            (Caught::Other, SignalKind::hangup()),
            (Caught::Other, SignalKind::quit()),
        ])
    }

    /// The next one. Never, if none are caught.
    pub async fn next(&mut self) -> Caught {
        match self {
            Self::Default => std::future::pending().await,
            Self::Caught(sources) => std::future::poll_fn(|context| first(sources, context)).await,
            #[cfg(test)]
            Self::Scripted(script) => match script.recv().await {
                Some(caught) => caught,
                None => std::future::pending().await,
            },
        }
    }

    fn listen(&mut self, kinds: &[(Caught, SignalKind)]) -> io::Result<()> {
        if !matches!(self, Self::Default) {
            return Ok(());
        }
        let mut sources = Vec::new();
        for (caught, kind) in kinds {
            sources.push((*caught, signal(*kind)?));
        }
        *self = Self::Caught(sources);
        Ok(())
    }
}

fn first(
    sources: &mut [(Caught, Signal)],
    context: &mut std::task::Context<'_>,
) -> std::task::Poll<Caught> {
    for (caught, source) in sources {
        if source.poll_recv(context).is_ready() {
            return std::task::Poll::Ready(*caught);
        }
    }
    std::task::Poll::Pending
}

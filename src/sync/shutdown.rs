//! Tells every thread that the process is to stop: first gracefully, then at once.

use tokio::sync::watch;

/// How far the stop has come. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Work as usual.
    Running,
    /// Take nothing new, finish what is there.
    Graceful,
    /// End now.
    Now,
}

/// The side that decides. Clones decide about the same stop.
#[derive(Debug, Clone)]
pub struct Shutdown {
    stage: watch::Sender<Stage>,
}

/// The side that obeys.
#[derive(Debug, Clone)]
pub struct Stopping {
    stage: watch::Receiver<Stage>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { stage: watch::channel(Stage::Running).0 }
    }
}

impl Shutdown {
    /// Moves to `stage`, unless the stop has already come further.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|current| {
            let further = stage > *current;
            if further {
                *current = stage;
            }
            further
        });
    }

    /// A listener for this stop.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        Stopping { stage: self.stage.subscribe() }
    }
}

impl Stopping {
    /// How far the stop has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the stop has come at least as far as `stage`. Cancel safe. A decider that is gone
    /// counts as [`Stage::Now`].
    pub async fn reached(&mut self, stage: Stage) {
        // The error says that the sender is gone: nobody can keep us running.
        drop(self.stage.wait_for(|current| *current >= stage).await);
    }
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stage_only_moves_forward() {
        let shutdown = Shutdown::default();
        let mut stopping = shutdown.stopping();
        assert_eq!(stopping.stage(), Stage::Running);
        shutdown.advance(Stage::Now);
        shutdown.advance(Stage::Graceful);
        stopping.reached(Stage::Graceful).await;
        assert_eq!(stopping.stage(), Stage::Now);
    }
}

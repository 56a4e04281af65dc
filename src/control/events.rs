//! The notice bus: what happens in the daemon, for whoever follows `GET /v1/events`; and the history,
//! which keeps what was changed.

use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::control::command::event::Event;
use crate::control::command::event::Notice;
use crate::control::history::Recorder;
use crate::model::colour::Colour;

/// How many notices a slow follower may lag behind before it misses the oldest.
const KEPT: usize = 1024;

/// Where notices are sent. Clones send to the same followers.
#[derive(Debug, Clone)]
pub struct Bus {
    notices: broadcast::Sender<Notice>,
    history: Recorder,
}

impl Bus {
    /// A bus that nobody follows yet.
    #[must_use]
    pub fn new(history: Recorder) -> Self {
        Self { notices: broadcast::channel(KEPT).0, history }
    }

    /// Where changes are kept.
    #[must_use]
    pub fn history(&self) -> &Recorder {
        &self.history
    }

    /// Everything from here on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Tells what happened to no promotion in particular.
    pub fn tell(&self, event: Event) {
        self.send(Notice { at: now(), id: None, upstreams: Vec::new(), promoting: None, event });
    }

    /// Tells what happened to these upstreams by no promotion.
    pub fn tell_about(&self, upstreams: Vec<String>, event: Event) {
        self.send(Notice { at: now(), id: None, upstreams, promoting: None, event });
    }

    /// Tells what happened to promotion `id`.
    pub fn tell_of(
        &self,
        id: &str,
        upstreams: Vec<String>,
        promoting: Option<Colour>,
        event: Event,
    ) {
        self.send(Notice { at: now(), id: Some(id.to_owned()), upstreams, promoting, event });
    }

    fn send(&self, notice: Notice) {
        // The error says that nobody follows, which is no error.
        drop(self.notices.send(notice));
    }
}

/// Now, as every answer writes it: RFC 3339, UTC.
#[must_use]
pub fn now() -> String {
    at(SystemTime::now())
}

/// A moment as every answer writes it: RFC 3339, UTC, in whole seconds.
#[must_use]
pub fn at(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    #[tokio::test]
    async fn a_notice_reaches_every_follower_and_none_is_needed() {
        let nowhere = std::path::Path::new("/nonexistent");
        let bus = Bus::new(Recorder::new(nowhere, Metrics::new("test")));
        bus.tell(Event::Switched { generation: 1 });
        let mut follower = bus.subscribe();
        let app = vec!["app".to_owned()];
        bus.tell_of("a1", app, Some(Colour::Green), Event::Switched { generation: 2 });
        let notice = follower.recv().await.unwrap();
        assert_eq!(notice.event, Event::Switched { generation: 2 });
        assert_eq!(notice.id.as_deref(), Some("a1"));
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(at(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}

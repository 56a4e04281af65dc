//! The order that a retired colour is held: it stays probed and ready, and is not to be stopped.

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;
use crate::model::orders::moment;

/// A retired colour that is held for a way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The colour that was live before.
    pub colour: Colour,
    /// Until when it is not to be stopped.
    #[serde(with = "moment")]
    pub until: SystemTime,
    /// Its successor is being judged: a restart in the middle loses the verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baking: bool,
}

impl Held {
    /// Somebody has given this colour up: it is a way back no longer.
    pub fn give_up(held: &mut Option<Self>, colour: Colour) {
        held.take_if(|held| held.colour == colour);
    }

    /// Whether the colour is not to be stopped at `now`: while its successor is being judged it is the
    /// way back, however long that takes.
    #[must_use]
    pub fn stands(&self, now: SystemTime) -> bool {
        self.baking || self.until > now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_colour_is_not_to_be_stopped_while_its_successor_is_judged_however_long_that_takes() {
        let now = SystemTime::now();
        let held = |baking, until| Held { colour: Colour::Blue, until, baking };
        assert!(held(true, now).stands(now));
        assert!(!held(false, now).stands(now));
        assert!(held(false, now + Duration::from_secs(1)).stands(now));
    }
}

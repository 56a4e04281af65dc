//! The order that who has a signed token sees the standby colour.

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;
use crate::model::orders::moment;

/// A preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The colour to see: the standby one when it was ordered.
    pub colour: Colour,
    /// Which preview it is: a token of another one is of no use.
    pub salt: u64,
    /// When it was ordered.
    #[serde(with = "moment")]
    pub since: SystemTime,
    /// When it is over by itself.
    #[serde(with = "moment")]
    pub until: SystemTime,
}

impl Preview {
    /// Whether it shows this colour at this moment.
    #[must_use]
    pub fn shows(&self, colour: Colour, now: SystemTime) -> bool {
        self.colour == colour && self.until > now
    }
}

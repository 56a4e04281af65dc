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

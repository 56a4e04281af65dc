//! The order that a part of the users gets the standby colour.

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;
use crate::model::orders::moment;
use crate::model::split::Share;

/// A canary. It stands until the colour is promoted or the canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The colour that the part gets: the standby one when it was ordered.
    pub colour: Colour,
    /// How large the part is; more than nothing.
    pub weight: Share,
    /// Which users it is: drawn when the canary begins, and the same whatever its weight becomes.
    pub salt: u64,
    /// When it began.
    #[serde(with = "moment")]
    pub since: SystemTime,
    /// A promotion in steps drives it: a restart in the middle loses the steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_steps: bool,
}

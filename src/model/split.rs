//! The rule that gives a request its colour.

use crate::model::colour::Colour;

/// How an upstream's requests are divided between its two pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Every request gets this colour: the live one.
    AllTo(Colour),
}

impl Split {
    /// The colour that new requests get when no exception applies.
    #[must_use]
    pub fn live(self) -> Colour {
        match self {
            Self::AllTo(colour) => colour,
        }
    }
}

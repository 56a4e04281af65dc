//! Blue and green: the names of an upstream's two pools.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// One of an upstream's two pools.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The blue pool.
    Blue,
    /// The green pool.
    Green,
}

impl Colour {
    /// Both, in the order in which they are always listed.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// The word for it in YAML, CLI, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The one that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is neither `blue` nor `green`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown colour \"{0}\": the pools are blue and green")]
pub struct UnknownColour(pub String);

impl FromStr for Colour {
    type Err = UnknownColour;

    fn from_str(word: &str) -> Result<Self, UnknownColour> {
        match word {
            "blue" => Ok(Self::Blue),
            "green" => Ok(Self::Green),
            _ => Err(UnknownColour(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_it_is_read() {
        for colour in Colour::BOTH {
            assert_eq!(colour.as_str().parse(), Ok(colour));
            assert_eq!(colour.other().other(), colour);
        }
        assert_eq!("Blue".parse::<Colour>(), Err(UnknownColour("Blue".to_owned())));
    }
}

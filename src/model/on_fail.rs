//! What becomes of a release that is judged bad.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// What is done once a bake is judged bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// The colour that was live before is made live again.
    #[default]
    Revert,
    /// Traffic stays where it is, and nothing is safe to kill.
    Freeze,
    /// It is said, and nothing else.
    Notify,
}

/// A word that is none of the three.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is none of revert, freeze, notify")]
pub struct UnknownOnFail(pub String);

impl OnFail {
    /// Every word.
    pub const ALL: [Self; 3] = [Self::Revert, Self::Freeze, Self::Notify];

    /// The word in the file, on the command line and in receipts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Freeze => "freeze",
            Self::Notify => "notify",
        }
    }
}

impl fmt::Display for OnFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnFail {
    type Err = UnknownOnFail;

    fn from_str(text: &str) -> Result<Self, UnknownOnFail> {
        Self::ALL
            .into_iter()
            .find(|word| word.as_str() == text)
            .ok_or_else(|| UnknownOnFail(text.to_owned()))
    }
}

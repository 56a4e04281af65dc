//! What a bake has come to, in events and receipts.

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;

/// Requests of one colour while it is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Those that failed, or in a verdict about latency: that were slow.
    pub count: u64,
    /// All of them.
    pub of: u64,
}

/// How a colour that bakes is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baking {
    /// The upstream.
    pub upstream: String,
    /// The colour that is judged.
    pub colour: Colour,
    /// Its requests so far, and those of them that failed.
    pub new: Counted,
    /// Those of the colour it replaced, before the switch.
    pub old: Counted,
}

/// What a bake has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Enough was seen, and nothing speaks against the new colour.
    Passed,
    /// The new colour is worse than the one it replaced.
    Failed,
    /// Too little was seen to say.
    Inconclusive,
}

/// The verdict on one colour, with the numbers that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The upstream.
    pub upstream: String,
    /// The colour that was judged.
    pub colour: Colour,
    /// What it comes to.
    pub result: Outcome,
    /// What decided, in words.
    pub what: String,
    /// The route on which it was found; absent: on all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The requests of the new colour that decided.
    pub new: Counted,
    /// Those of the old one that they were compared with.
    pub old: Counted,
    /// How likely such a difference would be by chance, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// What that had to be below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Requests of the new colour until the verdict.
    pub requests: u64,
    /// From the switch to the verdict.
    pub seconds: f64,
    /// What becomes of it, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
    /// Why the old colour was not made live again, if that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

//! Single values that say how a release goes: switches.

use crate::config::words::Word;
use crate::config::words::Wrong;
use crate::config::words::choice;

/// Whether something is done at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl Word for Switch {
    const EXPECTED: &'static str = "on or off";
    const CHOICES: &'static [&'static str] = &["on", "off"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        choice(text, &[Self(true), Self(false)])
    }
}

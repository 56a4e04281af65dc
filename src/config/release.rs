//! Single values that say how a release goes: switches, patterns of paths.

use crate::config::words::Word;
use crate::config::words::Wrong;
use crate::config::words::choice;
use crate::config::words::wrong;
use crate::model::pattern::BadPattern;
use crate::model::pattern::Pattern;

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

impl Word for Pattern {
    const EXPECTED: &'static str = "a pattern of paths such as /assets/* or *.js";
    const PATTERN: Option<&'static str> = Some("^[/*]");

    fn parse(text: &str) -> Result<Self, Wrong> {
        let why = match text.parse() {
            Ok(pattern) => return Ok(pattern),
            Err(why) => why,
        };
        let hint = match why {
            BadPattern::Beginning => "write /assets/* for a folder, *.js for an ending",
            BadPattern::Sign(_) => {
                "only * is special: it stands for any characters; the query is not looked at"
            }
            BadPattern::Long => "name the folder, and * for what is in it",
        };
        wrong(format!("\"{text}\" is no pattern of paths: it {why}"), hint)
    }
}

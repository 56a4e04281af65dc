//! Single values that say how a release goes: switches, factors, patterns of paths.

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;

use crate::config::read::Read;
use crate::config::read::Reader;
use crate::config::read::inline_schema;
use crate::config::tree::Node;
use crate::config::tree::Value;
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

/// A factor from 1 to 100, as written and in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Factor(pub(crate) u32);

impl Read for Factor {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let factor = match node.value {
            Value::Float(factor) => factor,
            Value::Int(whole) => i32::try_from(whole).map_or(f64::INFINITY, f64::from),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                reader.unexpected("a factor such as 1.5", node);
                return None;
            }
        };
        if !(1.0..=100.0).contains(&factor) {
            let hint = "write 1.5 for half as much again, 2 for twice as much".to_owned();
            reader.here(format!("{factor} is no factor from 1 to 100"), Some(hint));
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 100 to 10,000"
        )]
        Some(Self((factor * 100.0).round() as u32))
    }
}

inline_schema!([] Factor, _generator => json_schema!({
    "type": "number", "minimum": 1, "maximum": 100,
}));

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

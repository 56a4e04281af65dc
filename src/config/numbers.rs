//! Single values with a number in them: durations, sizes, counts, statuses, permission bits.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

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
use crate::config::words::wrong;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Read for Whole<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Int(number) = node.value else {
            reader.unexpected("a whole number", node);
            return None;
        };
        let fits = u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number));
        if fits.is_none() {
            reader.here(format!("{number} is not from {MIN} to {MAX}"), None);
        }
        fits.map(Self)
    }
}

inline_schema!([const MIN: u32, const MAX: u32] Whole<MIN, MAX>, _generator => json_schema!({
    "type": "integer", "minimum": MIN, "maximum": MAX,
}));

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Word for Size<MIN, MAX> {
    const EXPECTED: &'static str = "a size such as 64KiB";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(B|KiB|MiB|GiB)$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        let bytes = bytes(text)?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Self(bytes));
        }
        wrong(format!("\"{text}\" is not from {} to {}", written(MIN), written(MAX)), "")
    }
}

/// A size, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeOrUnlimited(pub(crate) Option<u64>);

impl Word for SizeOrUnlimited {
    const EXPECTED: &'static str = "a size such as 10MiB, or unlimited";
    const PATTERN: Option<&'static str> = Some("^(unlimited|[0-9]+(B|KiB|MiB|GiB))$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        bytes(text).map(|bytes| Self(Some(bytes)))
    }
}

/// A number of bytes a second, or none that must be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateOrOff(pub(crate) Option<NonZeroU64>);

impl Word for RateOrOff {
    const EXPECTED: &'static str = "bytes a second such as 500B, or off";
    const PATTERN: Option<&'static str> = Some("^(off|[0-9]+(B|KiB|MiB|GiB))$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "off" {
            return Ok(Self(None));
        }
        bytes(text).map(|bytes| Self(NonZeroU64::new(bytes)))
    }
}

fn bytes(text: &str) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let forms = "write a whole number and a unit: 32768B, 64KiB, 1MiB";
    if digits == 0 {
        return wrong(format!("\"{text}\" is not a size"), forms);
    }
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "" => {
            return wrong(
                format!("\"{text}\" has no unit"),
                &format!("write \"{text}B\" for bytes"),
            );
        }
        _ => {
            let near = match unit.trim().to_ascii_lowercase().as_str() {
                "b" => "B",
                "k" | "kb" | "kib" => "KiB",
                "m" | "mb" | "mib" => "MiB",
                "g" | "gb" | "gib" => "GiB",
                _ => return wrong(format!("\"{text}\" is not a size"), forms),
            };
            return wrong(
                format!("\"{text}\" is not a size"),
                &format!("write \"{number}{near}\""),
            );
        }
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift));
    bytes.map_or_else(|| wrong(format!("\"{text}\" is too large"), ""), Ok)
}

fn written(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or(format!("{bytes}B"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// How many workers; `None`: one a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workers(pub(crate) Option<usize>);

impl Word for Workers {
    const EXPECTED: &'static str = "auto, or a number of workers";
    const NUMBERS: bool = true;
    const PATTERN: Option<&'static str> = Some("^(auto|[0-9]+)$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "auto" {
            return Ok(Self(None));
        }
        match text.parse::<usize>() {
            Ok(workers @ 1..=1024) => Ok(Self(Some(workers))),
            Ok(_) => wrong(format!("{text} is not from 1 to 1024"), "auto is one a core"),
            Err(_) => wrong(format!("\"{text}\" is not a number"), "auto is one a core"),
        }
    }
}

impl Word for Duration {
    const EXPECTED: &'static str = "a duration such as 30s";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(ms|s|m|h)$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let forms = "write a whole number and a unit: 250ms, 1s, 2m, 1h";
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "" if digits > 0 => {
                return wrong(
                    format!("\"{text}\" has no unit"),
                    &format!("write \"{text}s\" for seconds"),
                );
            }
            _ => return wrong(format!("\"{text}\" is not a duration"), forms),
        };
        if digits == 0 {
            return wrong(format!("\"{text}\" is not a duration"), forms);
        }
        let number = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis));
        match number.map(Self::from_millis) {
            Some(Self::ZERO) => wrong(format!("\"{text}\" is no time at all"), "write 1ms or more"),
            Some(duration) if duration <= LONGEST => Ok(duration),
            Some(_) | None => {
                wrong(format!("\"{text}\" is longer than a year"), "8760h is the most")
            }
        }
    }
}

/// A duration that may be none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrNone(pub(crate) Duration);

impl Word for OrNone {
    const EXPECTED: &'static str = "a duration such as 30s, or 0s for none";
    const PATTERN: Option<&'static str> = Duration::PATTERN;

    fn parse(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "0ms" | "0s" | "0m" | "0h") {
            return Ok(Self(Duration::ZERO));
        }
        Duration::parse(text).map(Self)
    }
}

/// Statuses that count as good: one, or a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statuses(pub(crate) RangeInclusive<u16>);

impl Word for Statuses {
    const EXPECTED: &'static str = "a status such as 200, or a range such as 200-299";
    const NUMBERS: bool = true;
    const PATTERN: Option<&'static str> = Some("^[0-9]{3}(-[0-9]{3})?$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|s| (200..=599).contains(s))
        };
        let (Some(from), Some(to)) = (status(from), status(to)) else {
            let hint = "write a status from 200 to 599, or a range: 200-299";
            return wrong(format!("\"{text}\" is not a status"), hint);
        };
        if from > to {
            return wrong(format!("\"{text}\" is empty"), &format!("write \"{to}-{from}\""));
        }
        Ok(Self(from..=to))
    }
}

/// Permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Word for Mode {
    const EXPECTED: &'static str = "permission bits such as \"0660\"";
    const PATTERN: Option<&'static str> = Some("^0[0-7]{3}$");

    fn parse(text: &str) -> Result<Self, Wrong> {
        let octal = text.len() == 4 && text.starts_with('0');
        match u32::from_str_radix(text, 8).ok().filter(|_| octal) {
            Some(mode) if mode & 0o600 == 0o600 => Ok(Self(mode)),
            Some(_) => {
                wrong(format!("\"{text}\" shuts out proxyd itself"), "begin with 06: \"0660\"")
            }
            None => {
                let hint = "write the four octal digits in quotes: \"0660\"";
                wrong(format!("\"{text}\" is not a mode"), hint)
            }
        }
    }
}

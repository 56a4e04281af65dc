//! How much of the traffic a canary gets, in steps of a tenth of a percent.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error;
use serde::de::Visitor;

/// A part of the users, from none (0) to all (100 %). In JSON a number of percent, or the same as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// Why something is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadShare {
    /// It is no number from 0 to 100.
    #[error("\"{0}\" is not a percentage from 0 to 100")]
    NotPercent(String),
    /// It has more decimals than are kept.
    #[error("\"{0}\" is finer than 0.1 %")]
    TooFine(String),
}

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// Everybody.
    pub const ALL: Self = Self(1000);

    /// In tenths of a percent: 0 to 1000.
    #[must_use]
    pub fn tenths(self) -> u16 {
        self.0
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

/// As it is typed: `5`, `0.1`, `12.5`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}"),
        }
    }
}

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let bad = || BadShare::NotPercent(text.to_owned());
        let number = text.strip_suffix('%').map_or(text, str::trim_end);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| {
            (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        if !is_number(whole) || !is_number(decimals) {
            return Err(bad());
        }
        let whole: u16 = whole.parse().map_err(|_large| bad())?;
        let (tenth, finer) = decimals.split_at(1);
        let tenth: u16 = tenth.parse().map_err(|_none| bad())?;
        let tenths = whole
            .checked_mul(10)
            .and_then(|tenths| tenths.checked_add(tenth))
            .filter(|tenths| *tenths <= Self::ALL.0)
            .ok_or_else(bad)?;
        if finer.bytes().any(|digit| digit != b'0') {
            return Err(BadShare::TooFine(text.to_owned()));
        }
        Ok(Self(tenths))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(10) {
            to.serialize_u16(self.0 / 10)
        } else {
            to.serialize_f64(self.percent())
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Percent;
        impl Visitor<'_> for Percent {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage from 0 to 100, in steps of 0.1")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
                text.parse().map_err(E::custom)
            }

            // A number is written as short as it can be, and then read as text is.
            fn visit_f64<E: Error>(self, percent: f64) -> Result<Share, E> {
                self.visit_str(&percent.to_string())
            }

            fn visit_u64<E: Error>(self, percent: u64) -> Result<Share, E> {
                self.visit_str(&percent.to_string())
            }

            fn visit_i64<E: Error>(self, percent: i64) -> Result<Share, E> {
                self.visit_str(&percent.to_string())
            }
        }
        from.deserialize_any(Percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_is_written_in_text_and_in_json() {
        for tenths in 0..=1000 {
            let share = Share(tenths);
            assert_eq!(share.to_string().parse(), Ok(share));
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(json, share.to_string(), "a number, as short as it is typed");
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
            let text = format!("\"{share}\"");
            assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), share);
        }
    }

    #[test]
    fn what_is_finer_than_a_tenth_of_a_percent_is_refused_by_name() {
        for fine in ["0.01", "12.55", "0.05%", "99.999"] {
            assert_eq!(fine.parse::<Share>(), Err(BadShare::TooFine(fine.to_owned())));
        }
        assert_eq!("5.00".parse(), Ok(Share(50)));
        assert_eq!("5 %".parse(), Ok(Share(50)));
        let error = serde_json::from_str::<Share>("0.25")
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"0.25\" is finer than 0.1 %"), "{error}");
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for bad in ["", ".", "5.", ".5", "-1", "101", "100.1", "1e1", "5 0", "0x5", "٥", "+5"] {
            assert_eq!(bad.parse::<Share>(), Err(BadShare::NotPercent(bad.to_owned())), "{bad}");
        }
        for bad in ["-1", "1e300", "101", "null", "true", "[5]", "99999999999999999999"] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
    }
}

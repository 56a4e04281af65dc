//! A moment as orders keep it: RFC 3339, UTC. For `#[serde(with = "moment")]`.

use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serializer;
use serde::de::Error;

/// 9999-12-31T23:59:59Z, where RFC 3339 ends.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// Writes a moment; one beyond what RFC 3339 can say as the nearest that it can.
///
/// # Errors
///
/// The serializer's own.
pub fn serialize<S: Serializer>(moment: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let epoch = SystemTime::UNIX_EPOCH;
    let moment = (*moment).clamp(epoch, epoch + LAST_SECOND);
    serializer.collect_str(&humantime::format_rfc3339(moment))
}

/// Reads a moment.
///
/// # Errors
///
/// It is no text, or not RFC 3339.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map_err(D::Error::custom)
}

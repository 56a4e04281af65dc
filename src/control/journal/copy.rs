//! One copy of the state, as bytes: JSON that an operator can read, sealed by a checksum.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;

use crate::control::journal::Memory;
use crate::control::journal::Remembered;
use crate::control::journal::State;
use crate::model::colour::Colour;
use crate::model::orders::Orders;

/// The shape written here. It may only grow: a reader takes what it knows from a newer one.
const VERSION: u64 = 1;

const CHECKSUM: &str = "checksum";

/// 9999-12-31T23:59:59Z, where RFC 3339 ends: a clock beyond it must not stop a promotion.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// A copy that could be read.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) state: State,
    /// The version it was written in, if this program knows only an older one.
    pub(super) newer: Option<u64>,
}

#[derive(Deserialize)]
struct Written {
    version: u64,
    generation: u64,
    upstreams: BTreeMap<String, WrittenUpstream>,
    #[serde(default)]
    orders: BTreeMap<String, Orders>,
}

#[derive(Deserialize)]
struct WrittenUpstream {
    live: Colour,
    previous: Option<Colour>,
    since: String,
}

pub(super) fn encode(state: &State) -> Vec<u8> {
    let Memory { upstreams, orders } = &state.memory;
    let upstreams = upstreams.iter().map(|(name, upstream)| {
        let Remembered { live, previous, since } = upstream;
        let value = json!({
            "live": live.as_str(),
            "previous": previous.map(Colour::as_str),
            "since": written(*since),
        });
        (name.clone(), value)
    });
    let mut all = Map::new();
    all.insert("version".to_owned(), VERSION.into());
    all.insert("generation".to_owned(), state.generation.into());
    all.insert("upstreams".to_owned(), Value::Object(upstreams.collect()));
    if !orders.is_empty() {
        all.insert("orders".to_owned(), json!(orders));
    }
    all.insert(CHECKSUM.to_owned(), checksum(all.clone()).into());
    let mut bytes = format!("{:#}", Value::Object(all)).into_bytes();
    bytes.push(b'\n');
    bytes
}

/// What the bytes say, or why they cannot be believed.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut all: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    let sealed = all.remove(CHECKSUM);
    if sealed.as_ref().and_then(Value::as_str) != Some(&checksum(all.clone())) {
        return Err("its checksum does not match".to_owned());
    }
    let newer = all
        .get("version")
        .and_then(Value::as_u64)
        .filter(|version| *version > VERSION);
    let read = serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string());
    let state = read.and_then(meant).map_err(|why| match newer {
        Some(version) => format!("it is of version {version}, made by a newer proxyd: {why}"),
        None => format!("it cannot be understood: {why}"),
    })?;
    Ok(Decoded { state, newer })
}

fn meant(written: Written) -> Result<State, String> {
    let Written { version, generation, upstreams, mut orders } = written;
    orders.retain(|_, orders| !orders.is_empty());
    if version == 0 {
        return Err("there is no version 0".to_owned());
    }
    let upstreams = upstreams.into_iter().map(|(name, upstream)| {
        let WrittenUpstream { live, previous, since } = upstream;
        let since = humantime::parse_rfc3339(&since).map_err(|error| error.to_string())?;
        Ok((name, Remembered { live, previous, since }))
    });
    let upstreams = upstreams.collect::<Result<_, String>>()?;
    Ok(State { generation, memory: Memory { upstreams, orders } })
}

/// SHA-256, in hexadecimal, over everything but the checksum itself, without white space and with
/// sorted keys: however a file is laid out, and whatever fields a later version adds.
fn checksum(payload: Map<String, Value>) -> String {
    let mut payload = Value::Object(payload);
    payload.sort_all_objects();
    let digest = Sha256::digest(payload.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(since: SystemTime) -> String {
    let epoch = SystemTime::UNIX_EPOCH;
    let since = since.clamp(epoch, epoch + LAST_SECOND);
    humantime::format_rfc3339_nanos(since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let since = SystemTime::UNIX_EPOCH + Duration::new(1_795_464_000, 123_456_789);
        let app = Remembered { live: Colour::Green, previous: Some(Colour::Blue), since };
        let upstreams = BTreeMap::from([("app".to_owned(), app)]);
        State { generation: 8, memory: Memory { upstreams, ..Memory::default() } }
    }

    /// The same file with other contents, sealed again.
    fn resealed(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
        let mut all: Map<String, Value> = serde_json::from_slice(&encode(&state())).unwrap();
        all.remove(CHECKSUM);
        change(&mut all);
        all.insert(CHECKSUM.to_owned(), checksum(all.clone()).into());
        serde_json::to_vec(&all).unwrap()
    }

    #[test]
    fn a_copy_is_written_to_the_letter() {
        let text = String::from_utf8(encode(&state())).unwrap();
        assert_eq!(
            text,
            r#"{
  "checksum": "b128003d92c0fa1efc492b811c142265e499e9ef32470b02aac2b08abb813a6d",
  "generation": 8,
  "upstreams": {
    "app": {
      "live": "green",
      "previous": "blue",
      "since": "2026-11-23T20:00:00.123456789Z"
    }
  },
  "version": 1
}
"#
        );
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let decoded = decode(&encode(&state())).unwrap();
        assert_eq!(decoded.state, state());
        assert_eq!(decoded.newer, None);
        let empty = State { generation: u64::MAX, memory: Memory::default() };
        assert_eq!(decode(&encode(&empty)).unwrap().state, empty);
    }

    #[test]
    fn a_clock_beyond_all_bounds_is_written_at_the_nearest_one() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (clock, written) in [
            (epoch - Duration::from_secs(9), epoch),
            (epoch + LAST_SECOND * 2, epoch + LAST_SECOND),
        ] {
            let mut state = state();
            state.memory.upstreams.get_mut("app").unwrap().since = clock;
            let read = decode(&encode(&state)).unwrap().state;
            assert_eq!(read.memory.upstreams["app"].since, written);
        }
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        let whole = encode(&state());
        let why = |bytes: &[u8]| decode(bytes).unwrap_err();
        assert_eq!(why(b""), "it is empty");
        assert!(why(&whole[..whole.len() / 2]).starts_with("it is not JSON"));
        assert!(why(&vec![0; whole.len()]).starts_with("it is not JSON"));
        let text = String::from_utf8(whole).unwrap();
        assert_eq!(why(text.replace("green", "blue").as_bytes()), "its checksum does not match");
        assert_eq!(why(b"{}"), "its checksum does not match");
        let unfit = resealed(|all| drop(all.insert("generation".to_owned(), "eight".into())));
        assert!(why(&unfit).starts_with("it cannot be understood"), "{}", why(&unfit));
    }

    #[test]
    fn a_newer_version_is_read_as_far_as_it_is_known() {
        let grown = resealed(|all| {
            all.insert("version".to_owned(), 2.into());
            all.insert("weights".to_owned(), json!({"app": 10}));
        });
        let decoded = decode(&grown).unwrap();
        assert_eq!((decoded.state, decoded.newer), (state(), Some(2)));
        let other = resealed(|all| {
            all.insert("version".to_owned(), 3.into());
            all.remove("upstreams");
        });
        let why = decode(&other).unwrap_err();
        assert!(why.contains("version 3, made by a newer proxyd"), "{why}");
    }
}

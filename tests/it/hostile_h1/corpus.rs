//! The hostile corpus: cases as data, shared with `benches/hostile/`, whose README says what their
//! words mean.

use std::io;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::harness::kernel::wait_until_read;
use crate::harness::wait::pause;

/// What one side does, in order.
#[derive(Debug, Clone, Default)]
pub struct Play {
    steps: Vec<Step>,
    byte_by_byte: bool,
    /// Whether it matters that a wait splits what is read: it decides what an answer becomes, and
    /// nothing of a request.
    splits: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Say(Vec<u8>),
    Wait,
    End,
}

/// Every request that a client sends.
pub fn requests() -> Vec<Value> {
    cases(include_str!("../../hostile/requests.json"))
}

/// Every answer that a target gives.
pub fn answers() -> Vec<Value> {
    cases(include_str!("../../hostile/answers.json"))
}

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// A word of a case; empty if it is not there.
pub fn word<'c>(case: &'c Value, key: &str) -> &'c str {
    case[key].as_str().unwrap_or("")
}

/// A list of a case; empty if it is not there.
pub fn list<'c>(case: &'c Value, key: &str) -> &'c [Value] {
    case[key].as_array().map_or(&[], Vec::as_slice)
}

/// Bytes as the corpus writes them: each character is one.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

/// The other way round.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// The short ones of some cases, each byte in a segment of its own. Not those that wait for a time to
/// pass, nor those in which it matters what comes together.
pub fn byte_by_byte(cases: Vec<Value>) -> Vec<Value> {
    let is_short =
        |case: &Value| case.to_string().len() < 1200 && !case.to_string().contains("times");
    let mut cases = cases;
    cases.retain(|case| is_short(case) && !takes_its_time(case));
    cases.retain(|case| !word(case, "name").ends_with("_at_once"));
    for case in &mut cases {
        case["pace"] = json!("byte");
    }
    cases
}

/// Whether a case waits for a time of the proxy to pass.
pub fn takes_its_time(case: &Value) -> bool {
    case["get"] == json!([408])
}

impl Play {
    /// What the case `key`s.
    pub fn of(case: &Value, key: &str) -> Self {
        let byte_by_byte = word(case, "pace") == "byte";
        let mut play = Self { steps: Vec::new(), byte_by_byte, splits: key == "say" };
        for part in list(case, key) {
            match part.as_str() {
                Some("wait") => play.steps.push(Step::Wait),
                Some("end") => play.steps.push(Step::End),
                Some(text) => play.say(&bytes(text)),
                None => {
                    let times = usize::try_from(part["times"].as_u64().unwrap()).unwrap();
                    play.say(&bytes(word(part, "of")).repeat(times));
                }
            }
        }
        play
    }

    fn say(&mut self, bytes: &[u8]) {
        match self.steps.last_mut() {
            Some(Step::Say(before)) => before.extend_from_slice(bytes),
            _ => self.steps.push(Step::Say(bytes.to_vec())),
        }
    }

    /// Plays it. The other side may have closed before its end.
    pub fn to(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        for step in &self.steps {
            match step {
                Step::Say(bytes) if self.byte_by_byte => drip(stream, bytes)?,
                Step::Say(bytes) => stream.write_all(bytes)?,
                Step::Wait if self.splits => wait_until_read(stream),
                // A segment of its own, which the other side has time to look at.
                Step::Wait => pause(Duration::from_millis(15)),
                Step::End => stream.shutdown(Shutdown::Write)?,
            }
        }
        Ok(())
    }
}

fn drip(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        pause(Duration::from_micros(50));
    }
    Ok(())
}

//! TLS as bytes: hellos that no library would write, records cut as one likes, and what comes back,
//! taken apart. Knows nothing of keys.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;

use super::wire::Wire;

pub const TLS12: u16 = 0x0303;

/// A ClientHello, as it is to be claimed.
#[derive(Debug, Clone)]
pub struct Hello {
    pub version: u16,
    pub suites: Vec<u16>,
    pub compressions: Vec<u8>,
    /// `supported_versions` (RFC 8446 §4.2.1); empty: the extension is left out.
    pub versions: Vec<u16>,
}

/// A record of the other side, not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: u8,
    pub content: Vec<u8>,
}

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;

/// The descriptions of RFC 8446 §6 that tests look for.
pub const HANDSHAKE_FAILURE: u8 = 40;
pub const PROTOCOL_VERSION: u8 = 70;

impl Hello {
    /// A good hello of TLS 1.2, with every suite of the intermediate list.
    pub fn of_1_2() -> Self {
        Self {
            version: TLS12,
            suites: vec![0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8],
            compressions: vec![0],
            versions: Vec::new(),
        }
    }

    /// The message without its record.
    pub fn message(&self) -> Vec<u8> {
        let suites: Vec<u8> = self.suites.iter().flat_map(|s| s.to_be_bytes()).collect();
        let mut extensions = Vec::new();
        // supported_groups: secp256r1; ec_point_formats: uncompressed; signature_algorithms.
        extension(&mut extensions, 10, &[0, 2, 0, 23]);
        extension(&mut extensions, 11, &[1, 0]);
        extension(&mut extensions, 13, &[0, 6, 4, 3, 8, 4, 4, 1]);
        if !self.versions.is_empty() {
            let list: Vec<u8> = self.versions.iter().flat_map(|v| v.to_be_bytes()).collect();
            extension(&mut extensions, 43, &with_length(1, &list));
        }
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(with_length(2, &suites));
        body.extend(with_length(1, &self.compressions));
        body.extend(with_length(2, &extensions));
        let mut message = vec![1];
        message.extend(with_length(3, &body));
        message
    }

    /// The message in one record, as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        record(HANDSHAKE, &self.message())
    }
}

fn extension(out: &mut Vec<u8>, kind: u16, content: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend(with_length(2, content));
}

fn with_length(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - bytes..], content].concat()
}

/// A record of TLS 1.0, which is what a first one says that it is (RFC 8446 §5.1).
pub fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_length(2, content)].concat()
}

/// The same handshake messages, cut into records of `size` bytes.
pub fn recut(records: &[u8], size: usize) -> Vec<u8> {
    let messages: Vec<u8> = split(records)
        .into_iter()
        .flat_map(|record| record.content)
        .collect();
    messages
        .chunks(size)
        .flat_map(|part| record(HANDSHAKE, part))
        .collect()
}

/// Whole records; what is no record at the end is left out.
pub fn split(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((content, after)) = rest.split_at_checked(length) else { break };
        records.push(Record { kind: *kind, content: content.to_vec() });
        bytes = after;
    }
    records
}

/// Sends `bytes` over a connection of its own and reads until the other side ends it; `None` if it
/// does not.
pub fn say(address: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Wire::plain(address).unwrap();
    // Who is refused in the middle of a long speech is not heard to the end.
    wire.write_all(bytes).ok();
    hear(&mut wire)
}

/// Everything until the other side ends the connection; `None` if it does not.
pub fn hear(wire: &mut Wire) -> Option<Vec<u8>> {
    let mut heard = Vec::new();
    let ended = wire.read_to_end(&mut heard);
    let waits =
        |e: io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    if ended.is_err_and(waits) { None } else { Some(heard) }
}

/// What a refused client was told: the description of the only alert there is.
#[track_caller]
pub fn only_alert(answer: &[u8]) -> u8 {
    match split(answer).as_slice() {
        [Record { kind: ALERT, content }] => match content.as_slice() {
            [2, description] => *description,
            other => panic!("not a fatal alert: {other:?}"),
        },
        other => panic!("not one alert: {other:?}"),
    }
}

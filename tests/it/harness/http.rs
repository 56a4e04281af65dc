//! HTTP/1 messages off a byte stream, strictly: what a client may rely on is checked here.

use std::io;
use std::io::Read;

/// A field of a head, as it came.
pub type Field = (String, String);

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// The 1xx answers that came before.
    pub interim: Vec<Head>,
}

/// The head of a message.
#[derive(Debug, Clone)]
pub struct Head {
    pub first_line: String,
    pub fields: Vec<Field>,
    pub raw: Vec<u8>,
}

impl Answer {
    /// The only field of this name; panics if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() < 2, "{name} came more than once: {all:?}");
        all.first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        values(&self.trailers, name).first().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Which target answered: `blue-1`.
    pub fn origin(&self) -> String {
        self.header("x-origin").unwrap_or("").to_owned()
    }

    /// Which colour answered.
    pub fn colour(&self) -> String {
        self.origin().split('-').next().unwrap_or("").to_owned()
    }

    /// Whether the other side will close the connection.
    pub fn closes(&self) -> bool {
        tokens(&self.fields, "connection")
            .iter()
            .any(|t| t == "close")
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.fields, self.text());
        self
    }
}

impl Head {
    pub fn status(&self) -> io::Result<u16> {
        let code = self
            .first_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        code.ok_or_else(|| broken(format!("no status in {:?}", self.first_line)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        values(&self.fields, name).first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    pub fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap_or("")
    }

    /// The request target, raw.
    pub fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or("")
    }

    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or("")
    }

    /// A parameter of the query, raw.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }

    pub fn number(&self, name: &str, default: usize) -> usize {
        self.parameter(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }

    pub fn has_token(&self, name: &str, token: &str) -> bool {
        tokens(&self.fields, name).iter().any(|t| t == token)
    }
}

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads one head. `Ok(None)`: the other side closed before its first byte.
pub fn read_head(from: &mut impl Read, spare: &mut Vec<u8>) -> io::Result<Option<Head>> {
    loop {
        if let Some(end) = find(spare, b"\r\n\r\n") {
            let raw: Vec<u8> = spare.drain(..end + 4).collect();
            return parse_head(raw).map(Some);
        }
        if !fill(from, spare)? {
            let nothing = spare.is_empty();
            return if nothing { Ok(None) } else { Err(broken("closed within a head".into())) };
        }
    }
}

pub fn parse_head(raw: Vec<u8>) -> io::Result<Head> {
    let text = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first_line = lines.next().unwrap_or("").to_owned();
    let fields = lines.map(parse_field).collect::<io::Result<_>>()?;
    Ok(Head { first_line, fields, raw })
}

fn parse_field(line: &str) -> io::Result<Field> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| broken(format!("field {line:?}")))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// How the body of an answer with this head ends; panics on what no proxy may send.
pub fn answer_framing(head: &Head, method: &str) -> io::Result<Framing> {
    let status = head.status()?;
    if method == "HEAD" || status == 204 || status == 304 || (100..200).contains(&status) {
        return Ok(Framing::Length(0));
    }
    Ok(framing(head)?.unwrap_or(Framing::UntilClose))
}

/// How a body ends, by what the head says.
pub fn framing(head: &Head) -> io::Result<Option<Framing>> {
    let chunked = head.has_token("transfer-encoding", "chunked");
    let lengths = head.headers("content-length");
    if lengths.len() > 1 || (chunked && !lengths.is_empty()) {
        return Err(broken(format!("two framings: {:?}", head.fields)));
    }
    if chunked {
        return Ok(Some(Framing::Chunked));
    }
    let Some(length) = lengths.first() else { return Ok(None) };
    let length = length
        .parse()
        .map_err(|e| broken(format!("length {length:?}: {e}")))?;
    Ok(Some(Framing::Length(length)))
}

/// Reads a body piece by piece into `take`; returns its trailers.
pub fn read_body(
    from: &mut impl Read,
    spare: &mut Vec<u8>,
    framing: Framing,
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<Vec<Field>> {
    match framing {
        Framing::Length(length) => read_exactly(from, spare, length, take).map(|()| Vec::new()),
        Framing::Chunked => read_chunked(from, spare, take),
        Framing::UntilClose => loop {
            take(spare);
            spare.clear();
            if !fill(from, spare)? {
                return Ok(Vec::new());
            }
        },
    }
}

fn read_exactly(
    from: &mut impl Read,
    spare: &mut Vec<u8>,
    mut length: usize,
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    while length > 0 {
        if spare.is_empty() && !fill(from, spare)? {
            return Err(broken(format!("closed with {length} bytes of the body missing")));
        }
        let part = spare.len().min(length);
        take(&spare[..part]);
        spare.drain(..part);
        length -= part;
    }
    Ok(())
}

fn read_chunked(
    from: &mut impl Read,
    spare: &mut Vec<u8>,
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<Vec<Field>> {
    loop {
        let line = read_line(from, spare)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size =
            usize::from_str_radix(size, 16).map_err(|e| broken(format!("chunk {line:?}: {e}")))?;
        if size == 0 {
            break;
        }
        read_exactly(from, spare, size, take)?;
        let end = read_line(from, spare)?;
        if !end.is_empty() {
            return Err(broken(format!("after a chunk: {end:?}")));
        }
    }
    let mut trailers = Vec::new();
    loop {
        let line = read_line(from, spare)?;
        if line.is_empty() {
            return Ok(trailers);
        }
        trailers.push(parse_field(&line)?);
    }
}

pub fn read_line(from: &mut impl Read, spare: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = find(spare, b"\r\n") {
            let line: Vec<u8> = spare.drain(..end + 2).collect();
            return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if !fill(from, spare)? {
            return Err(broken("closed within a line".into()));
        }
    }
}

/// Reads once into `spare`; false: the other side has closed.
pub fn fill(from: &mut impl Read, spare: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    let read = from.read(&mut buffer)?;
    spare.extend_from_slice(&buffer[..read]);
    Ok(read > 0)
}

pub fn find(in_bytes: &[u8], what: &[u8]) -> Option<usize> {
    in_bytes
        .windows(what.len())
        .position(|window| window == what)
}

fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a str> {
    let named = fields
        .iter()
        .filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

fn tokens(fields: &[Field], name: &str) -> Vec<String> {
    let values = values(fields, name);
    values
        .iter()
        .flat_map(|v| v.split(','))
        .map(|t| t.trim().to_lowercase())
        .collect()
}

fn broken(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

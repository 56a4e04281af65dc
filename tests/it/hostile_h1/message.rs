//! One message off the wire, read as strictly as RFC 9112 allows: whatever could be read in two ways
//! is an error here, so that no test passes by leniency.

use super::corpus::text;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    /// Names in small letters.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Lines as they came.
    pub trailers: Vec<String>,
}

/// How the content of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request: without a framing it has no content.
    Request,
    /// An answer: without a framing its content ends with the connection, which has ended or not.
    Answer { ended: bool },
    /// An answer that has no content, whatever its head says.
    Bare,
}

/// The message at the start of `bytes` and its length; `None` if it is not whole.
pub fn read(bytes: &[u8], kind: Kind) -> Result<Option<(Message, usize)>, String> {
    let Some((lines, mut at)) = section(bytes)? else { return Ok(None) };
    let (line, fields) = lines
        .split_first()
        .ok_or("an empty line where a message begins")?;
    let fields = fields
        .iter()
        .map(|line| field(line))
        .collect::<Result<_, _>>()?;
    let mut message =
        Message { line: line.clone(), fields, body: Vec::new(), trailers: Vec::new() };
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    let rest = &bytes[at..];
    match (&lengths[..], &codings[..]) {
        _ if kind == Kind::Bare => {}
        ([], []) if kind == (Kind::Answer { ended: false }) => return Ok(None),
        ([], []) if kind == (Kind::Answer { ended: true }) => {
            message.body = rest.to_vec();
            at = bytes.len();
        }
        ([], []) => {}
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|e| format!("{length:?}: {e}"))?;
            let Some(body) = rest.get(..length) else { return Ok(None) };
            message.body = body.to_vec();
            at += length;
        }
        ([], ["chunked"]) => {
            let Some((body, used)) = chunks(rest)? else { return Ok(None) };
            let Some((trailers, end)) = section(&rest[used..])? else { return Ok(None) };
            for line in &trailers {
                field(line)?;
            }
            message.body = body;
            message.trailers = trailers;
            at += used + end;
        }
        framing => return Err(format!("the framing {framing:?}")),
    }
    Ok(Some((message, at)))
}

impl Message {
    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let has_name = |(own, _): &&(String, String)| own == name;
        self.fields
            .iter()
            .filter(has_name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The second word of the line: an answer's status.
    pub fn status(&self) -> u16 {
        let word = self.line.split(' ').nth(1);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// Lines up to the blank one, and where the bytes after it begin.
fn section(bytes: &[u8]) -> Result<Option<(Vec<String>, usize)>, String> {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest
            .iter()
            .position(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f)
        else {
            return Ok(None);
        };
        match rest.get(end..end + 2) {
            None if rest[end] == b'\r' => return Ok(None),
            Some(b"\r\n") => {}
            _ => return Err(format!("the byte {:#x} in a line", rest[end])),
        }
        at += end + 2;
        if end == 0 {
            return Ok(Some((lines, at)));
        }
        lines.push(text(&rest[..end]));
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("no field: {line:?}"))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("the name {name:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// What the chunks hold, and where the trailer section begins.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().position(|b| *b == b'\n') else { return Ok(None) };
        let line = text(&rest[..=end]);
        let digits = line.strip_suffix("\r\n").unwrap_or("");
        let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16);
        let Some(size) = size.ok().filter(|_| is_hex) else {
            return Err(format!("the chunk size {line:?}"));
        };
        at += end + 1;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        let Some(content) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk that does not end with CRLF".to_owned());
        };
        body.extend_from_slice(content);
        at += size + 2;
    }
}

//! Where a request ends: enough of HTTP/1.1 to tell, for peers that are known to speak it well and
//! do not pipeline.

/// What has to be known to answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// The request target.
    pub(crate) path: Vec<u8>,
    /// Whether the connection ends with the answer.
    pub(crate) close: bool,
}

/// Takes bytes as they come.
#[derive(Default)]
pub(crate) struct Reader {
    /// A head that has not ended yet.
    head: Vec<u8>,
    /// The request whose body is being read.
    open: Option<(Request, Body)>,
}

/// What is left of a body.
#[derive(Debug, PartialEq)]
enum Body {
    Sized(u64),
    Chunked(Chunked),
}

/// A chunked body; the size line and the bytes of one chunk after the other.
#[derive(Debug, Default, PartialEq)]
struct Chunked {
    /// Bytes of this chunk's data and line end that are still to come.
    left: u64,
    /// The size line as far as it has been read.
    size: u64,
    /// The last chunk was seen: the empty line ends it all.
    last: bool,
    /// Something stood on this line.
    filled: bool,
}

impl Reader {
    /// The request that these bytes complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Request> {
        if let Some((_, body)) = &mut self.open {
            return if body.take(bytes) {
                self.open.take().map(|(request, _)| request)
            } else {
                None
            };
        }
        let kept = !self.head.is_empty();
        if kept {
            self.head.extend_from_slice(bytes);
        }
        let seen = if kept { &self.head } else { bytes };
        let Some(end) = end_of_head(seen) else {
            if !kept {
                self.head.extend_from_slice(bytes);
            }
            return None;
        };
        let (head, rest) = seen.split_at(end);
        let (request, mut body) = parse(head);
        let done = body.as_mut().is_none_or(|body| body.take(rest));
        self.head.clear();
        if done {
            return Some(request);
        }
        self.open = body.map(|body| (request, body));
        None
    }
}

impl Body {
    /// Whether these bytes end it.
    fn take(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Sized(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                *left == 0
            }
            Self::Chunked(chunked) => chunked.take(bytes),
        }
    }
}

impl Chunked {
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let skipped =
                    usize::try_from(self.left).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            if *first == b'\n' && self.end_of_line() {
                return true;
            }
            if let Some(digit) = (*first as char).to_digit(16) {
                self.size = self.size * 16 + u64::from(digit);
                self.filled = true;
            }
        }
        false
    }

    /// Whether that was the last line of the body.
    fn end_of_line(&mut self) -> bool {
        if self.last {
            let end = !self.filled;
            self.filled = false;
            return end;
        }
        self.last = self.size == 0;
        self.left = if self.last { 0 } else { self.size + 2 };
        self.size = 0;
        self.filled = false;
        false
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    if bytes.ends_with(b"\r\n\r\n") && bytes.len() < 4096 && !bytes.starts_with(b"P") {
        return Some(bytes.len());
    }
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn parse(head: &[u8]) -> (Request, Option<Body>) {
    let path = head.split(|byte| *byte == b' ').nth(1);
    let mut request = Request { path: path.unwrap_or_default().to_vec(), close: false };
    let mut body = None;
    for line in head.split(|byte| *byte == b'\n') {
        let Some((value, name)) = split(line) else { continue };
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok();
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            body = (length > 0).then_some(Body::Sized(length));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            body = Some(Body::Chunked(Chunked::default()));
        } else if name.eq_ignore_ascii_case(b"connection") {
            request.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    (request, body)
}

/// A field's value and name.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some((value.get(1..)?.trim_ascii(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> Option<Request> {
        Some(Request { path: path.into(), close: false })
    }

    #[test]
    fn a_request_ends_where_its_head_or_its_body_ends() {
        let mut reader = Reader::default();
        assert_eq!(reader.feed(b"GET /10k HTTP/1.1\r\nHost: a\r\n\r\n"), request("/10k"));
        assert_eq!(reader.feed(b"PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n123"), None);
        assert_eq!(reader.feed(b"45"), request("/"));
        assert_eq!(reader.feed(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n12"), request("/"));
        assert_eq!(
            reader.feed(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
            Some(Request { path: "/".into(), close: true })
        );
    }

    #[test]
    fn a_request_may_come_in_any_pieces() {
        let whole = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        for step in 1..whole.len() {
            let mut reader = Reader::default();
            let done: Vec<_> = whole.chunks(step).map(|piece| reader.feed(piece)).collect();
            let (last, before) = done.split_last().unwrap();
            assert_eq!(*last, request("/x"), "in pieces of {step}");
            assert!(before.iter().all(Option::is_none), "in pieces of {step}");
        }
    }
}

//! What a target serves. Each page is one behaviour, named by its path.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Duration;

use sha2::Digest;
use sha2::Sha256;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::serve::Exchange;
use super::serve::Then;
use super::sick;
use super::wait::pause;

/// Answers one request.
pub fn answer(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.state.warm_up();
    if let Some(then) = sick::answer(exchange)? {
        return Ok(then);
    }
    let page = exchange.state.told().page;
    let path = page.unwrap_or(exchange.head.path()).to_owned();
    match path.as_str() {
        "/hold" => hold(exchange),
        "/slow" => slow(exchange),
        "/large" => large(exchange),
        "/echo" => echo(exchange),
        "/count" => count(exchange),
        "/mirror" => mirror(exchange),
        "/headers" => headers(exchange),
        "/with" => with(exchange),
        "/status" => status(exchange),
        "/chunked" => chunked(exchange, &[]),
        "/trailers" => chunked(exchange, &["X-Sum: 42", "X-Second: two"]),
        "/early-hints" => early_hints(exchange),
        "/close-delimited" => close_delimited(exchange),
        "/truncate" => truncate(exchange),
        "/truncate-chunked" => truncate_chunked(exchange),
        "/endless" => endless(exchange),
        "/reset" => Ok(Then::Reset),
        "/close" => Ok(Then::Close),
        "/garbage" => garbage(exchange),
        "/broken-chunk" => broken_chunk(exchange),
        "/long-head" => long_head(exchange),
        "/stall" => exchange.state.hold(exchange.stream).map(|()| Then::Close),
        "/stall-within" => stall_within(exchange),
        "/early-answer" => early_answer(exchange),
        "/never-read" => never_read(exchange),
        "/events" => events(exchange),
        "/ws" => websocket(exchange),
        "/upgrade" => upgrade(exchange),
        "/missing" => missing(exchange),
        "/elsewhere" => elsewhere(exchange),
        "/asset" => asset(exchange),
        _ => hello(exchange),
    }
}

/// The byte at `place` of every generated body: a shift or a mix-up shows.
pub fn pattern(place: usize) -> u8 {
    (place.wrapping_mul(31).wrapping_add(place >> 8) % 251) as u8
}

/// A generated body.
pub fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(pattern).collect()
}

/// The sum that `/echo` answers, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Anything else: says who it is. `?close=1` announces that it closes.
fn hello(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    let body = format!("hello from {}\n", exchange.state.name);
    if exchange.head.parameter("close").is_some() {
        exchange.reply(200, &["Connection: close"], body.as_bytes())?;
        return Ok(Then::Close);
    }
    exchange.reply(200, &["Content-Type: text/plain"], body.as_bytes())
}

/// `?bytes=`: it is not here, and says so at length; `?chunked=1`: of unknown length.
fn missing(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    let body = patterned(exchange.head.number("bytes", 9));
    if exchange.head.parameter("chunked").is_none() {
        return exchange.reply(404, &["X-Missing: yes"], &body);
    }
    exchange.begin(404, &["X-Missing: yes", "Transfer-Encoding: chunked"])?;
    for part in body.chunks(1000) {
        write!(exchange.stream, "{:x}\r\n", part.len())?;
        exchange.stream.write_all(part)?;
        exchange.stream.write_all(b"\r\n")?;
    }
    exchange.stream.write_all(b"0\r\n\r\n")?;
    Ok(Then::KeepOpen)
}

/// It has moved, and who asks is given a cookie.
fn elsewhere(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    exchange.reply(302, &["Location: /landing", "Set-Cookie: session=1"], b"elsewhere\n")
}

/// An asset that knows of `Range: bytes=0-3` and of `If-None-Match: "x"`.
fn asset(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    if exchange.head.header("if-none-match") == Some("\"x\"") {
        return exchange.reply(304, &["ETag: \"x\""], b"");
    }
    if exchange.head.header("range") == Some("bytes=0-3") {
        return exchange.reply(206, &["Content-Range: bytes 0-3/9"], b"asse");
    }
    exchange.reply(200, &["ETag: \"x\""], b"assets are")
}

/// Takes the request, and answers when the test releases it.
fn hold(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    exchange.state.hold(exchange.stream)?;
    hello(exchange)
}

/// `?bytes=&chunk=&every_ms=`: a download that takes its time.
fn slow(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let bytes = exchange.head.number("bytes", 10_000);
    let chunk = exchange.head.number("chunk", 1000);
    let every = Duration::from_millis(exchange.head.number("every_ms", 10) as u64);
    exchange.begin(200, &[&format!("Content-Length: {bytes}")])?;
    for part in patterned(bytes).chunks(chunk) {
        exchange.stream.write_all(part)?;
        pause(every);
    }
    Ok(Then::KeepOpen)
}

/// How much of `/large` is sent at once.
const PIECE: usize = 256 * 1024;

/// `?bytes=`: a download as quick as it is taken. Byte for byte what [`patterned`] gives, over and
/// over, so that a shift or a mix-up shows and no end of the connection needs all of it at once.
fn large(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let mut left = exchange.head.number("bytes", 1_000_000);
    exchange.begin(200, &[&format!("Content-Length: {left}")])?;
    let piece = patterned(PIECE);
    while left > 0 {
        let part = left.min(PIECE);
        exchange.stream.write_all(&piece[..part])?;
        left -= part;
    }
    Ok(Then::KeepOpen)
}

/// Checks `/large`, or any part of it, as it comes.
#[derive(Debug)]
pub struct Large {
    piece: Vec<u8>,
    /// How much has come.
    pub came: usize,
}

impl Large {
    pub fn new() -> Self {
        Self { piece: patterned(PIECE), came: 0 }
    }

    /// The next bytes are what they should be.
    #[track_caller]
    pub fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let from = self.came % PIECE;
            let part = bytes.len().min(PIECE - from);
            assert!(bytes[..part] == self.piece[from..from + part], "after {} bytes", self.came);
            self.came += part;
            bytes = &bytes[part..];
        }
    }

    /// The next bytes to send.
    pub fn next(&mut self, most: usize) -> &[u8] {
        let from = self.came % PIECE;
        let part = most.min(PIECE - from);
        self.came += part;
        &self.piece[from..from + part]
    }
}

/// Says what came as a body: its length, its sum, its trailers.
fn echo(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let (mut sum, mut length) = (Sha256::new(), 0);
    let trailers = exchange.read_body(&mut |part| {
        sum.update(part);
        length += part.len();
    })?;
    let said = serde_json::json!({
        "sha256": hex(&sum.finalize()), "length": length, "trailers": trailers,
    });
    exchange.reply(200, &["Content-Type: application/json"], said.to_string().as_bytes())
}

/// Says how long the body was, having checked that it was [`Large`].
fn count(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let mut large = Large::new();
    exchange.read_body(&mut |part| large.check(part))?;
    exchange.reply(200, &[], format!("{} bytes\n", large.came).as_bytes())
}

/// The request's body as the answer's body, piece by piece while it still comes.
fn mirror(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.begin(200, &["Transfer-Encoding: chunked"])?;
    let mut back = exchange.stream.try_clone()?;
    let mut failed = None;
    exchange.read_body(&mut |part| {
        if let Err(e) = write_chunk(&mut back, part) {
            failed = Some(e);
        }
    })?;
    failed.map_or(Ok(()), Err)?;
    exchange.stream.write_all(b"0\r\n\r\n")?;
    Ok(Then::KeepOpen)
}

/// The request's head, byte for byte, as the answer's body.
fn headers(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    let raw = exchange.head.raw.clone();
    exchange.reply(200, &[], &raw)
}

/// Answers with the fields that the request's `X-With` lists, separated by `|`.
fn with(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let fields = exchange.head.header("x-with").unwrap_or("").to_owned();
    let fields: Vec<&str> = fields
        .split('|')
        .map(str::trim)
        .filter(|f| !f.is_empty())
        .collect();
    exchange.reply(200, &fields, b"with\n")
}

/// `?code=`
fn status(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.read_body(&mut |_| {})?;
    let code = exchange.head.number("code", 200) as u16;
    exchange.reply(code, &["ETag: \"x\""], b"as you wish\n")
}

/// `?bytes=&chunk=`: of unknown length.
fn chunked(exchange: &mut Exchange<'_>, trailers: &[&str]) -> io::Result<Then> {
    let mut fields = vec!["Transfer-Encoding: chunked"];
    if !trailers.is_empty() {
        fields.push("Trailer: X-Sum, X-Second");
    }
    exchange.begin(200, &fields)?;
    let body = patterned(exchange.head.number("bytes", 10_000));
    for part in body.chunks(exchange.head.number("chunk", 1000)) {
        write_chunk(exchange.stream, part)?;
    }
    exchange.stream.write_all(b"0\r\n")?;
    for trailer in trailers {
        write!(exchange.stream, "{trailer}\r\n")?;
    }
    exchange.stream.write_all(b"\r\n")?;
    Ok(Then::KeepOpen)
}

fn write_chunk(to: &mut impl Write, part: &[u8]) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
    chunk.extend_from_slice(part);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk)
}

/// A body that goes on until nobody takes it.
fn endless(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.begin(200, &["Transfer-Encoding: chunked"])?;
    let told = &exchange.state.told;
    told.lock().unwrap().endless_running += 1;
    let part = patterned(64 * 1024);
    while write_chunk(exchange.stream, &part).is_ok() {}
    told.lock().unwrap().endless_running -= 1;
    Ok(Then::Close)
}

fn early_hints(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    exchange.stream.write_all(hint)?;
    hello(exchange)
}

/// A body that ends with the connection.
fn close_delimited(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let body = patterned(exchange.head.number("bytes", 10_000));
    exchange.begin(200, &["Connection: close"])?;
    exchange.stream.write_all(&body)?;
    Ok(Then::Close)
}

/// Half of what Content-Length promised.
fn truncate(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.begin(200, &["Content-Length: 10000"])?;
    exchange.stream.write_all(&patterned(5000))?;
    Ok(Then::Close)
}

/// Chunks without the last one.
fn truncate_chunked(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.begin(200, &["Transfer-Encoding: chunked"])?;
    write_chunk(exchange.stream, &patterned(5000))?;
    Ok(Then::Close)
}

fn garbage(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange
        .stream
        .write_all(b"this is not HTTP\r\nat all\r\n\r\n")?;
    Ok(Then::Close)
}

/// A good head, and with it the beginning of a body that is none.
fn broken_chunk(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-First: 1\r\n\r\n";
    let body = b"3\r\nabc\r\nno size\r\n";
    exchange
        .stream
        .write_all(&[&head[..], &body[..]].concat())?;
    Ok(Then::Close)
}

/// A head that is longer than any proxy should keep, and goes on as long as anybody reads it.
fn long_head(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
    let field = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for _ in 0..10_000 {
        exchange.stream.write_all(field.as_bytes())?;
    }
    Ok(Then::Close)
}

/// A head, a first part, then nothing until the test releases it.
fn stall_within(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.begin(200, &["Content-Length: 10000"])?;
    exchange.stream.write_all(&patterned(5000))?;
    exchange.state.hold(exchange.stream)?;
    exchange.stream.write_all(&patterned(10_000)[5000..])?;
    Ok(Then::KeepOpen)
}

/// Answers without reading the body, and closes.
fn early_answer(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.reply(413, &["Connection: close"], b"too much for me\n")?;
    exchange.stream.shutdown(std::net::Shutdown::Write)?;
    // Take what still comes: closing on unread bytes would reset the answer away.
    exchange.read_body(&mut |_| {}).ok();
    Ok(Then::Close)
}

/// Does not read the body until released.
fn never_read(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.state.wait_for_release()?;
    exchange.read_body(&mut |_| {})?;
    hello(exchange)
}

/// The events of `/events`.
pub const EVENTS: [&str; 3] = ["id: 1\ndata: one\n\n", "id: 2\ndata: two\n\n", "data: three\n\n"];

/// A stream of events: the first one, with `?half=1` the first line of the second, and once the test
/// releases it, the rest.
fn events(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let [one, two, three] = EVENTS;
    let half = if exchange.head.parameter("half").is_some() { "id: 2\n".len() } else { 0 };
    exchange.begin(200, &["Content-Type: text/event-stream", "Transfer-Encoding: chunked"])?;
    write_chunk(exchange.stream, format!("{one}{}", &two[..half]).as_bytes())?;
    exchange.state.hold(exchange.stream)?;
    write_chunk(exchange.stream, format!("{}{three}", &two[half..]).as_bytes())?;
    exchange.state.hold(exchange.stream)?;
    exchange.stream.write_all(b"0\r\n\r\n")?;
    Ok(Then::KeepOpen)
}

/// A WebSocket that echoes every message.
fn websocket(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let Some(key) = exchange.head.header("sec-websocket-key") else {
        return exchange.reply(426, &["Upgrade: websocket"], b"a WebSocket, please\n");
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let accept = format!("Sec-WebSocket-Accept: {accept}");
    exchange.begin(101, &["Upgrade: websocket", "Connection: Upgrade", &accept])?;
    let stream = exchange.stream.try_clone()?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        let echoed = message.is_text() || message.is_binary();
        if echoed && socket.send(message).is_err() {
            break;
        }
    }
    socket.flush().ok();
    Ok(Then::Close)
}

/// Another protocol: after the 101 every byte comes back, until the peer is done.
fn upgrade(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let protocol = exchange.head.header("upgrade").unwrap_or("none").to_owned();
    if protocol != "foo" {
        return hello(exchange);
    }
    exchange.begin(101, &["Upgrade: foo", "Connection: Upgrade"])?;
    let early = std::mem::take(exchange.spare);
    exchange.stream.write_all(&early)?;
    let mut buffer = [0; 4096];
    loop {
        let read = exchange.stream.read(&mut buffer)?;
        if read == 0 {
            exchange.stream.write_all(b"bye")?;
            return Ok(Then::Close);
        }
        exchange.stream.write_all(&buffer[..read])?;
    }
}

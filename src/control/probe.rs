//! One health request: a fresh connection, one GET, its head, one verdict on it.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::header;
use http::response::Parts;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::model::health::BODY_KEPT;
use crate::model::health::Kept;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::health::printable;
use crate::model::settings::HealthSettings;
use crate::model::target::Address;
use crate::model::target::Target;

#[cfg(test)]
pub(in crate::control) mod scripted;
#[cfg(test)]
mod tests;

/// The largest answer head that a probe reads, in bytes.
const HEAD_MAX: usize = 64 * 1024;

/// How much of the answer's body is read, in bytes, so that an ordinary target can finish writing
/// instead of logging a broken pipe once a second.
const BODY_MAX: usize = 16 * 1024;

/// … and for how long. A body that takes longer cannot hold up the round it belongs to.
const BODY_TIME: Duration = Duration::from_millis(250);

/// How much of it is looked at where it is to be shown, in bytes: white space takes some.
const BEGINNING: usize = 2 * BODY_KEPT;

/// How much of a target's build is quoted in messages, in characters.
const BUILD_QUOTED_MAX: usize = 64;

const USER_AGENT: &str = concat!("proxyd-probe/", env!("CARGO_PKG_VERSION"));

/// What to ask, and what to expect.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Path, expected statuses, timeout.
    pub health: &'a HealthSettings,
    /// The Host to send where `health.host` names none; `None`: the target's address.
    pub public_host: Option<&'a str>,
    /// The build that the target must present in the header named by `health.build_header`.
    pub build: Option<&'a str>,
    /// Where a name resolves no more, whether its last addresses are asked: requests are sent there
    /// all the same. A gate wants to know that it does not.
    pub last_addresses: bool,
}

/// A connection to a target, whatever its kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Empty<Bytes>>;
type Sender = http1::SendRequest<Empty<Bytes>>;

/// Asks once, over a connection of its own, following nothing. Resolving, connecting and the head
/// together take at most `health.timeout`. Remembers what a name resolves to
/// ([`Target::set_resolved`]); does not record into `target.health`: the caller does.
pub async fn probe(target: &Target, ask: &Ask<'_>) -> Kept {
    let began = Instant::now();
    let deadline = began + ask.health.timeout;
    let (answer, latency) = match begin(target, ask, deadline).await {
        Ok((sender, connection, request)) => {
            let (answer, at) = exchange(sender, connection, request, deadline).await;
            (answer, at.duration_since(began))
        }
        Err(outcome) => (Err(outcome), began.elapsed()),
    };
    let (outcome, body) = match answer {
        Ok((head, body)) => (judge(&head, ask), body),
        Err(outcome) => (outcome, Vec::new()),
    };
    // Of a good answer there is nothing to explain.
    let body = if outcome.is_good() { None } else { printable(&body) };
    Kept { record: ProbeRecord { at: std::time::SystemTime::now(), outcome, latency }, body }
}

/// Everything up to the first byte sent.
async fn begin(
    target: &Target,
    ask: &Ask<'_>,
    deadline: Instant,
) -> Result<(Sender, Connection, Request<Empty<Bytes>>), ProbeOutcome> {
    let request = request(target, ask)
        .map_err(|error| ProbeOutcome::Broken(format!("cannot be asked: {error}")))?;
    let Ok(connected) = timeout_at(deadline, connect(target, ask.last_addresses, deadline)).await
    else {
        return Err(ProbeOutcome::Timeout);
    };
    let (sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_MAX)
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(connected?))
        .await
        .map_err(|error| unanswered(&error))?;
    Ok((sender, connection, request))
}

/// The probe carries the public Host and claims to have come by TLS, like the requests that will
/// follow it: an application that redirects by either must not redirect the probe.
fn request(target: &Target, ask: &Ask<'_>) -> http::Result<Request<Empty<Bytes>>> {
    let own = match &target.address {
        Address::Ip(_) | Address::Name { .. } => &target.name,
        Address::Unix(_) => "localhost",
    };
    let host = ask
        .health
        .host
        .as_deref()
        .or(ask.public_host)
        .unwrap_or(own);
    Request::get(ask.health.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header("x-forwarded-proto", "https")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

/// Asks for something else than its health, over a connection of its own: the head of the answer and
/// how long it took from the first byte sent, or `None` if none came by `deadline`.
pub(super) async fn ask(
    target: &Target,
    request: Request<Empty<Bytes>>,
    deadline: Instant,
) -> Option<(Parts, Duration)> {
    let connecting = timeout_at(deadline, connect(target, true, deadline));
    let stream = connecting.await.ok()?.ok()?;
    let (sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_MAX)
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let began = Instant::now();
    let (head, at) = exchange(sender, connection, request, deadline).await;
    let (head, _body) = head.ok()?;
    Some((head, at.duration_since(began)))
}

async fn connect(
    target: &Target,
    last_addresses: bool,
    deadline: Instant,
) -> Result<Box<dyn Stream>, ProbeOutcome> {
    match &target.address {
        Address::Ip(address) => connect_tcp(&[*address], deadline).await,
        Address::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ProbeOutcome::Broken("no such socket".to_owned()))
            }
            Err(error) => Err(unconnected(&error)),
        },
        Address::Name { host, port } => {
            let found = resolve(target, host, *port, deadline).await;
            let asked_anyway = found.is_empty() && last_addresses;
            target.set_resolved(found.clone());
            let known = if asked_anyway { target.resolved() } else { found.into() };
            connect_tcp(&known, deadline).await
        }
    }
}

/// What the name resolves to now; nothing if it does not. A resolver that says nothing leaves half of
/// the time for the addresses that are known.
async fn resolve(target: &Target, host: &str, port: u16, deadline: Instant) -> Vec<SocketAddr> {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    let patience = if target.resolved().is_empty() { left } else { left / 2 };
    let found = timeout_at(now + patience, tokio::net::lookup_host((host, port)));
    match found.await.map_err(io::Error::from).and_then(|found| found) {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::debug!(target = %target.name, %error, "the name does not resolve");
            Vec::new()
        }
    }
}

/// The first of `addresses` that accepts. Each gets an equal part of the time that is left, so that
/// one which swallows packets cannot hide the next.
async fn connect_tcp(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<Box<dyn Stream>, ProbeOutcome> {
    let mut last = ProbeOutcome::Unresolved;
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        last = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Box::new(stream)),
            Ok(Err(error)) => unconnected(&error),
            Err(_elapsed) => ProbeOutcome::Timeout,
        };
    }
    Err(last)
}

/// Sends the request; returns the head with the beginning of the body, and when the head was complete
/// (or why there is none, and since when that is known).
async fn exchange(
    mut sender: Sender,
    connection: Connection,
    request: Request<Empty<Bytes>>,
    deadline: Instant,
) -> (Result<(Parts, Vec<u8>), ProbeOutcome>, Instant) {
    let talk = async move {
        let answer = timeout_at(deadline, sender.send_request(request)).await;
        let at = Instant::now();
        let head = match answer {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok((head, read_a_little(body, deadline.min(at + BODY_TIME)).await))
            }
            Ok(Err(error)) => Err(unanswered(&error)),
            Err(_elapsed) => Err(ProbeOutcome::Timeout),
        };
        (head, at)
    };
    tokio::pin!(talk, connection);
    tokio::select! {
        biased;
        answer = &mut talk => return answer,
        // How it ended reaches `talk` by the request's own channel.
        _ended = &mut connection => {}
    }
    talk.await
}

/// Returns how the body begins: enough for [`printable`].
async fn read_a_little(mut body: Incoming, until: Instant) -> Vec<u8> {
    let (mut room, mut begins) = (BODY_MAX, Vec::new());
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let data = frame.data_ref().map_or(&[][..], Bytes::as_ref);
        begins.extend(data.iter().take(BEGINNING - begins.len()));
        let Some(left) = room.checked_sub(data.len()) else { break };
        room = left;
    }
    begins
}

fn judge(head: &Parts, ask: &Ask<'_>) -> ProbeOutcome {
    let status = head.status.as_u16();
    let expected = ask
        .health
        .expect
        .iter()
        .any(|range| range.contains(&status));
    match (expected, ask.build) {
        (true, None) => ProbeOutcome::Good(status),
        (true, Some(build)) => judge_build(&head.headers, ask.health, build, status),
        (false, _) if head.status.is_redirection() => ProbeOutcome::Redirect(status),
        (false, _) => ProbeOutcome::Status(status),
    }
}

/// A header that stands there twice must say the same twice.
fn judge_build(
    headers: &HeaderMap,
    health: &HealthSettings,
    build: &str,
    status: u16,
) -> ProbeOutcome {
    let wrong = |found| ProbeOutcome::WrongBuild { found, wanted: quoted(build.as_bytes()) };
    let Some(name) = &health.build_header else { return wrong(None) };
    let mut presented = headers.get_all(name.as_str()).iter().peekable();
    if presented.peek().is_none() {
        return wrong(None);
    }
    presented
        .find(|value| value.as_bytes() != build.as_bytes())
        .map_or(ProbeOutcome::Good(status), |other| wrong(Some(quoted(other.as_bytes()))))
}

/// A peer's bytes as text that is safe on a terminal and in a log.
fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(BUILD_QUOTED_MAX)
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect()
}

fn unconnected(error: &io::Error) -> ProbeOutcome {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        ProbeOutcome::Refused
    } else {
        ProbeOutcome::Broken(words(error))
    }
}

/// Why there is no head on a connection that was made.
fn unanswered(error: &hyper::Error) -> ProbeOutcome {
    if error.is_parse_too_large() {
        return ProbeOutcome::Broken(format!("head larger than {} KiB", HEAD_MAX / 1024));
    }
    if error.is_parse() {
        return ProbeOutcome::NotHttp;
    }
    if error.is_incomplete_message() {
        return ProbeOutcome::Broken("closed without an answer".to_owned());
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    ProbeOutcome::Broken(cause.map_or_else(|| error.to_string(), words))
}

/// An I/O error in a few words, without `(os error 113)`.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_lowercase()
}

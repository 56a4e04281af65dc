//! The way to a target and back: which one, over which connection, and what may be tried again.
//!
//! The rule of trying again (docs/ARCHITECTURE.md): a request goes to the next target while nothing
//! of it can have been read. Once a byte may have been, only an idempotent request
//! (RFC 9110 §9.2.2) is sent once more, only if the connection had been used before (so that the
//! target may simply have closed it), and only while its body is whole.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::fault::Fault;
use crate::model::health::Verdict;
use crate::model::target::Address;
use crate::model::target::Target;
use crate::net::dial;
use crate::net::dial::Stream;
use crate::proxy::balance;
use crate::proxy::body::AnswerBody;
use crate::proxy::body::RequestBody;
use crate::proxy::body::Untouched;
use crate::proxy::exchange::Exchange;
use crate::proxy::headers;
use crate::proxy::idle::FRESH_ENOUGH;
use crate::proxy::idle::TargetConnection;
use crate::proxy::tunnel::TunnelStart;
use crate::proxy::view::WorkerPool;

/// Largest head that a target may send.
const ANSWER_HEAD_MAX: usize = 64 * 1024;

/// A request on its way: what stays the same whichever target it is sent to.
struct Outgoing<'a> {
    exchange: &'a Rc<Exchange>,
    pool: Rc<WorkerPool>,
    head: Parts,
    body: Untouched,
    body_max: Option<u64>,
    upgrade: Option<HeaderValue>,
    idempotent: bool,
}

/// How one attempt went wrong.
enum Missed {
    /// Nothing was sent: any target may be tried.
    Unsent(Fault),
    /// The connection was an old one and is dead; the request may be sent over a new one.
    Stale,
    /// Something may have been read, or the client is to blame.
    Final(Fault),
}

/// Sends a request to a target of its pool, and returns the answer's head with its body to come.
///
/// # Errors
///
/// The [`Fault`] to answer with.
pub(crate) async fn forward(
    exchange: &Rc<Exchange>,
    mut head: Parts,
    body: Incoming,
    body_max: Option<u64>,
) -> Result<Response<AnswerBody>, Fault> {
    let pool = exchange.pool().ok_or(Fault::Internal)?;
    // HTTP/1.0 has no upgrades (RFC 9110 §7.8), HTTP/2 none of this kind.
    let upgrade = (head.version == Version::HTTP_11)
        .then(|| headers::upgrade_of(&head.headers))
        .flatten();
    prepare(&mut head, exchange, upgrade.as_ref(), &pool);
    if !body.is_end_stream() && !head.headers.contains_key(header::CONTENT_LENGTH) {
        // Said here, because hyper leaves the body of a GET away unless it is told.
        head.headers
            .insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let idempotent = is_idempotent(&head.method) && upgrade.is_none();
    let body = Untouched::new(body);
    let outgoing = Outgoing { exchange, pool, head, body, body_max, upgrade, idempotent };
    outgoing.send().await
}

/// Turns the head as received into the head to send.
fn prepare(
    head: &mut Parts,
    exchange: &Exchange,
    upgrade: Option<&HeaderValue>,
    pool: &WorkerPool,
) {
    let host = head
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        .or_else(|| head.headers.get(header::HOST).cloned())
        .or_else(|| HeaderValue::from_str(pool.targets.first().map_or("", |t| &t.name)).ok())
        .unwrap_or(HeaderValue::from_static(""));
    headers::strip_hop_by_hop(&mut head.headers);
    // Answered by this proxy: `100 Continue` is sent when the target's connection asks for the body.
    head.headers.remove(header::EXPECT);
    headers::join_cookies(&mut head.headers);
    headers::set_forwarding(&mut head.headers, &host, &exchange.connection.client);
    if let Some(id) = exchange.request_id() {
        head.headers.insert(headers::X_REQUEST_ID, id);
    }
    if let Some(upgrade) = upgrade {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, upgrade.clone());
    }
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
}

/// The request target without scheme and authority, otherwise byte for byte (RFC 9112 §3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).unwrap_or_default()
}

fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

impl Outgoing<'_> {
    async fn send(self) -> Result<Response<AnswerBody>, Fault> {
        let mut tried: Vec<usize> = Vec::new();
        let mut replayed = false;
        let mut last = Fault::NoHealthyTarget;
        while let Some(at) = balance::pick(&self.pool, self.exchange.worker.index, &tried) {
            if let Some(fault) = self.exchange.fault() {
                return Err(fault);
            }
            self.exchange.use_target(&self.pool, at);
            match self.attempt(at, replayed).await {
                Ok(response) => return Ok(response),
                Err(Missed::Stale) => {
                    replayed = true;
                    self.pool.meters.retried();
                }
                Err(Missed::Unsent(fault)) => {
                    self.exchange.count_upstream_error(fault);
                    last = fault;
                    tried.push(at);
                    self.count_next(&tried);
                }
                Err(Missed::Final(fault)) => {
                    self.exchange.count_upstream_error(fault);
                    return Err(fault);
                }
            }
        }
        let unhealthy = |target: &Target| target.health.verdict() == Verdict::Unhealthy;
        let none_healthy = self.pool.targets.iter().all(|target| unhealthy(target));
        Err(if none_healthy { Fault::NoHealthyTarget } else { last })
    }

    /// A retry is counted only if there is a target left to retry on.
    fn count_next(&self, tried: &[usize]) {
        if tried.len() < self.pool.targets.len() {
            self.pool.meters.retried();
        }
    }

    async fn attempt(&self, at: usize, fresh_only: bool) -> Result<Response<AnswerBody>, Missed> {
        let Some(target) = self.pool.targets.get(at) else {
            return Err(Missed::Final(Fault::Internal));
        };
        let idle = &self.exchange.worker.idle;
        let age = if self.idempotent { Duration::MAX } else { FRESH_ENOUGH };
        let mut request = self.request();
        let reused = if fresh_only { None } else { idle.take(target.id, age) };
        if let Some(connection) = reused {
            match self.ask(connection, target, request).await {
                Ok(response) => return Ok(response),
                // hyper gives back what it has not begun to write: as good as never tried.
                Err(Asked::Unsent(unsent)) => request = *unsent,
                Err(Asked::Failed(Fault::Reset)) if self.may_replay() => return Err(Missed::Stale),
                Err(Asked::Failed(fault)) => return Err(Missed::Final(fault)),
            }
        }
        let connection = match self.exchange.unless_ended(self.dial(target)).await {
            Ok(dialled) => dialled.map_err(Missed::Unsent)?,
            Err(fault) => return Err(Missed::Final(fault)),
        };
        match self.ask(connection, target, request).await {
            Ok(response) => Ok(response),
            Err(Asked::Unsent(_)) => Err(Missed::Unsent(Fault::Connect)),
            Err(Asked::Failed(fault)) => Err(Missed::Final(fault)),
        }
    }

    fn may_replay(&self) -> bool {
        self.idempotent && self.body.is_whole() && self.exchange.fault().is_none()
    }

    /// The request to send. Its head is copied, because hyper keeps what it has begun to write.
    fn request(&self) -> Request<RequestBody> {
        let body = RequestBody::new(self.body.clone(), self.exchange, self.body_max);
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = self.head.headers.clone();
        request
    }

    async fn dial(&self, target: &Target) -> Result<TargetConnection, Fault> {
        let began = Instant::now();
        let patience = self.exchange.timeouts().connect;
        let stream = connect(target, patience)
            .await
            .map_err(|error| connect_fault(&error))?;
        self.exchange.connected(began.elapsed());
        TargetConnection::start(stream, ANSWER_HEAD_MAX)
            .await
            .map_err(|_start| Fault::Connect)
    }

    async fn ask(
        &self,
        mut connection: TargetConnection,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, Asked> {
        let exchange = self.exchange;
        let upgraded = self.upgrade.is_some().then(|| connection.upgraded());
        exchange.driven_by(connection.driver.clone());
        exchange.wait(Fault::ResponseTimeout, exchange.timeouts().response);
        let answered = connection.sender.try_send_request(request).await;
        let response = match answered {
            Ok(response) => response,
            Err(mut refused) => {
                exchange.let_go();
                return Err(match (exchange.fault(), refused.take_message()) {
                    (Some(fault), _) => Asked::Failed(fault),
                    (None, Some(unsent)) => Asked::Unsent(Box::new(unsent)),
                    (None, None) => Asked::Failed(fault_of(&refused.into_error())),
                });
            }
        };
        if let Some(fault) = exchange.fault() {
            connection.driver.abort();
            return Err(Asked::Failed(fault));
        }
        match (response.status(), upgraded) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgraded)) => {
                let start = TunnelStart { exchange: Rc::clone(exchange), upgraded };
                exchange.connection.tunnel.replace(Some(start));
                Ok(self.switching_protocols(response))
            }
            // Nobody asked: the target and we no longer agree on what the bytes mean.
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                connection.driver.abort();
                Err(Asked::Failed(Fault::Protocol))
            }
            _ => Ok(self.answer(response, connection, target)),
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: TargetConnection,
        target: &Target,
    ) -> Response<AnswerBody> {
        let (mut head, body) = response.into_parts();
        headers::strip_hop_by_hop(&mut head.headers);
        self.exchange.answer(head.status.as_u16(), true);
        let exchange = Rc::clone(self.exchange);
        let body = AnswerBody::streamed(body, connection, target.id, exchange);
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        if let Some(reason) = head.extensions.remove::<hyper::ext::ReasonPhrase>() {
            answer.extensions_mut().insert(reason);
        }
        answer
    }

    fn switching_protocols(&self, response: Response<Incoming>) -> Response<AnswerBody> {
        let (mut head, _empty) = response.into_parts();
        let protocol = head.headers.get(header::UPGRADE).cloned();
        headers::strip_hop_by_hop(&mut head.headers);
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol.or_else(|| self.upgrade.clone()) {
            head.headers.insert(header::UPGRADE, protocol);
        }
        self.exchange.answer(head.status.as_u16(), true);
        let mut answer = Response::new(AnswerBody::switched());
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        answer
    }
}

/// How sending over one connection went wrong.
enum Asked {
    /// Nothing of the request was written.
    Unsent(Box<Request<RequestBody>>),
    /// It failed for this reason.
    Failed(Fault),
}

fn connect_fault(error: &std::io::Error) -> Fault {
    let late = error.kind() == std::io::ErrorKind::TimedOut;
    if late { Fault::ConnectTimeout } else { Fault::Connect }
}

fn fault_of(error: &hyper::Error) -> Fault {
    if error.is_parse() { Fault::Protocol } else { Fault::Reset }
}

async fn connect(target: &Target, patience: Duration) -> std::io::Result<Stream> {
    match &target.address {
        Address::Unix(path) => dial::connect_unix(path, patience).await,
        Address::Ip(_) => dial::connect(&target.resolved(), patience).await,
        Address::Name { host, port } => {
            let known = target.resolved();
            if known.is_empty() {
                // Not probed yet: the first request resolves for itself.
                let resolved = timeout(patience, dial::resolve(host, *port)).await;
                target.set_resolved(resolved.map_err(std::io::Error::from)??);
            }
            dial::connect(&target.resolved(), patience).await
        }
    }
}

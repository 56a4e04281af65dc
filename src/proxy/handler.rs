//! Every decision about a request, in order, on a view of its head: may it pass, which upstream,
//! which colour, under which lease. Nothing here waits.

use std::borrow::Cow;
use std::rc::Rc;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http_body::Body;
use hyper::body::Incoming;

use crate::model::fault::Fault;
use crate::model::route::NoRoute;
use crate::model::route::host_of;
use crate::model::settings::REQUEST_LINE_MAX;
use crate::model::settings::Timeouts;
use crate::model::snapshot::Snapshot;
use crate::proxy::body::AnswerBody;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::StreamTask;
use crate::proxy::forward;
use crate::proxy::head::Authority;
use crate::proxy::head::Head;
use crate::proxy::head::HttpHead;
use crate::proxy::reply;
use crate::proxy::view::WorkerPool;
use crate::proxy::worker::Worker;
use crate::sync::lease::Lease;

/// Requests for this path are never redirected: a certificate authority asks over plain HTTP
/// (RFC 8555 §8.3).
const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// How often a request loads a newer snapshot because its pool was retired between the load and the
/// lease. Each time is one publish that happened in between.
const RELOADS_MAX: usize = 1000;

/// What to do with a request.
pub(crate) enum Plan {
    /// Send it to a target of this pool.
    Forward {
        /// The right to use the pool.
        lease: Lease<Rc<WorkerPool>>,
        /// The timeouts of its route.
        timeouts: Timeouts,
        /// The snapshot it was decided on.
        generation: u64,
        /// The largest body that may come.
        body_max: Option<u64>,
    },
    /// Answer that the site is served over https.
    Redirect(HeaderValue),
}

/// Answers one request.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    stream: Option<StreamTask>,
) -> Response<AnswerBody> {
    let (mut head, body) = request.into_parts();
    let exchange = Exchange::begin(&worker, &connection, &head, stream);
    if body.is_end_stream() {
        exchange.pass_body_on();
    }
    let accept = head.headers.get(header::ACCEPT).cloned();
    exchange.set_request_id(crate::proxy::headers::request_id(&mut head.headers));
    let view = HttpHead {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        headers: &head.headers,
    };
    let answered = match decide(&worker, &connection, &view) {
        Ok(Plan::Forward { lease, timeouts, generation, body_max }) => {
            exchange.decided_on(generation);
            exchange.hold(lease, timeouts);
            forward::forward(&exchange, head, body, body_max).await
        }
        Ok(Plan::Redirect(location)) => Ok(reply::redirect(location, &exchange)),
        Err(fault) => Err(fault),
    };
    answered.unwrap_or_else(|fault| reply::to_fault(fault, accept.as_ref(), &exchange))
}

/// Decides about one request.
///
/// # Errors
///
/// The [`Fault`] to answer with, when it may not pass.
pub(crate) fn decide(
    worker: &Worker,
    connection: &Connection,
    head: &impl Head,
) -> Result<Plan, Fault> {
    for _ in 0..RELOADS_MAX {
        let seen = worker.view.load();
        let snapshot = &seen.snapshot;
        let host = admit(snapshot, head)?;
        if connection.listener.redirect_to_https() && !head.path().starts_with(ACME_CHALLENGE) {
            return redirect(connection, head, &host);
        }
        check_certificate(connection, &host)?;
        let route = snapshot
            .routes
            .find(&host, head.path())
            .map_err(|missing| match missing {
                NoRoute::Host => Fault::UnknownHost,
                NoRoute::Path => Fault::UnknownPath,
            })?;
        let pool = seen.pick(route.upstream).ok_or(Fault::Internal)?;
        // A refused lease means that the pool was retired after this snapshot was loaded: there is a
        // newer one.
        if let Ok(lease) = Lease::take(Rc::clone(pool), worker.index) {
            return Ok(Plan::Forward {
                lease,
                timeouts: route.timeouts,
                generation: snapshot.generation,
                body_max: snapshot.settings.limits.request_body,
            });
        }
    }
    Err(Fault::Internal)
}

/// Whether the head may pass at all; returns the host asked for, without port, in lower case, empty
/// if HTTP/1.0 named none.
fn admit<'a>(snapshot: &Snapshot, head: &'a impl Head) -> Result<Cow<'a, str>, Fault> {
    let limits = &snapshot.settings.limits;
    if head.method() == "CONNECT" {
        return Err(Fault::MethodNotAllowed);
    }
    if head.target_len() > REQUEST_LINE_MAX {
        return Err(Fault::TargetTooLong);
    }
    if head.fields() > limits.request_headers {
        return Err(Fault::HeadTooLarge);
    }
    let host = match head.authority() {
        Authority::One(authority) => host_of(authority).ok_or(Fault::BadHost)?,
        Authority::None => Cow::Borrowed(""),
        Authority::Bad => return Err(Fault::BadHost),
    };
    let announced = head.content_length();
    match (limits.request_body, announced) {
        (Some(limit), Some(length)) if length > limit => Err(Fault::BodyTooLarge),
        (Some(_) | None, Some(_) | None) => Ok(host),
    }
}

/// A client that asked for one certificate's name must not reach a host of another certificate
/// over the same connection (RFC 9110 §7.4): it may have been let in under other rules.
fn check_certificate(connection: &Connection, host: &str) -> Result<(), Fault> {
    let Some(secured) = &connection.secured else { return Ok(()) };
    let Some(sni) = secured.sni.as_deref().filter(|sni| *sni != host) else { return Ok(()) };
    let certificates = &secured.certificates;
    let shown = certificates.matching(sni).unwrap_or(0);
    match certificates.matching(host) {
        Some(other) if other != shown => Err(Fault::Misdirected),
        Some(_) | None => Ok(()),
    }
}

/// The same URL with `https`. A client that named the port of the listener itself reaches us
/// directly, and is sent to the port of the first TLS listener; one that did not is behind a port
/// mapping (or uses the standard ports), and is sent to the standard one.
fn redirect(connection: &Connection, head: &impl Head, host: &str) -> Result<Plan, Fault> {
    if host.is_empty() {
        return Err(Fault::BadHost);
    }
    let named_port = match head.authority() {
        Authority::One(authority) => authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok()),
        Authority::None | Authority::Bad => None,
    };
    let listener = &connection.listener;
    let port = listener
        .https_port()
        .filter(|port| *port != 443 && named_port == Some(listener.address().port()));
    // The asterisk form asks about the server as a whole, and is no path.
    let target = Some(head.target())
        .filter(|target| *target != "*")
        .unwrap_or("/");
    let location = match port {
        Some(port) => format!("https://{host}:{port}{target}"),
        None => format!("https://{host}{target}"),
    };
    HeaderValue::from_str(&location)
        .map(Plan::Redirect)
        .map_err(|_not_a_value| Fault::BadHost)
}

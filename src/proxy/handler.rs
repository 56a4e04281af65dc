//! Every decision about a request, in order, on a view of its head: may it pass, which upstream,
//! which colour, under which lease. Nothing here waits.

mod id;
mod redirect;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::http1::framing::Framing;
use crate::http1::head::Authority;
use crate::http1::rewrite;
use crate::http1::rewrite::Onward;
use crate::model::choice;
use crate::model::choice::Choice;
use crate::model::choice::Why;
use crate::model::choice::preview;
use crate::model::extras::Extras;
use crate::model::fault::Fault;
use crate::model::orders::Orders;
use crate::model::route::NoRoute;
use crate::model::settings::REQUEST_LINE_MAX;
use crate::model::settings::Timeouts;
use crate::model::snapshot::Snapshot;
use crate::proxy::buffers::Buffer;
use crate::proxy::choose::Request;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;
use crate::proxy::head::Head;
use crate::proxy::hold::Held;
use crate::proxy::reply;
use crate::proxy::reply::Reply;
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
        /// The number of its route; `None`: it says nothing about a release.
        route: Option<usize>,
        /// The snapshot it was decided on.
        generation: u64,
        /// The largest body that may come.
        body_max: Option<u64>,
        /// What is added to its answer.
        extras: Option<Box<Extras>>,
    },
    /// Answer that the site is served over https.
    Redirect(String),
    /// Answer that the application is being maintained.
    Maintain {
        /// What is ordered.
        orders: Arc<Orders>,
        /// The pool that would have served it.
        pool: Rc<WorkerPool>,
    },
    /// Lead on whoever followed the link of a preview, or say that there is none (`to` is `None`).
    Preview {
        /// Where to.
        to: Option<(String, Box<Extras>)>,
        /// The live pool of the upstream.
        pool: Rc<WorkerPool>,
    },
    /// Hold it, and decide again once it is let go.
    Hold {
        /// What is ordered.
        orders: Arc<Orders>,
        /// The pool that would have served it.
        pool: Rc<WorkerPool>,
        /// How many may be held at once.
        at_most: usize,
    },
}

/// A request that has come, with what was decided about it.
pub(crate) struct Arrival {
    /// It and its answer.
    pub(crate) exchange: Rc<Exchange>,
    /// What happens to it.
    pub(crate) next: Next,
}

/// What happens to a request.
pub(crate) enum Next {
    /// It is sent to a target of its exchange's pool.
    Forward(Terms),
    /// The proxy answers by itself.
    Reply(Reply),
    /// It waits. Then [`again`] says what happens to it.
    Hold(Box<Held>),
}

/// On which terms a request is forwarded.
pub(crate) struct Terms {
    /// How its body is framed for the target.
    pub(crate) body: Framing,
    /// The largest body that may come.
    pub(crate) body_max: Option<u64>,
    /// The protocol that it asks to change to.
    pub(crate) upgrade: Option<Box<[u8]>>,
    /// Whether doing it twice is doing it once (RFC 9110 §9.2.2).
    pub(crate) idempotent: bool,
}

/// Takes a request in: decides about it, and writes the head that its targets will be sent.
pub(crate) fn arrive(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    head: &impl Head,
) -> Arrival {
    let exchange = Exchange::begin(worker, connection);
    let plan = decide(worker, connection, head);
    exchange.ask(asked(connection, head, plan.as_ref().ok()));
    let next = settle(&exchange, head, plan, None);
    Arrival { exchange, next }
}

/// Decides once more about a request that was held, and keeps its place if it is to be held again.
pub(crate) fn again(exchange: &Rc<Exchange>, head: &impl Head, held: Box<Held>) -> Next {
    let plan = decide(&exchange.worker, &exchange.connection, head);
    exchange.is_theirs();
    settle(exchange, head, plan, Some(held))
}

/// Whether it is shown a preview, or may be once it is let go.
fn may_be_preview(plan: Option<&Plan>) -> bool {
    match plan {
        Some(Plan::Forward { lease, .. }) => lease.is_exceptional(),
        Some(Plan::Hold { .. }) => true,
        Some(_) | None => false,
    }
}

/// What becomes of an exchange about which this was decided; `held` has waited already.
fn settle(
    exchange: &Rc<Exchange>,
    head: &impl Head,
    plan: Result<Plan, Fault>,
    held: Option<Box<Held>>,
) -> Next {
    match plan {
        Ok(Plan::Forward { lease, timeouts, route, generation, body_max, extras }) => {
            exchange.decided_on(generation);
            exchange.hold(lease, timeouts);
            exchange.counts_on(route);
            if let Some(extras) = extras {
                exchange.adorn(extras);
            }
            let upgrade = head.upgrade().map(Box::from);
            Next::Forward(Terms {
                body: head.body(),
                body_max,
                idempotent: is_idempotent(head.method()) && upgrade.is_none(),
                upgrade,
            })
        }
        Ok(Plan::Redirect(location)) => Next::Reply(reply::redirect(location, exchange)),
        Ok(Plan::Maintain { orders, pool }) => {
            exchange.belong_to(pool);
            Next::Reply(reply::maintained(&orders, exchange))
        }
        Ok(Plan::Preview { to, pool }) => {
            exchange.belong_to(pool);
            Next::Reply(match to {
                Some((to, extras)) => {
                    exchange.adorn(extras);
                    reply::led(to, exchange)
                }
                None => reply::hidden(exchange),
            })
        }
        Ok(Plan::Hold { orders, pool, at_most }) => {
            let held = match held {
                Some(held) => Ok(held.once_more(&orders, &pool)),
                None => Held::new(exchange, head.method(), &orders, &pool, at_most).map(Box::new),
            };
            exchange.belong_to(pool);
            held.map_or_else(Next::Reply, Next::Hold)
        }
        Err(fault) => {
            if fault.is_for_want_of_room() {
                exchange.connection.give_room_back();
            }
            Next::Reply(reply::to_fault(fault, exchange))
        }
    }
}

/// The answer to a head that cannot be understood.
pub(crate) fn refuse(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    fault: Fault,
) -> (Rc<Exchange>, Reply) {
    let exchange = Exchange::begin(worker, connection);
    let reply = reply::to_fault(fault, &exchange);
    (exchange, reply)
}

fn asked(connection: &Connection, head: &impl Head, plan: Option<&Plan>) -> Asked {
    let first_target = match plan {
        Some(Plan::Forward { lease, .. }) => lease
            .holder()
            .targets
            .first()
            .map_or("", |target| &target.name),
        // Let go, it may go elsewhere; but to whom names no host, one name is as good as another.
        Some(Plan::Hold { pool, .. }) => pool.targets.first().map_or("", |target| &target.name),
        Some(Plan::Redirect(_) | Plan::Maintain { .. } | Plan::Preview { .. }) | None => "",
    };
    let host = match head.authority() {
        Authority::One(authority) => authority,
        // HTTP/1.1 must name one, and HTTP/1.0 need not.
        Authority::None | Authority::Bad => first_target,
    };
    let made;
    let request_id = match head.request_id() {
        Some(own) => own,
        None => {
            made = id::new();
            &made
        }
    };
    let onward = Onward {
        method: head.method(),
        target: head.target(),
        host: host.as_bytes(),
        body: head.body(),
        expects_continue: head.expects_continue(),
        upgrade: head.upgrade(),
        request_id,
        nominates: head.nominates(),
        // The token of a preview is for us.
        ends_here: may_be_preview(plan).then_some(preview::HEADER),
        client: &connection.client.facts,
    };
    let mut bytes = Buffer::take();
    let marks = rewrite::request(&mut bytes, &onward, head.lines());
    if marks.underscored > 0 {
        connection.listener.meters.underscored(marks.underscored);
    }
    Asked { head: bytes, marks, protocol: head.protocol() }
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
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
        connection.has_room(&snapshot.settings.limits)?;
        let host = admit(snapshot, head)?;
        if connection.listener.redirect_to_https() && !head.path().starts_with(ACME_CHALLENGE) {
            return redirect::redirect(connection, head, &host);
        }
        check_certificate(connection, &host)?;
        let route = snapshot
            .routes
            .find(&host, head.path())
            .map_err(|missing| match missing {
                NoRoute::Host => Fault::UnknownHost,
                NoRoute::Path => Fault::UnknownPath,
            })?;
        let way = seen.way(route.upstream).ok_or(Fault::Internal)?;
        let (mut extras, mut is_preview, mut counts) = (None, false, true);
        let pool = if way.is_plain {
            &way.live
        } else {
            let upstream = snapshot.upstreams.get(route.upstream);
            let upstream = upstream.ok_or(Fault::Internal)?;
            let trusted = &snapshot.settings.trusted_proxies;
            let request = Request { head, connection, host: &host, trusted };
            match choice::choose(upstream, &request) {
                Choice::Send { colour, why, extras: added } => {
                    (extras, is_preview) = (added, why == Why::Preview);
                    counts = why.is_ordinary();
                    way.for_reason(colour, why)
                }
                Choice::Maintain => {
                    let (orders, pool) = (Arc::clone(&upstream.orders), Rc::clone(&way.live));
                    return Ok(Plan::Maintain { orders, pool });
                }
                Choice::Lead { to, extras } => {
                    let (to, pool) = (Some((to, extras)), Rc::clone(&way.live));
                    return Ok(Plan::Preview { to, pool });
                }
                Choice::Hide => {
                    return Ok(Plan::Preview { to: None, pool: Rc::clone(&way.live) });
                }
                Choice::Hold => {
                    let (orders, pool) = (Arc::clone(&upstream.orders), Rc::clone(&way.live));
                    let at_most = snapshot.settings.limits.paused;
                    return Ok(Plan::Hold { orders, pool, at_most });
                }
            }
        };
        // A refused lease means that the pool was retired after this snapshot was loaded: there is a
        // newer one.
        let lease = if is_preview {
            Lease::take_exceptional(Rc::clone(pool), worker.index)
        } else {
            Lease::take(Rc::clone(pool), worker.index)
        };
        if let Ok(lease) = lease {
            return Ok(Plan::Forward {
                lease,
                timeouts: route.timeouts,
                route: counts.then_some(route.number),
                generation: snapshot.generation,
                body_max: snapshot.settings.limits.request_body,
                extras,
            });
        }
        // A pool that is shut while it is previewed is on its way out of service.
        if is_preview && Rc::ptr_eq(&worker.view.load(), &seen) {
            return Err(Fault::NoHealthyTarget);
        }
    }
    Err(Fault::Internal)
}

/// Whether the head may pass at all; returns the host asked for, without port, in lower case, empty
/// if HTTP/1.0 named none.
fn admit<'a>(snapshot: &Snapshot, head: &'a impl Head) -> Result<Cow<'a, str>, Fault> {
    let limits = &snapshot.settings.limits;
    // TRACE would show a client what the proxy adds for the target's eyes (RFC 9110 §9.3.8).
    if matches!(head.method(), "CONNECT" | "TRACE") {
        return Err(Fault::MethodNotAllowed);
    }
    if head.target_len() > REQUEST_LINE_MAX {
        return Err(Fault::TargetTooLong);
    }
    if head.fields() > limits.request_headers {
        return Err(Fault::HeadTooLarge);
    }
    let host = match head.authority() {
        Authority::One(_) => head.host().ok_or(Fault::BadHost)?,
        Authority::None => Cow::Borrowed(""),
        Authority::Bad => return Err(Fault::BadHost),
    };
    match (limits.request_body, head.body()) {
        (Some(limit), Framing::Length(length)) if length > limit => Err(Fault::BodyTooLarge),
        _ => Ok(host),
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

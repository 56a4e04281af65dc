//! What would become of a request that came now: the listener it meets, the route that takes it, the
//! colour and why, the targets that may get it, and the fields they would see. It decides nothing by
//! itself where the proxy's own decision is at hand: `model::route` and `model::choice` are the very
//! same. What the proxy checks before that is told in the proxy's order.

mod asking;
mod near;
mod onward;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::control::command::Refusal;
use crate::control::command::explain::AnswerField;
use crate::control::command::explain::Ends;
use crate::control::command::explain::Explain;
use crate::control::command::explain::Explained;
use crate::control::command::explain::ExplainedLimits;
use crate::control::command::explain::ExplainedListener;
use crate::control::command::explain::ExplainedTarget;
use crate::control::command::explain::ExplainedTimeouts;
use crate::control::explain::asking::Asking;
use crate::control::explain::asking::port_of;
use crate::model::choice;
use crate::model::choice::Asked;
use crate::model::choice::Choice;
use crate::model::choice::Why;
use crate::model::colour::Colour;
use crate::model::extras::Extras;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::model::route::NoRoute;
use crate::model::route::Route;
use crate::model::settings::REQUEST_LINE_MAX;
use crate::model::settings::Timeouts;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::upstream::Upstream;
use crate::net::listen::Listener;

/// Requests for this path are never redirected (RFC 8555 §8.3).
const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Explains one request on this snapshot and these listeners, at `now`.
///
/// # Errors
///
/// It is no request that a client could send.
pub fn explain(
    explain: &Explain,
    snapshot: &Snapshot,
    listeners: &[Arc<Listener>],
    now: SystemTime,
) -> Result<Explained, Refusal> {
    let asking = Asking::read(explain, &snapshot.settings.trusted_proxies, now)?;
    let mut told = nothing(snapshot, asking.client().to_string());
    let Some((listener, why)) = met(&asking, listeners) else {
        let scheme = if asking.tls { "https" } else { "plain http" };
        told.why = format!("no listener speaks {scheme}");
        return Ok(told);
    };
    told.listener = Some(ExplainedListener {
        address: listener.address.to_string(),
        tls: listener.tls.is_some(),
        redirects: listener.redirect_to_https,
        why,
    });
    match decide(&mut told, &asking, snapshot, listener, listeners) {
        Ok(()) => {}
        Err((status, why)) => {
            (told.outcome, told.status) = (Ends::Refuse, Some(status));
            told.why = why;
        }
    }
    Ok(told)
}

/// The listener that the request comes to, and why that one.
fn met<'l>(asking: &Asking<'_>, listeners: &'l [Arc<Listener>]) -> Option<(&'l Listener, String)> {
    let port = asking.port();
    let speaks = |listener: &&&Arc<Listener>| listener.tls.is_some() == asking.tls;
    let mut theirs = listeners.iter().filter(|listener| speaks(&listener));
    let on_port = theirs
        .clone()
        .find(|listener| listener.address.port() == port);
    if let Some(listener) = on_port {
        return Some((listener, format!("it listens on port {port}")));
    }
    let scheme = if asking.tls { "https" } else { "http" };
    let listener = theirs.next()?;
    let why = format!("the first that speaks {scheme}; nothing of ours listens on port {port}");
    Some((listener, why))
}

/// What the proxy would do, in its order.
///
/// # Errors
///
/// The status and the reason of a refusal.
fn decide(
    told: &mut Explained,
    asking: &Asking<'_>,
    snapshot: &Snapshot,
    listener: &Listener,
    listeners: &[Arc<Listener>],
) -> Result<(), (u16, String)> {
    let (authority, host) = admitted(asking, snapshot)?;
    if listener.redirect_to_https && !asking.path().starts_with(ACME_CHALLENGE) {
        (told.outcome, told.status) = (Ends::Redirect, Some(308));
        told.location = Some(location(asking, authority, &host, listener, listeners));
        told.why = "this listener only sends clients to https".to_owned();
        return Ok(());
    }
    is_directed(asking, &host, listener)?;
    let (route, is_preview) = routed(told, asking, &host, snapshot)?;
    if told.outcome == Ends::Forward {
        told.timeouts = Some(timeouts(route));
        let onward = onward::onward(asking, authority, listener.address.port(), is_preview);
        (told.headers, told.dropped) = (onward.sent, onward.dropped);
    }
    Ok(())
}

/// Finds the route, and what becomes of the request there; and whether it is shown a preview.
///
/// # Errors
///
/// The status and the reason of a refusal.
fn routed<'s>(
    told: &mut Explained,
    asking: &Asking<'_>,
    host: &str,
    snapshot: &'s Snapshot,
) -> Result<(&'s Route, bool), (u16, String)> {
    let found = snapshot.routes.find(host, asking.path());
    told.nearly = near::nearly(&snapshot.settings.routes, host, asking.path(), found.ok());
    let route = found.map_err(|missing| match missing {
        NoRoute::Host => (404, format!("no route is for the host {host}")),
        NoRoute::Path => (404, format!("no route of {host} is for this path")),
    })?;
    let upstream = snapshot.upstreams.get(route.upstream);
    let upstream = upstream.ok_or_else(|| (500, "the route leads nowhere".to_owned()))?;
    told.route = Some(near::taken(route, &upstream.name));
    Ok((route, chosen(told, asking, upstream)))
}

/// The value of `Host`, and the host in it, of a request that may pass.
fn admitted<'a>(
    asking: &Asking<'a>,
    snapshot: &Snapshot,
) -> Result<(&'a str, std::borrow::Cow<'a, str>), (u16, String)> {
    let limits = &snapshot.settings.limits;
    if asking.target.len() > REQUEST_LINE_MAX {
        return Err((414, format!("the path and query are longer than {REQUEST_LINE_MAX} bytes")));
    }
    if matches!(asking.method, "CONNECT" | "TRACE") {
        return Err((405, format!("{} is not served here", asking.method)));
    }
    let fields = asking.fields.len() + asking.hosts.len();
    if fields > limits.request_headers {
        let most = limits.request_headers;
        return Err((431, format!("{fields} header fields, and limits.request_headers is {most}")));
    }
    let named = asking.host();
    let named = named.ok_or_else(|| (400, "it names no host, or two".to_owned()))?;
    let length = asking.values("content-length").next();
    let length = length.and_then(|length| length.parse::<u64>().ok());
    match (length, limits.request_body) {
        (Some(length), Some(most)) if length > most => {
            Err((413, format!("a body of {length} bytes, and limits.request_body is {most}")))
        }
        _ => Ok(named),
    }
}

/// A client that asked for one certificate's name must not reach a host of another certificate.
fn is_directed(asking: &Asking<'_>, host: &str, listener: &Listener) -> Result<(), (u16, String)> {
    let (Some(sni), Some(tls)) = (asking.sni(), &listener.tls) else { return Ok(()) };
    if sni == host {
        return Ok(());
    }
    let certificates = tls.certificates.load();
    let shown = certificates.matching(&sni).unwrap_or(0);
    match certificates.matching(host) {
        Some(other) if other != shown => {
            Err((421, format!("{host} is served under another certificate than {sni}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Where the client is sent.
fn location(
    asking: &Asking<'_>,
    authority: &str,
    host: &str,
    listener: &Listener,
    listeners: &[Arc<Listener>],
) -> String {
    let https = listeners.iter().find(|listener| listener.tls.is_some());
    let https = https.map(|listener| listener.address.port());
    let direct = port_of(authority) == Some(listener.address.port());
    let target = asking.target;
    match https.filter(|port| *port != 443 && direct) {
        Some(port) => format!("https://{host}:{port}{target}"),
        None => format!("https://{host}{target}"),
    }
}

/// What `model::choice` says of it, and whether it is shown a preview.
fn chosen(told: &mut Explained, asking: &Asking<'_>, upstream: &Upstream) -> bool {
    match choice::choose(upstream, asking) {
        Choice::Send { colour, why, extras } => {
            told.outcome = Ends::Forward;
            told.why = reason(upstream, why, colour);
            told.colour = colour;
            told.answer = added(extras.as_deref());
            let pool = colour.and_then(|colour| upstream.pool(colour));
            told.targets = targets(pool.unwrap_or_else(|| upstream.pick()));
            return why == Why::Preview;
        }
        Choice::Maintain => {
            (told.outcome, told.status) = (Ends::Maintain, Some(503));
            told.why = "the application is being maintained, and this client is not let through"
                .to_owned();
        }
        Choice::Hold => {
            told.outcome = Ends::Hold;
            told.why = "somebody has ordered a pause".to_owned();
        }
        Choice::Lead { to, extras } => {
            (told.outcome, told.status) = (Ends::Redirect, Some(303));
            told.why = "it follows the link of a preview".to_owned();
            told.location = Some(to);
            told.answer = added(Some(&extras));
        }
        Choice::Hide => {
            (told.outcome, told.status) = (Ends::Refuse, Some(404));
            told.why = "it asks for a preview that there is not, or no longer".to_owned();
        }
    }
    false
}

/// Why it gets this colour.
fn reason(upstream: &Upstream, why: Why, colour: Option<Colour>) -> String {
    let Some(colour) = colour else { return "the upstream has one pool".to_owned() };
    let order = upstream.canary_order();
    let share = order.map(|canary| format!("{} % for {}", canary.weight, canary.colour));
    match (why, share) {
        (Why::Live, None) => format!("{colour} is live"),
        (Why::Live, Some(share)) => {
            format!("{colour} is live, and its user is none of the canary's ({share})")
        }
        (Why::Canary, share) => {
            format!("its user is one of the canary's ({})", share.unwrap_or_default())
        }
        (Why::Pinned, _) => "one of canary.pins says so".to_owned(),
        (Why::StandIn, _) => {
            format!(
                "its user is one of the canary's, none of whose targets is usable: {colour} stands in"
            )
        }
        (Why::Preview, _) => "it carries a valid preview".to_owned(),
    }
}

/// What the proxy adds to the answer.
fn added(extras: Option<&Extras>) -> Vec<AnswerField> {
    let fields = extras.into_iter().flat_map(Extras::added);
    let field = |(name, value): (&str, &str)| {
        let (name, value) = (name.to_owned(), value.to_owned());
        AnswerField { name, value }
    };
    fields.map(field).collect()
}

/// The targets of the pool. The first try goes to one of the best there are: healthy ones before
/// backups, backups before those that rest, these before unhealthy ones; one that drains gets none.
fn targets(pool: &Pool) -> Vec<ExplainedTarget> {
    let serving = pool.targets.iter().filter(|target| !target.is_draining());
    let best = serving.map(|target| rank(target)).min();
    let of = |target: &Arc<Target>| ExplainedTarget {
        address: target.name.to_string(),
        state: match rank(target) {
            _ if target.is_draining() => "draining",
            0 => "usable",
            1 => "backup",
            2 => "ejected",
            _ => "unhealthy",
        }
        .to_owned(),
        weight: target.weight,
        in_flight: target.in_flight.read(),
        candidate: !target.is_draining() && Some(rank(target)) == best,
    };
    pool.targets.iter().map(of).collect()
}

fn rank(target: &Target) -> u8 {
    match (target.health.is_usable(), target.backup) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) if target.health.verdict() != Verdict::Unhealthy => 2,
        (false, _) => 3,
    }
}

fn timeouts(route: &Route) -> ExplainedTimeouts {
    let Timeouts { connect, response, request_body, send, tunnel, .. } = route.timeouts;
    let [connect, response, request_body, send, tunnel] =
        [connect, response, request_body, send, tunnel]
            .map(|timeout: Duration| timeout.as_secs_f64());
    ExplainedTimeouts { connect, response, request_body, send, tunnel }
}

/// What is told before anything is known.
fn nothing(snapshot: &Snapshot, client: String) -> Explained {
    let limits = &snapshot.settings.limits;
    Explained {
        generation: snapshot.generation,
        listener: None,
        client,
        outcome: Ends::Unreachable,
        status: None,
        location: None,
        why: String::new(),
        route: None,
        nearly: Vec::new(),
        colour: None,
        targets: Vec::new(),
        headers: Vec::new(),
        dropped: Vec::new(),
        answer: Vec::new(),
        timeouts: None,
        limits: ExplainedLimits {
            request_header: limits.request_header,
            request_headers: limits.request_headers,
            request_body: limits.request_body,
            requests_per_address: limits.requests_per_address,
        },
    }
}

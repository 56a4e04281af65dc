//! What each request on the control socket does.

use std::borrow::Cow;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Limited;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::control::answer;
use crate::control::answer::Answer;
use crate::control::command::Code;
use crate::control::command::Guard;
use crate::control::command::Probe;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::command::event::Notice;
use crate::control::command::history::COMMAND_HEADER;
use crate::control::history::Wanted;
use crate::control::socket::query::Query;
use crate::control::socket::recorded::Asked;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::handle::Handle;
use crate::control::supervisor::refusal::refusal;
use crate::control::supervisor::request;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

/// More than any command needs.
const BODY_MAX: usize = 64 * 1024;

/// Entries of the history, unless somebody says how many.
const HISTORY_COUNT: usize = 20;

/// For the whole body: it comes over a local socket.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers one request.
pub(super) async fn respond(
    request: Request<Incoming>,
    handle: &Handle,
    caller: Caller,
    stopping: Stopping,
) -> Answer {
    let (head, body) = request.into_parts();
    // The checks of the file cannot see where a name or a link leads.
    if head.headers.contains_key(header::FORWARDED) {
        tracing::warn!(%caller, "refused: a request came to the control socket by a proxy");
        return answer::problem(&forwarded());
    }
    let allowed = match head.uri.path() {
        "/v1/status" | "/v1/events" | "/v1/history" | "/v1/why" => Method::GET,
        "/v1/promote" | "/v1/rollback" | "/v1/probe" | "/v1/reload" | "/v1/guard"
        | "/v1/maintenance" | "/v1/canary" | "/v1/preview" | "/v1/pause" | "/v1/resume"
        | "/v1/target" | "/v1/roll" | "/v1/pool" | "/v1/explain" => Method::POST,
        path => return answer::problem(&unknown_path(path)),
    };
    if head.method != allowed {
        return wrong_method(&allowed);
    }
    if let Some(said) = head.headers.get(COMMAND_HEADER) {
        let said = String::from_utf8_lossy(said.as_bytes());
        handle.history().heard(caller, &said);
    }
    let query = Query::of(head.uri.query());
    let done = match head.uri.path() {
        "/v1/status" if query.has("probes") => Ok(answer::json(&handle.status_with_probes())),
        "/v1/status" => Ok(answer::json(&handle.status())),
        "/v1/events" => Ok(answer::lines(follow(handle.subscribe(), stopping))),
        "/v1/history" => history(query, handle).await,
        "/v1/why" => why(query, handle).await,
        path => recorded(path, body, handle, caller, stopping).await,
    };
    done.unwrap_or_else(|refused| {
        tracing::info!(path = head.uri.path(), %caller, why = refused.detail, "refused");
        answer::problem(&refused)
    })
}

/// Every request that this proxy forwards says so (RFC 7239); nobody who operates it does.
fn forwarded() -> Refusal {
    let detail = "operators come in by the socket itself".to_owned();
    refusal(403, Code::Unknown, "came by a proxy", detail)
}

/// Carries a command out, and has the history keep who asked for it and what came of it.
async fn recorded(
    path: &str,
    body: Incoming,
    handle: &Handle,
    caller: Caller,
    stopping: Stopping,
) -> Result<Answer, Refusal> {
    let body = read(body).await?;
    let asked = Asked::now(handle, caller, path, &body);
    asked.answered(command(path, body, handle, caller, stopping).await)
}

async fn command(
    path: &str,
    body: Bytes,
    handle: &Handle,
    caller: Caller,
    stopping: Stopping,
) -> Result<Answer, Refusal> {
    match path {
        "/v1/promote" => {
            let events = handle.promote(parse(&body)?, caller).await?;
            Ok(answer::lines(told(events)))
        }
        "/v1/rollback" => {
            let events = handle.rollback(parse(&body)?, caller).await?;
            Ok(answer::lines(told(events)))
        }
        "/v1/canary" => {
            let events = handle.canary(parse(&body)?, caller).await?;
            Ok(answer::lines(told(events)))
        }
        "/v1/preview" => Ok(answer::json(&handle.preview(parse(&body)?, caller).await?)),
        "/v1/probe" => Ok(answer::json(&handle.probe(parse(&body)?).await?)),
        "/v1/guard" => {
            let guard: Guard = parse(&body)?;
            let guarded = handle.guard(guard, caller).await?;
            let (upstream, colour) = (guarded.upstream.clone(), guarded.colour);
            let event = Event::Guarded { upstream, colour };
            Ok(answer::lines(held(guarded, event, stopping)))
        }
        "/v1/maintenance" => Ok(answer::json(&handle.maintain(parse(&body)?, caller).await?)),
        "/v1/pause" => Ok(answer::json(&handle.pause(parse(&body)?, caller).await?)),
        "/v1/resume" => Ok(answer::json(&handle.resume(parse(&body)?, caller).await?)),
        "/v1/roll" => {
            let rolled = handle.roll(parse(&body)?, caller).await?;
            let event = Event::Rolling { upstream: rolled.upstream.clone() };
            Ok(answer::lines(held(rolled, event, stopping)))
        }
        "/v1/pool" => Ok(answer::json(&handle.set_pool(parse(&body)?, caller).await?)),
        "/v1/target" => {
            let events = handle.set_target(parse(&body)?, caller).await?;
            Ok(answer::lines(told(events)))
        }
        "/v1/explain" => Ok(answer::json(&handle.explain(&parse(&body)?)?)),
        "/v1/reload" => {
            let _none: Nothing = parse(&body)?;
            Ok(answer::json(&handle.reload(Cause::Asked(caller)).await?))
        }
        _ => Err(unknown_path(path)),
    }
}

/// What stands in the way of a promotion.
async fn why(query: Query<'_>, handle: &Handle) -> Result<Answer, Refusal> {
    query.only(&["colour", "upstream", "all", "build"])?;
    let upstreams: Vec<String> = query.all("upstream").map(Cow::into_owned).collect();
    let request = Probe {
        colour: query.get("colour").unwrap_or_default().into_owned(),
        upstreams: (!upstreams.is_empty()).then_some(upstreams),
        all: query.has("all"),
    };
    let build = query.get("build");
    Ok(answer::json(&handle.why(request, build.as_deref()).await?))
}

/// The changes that were made, the newest last.
async fn history(query: Query<'_>, handle: &Handle) -> Result<Answer, Refusal> {
    query.only(&["n", "upstream", "since"])?;
    let count = match query.get("n") {
        None => HISTORY_COUNT,
        Some(number) => number.parse().map_err(|_no_number| {
            let detail = format!("n: \"{number}\" is not a number");
            refusal(422, Code::Unknown, "malformed request", detail)
        })?,
    };
    let since = query.get("since");
    let since = request::duration("since", since.as_deref())?;
    let upstream = query.get("upstream").map(Cow::into_owned);
    let since = since.and_then(|ago| SystemTime::now().checked_sub(ago));
    let lines = handle
        .history()
        .read(Wanted { count, upstream, since })
        .await;
    let lines = lines.map_err(|error| {
        let detail = format!("the history cannot be read: {error}");
        refusal(500, Code::NotDurable, "unreadable", detail)
    })?;
    Ok(answer::raw_lines(stream::iter(lines)))
}

/// A command without parameters.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let whole = Limited::new(body, BODY_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("the body is longer than {BODY_MAX} bytes");
            Err(refusal(413, Code::Unknown, "body too large", detail))
        }
        Ok(Err(error)) => {
            let detail = format!("the body cannot be read: {error}");
            Err(refusal(400, Code::Unknown, "malformed request", detail))
        }
        Err(_elapsed) => {
            let detail = "the body did not come in time".to_owned();
            Err(refusal(408, Code::Unknown, "too slow", detail))
        }
    }
}

/// An empty body is an empty object. Whatever media type it claims, it must be JSON: `curl -d` says
/// that it sends a form.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is not what this command takes: {error}");
        refusal(422, Code::Unknown, "malformed request", detail)
    })
}

fn unknown_path(path: &str) -> Refusal {
    let detail = format!("there is nothing at {path}");
    let unknown = refusal(404, Code::Unknown, "unknown path", detail);
    let hint = "/v1/status /v1/promote /v1/rollback /v1/guard /v1/probe /v1/canary /v1/preview /v1/maintenance /v1/pause /v1/resume /v1/target /v1/roll /v1/pool /v1/reload /v1/events /v1/history /v1/why /v1/explain";
    Refusal { hint: Some(hint.to_owned()), ..unknown }
}

fn wrong_method(allowed: &Method) -> Answer {
    let detail = format!("this path takes {allowed} only");
    let mut answer = answer::problem(&refusal(405, Code::Unknown, "wrong method", detail));
    if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}

/// The events of a promotion. Dropped with the connection, they cancel an open gate.
fn told(events: EventStream) -> impl Stream<Item = Event> + Send {
    stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((event, events))
    })
}

/// Says by `event` that a guard or a roll holds, and keeps it while the connection stays open.
fn held<T: Send + 'static>(
    held: T,
    event: Event,
    stopping: Stopping,
) -> impl Stream<Item = Event> + Send {
    stream::unfold((Some(event), held, stopping), |(event, held, mut stopping)| async move {
        if event.is_none() {
            stopping.reached(Stage::Graceful).await;
        }
        event.map(|event| (event, (None, held, stopping)))
    })
}

/// Everything that happens, until the stop. Who reads too slowly misses the oldest.
fn follow(
    notices: broadcast::Receiver<Notice>,
    stopping: Stopping,
) -> impl Stream<Item = Notice> + Send {
    stream::unfold((notices, stopping), |(mut notices, mut stopping)| async move {
        loop {
            let received = tokio::select! {
                received = notices.recv() => received,
                () = stopping.reached(Stage::Graceful) => return None,
            };
            match received {
                Ok(notice) => return Some((notice, (notices, stopping))),
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a follower lags"),
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

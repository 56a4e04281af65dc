//! How the control socket and the admin listener answer: JSON, problems, lines of events.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use serde::Serialize;

use crate::control::command::Refusal;

/// A body that cannot fail.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer.
pub(super) type Answer = Response<Body>;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const LINES: &str = "application/x-ndjson";

/// `body` with a media type.
pub(super) fn whole(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Answer {
    with(status, media, Full::new(body.into()).boxed_unsync())
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Answer {
    written(StatusCode::OK, JSON, value)
}

/// RFC 9457.
pub(super) fn problem(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status);
    written(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), PROBLEM, refusal)
}

/// One JSON object a line, each sent as soon as it is there.
pub(super) fn lines<T: Serialize>(events: impl Stream<Item = T> + Send + 'static) -> Answer {
    let frames = events.map(|event| Ok(Frame::data(line(&event))));
    with(StatusCode::OK, LINES, StreamBody::new(frames).boxed_unsync())
}

/// Lines that are JSON already, without their ends.
pub(super) fn raw_lines(lines: impl Stream<Item = String> + Send + 'static) -> Answer {
    let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line + "\n"))));
    with(StatusCode::OK, LINES, StreamBody::new(frames).boxed_unsync())
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn written(status: StatusCode, media: &'static str, value: &impl Serialize) -> Answer {
    // Maps with keys that are no text are what cannot be written; none of ours has such.
    whole(status, media, line(value))
}

fn with(status: StatusCode, media: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

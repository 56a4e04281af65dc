//! The heads of answers, in the types of `http`.

use std::cell::RefCell;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::header::DATE;

use crate::http1::head::ResponseHead;
use crate::http1::rewrite::response_fields;
use crate::model::extras::Extras;
use crate::proxy::body::fields;
use crate::proxy::exchange::Asked;
use crate::proxy::exchange::Exchange;
use crate::proxy::reply::Reply;

thread_local! {
    /// A second, and how it is told; at first one that never comes.
    static NOW: RefCell<(u64, HeaderValue)> =
        const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// What `Date` says in this second.
fn date(second: u64) -> HeaderValue {
    NOW.with_borrow_mut(|(told, date)| {
        if *told != second {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            let text = Bytes::from(httpdate::fmt_http_date(now));
            if let Ok(now) = HeaderValue::from_maybe_shared(text) {
                (*told, *date) = (second, now);
            }
        }
        date.clone()
    })
}

/// A head of which `fields` are expected, before they are put into it.
fn head(status: u16, fields: usize) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().reserve(fields);
    response
}

/// An interim answer of a target.
pub(super) fn interim(said: &ResponseHead<'_, '_>) -> Response<()> {
    let mut response = head(said.status, said.fields.len());
    let headers = response.headers_mut();
    fields::with(|fields| {
        for (name, value) in response_fields(said.status, said.nominates, said.pairs()) {
            fields.add(headers, name, value);
        }
    });
    response
}

/// The final answer of a target. Who forwards one without a date adds it (RFC 9110 §6.6.1).
pub(super) fn final_one(said: &ResponseHead<'_, '_>, exchange: &Exchange) -> Response<()> {
    let mut response = head(said.status, said.fields.len() + 1);
    let headers = response.headers_mut();
    let extras = exchange.extras();
    let passing = response_fields(said.status, said.nominates, said.pairs())
        .filter(|(name, _)| !extras.is_some_and(|extras| extras.drops(name)));
    let added = extras.into_iter().flat_map(Extras::added);
    let added = added.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let mut is_dated = false;
    fields::with(|fields| {
        for (name, value) in passing.chain(added) {
            is_dated |= name.eq_ignore_ascii_case(b"date");
            fields.add(headers, name, value);
        }
    });
    if !is_dated {
        headers.append(DATE, date(exchange.worker.clock.second()));
    }
    response
}

/// One of the proxy's own answers, and what it has to say.
pub(crate) fn own(reply: Reply, exchange: &Exchange) -> (Response<()>, Bytes) {
    let mut response = head(reply.status.as_u16(), reply.fields.len() + 3);
    let headers = response.headers_mut();
    for (name, value) in reply.fields {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_maybe_shared(Bytes::from(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    if let Some(extras) = exchange.extras() {
        adorn(headers, extras);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.text.len()));
    headers.insert(DATE, date(exchange.worker.clock.second()));
    let to_head = exchange.asked().is_some_and(Asked::is_head);
    let text = if to_head { Bytes::new() } else { Bytes::from(reply.text) };
    (response, text)
}

/// Adds to one of the proxy's own answers, and leaves out of it, what is ordered.
fn adorn(headers: &mut HeaderMap, extras: &Extras) {
    let dropped = |name: &&HeaderName| extras.drops(name.as_str().as_bytes());
    let dropped: Vec<HeaderName> = headers.keys().filter(dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    for (name, value) in extras.added() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_told_anew_in_each_second() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}

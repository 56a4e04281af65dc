//! What the proxy answers by itself. The only place where a fault becomes a status.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::proxy::body::AnswerBody;
use crate::proxy::exchange::Exchange;
use crate::proxy::headers::X_REQUEST_ID;

/// Whether the client would rather read JSON than HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taste {
    /// A person, or somebody who did not say.
    Html,
    /// A program.
    Json,
}

/// The status for a fault, and a sentence for whoever reads it. Says nothing about addresses.
fn status(fault: Fault) -> (StatusCode, &'static str) {
    match fault {
        Fault::Malformed => (StatusCode::BAD_REQUEST, "the request is not valid HTTP"),
        Fault::BadFraming => {
            (StatusCode::BAD_REQUEST, "the request does not say clearly where its body ends")
        }
        Fault::TransferCoding => {
            (StatusCode::NOT_IMPLEMENTED, "the request body is coded in an unknown way")
        }
        Fault::VersionNotSupported => {
            (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "this version of HTTP is not spoken here")
        }
        Fault::ExpectationFailed => {
            (StatusCode::EXPECTATION_FAILED, "the request expects what nobody here can promise")
        }
        Fault::BadHost => (StatusCode::BAD_REQUEST, "the request names no host, or two"),
        Fault::BodyBroken | Fault::ClientGone | Fault::SendTimeout => {
            (StatusCode::BAD_REQUEST, "the request body ended early")
        }
        Fault::TargetTooLong => (StatusCode::URI_TOO_LONG, "the request line is too long"),
        Fault::HeadTooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many header fields")
        }
        Fault::MethodNotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, "this method is not served here")
        }
        Fault::Misdirected => {
            (StatusCode::MISDIRECTED_REQUEST, "this host is served under another certificate")
        }
        Fault::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large"),
        Fault::BodyTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "the request body did not come in time")
        }
        Fault::UnknownHost => (StatusCode::NOT_FOUND, "no route is for this host"),
        Fault::UnknownPath => (StatusCode::NOT_FOUND, "no route is for this path"),
        Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "the proxy failed"),
        Fault::Cut => (StatusCode::SERVICE_UNAVAILABLE, "the request was ended by a deployment"),
        Fault::NoHealthyTarget => {
            (StatusCode::SERVICE_UNAVAILABLE, "the application is not available")
        }
        Fault::Connect => (StatusCode::BAD_GATEWAY, "the application cannot be reached"),
        Fault::Reset => (StatusCode::BAD_GATEWAY, "the application ended the connection"),
        Fault::Protocol => {
            (StatusCode::BAD_GATEWAY, "the application sent an answer that is not HTTP")
        }
        Fault::ConnectTimeout | Fault::ResponseTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "the application did not answer in time")
        }
    }
}

/// What `Accept` says, by the order in which it names the two.
fn taste(accept: Option<&HeaderValue>) -> Taste {
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("");
    let json = accept.find("json");
    let html = accept.find("text/html");
    match (json, html) {
        (Some(json), Some(html)) if json < html => Taste::Json,
        (Some(_), None) => Taste::Json,
        (Some(_) | None, Some(_) | None) => Taste::Html,
    }
}

/// The answer to a request that failed, in the form that its `Accept` asks for.
pub(crate) fn to_fault(
    fault: Fault,
    accept: Option<&HeaderValue>,
    exchange: &Rc<Exchange>,
) -> Response<AnswerBody> {
    let (status, sentence) = status(fault);
    exchange.fail(fault);
    let id = exchange.request_id();
    let mut response = answer(status, taste(accept), sentence, id.as_ref(), exchange);
    let headers = response.headers_mut();
    // After a refusal, or a body that broke off, the two sides may not agree where the next request
    // begins.
    let broken = matches!(fault.outcome(), Outcome::Refused | Outcome::ClientGone);
    let apart = broken && fault != Fault::Misdirected;
    if apart && !exchange.is_http2() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// The answer of a listener that only redirects: 308 keeps the method (RFC 9110 §15.4.9).
pub(crate) fn redirect(location: HeaderValue, exchange: &Rc<Exchange>) -> Response<AnswerBody> {
    let status = StatusCode::PERMANENT_REDIRECT;
    let mut response =
        answer(status, Taste::Html, "this site is served over https", None, exchange);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn answer(
    status: StatusCode,
    taste: Taste,
    sentence: &str,
    id: Option<&HeaderValue>,
    exchange: &Rc<Exchange>,
) -> Response<AnswerBody> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let id_text = id.and_then(|id| id.to_str().ok()).unwrap_or("-");
    let (text, kind) = match taste {
        Taste::Html => (
            format!(
                "<!doctype html><title>{code} {reason}</title><h1>{code} {reason}</h1><p>{sentence}</p><p>request {id_text}</p>\n",
                code = status.as_u16(),
                id_text = id_text.replace('&', "&amp;").replace('<', "&lt;"),
            ),
            "text/html; charset=utf-8",
        ),
        Taste::Json => (
            format!(
                "{}\n",
                serde_json::json!({
                    "status": status.as_u16(), "error": reason, "detail": sentence, "request_id": id_text,
                })
            ),
            "application/json",
        ),
    };
    exchange.answer(status.as_u16(), false);
    let length = HeaderValue::from(text.len());
    let text = if exchange.is_head() { Bytes::new() } else { Bytes::from(text) };
    let mut response = Response::new(AnswerBody::own(text, exchange));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = id {
        headers.insert(X_REQUEST_ID, id.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &'static str) -> Taste {
        taste(Some(&HeaderValue::from_static(accept)))
    }

    #[test]
    fn a_program_gets_json_and_a_browser_html() {
        assert_eq!(of("application/json"), Taste::Json);
        assert_eq!(of("application/problem+json, */*"), Taste::Json);
        assert_eq!(of("text/html,application/xhtml+xml,*/*;q=0.8"), Taste::Html);
        assert_eq!(of("*/*"), Taste::Html);
        assert_eq!(taste(None), Taste::Html);
    }

    #[test]
    fn every_fault_is_an_error_status() {
        for fault in [Fault::Connect, Fault::BadHost, Fault::UnknownHost, Fault::NoHealthyTarget] {
            assert!(status(fault).0.as_u16() >= 400);
        }
    }
}

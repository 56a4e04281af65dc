//! What the proxy answers by itself. The only place where a fault becomes a status.

use std::rc::Rc;
use std::time::SystemTime;

use http::StatusCode;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::model::orders::Orders;
use crate::proxy::exchange::Exchange;

/// The whole answer to a connection that is one too many: nobody reads what it asks.
pub(crate) const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 1\r\n\
    Content-Length: 121\r\n\
    Connection: close\r\n\r\n\
    <!doctype html><title>503 Service Unavailable</title>\
    <h1>503 Service Unavailable</h1><p>the proxy has too much to do</p>\n";

/// When a client that was held in vain is told to come back, at the latest, in seconds: a pause is
/// short, and is mostly ended before its time.
const PAUSED_RETRY_MAX: u64 = 10;

/// An answer in the proxy's own words, before it is put in the form of a protocol.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields; the length is not among them.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Its content.
    pub(crate) text: String,
    /// The two sides may not agree where the next request begins: HTTP/1 must close.
    pub(crate) apart: bool,
}

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
        Fault::LengthRequired => {
            (StatusCode::LENGTH_REQUIRED, "the request does not say how long its body is")
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
        Fault::HeadTimeout => (StatusCode::REQUEST_TIMEOUT, "the request did not come in time"),
        Fault::BodyTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "the request body did not come in time")
        }
        Fault::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "the request body comes too slowly"),
        Fault::UnknownHost => (StatusCode::NOT_FOUND, "no route is for this host"),
        Fault::UnknownPath => (StatusCode::NOT_FOUND, "no route is for this path"),
        Fault::RequestsLimit | Fault::OutOfFiles => {
            (StatusCode::SERVICE_UNAVAILABLE, "the proxy has too much to do")
        }
        Fault::Paused => {
            (StatusCode::SERVICE_UNAVAILABLE, "the application takes a pause for a moment")
        }
        Fault::AddressRequestsLimit => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many requests of your address are in flight")
        }
        Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "the proxy failed"),
        Fault::Cut | Fault::Closed => {
            (StatusCode::SERVICE_UNAVAILABLE, "the request was ended by a deployment")
        }
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
fn taste(accept: Option<&[u8]>) -> Taste {
    let accept = accept
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or("");
    let json = accept.find("json");
    let html = accept.find("text/html");
    match (json, html) {
        (Some(json), Some(html)) if json < html => Taste::Json,
        (Some(_), None) => Taste::Json,
        (Some(_) | None, Some(_) | None) => Taste::Html,
    }
}

/// The answer to a request that failed, in the form that its `Accept` asks for.
pub(crate) fn to_fault(fault: Fault, exchange: &Rc<Exchange>) -> Reply {
    let (status, sentence) = status(fault);
    exchange.fail(fault);
    let (id, taste) = wishes(exchange);
    let mut reply = answer(status, taste, sentence, id, exchange);
    reply.apart = matches!(fault.outcome(), Outcome::Refused | Outcome::ClientGone);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.fields.push(("Retry-After", "1".to_owned()));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        reply.fields.push(("Allow", allowed.to_owned()));
    }
    reply
}

/// The answer while the application is being maintained, as somebody has ordered.
pub(crate) fn maintained(orders: &Orders, exchange: &Rc<Exchange>) -> Reply {
    let (id, taste) = wishes(exchange);
    let sentence = "the application is being maintained";
    let mut reply = answer(StatusCode::SERVICE_UNAVAILABLE, taste, sentence, id, exchange);
    let Some(order) = &orders.maintenance else { return reply };
    if let (Taste::Html, Some(page)) = (taste, &order.page) {
        reply.text.clone_from(page);
    }
    // Not a second more than it lasts, and not none at all: RFC 9110 §10.2.3 counts whole seconds.
    let left = order
        .until
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let seconds = order.retry_after.min(left).as_secs().max(1);
    reply.fields.push(("Retry-After", seconds.to_string()));
    reply
}

/// The answer to a request that a pause cannot hold, or not any longer. It is over by itself at
/// `until`, and perhaps before.
pub(crate) fn paused(until: SystemTime, exchange: &Rc<Exchange>) -> Reply {
    exchange.fail(Fault::Paused);
    let (status, sentence) = status(Fault::Paused);
    let (id, taste) = wishes(exchange);
    let mut reply = answer(status, taste, sentence, id, exchange);
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    let seconds = left.as_secs().clamp(1, PAUSED_RETRY_MAX);
    reply.fields.push(("Retry-After", seconds.to_string()));
    reply
}

/// The request's id, and in which form it would have an answer.
fn wishes(exchange: &Exchange) -> (Option<&str>, Taste) {
    let id = exchange
        .asked()
        .and_then(|asked| std::str::from_utf8(asked.request_id()).ok())
        .filter(|id| !id.is_empty());
    let taste = exchange
        .asked()
        .map_or(Taste::Html, |asked| taste(asked.field("accept")));
    (id, taste)
}

/// The answer of a listener that only redirects: 308 keeps the method (RFC 9110 §15.4.9).
pub(crate) fn redirect(location: String, exchange: &Rc<Exchange>) -> Reply {
    let status = StatusCode::PERMANENT_REDIRECT;
    let sentence = "this site is served over https";
    let mut reply = answer(status, Taste::Html, sentence, None, exchange);
    reply.fields.push(("Location", location));
    reply
}

/// The answer to whoever followed the link of a preview: on to a path of this host, as a GET
/// (RFC 9110 §15.4.4).
pub(crate) fn led(to: String, exchange: &Rc<Exchange>) -> Reply {
    let sentence = "the preview begins";
    let mut reply = answer(StatusCode::SEE_OTHER, Taste::Html, sentence, None, exchange);
    reply.fields.push(("Location", to));
    reply
}

/// The answer to whoever asks for a preview that there is not, or not for them.
pub(crate) fn hidden(exchange: &Rc<Exchange>) -> Reply {
    let (id, taste) = wishes(exchange);
    let sentence = "there is no such preview, or no longer";
    answer(StatusCode::NOT_FOUND, taste, sentence, id, exchange)
}

fn answer(
    status: StatusCode,
    taste: Taste,
    sentence: &str,
    id: Option<&str>,
    exchange: &Rc<Exchange>,
) -> Reply {
    let reason = status.canonical_reason().unwrap_or("Error");
    let id_text = id.unwrap_or("-");
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
    let mut fields =
        vec![("Content-Type", kind.to_owned()), ("Cache-Control", "no-store".to_owned())];
    if let Some(id) = id {
        fields.push(("X-Request-ID", id.to_owned()));
    }
    Reply { status, fields, text, apart: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &'static str) -> Taste {
        taste(Some(accept.as_bytes()))
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
    fn the_answer_to_a_connection_too_many_is_as_long_as_it_says() {
        let (head, text) = FULL.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", text.len())), "{head}");
    }

    #[test]
    fn every_fault_is_an_error_status() {
        for fault in [Fault::Connect, Fault::BadHost, Fault::UnknownHost, Fault::NoHealthyTarget] {
            assert!(status(fault).0.as_u16() >= 400);
        }
    }
}

//! What the access log says about an exchange.

use std::time::Duration;
use std::time::SystemTime;

use http::HeaderValue;
use http::Method;
use http::Uri;
use http::Version;
use http::header;
use http::header::HeaderName;
use http::request::Parts;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::observe::access::Entry;
use crate::proxy::exchange::Exchange;

/// The part of a request head that the log repeats. Copies of handles, not of bytes.
pub(super) struct Asked {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Asked {
    /// What is worth repeating of this head.
    pub(super) fn of(head: &Parts) -> Self {
        let field = |name: HeaderName| head.headers.get(name).cloned();
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            host: field(header::HOST),
            referer: field(header::REFERER),
            user_agent: field(header::USER_AGENT),
        }
    }
}

impl Exchange {
    /// Writes the exchange's line.
    pub(super) fn log(&self, took: Duration, status: u16, outcome: Outcome, fault: Option<Fault>) {
        let Some(asked) = &self.asked else { return };
        let pool = self.pool.borrow();
        let at = self.target.get();
        let address = pool.as_ref().and_then(|pool| pool.targets.get(at?));
        let named = asked.uri.authority().map(http::uri::Authority::as_str);
        let request_id = self.request_id.borrow();
        self.worker.log.write(&Entry {
            at: SystemTime::now(),
            client: self.connection.client.address,
            method: asked.method.as_str(),
            scheme: self.connection.client.scheme,
            host: named
                .or_else(|| asked.host.as_ref()?.to_str().ok())
                .unwrap_or_default(),
            target: asked
                .uri
                .path_and_query()
                .map_or("", http::uri::PathAndQuery::as_str),
            protocol: protocol(asked.version),
            status,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            upstream: pool.as_ref().map_or("", |pool| &pool.upstream),
            colour: pool.as_ref().map_or("", |pool| pool.colour_label()),
            target_address: address.map_or("", |target| &target.name),
            attempts: self.attempts.get(),
            connect: self.connect.get(),
            first_byte: self.first_byte.get(),
            took,
            outcome,
            fault,
            request_id: request_id
                .as_ref()
                .and_then(|id| id.to_str().ok())
                .unwrap_or_default(),
            referer: asked.referer.as_ref().map(HeaderValue::as_bytes),
            user_agent: asked.user_agent.as_ref().map(HeaderValue::as_bytes),
            generation: self.generation.get(),
            listener: &self.connection.listener.name,
        });
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

//! Where a client of a listener that only redirects is sent.

use crate::http1::head::Authority;
use crate::model::fault::Fault;
use crate::proxy::connection::Connection;
use crate::proxy::handler::Plan;
use crate::proxy::head::Head;

/// The same URL with `https`. A client that named the port of the listener itself reaches us
/// directly, and is sent to the port of the first TLS listener; one that did not is behind a port
/// mapping (or uses the standard ports), and is sent to the standard one.
pub(super) fn redirect(
    connection: &Connection,
    head: &impl Head,
    host: &str,
) -> Result<Plan, Fault> {
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
    Ok(Plan::Redirect(location))
}

//! Listeners against each other: who may bind what, and where a redirect can lead.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::check::below;
use crate::config::check::word;
use crate::config::read::Field;
use crate::config::read::Reader;
use crate::config::written;
use crate::model::settings::CertificateFiles;
use crate::model::settings::ListenerSettings;

/// The listeners, and the admin's address checked against them.
pub(crate) fn meaning(
    file: &written::Proxy,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> Vec<ListenerSettings> {
    let Some(list) = file.listeners.good() else { return Vec::new() };
    let mut listeners = Vec::new();
    let mut bound: Vec<(String, SocketAddr)> = Vec::new();
    for (index, field) in list.0.iter().enumerate() {
        let Some(written) = field.good() else { continue };
        let at = format!("listeners[{index}]");
        check_kind(written, &at, reader);
        let Some(bind) = word(&written.bind).copied() else { continue };
        check_bind(&format!("{at}.bind"), bind, &mut bound, reader);
        let tls = written.tls.good().map(|tls| certificates(tls, &at, folder));
        let redirect_to_https = written.redirect_to_https.good().copied().unwrap_or(false);
        listeners.push(ListenerSettings { bind, tls, redirect_to_https });
    }
    if let Some(bind) = file.admin.good().and_then(|admin| word(&admin.bind)) {
        check_bind("admin.bind", *bind, &mut bound, reader);
    }
    check_redirects(&list.0, reader);
    listeners
}

fn check_kind(written: &written::Listener, at: &str, reader: &mut Reader<'_>) {
    if written.redirect_to_https == Field::Good(true) && !written.tls.is_absent() {
        let hint = "a listener with tls already speaks https: remove one of the two".to_owned();
        let path = format!("{at}.redirect_to_https");
        reader.problem(&path, "stands beside tls", Some(hint));
    }
}

/// A redirect without a TLS listener leads nowhere.
fn check_redirects(list: &[Field<written::Listener>], reader: &mut Reader<'_>) {
    // A listener that could not be read may well be the missing one.
    let unsure = list
        .iter()
        .any(|field| field.good().is_none_or(|l| !l.tls.is_absent()));
    if unsure {
        return;
    }
    for (index, field) in list.iter().enumerate() {
        if field
            .good()
            .is_some_and(|l| l.redirect_to_https == Field::Good(true))
        {
            let hint = "add a listener with tls, or set this to false".to_owned();
            let path = format!("listeners[{index}].redirect_to_https");
            reader.problem(&path, "no listener has tls: the redirect leads nowhere", Some(hint));
        }
    }
}

fn check_bind(
    key_path: &str,
    bind: SocketAddr,
    bound: &mut Vec<(String, SocketAddr)>,
    reader: &mut Reader<'_>,
) {
    let taken = bound.iter().find(|(_, other)| overlap(bind, *other));
    if let Some((other_path, other)) = taken {
        let what = if bind == *other {
            format!("{bind} is already bound by {other_path}")
        } else {
            format!("{bind} overlaps with {other}, bound by {other_path}")
        };
        reader.problem(key_path, what, None);
    }
    bound.push((key_path.to_owned(), bind));
}

/// Whether the kernel would give a connection to either: the same address, or one takes all of them.
/// `[::]` takes IPv4 too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && narrow.is_ipv4(),
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

fn certificates(tls: &written::Tls, at: &str, folder: &Path) -> Vec<CertificateFiles> {
    let Some(list) = tls.certificates.good() else { return Vec::new() };
    let files = |(index, field): (usize, &Field<written::Certificate>)| {
        let written = field.good()?;
        Some(CertificateFiles {
            cert: below(folder, word(&written.cert)?),
            key: below(folder, word(&written.key)?),
            place: format!("{at}.tls.certificates[{index}]"),
        })
    };
    list.0.iter().enumerate().filter_map(files).collect()
}

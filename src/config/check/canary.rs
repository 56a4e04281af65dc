//! How canaries choose their users, and hosts of previews.

use crate::config::check::set;
use crate::config::check::word;
use crate::config::read::Field;
use crate::config::read::Reader;
use crate::config::written;
use crate::model::route::HostRule;
use crate::model::settings::CanarySettings;
use crate::model::settings::Pin;
use crate::model::settings::PinnedBy;
use crate::model::settings::PreviewSettings;
use crate::model::settings::RouteSettings;
use crate::model::settings::UpstreamSettings;

/// How a canary of the upstream at `at` chooses its users.
pub(crate) fn canary(
    field: &Field<written::Canary>,
    at: &str,
    reader: &mut Reader<'_>,
) -> CanarySettings {
    let mut canary = CanarySettings::default();
    let Some(written) = field.good() else { return canary };
    set(&written.sticky, &mut canary.sticky);
    if let Some(name) = word(&written.cookie) {
        canary.cookie = name.0.as_str().into();
    }
    let list = written.pins.good().map(|list| list.0.as_slice());
    for (index, field) in list.unwrap_or_default().iter().enumerate() {
        let Some(written) = field.good() else { continue };
        canary
            .pins
            .extend(pin(written, &format!("{at}.canary.pins[{index}]"), reader));
    }
    canary
}

fn pin(written: &written::Pin, at: &str, reader: &mut Reader<'_>) -> Option<Pin> {
    if written.header.is_absent() == written.cookie.is_absent() {
        let what = if written.header.is_absent() {
            "names nothing to look at"
        } else {
            "names two things"
        };
        let hint = "write either header or cookie, and the value it must have".to_owned();
        reader.problem(at, what, Some(hint));
        return None;
    }
    let header = word(&written.header).map(|name| PinnedBy::Header(name.as_str().to_owned()));
    let cookie = word(&written.cookie).map(|name| PinnedBy::Cookie(name.0.clone()));
    Some(Pin {
        by: header.or(cookie)?,
        value: word(&written.value)?.0.clone(),
        colour: word(&written.colour).copied(),
    })
}

/// Where a preview of the upstream at `at` can be seen.
pub(crate) fn preview(
    field: &Field<written::Preview>,
    at: &str,
    reader: &mut Reader<'_>,
) -> PreviewSettings {
    let host = field.good().and_then(|written| word(&written.host));
    let host = host.and_then(|rule| match rule {
        HostRule::Exact(host) => Some(host.as_str().into()),
        HostRule::Any | HostRule::Wildcard(_) => {
            let hint = "everybody else's requests must not be among them".to_owned();
            let what = format!("{rule} is not one host");
            reader.problem(&format!("{at}.preview.host"), what, Some(hint));
            None
        }
    });
    PreviewSettings { host }
}

/// A host on which one upstream is previewed leads nowhere else.
pub(crate) fn check_hosts<'a>(
    upstreams: impl Iterator<Item = (&'a str, &'a UpstreamSettings)>,
    routes: &[RouteSettings],
    reader: &mut Reader<'_>,
) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (name, upstream) in upstreams {
        let Some(host) = upstream.preview.host.as_deref() else { continue };
        let routed = routes
            .iter()
            .position(|route| matches!(&route.host, HostRule::Exact(other) if other == host));
        let first = seen.iter().find(|(_, other)| *other == host);
        let taken = routed
            .map(|index| format!("routes[{index}]"))
            .or_else(|| first.map(|(name, _)| format!("upstreams.{name}.preview")));
        if let Some(taken) = taken {
            let hint = "give previews a host of their own: it needs no route".to_owned();
            let at = format!("upstreams.{name}.preview.host");
            reader.problem(&at, format!("{host} is the host of {taken} already"), Some(hint));
        }
        seen.push((name, host));
    }
}

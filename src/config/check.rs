//! The file as meant: defaults filled in, paths made absolute, and everything that only shows when
//! two places are seen together.

mod canary;
mod doors;
mod listeners;
mod releases;
mod upstreams;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::check::doors::Doors;
use crate::config::check::upstreams::Around;
use crate::config::numbers::Whole;
use crate::config::place::Places;
use crate::config::read::Field;
use crate::config::read::Read;
use crate::config::read::Reader;
use crate::config::read::ShortOr;
use crate::config::tree::Node;
use crate::config::words::Parsed;
use crate::config::written;
use crate::model::problem::Problem;
use crate::model::settings::AccessLog;
use crate::model::settings::ControlSettings;
use crate::model::settings::Limits;
use crate::model::settings::LogDestination;
use crate::model::settings::Settings;
use crate::model::settings::TimeoutOverrides;
use crate::model::settings::Timeouts;

/// More problems than this are counted, not listed.
const PROBLEMS_MAX: usize = 100;

/// The longest path a Unix socket can have, in bytes (`sun_path` with its final NUL).
const SOCKET_PATH_MAX: usize = 107;

/// Checks a whole file whose relative paths are below `folder`.
pub(crate) fn settings(
    root: &Node,
    places: &Places,
    folder: &Path,
) -> Result<Settings, Vec<Problem>> {
    let mut reader = Reader::new(places);
    let read = written::Proxy::read(root, &mut reader);
    let settings = read.map(|file| meaning(&file, folder, &mut reader));
    let mut problems = reader.into_problems();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        Some(_) | None => {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            let more = problems.len().saturating_sub(PROBLEMS_MAX);
            problems.truncate(PROBLEMS_MAX);
            if more > 0 {
                problems.push(places.problem("", format!("{more} more problems"), None));
            }
            Err(problems)
        }
    }
}

/// Only complete if the reader has found no problem: what is bad is left out, so that everything
/// else can still be compared with its neighbours.
fn meaning(file: &written::Proxy, folder: &Path, reader: &mut Reader<'_>) -> Settings {
    let timeouts = timeouts(&file.timeouts);
    let listeners = listeners::meaning(file, folder, reader);
    let control = control(&file.control, folder, reader);
    let admin = file
        .admin
        .good()
        .and_then(|admin| word(&admin.bind))
        .copied();
    let doors = Doors { admin, control: control.socket.clone() };
    let upstreams = upstreams::meaning(&file.upstreams, Around { folder, doors: &doors }, reader);
    let routes = upstreams::routes(file, reader);
    let named = upstreams.iter().map(|(name, upstream)| (&**name, upstream));
    canary::check_hosts(named, &routes, reader);
    let trusted = file
        .trusted_proxies
        .good()
        .map(|list| goods(&list.0))
        .unwrap_or_default();
    Settings {
        listeners,
        routes,
        upstreams,
        timeouts,
        limits: limits(&file.limits),
        workers: word(&file.workers).and_then(|workers| workers.0),
        trusted_proxies: trusted.into_iter().map(|network| network.0).collect(),
        control,
        admin,
        access_log: access_log(&file.access_log, folder),
        state_dir: below(
            folder,
            word(&file.state_dir).unwrap_or(&PathBuf::from("/var/lib/proxyd")),
        ),
        user: word(&file.user).map(|account| account.0.clone()),
    }
}

/// The good values of a list.
fn goods<T: Clone>(fields: &[Field<T>]) -> Vec<T> {
    fields
        .iter()
        .filter_map(|field| field.good().cloned())
        .collect()
}

/// The value of a field that is one word.
fn word<T>(field: &Field<Parsed<T>>) -> Option<&T> {
    field.good().map(|parsed| &parsed.0)
}

fn set<T: Clone>(field: &Field<Parsed<T>>, to: &mut T) {
    if let Some(value) = word(field) {
        to.clone_from(value);
    }
}

/// A path of the file: relative to the folder it stands in.
fn below(folder: &Path, path: &Path) -> PathBuf {
    let path = folder.join(path);
    std::path::absolute(&path).unwrap_or(path)
}

/// Reports a socket path that the kernel cannot take.
fn check_socket_path(path: &Path, key_path: &str, reader: &mut Reader<'_>) {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let what = format!("the socket path {} has {length} bytes", path.display());
        let hint = format!("the kernel takes at most {SOCKET_PATH_MAX}: choose a shorter path");
        reader.problem(key_path, what, Some(hint));
    }
}

fn timeouts(field: &Field<written::Timeouts>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    if let Some(written) = field.good() {
        set(&written.tls_handshake, &mut timeouts.tls_handshake);
        set(&written.request_header, &mut timeouts.request_header);
        set(&written.request_body, &mut timeouts.request_body);
        set(&written.idle, &mut timeouts.idle);
        set(&written.send, &mut timeouts.send);
        set(&written.connect, &mut timeouts.connect);
        set(&written.response, &mut timeouts.response);
        set(&written.tunnel, &mut timeouts.tunnel);
        set(&written.shutdown, &mut timeouts.shutdown);
    }
    timeouts
}

fn overrides(field: &Field<written::TimeoutOverrides>) -> TimeoutOverrides {
    let Some(written) = field.good() else { return TimeoutOverrides::default() };
    let own = |field: &Field<Parsed<Duration>>| word(field).copied();
    TimeoutOverrides {
        request_body: own(&written.request_body),
        send: own(&written.send),
        connect: own(&written.connect),
        response: own(&written.response),
        tunnel: own(&written.tunnel),
    }
}

/// A whole number of the file in the width the model has for it: `u32` always fits.
fn count<const MIN: u32, const MAX: u32>(field: &Field<Whole<MIN, MAX>>, default: usize) -> usize {
    field.good().map_or(default, |number| number.0 as usize)
}

fn limits(field: &Field<written::Limits>) -> Limits {
    let default = Limits::default();
    let Some(written) = field.good() else { return default };
    let head = word(&written.request_header).and_then(|size| usize::try_from(size.0).ok());
    Limits {
        request_header: head.unwrap_or(default.request_header),
        request_headers: count(&written.request_headers, default.request_headers),
        request_body: word(&written.request_body).map_or(default.request_body, |size| size.0),
        request_body_rate: word(&written.request_body_rate)
            .map_or(default.request_body_rate, |rate| rate.0),
        request_body_grace: word(&written.request_body_grace)
            .map_or(default.request_body_grace, |grace| *grace),
        http2_streams: written
            .http2_streams
            .good()
            .map_or(default.http2_streams, |n| n.0),
        connections: count(&written.connections, default.connections),
        connections_per_address: count(
            &written.connections_per_address,
            default.connections_per_address,
        ),
        requests: count(&written.requests, default.requests),
        requests_per_address: count(&written.requests_per_address, default.requests_per_address),
        paused: count(&written.paused, default.paused),
        idle_upstream_connections: count(
            &written.idle_upstream_connections,
            default.idle_upstream_connections,
        ),
    }
}

fn control(
    field: &Field<written::Control>,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> ControlSettings {
    let mut control = ControlSettings::default();
    if let Some(written) = field.good() {
        set(&written.socket, &mut control.socket);
        control.mode = word(&written.mode).map_or(control.mode, |mode| mode.0);
    }
    control.socket = below(folder, &control.socket);
    check_socket_path(&control.socket, "control.socket", reader);
    control
}

fn access_log(
    field: &Field<ShortOr<Parsed<LogDestination>, written::AccessLog>>,
    folder: &Path,
) -> AccessLog {
    let mut log = AccessLog::default();
    match field.good() {
        Some(ShortOr::Short(to)) => log.to.clone_from(&to.0),
        Some(ShortOr::Long(written)) => {
            set(&written.to, &mut log.to);
            set(&written.format, &mut log.format);
        }
        None => {}
    }
    if let LogDestination::File(path) = &log.to {
        log.to = LogDestination::File(below(folder, path));
    }
    log
}

//! What the configuration file means, checked and complete: a value of [`Settings`] is valid.
//! Built by `config`; the defaults stand here, each with its reason in `docs/CONFIGURATION.md`.

mod canary;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::choice::skew::SkewSettings;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::route::HostRule;
use crate::model::target::Address;
use crate::model::warmup::WarmupSettings;

pub use crate::model::settings::canary::CanarySettings;
pub use crate::model::settings::canary::Pin;
pub use crate::model::settings::canary::PinnedBy;
pub use crate::model::settings::canary::PreviewSettings;
pub use crate::model::settings::canary::Sticky;
pub use crate::model::settings::canary::USER_COOKIE;

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where connections are accepted, in the order of the file.
    pub listeners: Vec<ListenerSettings>,
    /// Which upstream serves a request, in the order of the file.
    pub routes: Vec<RouteSettings>,
    /// The applications behind the proxy, by name.
    pub upstreams: BTreeMap<Arc<str>, UpstreamSettings>,
    /// Process-wide timeouts.
    pub timeouts: Timeouts,
    /// Process-wide limits.
    pub limits: Limits,
    /// How many workers; `None`: one a core.
    pub workers: Option<usize>,
    /// Networks whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The control socket.
    pub control: ControlSettings,
    /// The admin listener; `None`: there is none.
    pub admin: Option<SocketAddr>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Where the live colours are remembered.
    pub state_dir: PathBuf,
    /// The account to drop to after binding.
    pub user: Option<String>,
}

impl Settings {
    /// The targets of an upstream's colour as the file lists them; none where it has no such pool.
    #[must_use]
    pub fn written(&self, upstream: &str, colour: Colour) -> &[TargetSettings] {
        match (self.upstreams.get(upstream).map(|it| &it.pools), colour) {
            (Some(PoolSettings::Coloured { blue, .. }), Colour::Blue) => blue,
            (Some(PoolSettings::Coloured { green, .. }), Colour::Green) => green,
            (Some(PoolSettings::Single(_)) | None, _) => &[],
        }
    }
}

/// An address on which connections are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The address; port 0 lets the kernel choose (tests).
    pub bind: SocketAddr,
    /// The certificates, the first being the default; `None`: plaintext.
    pub tls: Option<Vec<CertificateFiles>>,
    /// Answer everything but the ACME challenge path with a 308 to `https://`.
    pub redirect_to_https: bool,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Key path in the file (`listeners[1].tls.certificates[0]`), for messages.
    pub place: String,
}

/// A host and path rule that leads to one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Which hosts.
    pub host: HostRule,
    /// A prefix of the raw path that ends at a segment boundary; starts with `/`.
    pub path: String,
    /// A key of [`Settings::upstreams`].
    pub upstream: Arc<str>,
    /// What this route sets for itself.
    pub timeouts: TimeoutOverrides,
}

/// A named application behind the proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSettings {
    /// Its targets.
    pub pools: PoolSettings,
    /// How its targets are probed.
    pub health: HealthSettings,
    /// How its colours change.
    pub promotion: PromotionSettings,
    /// How a canary chooses its users.
    pub canary: Arc<CanarySettings>,
    /// Where its standby colour can be seen.
    pub preview: PreviewSettings,
    /// What one colour does not have is asked of the other one; `None`: nothing is.
    pub skew: Option<Arc<SkewSettings>>,
    /// What this upstream sets for itself.
    pub timeouts: TimeoutOverrides,
}

/// Two pools, or one that cannot be promoted.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolSettings {
    /// A blue and a green pool.
    Coloured {
        /// The blue pool; not empty.
        blue: Vec<TargetSettings>,
        /// The green pool; not empty.
        green: Vec<TargetSettings>,
        /// The live colour at the very first start.
        live: Colour,
    },
    /// `targets:`: one plain pool; not empty.
    Single(Vec<TargetSettings>),
}

/// One address that serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Where it listens.
    pub address: Address,
    /// Its share of the requests relative to its neighbours; 1 or more.
    pub weight: u32,
    /// Used only while no other target of the pool is healthy.
    pub backup: bool,
}

/// How targets are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// The path to ask for.
    pub path: String,
    /// The statuses that count as good.
    pub expect: Vec<RangeInclusive<u16>>,
    /// From one probe's start to the next.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Good probes in a row before a target counts as healthy.
    pub rise: u32,
    /// Bad ones before it no longer does.
    pub fall: u32,
    /// The Host to send; `None`: the first exact host routed to the upstream, else the target.
    pub host: Option<String>,
    /// The response header that names the build, for `promote --build`.
    pub build_header: Option<String>,
}

/// How an upstream's colours change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionSettings {
    /// How long a promote waits for every target.
    pub gate_timeout: Duration,
    /// How long the retired colour may finish its requests before they are cut.
    pub drain_timeout: Duration,
    /// Whether the old colour takes in what the new one has failed, while it is warm.
    pub rescue: bool,
    /// How the new colour is warmed up before its gate; `None`: it is not.
    pub warmup: Option<Arc<WarmupSettings>>,
    /// How long the new colour is compared with the one it replaced; zero: it is not.
    pub bake: Duration,
    /// What becomes of a release that is judged bad.
    pub on_fail: OnFail,
    /// How long after a promote the retired colour is not to be stopped.
    pub hold: Duration,
    /// Within which time after that WebSockets and streams of events are closed, each at a moment of
    /// its own.
    pub close_jitter: Duration,
}

/// Every timeout, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake.
    pub tls_handshake: Duration,
    /// The whole request head.
    pub request_header: Duration,
    /// Between bytes of a request body.
    pub request_body: Duration,
    /// A kept-alive connection with nothing in flight.
    pub idle: Duration,
    /// Between bytes that the client takes.
    pub send: Duration,
    /// Connecting to a target.
    pub connect: Duration,
    /// To the target's head, and between its bytes.
    pub response: Duration,
    /// A tunnel in which nothing moves.
    pub tunnel: Duration,
    /// How long requests may finish after SIGTERM.
    pub shutdown: Duration,
}

/// The timeouts that an upstream or a route may set for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeoutOverrides {
    /// See [`Timeouts::request_body`].
    pub request_body: Option<Duration>,
    /// See [`Timeouts::send`].
    pub send: Option<Duration>,
    /// See [`Timeouts::connect`].
    pub connect: Option<Duration>,
    /// See [`Timeouts::response`].
    pub response: Option<Duration>,
    /// See [`Timeouts::tunnel`].
    pub tunnel: Option<Duration>,
}

/// Every limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head: 431.
    pub request_header: usize,
    /// Fields of a request head: 431.
    pub request_headers: usize,
    /// Bytes of a request body, `None` for unlimited: 413.
    pub request_body: Option<u64>,
    /// Bytes a second of a request body at the least, over the time that the client was waited for;
    /// `None` for any: 408.
    pub request_body_rate: Option<NonZeroU64>,
    /// How long the client is waited for before its rate counts.
    pub request_body_grace: Duration,
    /// Streams at once on an HTTP/2 connection.
    pub http2_streams: u32,
    /// Client connections at once.
    pub connections: usize,
    /// … of one client address.
    pub connections_per_address: usize,
    /// Requests in flight at once: 503.
    pub requests: usize,
    /// … of one client address.
    pub requests_per_address: usize,
    /// Requests that a pause holds at once: 503.
    pub paused: usize,
    /// Idle connections kept to one target by one worker.
    pub idle_upstream_connections: usize,
}

/// The longest request line accepted, in bytes: 414 beyond it.
pub const REQUEST_LINE_MAX: usize = 16 * 1024;

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// Its path.
    pub socket: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// Where requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The destination.
    pub to: LogDestination,
    /// The shape of a line.
    pub format: LogFormat,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, reopened on SIGUSR1.
    File(PathBuf),
}

/// The shape of an access log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
}

impl Timeouts {
    /// These timeouts with what `overrides` sets in their place.
    #[must_use]
    pub fn with(&self, overrides: &TimeoutOverrides) -> Self {
        Self {
            request_body: overrides.request_body.unwrap_or(self.request_body),
            send: overrides.send.unwrap_or(self.send),
            connect: overrides.connect.unwrap_or(self.connect),
            response: overrides.response.unwrap_or(self.response),
            tunnel: overrides.tunnel.unwrap_or(self.tunnel),
            ..*self
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tls_handshake: seconds(10),
            request_header: seconds(10),
            request_body: seconds(60),
            idle: seconds(75),
            send: seconds(60),
            connect: seconds(3),
            response: seconds(60),
            tunnel: seconds(3600),
            shutdown: seconds(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_header: 64 * 1024,
            request_headers: 100,
            request_body: None,
            request_body_rate: NonZeroU64::new(500),
            request_body_grace: Duration::from_secs(30),
            http2_streams: 128,
            connections: 20_000,
            connections_per_address: 1000,
            requests: 20_000,
            requests_per_address: 1000,
            paused: 1000,
            idle_upstream_connections: 128,
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            expect: vec![200..=200],
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 1,
            fall: 3,
            host: None,
            build_header: None,
        }
    }
}

impl Default for PromotionSettings {
    fn default() -> Self {
        Self {
            gate_timeout: Duration::from_secs(100),
            drain_timeout: Duration::from_secs(30),
            rescue: false,
            warmup: None,
            bake: Duration::ZERO,
            on_fail: OnFail::Revert,
            hold: Duration::ZERO,
            close_jitter: Duration::from_secs(5),
        }
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/proxyd/control.sock"), mode: 0o660 }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { to: LogDestination::Stdout, format: LogFormat::Json }
    }
}

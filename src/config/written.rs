//! The sections of the file as they are written: the one list from which reader, schema and hints
//! are made. The doc comments are the schema's descriptions.

mod releases;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::numbers::Mode;
use crate::config::numbers::OrNone;
use crate::config::numbers::RateOrOff;
use crate::config::numbers::Size;
use crate::config::numbers::SizeOrUnlimited;
use crate::config::numbers::Statuses;
use crate::config::numbers::Whole;
use crate::config::numbers::Workers;
use crate::config::read::Known;
use crate::config::read::List;
use crate::config::read::Named;
use crate::config::read::OneOrMore;
use crate::config::read::ShortOr;
use crate::config::read::sections;
use crate::config::release::Switch;
use crate::config::words::Account;
use crate::config::words::Parsed;
use crate::config::words::Prefix;
use crate::config::words::ProbeHost;
use crate::config::words::ProbePath;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::route::HostRule;
use crate::model::settings::LogDestination;
use crate::model::settings::LogFormat;
use crate::model::target::Address;

pub(crate) use crate::config::written::releases::Canary;
pub(crate) use crate::config::written::releases::Pin;
pub(crate) use crate::config::written::releases::Preview;
pub(crate) use crate::config::written::releases::Skew;
pub(crate) use crate::config::written::releases::Warmup;

/// The targets of one pool.
pub(crate) type Pool = List<ShortOr<Parsed<Address>, Target>, 1>;

/// A hand's upper limit: far beyond any machine, near enough to catch a slip.
const MANY: u32 = 10_000_000;

sections! {
    /// The configuration of proxyd.
    Proxy {
        must {
            /// Where connections are accepted.
            listeners: List<Listener, 1>,
            /// Which upstream serves a request. The most specific wins: exact host, then *.wildcard, then any; then the longest path.
            routes: List<Route, 1>,
            /// The applications behind the proxy, by name.
            upstreams: Named<Upstream>,
        }
        may {
            /// How long each step may take.
            timeouts: Timeouts,
            /// How much each peer may send and hold.
            limits: Limits,
            /// Worker threads: a number, or auto for one a core. Changes at a restart.
            workers: Parsed<Workers> = "auto",
            /// Networks whose X-Forwarded-* and Forwarded headers are believed.
            trusted_proxies: List<Parsed<IpNet>, 0> = [],
            /// The control socket. Changes at a restart.
            control: Control,
            /// The admin listener: metrics, health, status. Without this section there is none. Changes at a restart.
            admin: Admin,
            /// Where requests are logged: stdout, off, or a path; or a mapping.
            access_log: ShortOr<Parsed<LogDestination>, AccessLog> = "stdout",
            /// The folder in which the live colours are remembered. Changes at a restart.
            state_dir: Parsed<PathBuf> = "/var/lib/proxyd",
            /// The account to drop to after binding. Changes at a restart.
            user: Parsed<Account>,
        }
    }

    /// An address on which connections are accepted.
    Listener {
        must {
            /// The address and port. An unspecified IPv6 address takes IPv4 too.
            bind: Parsed<SocketAddr>,
        }
        may {
            /// TLS; a listener without it is plaintext.
            tls: Tls,
            /// Answer everything but the ACME challenge path with a 308 to https.
            redirect_to_https: bool = false,
        }
    }

    /// The TLS of a listener.
    Tls {
        must {
            /// Chosen by SNI from the names in each certificate; the first is the default.
            certificates: List<Certificate, 1>,
        }
        may {}
    }

    /// A certificate with its key.
    Certificate {
        must {
            /// PEM file with the chain, leaf first.
            cert: Parsed<PathBuf>,
            /// PEM file with the private key.
            key: Parsed<PathBuf>,
        }
        may {}
    }

    /// A host and path rule that leads to one upstream.
    Route {
        must {
            /// The upstream's name.
            upstream: Parsed<String>,
        }
        may {
            /// www.example.com, *.example.com, or * for any host.
            host: Parsed<HostRule> = "*",
            /// A prefix that ends at a segment boundary.
            path: Parsed<Prefix> = "/",
            /// What this route sets for itself.
            timeouts: TimeoutOverrides,
        }
    }

    /// A named application: a blue and a green pool, or plain targets.
    Upstream {
        must {}
        may {
            /// The targets of the blue pool.
            blue: Pool,
            /// The targets of the green pool.
            green: Pool,
            /// The live colour at the very first start; afterwards the state directory remembers.
            live: Parsed<Colour> = "blue",
            /// The targets of a plain upstream, which has no colours and cannot be promoted.
            targets: Pool,
            /// How targets are probed.
            health: Health,
            /// How colours change.
            promotion: Promotion,
            /// How a canary chooses its users.
            canary: Canary,
            /// Where the standby colour can be seen while a preview is ordered.
            preview: Preview,
            /// What one colour does not have may be asked of the other one.
            skew: Skew,
            /// What this upstream sets for itself.
            timeouts: TimeoutOverrides,
        }
    }

    /// One address that serves requests.
    Target {
        must {
            /// host:port, or unix:/path.
            address: Parsed<Address>,
        }
        may {
            /// Its share of the requests relative to its neighbours.
            weight: Whole<1, 1000> = 1,
            /// Used only while no other target of the pool is healthy.
            backup: bool = false,
        }
    }

    /// How targets are probed.
    Health {
        must {}
        may {
            /// The path to ask for.
            path: Parsed<ProbePath> = "/",
            /// The statuses that count as good: one, a range such as 200-299, or a list of those.
            expect: OneOrMore<Parsed<Statuses>> = 200,
            /// From one probe's start to the next.
            interval: Parsed<Duration> = "1s",
            /// How long one probe may take.
            timeout: Parsed<Duration> = "2s",
            /// Good probes in a row before a target counts as healthy.
            rise: Whole<1, 1000> = 1,
            /// Bad probes in a row before a target no longer counts as healthy.
            fall: Whole<1, 1000> = 3,
            /// The Host that probes carry; absent: the first exact host routed to the upstream, else the target's address.
            host: Parsed<ProbeHost>,
            /// The response header that names the build, for promote --build.
            build_header: Parsed<HeaderName>,
        }
    }

    /// How the colours of an upstream change.
    Promotion {
        must {}
        may {
            /// How long a promote waits for every target.
            gate_timeout: Parsed<Duration> = "100s",
            /// How long the retired colour may finish its requests before they are cut.
            drain_timeout: Parsed<Duration> = "30s",
            /// Within which time after that WebSockets and event streams are closed, each at a moment of its own; 10m at most.
            close_jitter: Parsed<Duration> = "5s",
            /// Whether the old colour takes in what the new one has failed, as long as it is warm: on or off.
            rescue: Parsed<Switch> = "off",
            /// How the new colour is warmed up before its gate; absent: it is not.
            warmup: Warmup,
            /// How long the new colour is compared with the one it replaced, and taken back if it is worse; 0s: it is not.
            bake: Parsed<OrNone> = "0s",
            /// What becomes of a release that is judged bad: revert, freeze or notify.
            on_fail: Parsed<OnFail> = "revert",
            /// How long after a promote the retired colour stays ready and is not to be stopped.
            hold: Parsed<OrNone> = "0s",
        }
    }

    /// How long each step may take.
    Timeouts {
        must {}
        may {
            /// The TLS handshake.
            tls_handshake: Parsed<Duration> = "10s",
            /// The whole head of a request.
            request_header: Parsed<Duration> = "10s",
            /// Between bytes of a request body.
            request_body: Parsed<Duration> = "60s",
            /// A kept-alive connection with nothing in flight.
            idle: Parsed<Duration> = "75s",
            /// Between bytes that the client takes.
            send: Parsed<Duration> = "60s",
            /// Connecting to a target.
            connect: Parsed<Duration> = "3s",
            /// To the head of a target's response, and between its bytes.
            response: Parsed<Duration> = "60s",
            /// A tunnel (WebSocket) in which nothing moves.
            tunnel: Parsed<Duration> = "1h",
            /// How long requests may finish after SIGTERM.
            shutdown: Parsed<Duration> = "30s",
        }
    }

    /// The timeouts that an upstream or a route may set for itself; the route wins.
    TimeoutOverrides {
        must {}
        may {
            /// Between bytes of a request body.
            request_body: Parsed<Duration>,
            /// Between bytes that the client takes.
            send: Parsed<Duration>,
            /// Connecting to a target.
            connect: Parsed<Duration>,
            /// To the head of a target's response, and between its bytes.
            response: Parsed<Duration>,
            /// A tunnel (WebSocket) in which nothing moves.
            tunnel: Parsed<Duration>,
        }
    }

    /// How much each peer may send and hold.
    Limits {
        must {}
        may {
            /// Bytes of a request head: 431.
            request_header: Parsed<Size<{ 1 << 10 }, { 1 << 20 }>> = "64KiB",
            /// Fields of a request head: 431.
            request_headers: Whole<1, 1000> = 100,
            /// Bytes of a request body, or unlimited: 413.
            request_body: Parsed<SizeOrUnlimited> = "unlimited",
            /// Bytes a second of a request body at the least, once the grace is over, or off: 408.
            request_body_rate: Parsed<RateOrOff> = "500B",
            /// How long a client is waited for before the rate of its body counts.
            request_body_grace: Parsed<Duration> = "30s",
            /// Streams at once on one HTTP/2 connection.
            http2_streams: Whole<1, 10_000> = 128,
            /// Client connections at once.
            connections: Whole<1, MANY> = 20000,
            /// Connections at once of one client address.
            connections_per_address: Whole<1, MANY> = 1000,
            /// Requests in flight at once: 503.
            requests: Whole<1, MANY> = 20000,
            /// Requests in flight at once of one client address: 503.
            requests_per_address: Whole<1, MANY> = 1000,
            /// Requests that a pause holds at once: 503.
            paused: Whole<0, MANY> = 1000,
            /// Idle connections that one worker keeps to one target; 0 keeps none.
            idle_upstream_connections: Whole<0, MANY> = 128,
        }
    }

    /// The control socket.
    Control {
        must {}
        may {
            /// Its path.
            socket: Parsed<PathBuf> = "/run/proxyd/control.sock",
            /// Its permission bits: who may open it may promote.
            mode: Parsed<Mode> = "0660",
        }
    }

    /// The admin listener.
    Admin {
        must {
            /// The address and port: /metrics, /healthz, /readyz, /status.
            bind: Parsed<SocketAddr>,
        }
        may {}
    }

    /// Where requests are logged, and how.
    AccessLog {
        must {}
        may {
            /// stdout, off, or a path.
            to: Parsed<LogDestination> = "stdout",
            /// json (one object a line), or combined (as Apache and nginx).
            format: Parsed<LogFormat> = "json",
        }
    }
}

/// Every section with the words for where it stands: `"rise" belongs under "health" of an upstream`.
pub(crate) const SECTIONS: &[(&str, &[Known])] = &[
    ("at the top of the file", Proxy::KEYS),
    ("under a listener", Listener::KEYS),
    ("under \"tls\" of a listener", Tls::KEYS),
    ("under \"certificates\" of \"tls\"", Certificate::KEYS),
    ("under a route", Route::KEYS),
    ("under an upstream", Upstream::KEYS),
    ("under a target", Target::KEYS),
    ("under \"health\" of an upstream", Health::KEYS),
    ("under \"promotion\" of an upstream", Promotion::KEYS),
    ("under \"warmup\" of \"promotion\"", Warmup::KEYS),
    ("under \"canary\" of an upstream", Canary::KEYS),
    ("under \"pins\" of \"canary\"", Pin::KEYS),
    ("under \"preview\" of an upstream", Preview::KEYS),
    ("under \"skew\" of an upstream", Skew::KEYS),
    ("under \"timeouts\" at the top of the file", Timeouts::KEYS),
    ("under \"limits\" at the top of the file", Limits::KEYS),
    ("under \"control\" at the top of the file", Control::KEYS),
    ("under \"admin\" at the top of the file", Admin::KEYS),
    ("under \"access_log\" at the top of the file", AccessLog::KEYS),
];

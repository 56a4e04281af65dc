//! Why one request failed, who caused it, and how every request ends.

/// Who caused a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// This proxy, or its configuration.
    Proxy,
    /// The target.
    Upstream,
}

/// Why one request failed. Carries no text and allocates nothing: `proxy::reply` turns it into a
/// status, the access log into a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The head is not HTTP, or can be read in two ways (RFC 9112 §2.2, §5).
    Malformed,
    /// Where the body ends is not said in one clear way (RFC 9112 §6.3).
    BadFraming,
    /// The body is coded in a way that this proxy does not know (RFC 9112 §6.1).
    TransferCoding,
    /// A version that this proxy does not speak (RFC 9110 §15.6.6).
    VersionNotSupported,
    /// The client expects something else than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed,
    /// Content may follow, and nobody says how long it is (RFC 9110 §15.5.12).
    LengthRequired,
    /// Missing, repeated or unusable Host (RFC 9112 §3.2).
    BadHost,
    /// The request line is longer than the limit.
    TargetTooLong,
    /// The head has more bytes or fields than the limit.
    HeadTooLarge,
    /// A method that a reverse proxy does not serve: CONNECT.
    MethodNotAllowed,
    /// The Host belongs to another certificate than the SNI (RFC 9110 §15.5.20).
    Misdirected,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The client began a head and did not finish it in time.
    HeadTimeout,
    /// The client stopped sending its body.
    BodyTimeout,
    /// The client sends its body more slowly than it must.
    BodyTooSlow,
    /// The client's body ended early or broke its framing.
    BodyBroken,
    /// The client left before its answer was complete.
    ClientGone,
    /// The client stopped taking its answer.
    SendTimeout,
    /// No route is for this host.
    UnknownHost,
    /// The host is known, the path is not.
    UnknownPath,
    /// The drain's deadline, or the end of a shutdown.
    Cut,
    /// The same, for what could be ended well: a WebSocket by a Close, a stream of events after one.
    Closed,
    /// As many requests as there may be are in flight.
    RequestsLimit,
    /// … of this client's address.
    AddressRequestsLimit,
    /// A pause held it for as long as it may, or holds as many others as there may be.
    Paused,
    /// No file descriptor is left for a connection to a target.
    OutOfFiles,
    /// Something that must not happen did: counted as lost.
    Internal,
    /// No target could be connected to: the last one refused, was unreachable or unresolved.
    Connect,
    /// … the last one did not answer the connect in time.
    ConnectTimeout,
    /// … and none of the pool's targets was healthy, or each of them drains.
    NoHealthyTarget,
    /// The target sent nothing for too long.
    ResponseTimeout,
    /// The target closed or reset the connection before its answer was complete.
    Reset,
    /// What the target sent is not HTTP.
    Protocol,
}

impl Fault {
    /// Who caused it.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::Malformed
            | Self::BadFraming
            | Self::TransferCoding
            | Self::VersionNotSupported
            | Self::ExpectationFailed
            | Self::LengthRequired
            | Self::BadHost
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::MethodNotAllowed
            | Self::Misdirected
            | Self::BodyTooLarge
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::ClientGone
            | Self::SendTimeout => Side::Downstream,
            Self::UnknownHost
            | Self::UnknownPath
            | Self::RequestsLimit
            | Self::AddressRequestsLimit
            | Self::Paused
            | Self::OutOfFiles
            | Self::Cut
            | Self::Closed
            | Self::Internal => Side::Proxy,
            Self::Connect
            | Self::ConnectTimeout
            | Self::NoHealthyTarget
            | Self::ResponseTimeout
            | Self::Reset
            | Self::Protocol => Side::Upstream,
        }
    }

    /// Whether there was no room for the request: then it takes none.
    #[must_use]
    pub fn is_for_want_of_room(self) -> bool {
        matches!(self, Self::RequestsLimit | Self::AddressRequestsLimit)
    }

    /// The word for it in the access log and in `proxy_client_errors_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed
            | Self::BadFraming
            | Self::TransferCoding
            | Self::VersionNotSupported
            | Self::ExpectationFailed
            | Self::LengthRequired => "malformed",
            Self::BadHost => "bad_host",
            Self::TargetTooLong | Self::HeadTooLarge | Self::BodyTooLarge => "too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyBroken => "body_broken",
            Self::ClientGone => "client_gone",
            Self::SendTimeout => "send_timeout",
            Self::UnknownHost => "unknown_host",
            Self::UnknownPath => "unknown_path",
            Self::RequestsLimit => "requests_limit",
            Self::AddressRequestsLimit => "requests_address_limit",
            Self::Paused => "paused",
            Self::OutOfFiles => "out_of_files",
            Self::Cut => "cut",
            Self::Closed => "closed",
            Self::Internal => "internal",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::NoHealthyTarget => "no_healthy_target",
            Self::HeadTimeout | Self::ResponseTimeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
        }
    }

    /// How a request that ended in this fault is booked.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::UnknownHost | Self::UnknownPath => Outcome::Replied,
            Self::Malformed
            | Self::BadFraming
            | Self::TransferCoding
            | Self::VersionNotSupported
            | Self::ExpectationFailed
            | Self::LengthRequired
            | Self::BadHost
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::MethodNotAllowed
            | Self::Misdirected
            | Self::BodyTooLarge => Outcome::Refused,
            Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::ClientGone
            | Self::SendTimeout => Outcome::ClientGone,
            Self::RequestsLimit | Self::AddressRequestsLimit | Self::Paused | Self::OutOfFiles => {
                Outcome::Shed
            }
            Self::Cut => Outcome::Cut,
            Self::Closed => Outcome::Closed,
            Self::Internal => Outcome::Lost,
            Self::Connect
            | Self::ConnectTimeout
            | Self::NoHealthyTarget
            | Self::ResponseTimeout
            | Self::Reset
            | Self::Protocol => Outcome::UpstreamFault,
        }
    }
}

/// How an accepted request ended: always in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target's answer reached the client whole.
    Answered,
    /// The proxy answered by itself: a redirect, a 404.
    Replied,
    /// The client left, or stopped sending or taking.
    ClientGone,
    /// A target failed.
    UpstreamFault,
    /// Refused as malformed or over a limit.
    Refused,
    /// Turned away because the proxy is full.
    Shed,
    /// Ended by a drain's deadline or a shutdown.
    Cut,
    /// Ended well by the same: a WebSocket got a Close, a stream of events ended after one.
    Closed,
    /// Lost by the proxy itself. Must read 0.
    Lost,
}

impl Outcome {
    /// All of them, for a metric that exists from the start.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Replied,
        Self::ClientGone,
        Self::UpstreamFault,
        Self::Refused,
        Self::Shed,
        Self::Cut,
        Self::Closed,
        Self::Lost,
    ];

    /// The word for it in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Replied => "replied",
            Self::ClientGone => "client_gone",
            Self::UpstreamFault => "upstream_fault",
            Self::Refused => "refused",
            Self::Shed => "shed",
            Self::Cut => "cut",
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }
}

//! The closed sets of words that label values come from.

use crate::model::fault::Fault;

/// Declares a closed set: its words, all of them in order, and each one's place in that order.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$what])* $variant,)+ }

        impl $name {
            /// All of them, so that every series exists from the start.
            pub const ALL: [Self; [$(Self::$variant,)+].len()] = [$(Self::$variant,)+];

            /// The label value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub(super) fn place(self) -> usize {
                self as usize
            }
        }
    };
}

words! {
    /// How a target failed a request: `proxy_upstream_errors_total`.
    UpstreamError {
        /// It could not be connected to, or not in time.
        Connect => "connect",
        /// It sent nothing for too long.
        Timeout => "timeout",
        /// It closed or reset the connection before its answer was complete.
        Reset => "reset",
        /// What it sent is not HTTP.
        Protocol => "protocol",
    }
}

impl UpstreamError {
    /// What a fault means for the target it happened on; `None` if no target is to blame.
    #[must_use]
    pub fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::Connect | Fault::ConnectTimeout => Some(Self::Connect),
            Fault::ResponseTimeout => Some(Self::Timeout),
            Fault::Reset => Some(Self::Reset),
            Fault::Protocol => Some(Self::Protocol),
            Fault::NoHealthyTarget
            | Fault::Malformed
            | Fault::BadFraming
            | Fault::TransferCoding
            | Fault::VersionNotSupported
            | Fault::ExpectationFailed
            | Fault::LengthRequired
            | Fault::BadHost
            | Fault::TargetTooLong
            | Fault::HeadTooLarge
            | Fault::MethodNotAllowed
            | Fault::Misdirected
            | Fault::BodyTooLarge
            | Fault::HeadTimeout
            | Fault::BodyTimeout
            | Fault::BodyTooSlow
            | Fault::BodyBroken
            | Fault::ClientGone
            | Fault::SendTimeout
            | Fault::UnknownHost
            | Fault::UnknownPath
            | Fault::RequestsLimit
            | Fault::AddressRequestsLimit
            | Fault::Paused
            | Fault::OutOfFiles
            | Fault::Cut
            | Fault::Closed
            | Fault::Internal => None,
        }
    }
}

words! {
    /// What a client did wrong: `proxy_client_errors_total`.
    ClientError {
        /// What it sent is not HTTP, or not safe to understand.
        Malformed => "malformed",
        /// Its head did not come in time.
        Timeout => "timeout",
        /// Its request line, head or body is over the limit.
        TooLarge => "too_large",
        /// Missing, repeated or unusable Host.
        BadHost => "bad_host",
        /// A method that a reverse proxy does not serve.
        MethodNotAllowed => "method_not_allowed",
        /// The Host belongs to another certificate than the SNI.
        Misdirected => "misdirected",
        /// It stopped sending its body.
        BodyTimeout => "body_timeout",
        /// It sends its body more slowly than it must.
        BodyTooSlow => "body_too_slow",
        /// Its body ended early or broke its framing.
        BodyBroken => "body_broken",
        /// It left before its answer was complete.
        ClientGone => "client_gone",
        /// It stopped taking its answer.
        SendTimeout => "send_timeout",
        /// It asked for far more than answers: pings, settings, window updates, resets.
        Flood => "flood",
    }
}

impl ClientError {
    /// What a fault says about the client; `None` if the client did not cause it.
    #[must_use]
    pub fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::Malformed
            | Fault::BadFraming
            | Fault::TransferCoding
            | Fault::VersionNotSupported
            | Fault::ExpectationFailed
            | Fault::LengthRequired => Some(Self::Malformed),
            Fault::BadHost => Some(Self::BadHost),
            Fault::TargetTooLong | Fault::HeadTooLarge | Fault::BodyTooLarge => {
                Some(Self::TooLarge)
            }
            Fault::MethodNotAllowed => Some(Self::MethodNotAllowed),
            Fault::Misdirected => Some(Self::Misdirected),
            Fault::HeadTimeout => Some(Self::Timeout),
            Fault::BodyTimeout => Some(Self::BodyTimeout),
            Fault::BodyTooSlow => Some(Self::BodyTooSlow),
            Fault::BodyBroken => Some(Self::BodyBroken),
            Fault::ClientGone => Some(Self::ClientGone),
            Fault::SendTimeout => Some(Self::SendTimeout),
            Fault::UnknownHost
            | Fault::UnknownPath
            | Fault::RequestsLimit
            | Fault::AddressRequestsLimit
            | Fault::Paused
            | Fault::OutOfFiles
            | Fault::Cut
            | Fault::Closed
            | Fault::Internal
            | Fault::Connect
            | Fault::ConnectTimeout
            | Fault::NoHealthyTarget
            | Fault::ResponseTimeout
            | Fault::Reset
            | Fault::Protocol => None,
        }
    }
}

words! {
    /// What became of a connection that a client opened: `proxy_connections_total`.
    ConnectionOutcome {
        /// Served.
        Accepted => "accepted",
        /// Closed at once: `limits.connections`.
        RefusedLimit => "refused_limit",
        /// Closed at once: `limits.connections_per_address`.
        RefusedAddressLimit => "refused_address_limit",
        /// Closed at once: no file descriptor is left but those that are reserved.
        RefusedFiles => "refused_files",
        /// The kernel could not hand it over (no file descriptor left, for one).
        Failed => "failed",
    }
}

words! {
    /// How a TLS handshake ended: `proxy_tls_handshakes_total`.
    HandshakeOutcome {
        /// Complete.
        Ok => "ok",
        /// The client broke it off, or the two have nothing in common.
        Failed => "failed",
        /// Not complete within `timeouts.tls_handshake`.
        Timeout => "timeout",
    }
}

words! {
    /// How a promotion went: `proxy_promotions_total`. One that switched and then had to cut counts
    /// as both.
    PromotionOutcome {
        /// The colour went live.
        Switched => "switched",
        /// Nothing has changed.
        Refused => "refused",
        /// The drain's deadline came and requests had to be ended.
        Cut => "cut",
        /// The colour was judged bad, and the old one made live again.
        Reverted => "reverted",
    }
}

words! {
    /// What a bake has come to: `proxy_verdicts_total`.
    VerdictOutcome {
        /// Nothing speaks against the new colour.
        Passed => "passed",
        /// It is worse than the one it replaced.
        Failed => "failed",
        /// Too little was seen.
        Inconclusive => "inconclusive",
    }
}

words! {
    /// What came of asking the other colour for what one does not have: `proxy_skew_total`.
    SkewOutcome {
        /// The other colour has it.
        Found => "found",
        /// Neither has.
        Missing => "missing",
        /// The other colour did not answer.
        Failed => "failed",
    }
}

words! {
    /// How a drain's deadline ended what it found, short of cutting it: `proxy_streams_closed_total`.
    StreamEnd {
        /// A WebSocket, by a Close.
        WebSocket => "websocket_closed",
        /// A stream of events, after an event.
        Events => "events_ended",
        /// An HTTP/2 stream whose answer had begun, by a reset. It counts as cut, too.
        Reset => "stream_reset",
    }
}

words! {
    /// A part of a promotion: `proxy_promotion_seconds`.
    Phase {
        /// Waiting for good probes.
        Gate => "gate",
        /// Making it durable and publishing it.
        Switch => "switch",
        /// Waiting for the retired colour's requests.
        Drain => "drain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fault::Side;

    const FAULTS: [Fault; 33] = [
        Fault::Malformed,
        Fault::BadFraming,
        Fault::TransferCoding,
        Fault::VersionNotSupported,
        Fault::ExpectationFailed,
        Fault::LengthRequired,
        Fault::BadHost,
        Fault::TargetTooLong,
        Fault::HeadTooLarge,
        Fault::MethodNotAllowed,
        Fault::Misdirected,
        Fault::BodyTooLarge,
        Fault::HeadTimeout,
        Fault::BodyTimeout,
        Fault::BodyTooSlow,
        Fault::BodyBroken,
        Fault::ClientGone,
        Fault::SendTimeout,
        Fault::UnknownHost,
        Fault::UnknownPath,
        Fault::RequestsLimit,
        Fault::AddressRequestsLimit,
        Fault::Paused,
        Fault::OutOfFiles,
        Fault::Cut,
        Fault::Closed,
        Fault::Internal,
        Fault::Connect,
        Fault::ConnectTimeout,
        Fault::NoHealthyTarget,
        Fault::ResponseTimeout,
        Fault::Reset,
        Fault::Protocol,
    ];

    #[test]
    fn a_fault_of_the_client_and_only_that_is_a_client_error_of_the_same_name() {
        for fault in FAULTS {
            let error = ClientError::of(fault);
            assert_eq!(error.is_some(), fault.side() == Side::Downstream, "{fault:?}");
            assert!(error.is_none_or(|error| error.as_str() == fault.as_str()), "{fault:?}");
        }
    }

    #[test]
    fn a_target_is_blamed_only_for_what_the_upstream_caused() {
        for fault in FAULTS {
            assert!(
                UpstreamError::of(fault).is_none() || fault.side() == Side::Upstream,
                "{fault:?}"
            );
        }
    }

    #[test]
    fn each_word_stands_at_its_own_place() {
        for (place, error) in ClientError::ALL.into_iter().enumerate() {
            assert_eq!(error.place(), place);
        }
    }
}

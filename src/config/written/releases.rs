//! The sections that say how an upstream is released.

use std::time::Duration;

use http::HeaderName;

use crate::config::numbers::Whole;
use crate::config::read::List;
use crate::config::read::sections;
use crate::config::release::Factor;
use crate::config::words::CookieName;
use crate::config::words::Parsed;
use crate::config::words::PinValue;
use crate::model::colour::Colour;
use crate::model::pattern::Pattern;
use crate::model::route::HostRule;
use crate::model::settings::Sticky;
sections! {
    /// The new colour is asked what the live one has just been asked, before its gate.
    Warmup {
        must {
            /// Paths whose GETs may be remembered and repeated, such as / or /products/*.
            paths: List<Parsed<Pattern>, 1>,
        }
        may {
            /// How many distinct requests are remembered and repeated.
            requests: Whole<1, 1000> = 200,
            /// How many are repeated a second at the most.
            rate: Whole<1, 10_000> = 50,
            /// Within how much of the live colour's 95th percentile the new one's must come.
            within: Factor = 1.5,
            /// How long it may take; then the promotion goes on, and its receipt says so.
            timeout: Parsed<Duration> = "60s",
            /// How many connections to each new target every worker opens before the switch.
            connections: Whole<0, 100> = 4,
        }
    }

    /// How a canary of an upstream chooses its users.
    Canary {
        must {}
        may {
            /// By what a user is known: cookie (signed, given by the proxy) or address.
            sticky: Parsed<Sticky> = "address",
            /// The name of that cookie.
            cookie: Parsed<CookieName> = "proxyd_user",
            /// Requests that get a colour while a canary runs, whoever sends them.
            pins: List<Pin, 0> = [],
        }
    }

    /// Requests that get a colour while a canary runs: those with this header, or this cookie.
    Pin {
        must {
            /// What the header or the cookie must say, to the letter.
            value: Parsed<PinValue>,
        }
        may {
            /// The name of a header.
            header: Parsed<HeaderName>,
            /// The name of a cookie.
            cookie: Parsed<CookieName>,
            /// The colour they get; absent: the standby one.
            colour: Parsed<Colour>,
        }
    }

    /// Where the standby colour can be seen while a preview is ordered.
    Preview {
        must {}
        may {
            /// A host on which the routes of the upstream lead to the standby colour.
            host: Parsed<HostRule>,
        }
    }

    /// What one colour answers with 404 is asked of the other one, while both are there.
    Skew {
        must {
            /// Paths that this is for, such as /assets/* or *.js; * stands for any characters.
            paths: List<Parsed<Pattern>, 1>,
        }
        may {}
    }
}

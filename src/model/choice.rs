//! What happens to a request that has found its upstream: which colour it gets and why, or that it
//! gets none. Pure: the proxy decides with it, and `proxyctl explain` tells by it.
//!
//! Every effect of a release is a field of the snapshot's [`Upstream`] and a branch here.

mod canary;
pub mod client;
mod cookies;
pub mod preview;
pub mod rescue;
pub mod skew;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::SystemTime;

use crate::model::colour::Colour;
use crate::model::extras::Extras;
use crate::model::orders::pause::is_safe;
use crate::model::split::Split;
use crate::model::upstream::Pools;
use crate::model::upstream::Upstream;

/// A request, as far as a choice looks at it.
pub trait Asked {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The raw path and query.
    fn target(&self) -> &str;
    /// The host asked for, as routes name it.
    fn host(&self) -> &str;
    /// The values of a field, in order; `name` is in lower case.
    fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
    /// Where the client is: trusted proxies are not the client.
    fn client(&self) -> IpAddr;
    /// Whether the client speaks TLS, as far as we know or a trusted proxy says.
    fn is_secure(&self) -> bool;
    /// The time.
    fn now(&self) -> SystemTime;
    /// A number that nobody has had before: the name of a new user.
    fn draw(&self) -> u64;
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// It is sent to the pool of this colour; `None`: to the only one.
    Send {
        /// The colour.
        colour: Option<Colour>,
        /// Why this one.
        why: Why,
        /// What is added to the answer.
        extras: Option<Box<Extras>>,
    },
    /// It is told that the application is being maintained ([`Orders::maintenance`]).
    ///
    /// [`Orders::maintenance`]: crate::model::orders::Orders::maintenance
    Maintain,
    /// The link of a preview was followed: it is led on.
    Lead {
        /// A path of the same host, with its query.
        to: String,
        /// What is added to the answer.
        extras: Box<Extras>,
    },
    /// It asks for a preview that there is not, or not for it.
    Hide,
    /// It is held, and decided about once it is let go ([`Orders::pause`]).
    ///
    /// [`Orders::pause`]: crate::model::orders::Orders::pause
    Hold,
}

/// Why a request gets a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is the live one.
    Live,
    /// Its user is one of a canary's.
    Canary,
    /// A pin of the file says so while a canary runs.
    Pinned,
    /// Its user is one of a canary's, but no target of the standby colour can be used: the live one
    /// stands in.
    StandIn,
    /// It is shown the standby colour by a preview, under an exceptional lease.
    Preview,
}

impl Why {
    /// Whether it is a request like others: what comes of it says something about its colour. Testers
    /// are no measure of what users ask for.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        match self {
            Self::Live | Self::Canary | Self::StandIn => true,
            Self::Pinned | Self::Preview => false,
        }
    }
}

/// Decides about a request to `upstream`. Where [`Upstream::is_plain`], the live colour is all that
/// there is to choose, and nobody need ask.
#[must_use]
pub fn choose(upstream: &Upstream, asked: &impl Asked) -> Choice {
    if let Some(maintenance) = &upstream.orders.maintenance
        && maintenance.until > asked.now()
        && !maintenance.lets_through(asked.client())
    {
        return Choice::Maintain;
    }
    if let Some(pause) = &upstream.orders.pause
        && pause.holds(is_safe(asked.method()), asked.now())
    {
        return Choice::Hold;
    }
    if let Some(choice) = preview::choose(upstream, asked) {
        return choice;
    }
    match &upstream.pools {
        Pools::Coloured { split, .. } if matches!(split, Split::Weighted { .. }) => {
            canary::choose(upstream, *split, asked)
        }
        Pools::Coloured { .. } | Pools::Single(_) => {
            Choice::Send { colour: upstream.live(), why: Why::Live, extras: None }
        }
    }
}

//! What happens to a request that has found its upstream: which colour it gets and why, or that it
//! gets none. Pure: the proxy decides with it, and `proxyctl explain` tells by it.
//!
//! Every effect of a release is a field of the snapshot's [`Upstream`] and a branch here.

pub mod client;

use std::net::IpAddr;
use std::time::SystemTime;

use crate::model::colour::Colour;
use crate::model::upstream::Upstream;

/// A request, as far as a choice looks at it.
pub trait Asked {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The raw path and query.
    fn target(&self) -> &str;
    /// The values of a field, in order; `name` is in lower case.
    fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
    /// Where the client is: trusted proxies are not the client.
    fn client(&self) -> IpAddr;
    /// The time.
    fn now(&self) -> SystemTime;
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is sent to the pool of this colour; `None`: to the only one.
    Send {
        /// The colour.
        colour: Option<Colour>,
        /// Why this one.
        why: Why,
    },
    /// It is told that the application is being maintained ([`Orders::maintenance`]).
    ///
    /// [`Orders::maintenance`]: crate::model::orders::Orders::maintenance
    Maintain,
}

/// Why a request gets a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is the live one.
    Live,
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
    Choice::Send { colour: upstream.live(), why: Why::Live }
}

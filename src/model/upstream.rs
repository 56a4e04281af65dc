//! A named application behind the proxy: its pools and its split.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::choice::skew::SkewSettings;
use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::orders::canary::Canary;
use crate::model::pool::Pool;
use crate::model::settings::CanarySettings;
use crate::model::settings::HealthSettings;
use crate::model::settings::PromotionSettings;
use crate::model::signed::SigningKey;
use crate::model::split::Split;
use crate::model::warmup::Warmup;

/// An upstream as one snapshot sees it.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where its requests go.
    pub pools: Pools,
    /// How its targets are probed.
    pub health: HealthSettings,
    /// The Host that probes carry when `health.host` names none; `None`: the target's address.
    pub public_host: Option<String>,
    /// How its colours change.
    pub promotion: PromotionSettings,
    /// How a canary chooses its users.
    pub canary: Arc<CanarySettings>,
    /// The host on which previews are shown.
    pub preview_host: Option<Arc<str>>,
    /// What signs the cookies and tokens that its clients are given.
    pub key: Arc<SigningKey>,
    /// What one colour does not have is asked of the other one; `None`: nothing is.
    pub skew: Option<Arc<SkewSettings>>,
    /// How a new colour is warmed up, and with what; `None`: it is not.
    pub warmup: Option<Arc<Warmup>>,
    /// What is ordered for it.
    pub orders: Arc<Orders>,
}

/// One pool of each colour, or a single plain one.
#[derive(Debug, Clone)]
pub enum Pools {
    /// Two pools and a split.
    Coloured {
        /// The blue pool.
        blue: Arc<Pool>,
        /// The green pool.
        green: Arc<Pool>,
        /// Which one new requests get.
        split: Split,
        /// Since when the live colour is live.
        since: SystemTime,
        /// The colour that was live before, if one ever was: where a rollback leads.
        previous: Option<Colour>,
    },
    /// A plain pool, which cannot be promoted.
    Single(Arc<Pool>),
}

impl Upstream {
    /// Whether every request gets the live colour: then there is nothing to choose.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.orders.leave_requests_alone() && self.preview_host.is_none()
    }

    /// The pool that a new request gets.
    #[must_use]
    pub fn pick(&self) -> &Arc<Pool> {
        match &self.pools {
            Pools::Coloured { blue, green, split, .. } => match split.live() {
                Colour::Blue => blue,
                Colour::Green => green,
            },
            Pools::Single(pool) => pool,
        }
    }

    /// The pool of a colour, if this upstream has colours.
    #[must_use]
    pub fn pool(&self, colour: Colour) -> Option<&Arc<Pool>> {
        match (&self.pools, colour) {
            (Pools::Coloured { blue, .. }, Colour::Blue) => Some(blue),
            (Pools::Coloured { green, .. }, Colour::Green) => Some(green),
            (Pools::Single(_), Colour::Blue | Colour::Green) => None,
        }
    }

    /// The live colour, if this upstream has colours.
    #[must_use]
    pub fn live(&self) -> Option<Colour> {
        match &self.pools {
            Pools::Coloured { split, .. } => Some(split.live()),
            Pools::Single(_) => None,
        }
    }

    /// The canary that runs, if one does.
    #[must_use]
    pub fn canary_order(&self) -> Option<&Canary> {
        let running = match &self.pools {
            Pools::Coloured { split, .. } => matches!(split, Split::Weighted { .. }),
            Pools::Single(_) => false,
        };
        self.orders.canary.as_ref().filter(|_| running)
    }

    /// All its pools: blue before green.
    pub fn all_pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let (first, second) = match &self.pools {
            Pools::Coloured { blue, green, .. } => (blue, Some(green)),
            Pools::Single(pool) => (pool, None),
        };
        std::iter::once(first).chain(second)
    }
}

//! What people have ordered for one upstream, beside which colour is live: it stands until it is
//! taken back or over, across reloads and restarts. The journal keeps it, the snapshot carries it,
//! and `model::choice` obeys it.

pub mod canary;
pub mod held;
pub mod maintenance;
pub mod moment;
pub mod pause;
pub mod preview;
pub mod targets;

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::model::orders::canary::Canary;
use crate::model::orders::held::Held;
use crate::model::orders::maintenance::Maintenance;
use crate::model::orders::pause::Pause;
use crate::model::orders::preview::Preview;
use crate::model::orders::targets::Drained;
use crate::model::orders::targets::Former;
use crate::model::orders::targets::Targets;

/// Everything that is ordered for one upstream. A field of a newer version is left out when it is
/// read, one that is missing is not ordered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Clients are told that the application is being maintained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// A part of the users gets the standby colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Who has a token sees the standby colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// The retired colour is not to be stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Requests are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Targets that get no new requests, whichever pool they are in.
    #[serde(skip_serializing_if = "Drained::is_empty")]
    pub drained: Drained,
    /// Pools whose targets are not those of the file.
    #[serde(skip_serializing_if = "Targets::is_empty")]
    pub targets: Targets,
    /// What stood in their place before a promotion that is still gating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
}

/// One order of an upstream, by its name in events and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// [`Orders::maintenance`].
    Maintenance,
    /// [`Orders::preview`].
    Preview,
    /// [`Orders::held`].
    Held,
    /// [`Orders::pause`].
    Pause,
    /// [`Orders::targets`].
    Targets,
}

impl Order {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Preview => "preview",
            Self::Held => "held",
            Self::Pause => "pause",
            Self::Targets => "targets",
        }
    }
}

impl Orders {
    /// Whether nothing is ordered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// When the first of them is over.
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        let maintenance = self.maintenance.as_ref().map(|order| order.until);
        let preview = self.preview.as_ref().map(|order| order.until);
        let held = self.held.as_ref().filter(|order| !order.baking);
        let held = held.map(|order| order.until);
        let pause = self.pause.as_ref().map(Pause::end);
        [maintenance, preview, held, pause]
            .into_iter()
            .flatten()
            .min()
    }

    /// Drops what is over at `now`, and says what that was. How long a colour is held whose successor is
    /// still being judged, the verdict says.
    pub fn expire(&mut self, now: SystemTime) -> Vec<Order> {
        let mut over = Vec::new();
        if self
            .maintenance
            .take_if(|order| order.until <= now)
            .is_some()
        {
            over.push(Order::Maintenance);
        }
        if self.preview.take_if(|order| order.until <= now).is_some() {
            over.push(Order::Preview);
        }
        let is_over = |order: &mut Held| !order.baking && order.until <= now;
        if self.held.take_if(is_over).is_some() {
            over.push(Order::Held);
        }
        if self.pause.take_if(|order| order.end() <= now).is_some() {
            over.push(Order::Pause);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::colour::Colour;
    use std::time::Duration;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    fn until(seconds: u64) -> Maintenance {
        let at = EPOCH + Duration::from_secs(seconds);
        Maintenance {
            since: EPOCH,
            until: at,
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            retry_after: Duration::from_secs(120),
            page: None,
        }
    }

    fn paused(seconds: u64) -> Pause {
        Pause {
            since: EPOCH,
            until: EPOCH + Duration::from_secs(seconds),
            writes_only: true,
            max: Duration::from_secs(20),
            over: Duration::from_secs(2),
        }
    }

    #[test]
    fn an_order_is_over_at_its_moment_and_not_before() {
        let mut orders =
            Orders { maintenance: Some(until(10)), pause: Some(paused(20)), ..Orders::default() };
        assert_eq!(orders.next_expiry(), Some(EPOCH + Duration::from_secs(10)));
        assert_eq!(orders.expire(EPOCH + Duration::from_secs(9)), []);
        assert!(!orders.is_empty());
        assert_eq!(orders.expire(EPOCH + Duration::from_secs(10)), [Order::Maintenance]);
        assert_eq!(orders.next_expiry(), Some(EPOCH + Duration::from_secs(22)));
        assert_eq!(orders.expire(EPOCH + Duration::from_secs(21)), [], "some are still let go");
        assert_eq!(orders.expire(EPOCH + Duration::from_secs(22)), [Order::Pause]);
        assert!(orders.is_empty());
    }

    #[test]
    fn a_colour_that_is_held_is_nothing_to_a_request_and_is_let_go_at_its_moment() {
        let held =
            Held { colour: Colour::Blue, until: EPOCH + Duration::from_secs(5), baking: false };
        let mut orders = Orders { held: Some(held), ..Orders::default() };
        assert!(orders.leave_requests_alone() && !orders.is_empty());
        assert_eq!(orders.expire(EPOCH + Duration::from_secs(5)), [Order::Held]);
        let baking =
            Held { colour: Colour::Blue, until: EPOCH + Duration::from_secs(5), baking: true };
        let mut judged = Orders { held: Some(baking), ..Orders::default() };
        assert_eq!(
            (judged.next_expiry(), judged.expire(EPOCH + Duration::from_secs(9))),
            (None, vec![])
        );
        assert!(!Orders { maintenance: Some(until(10)), ..orders }.leave_requests_alone());
    }

    #[test]
    fn orders_are_read_as_they_were_written_and_unknown_ones_are_left_out() {
        let orders =
            Orders { maintenance: Some(until(10)), pause: Some(paused(20)), ..Orders::default() };
        let mut written = serde_json::to_value(&orders).unwrap();
        assert_eq!(written["maintenance"]["until"], "1970-01-01T00:00:10Z");
        written["teleport"] = serde_json::json!({ "to": "mars" });
        assert_eq!(serde_json::from_value::<Orders>(written).unwrap(), orders);
        assert_eq!(serde_json::to_value(Orders::default()).unwrap(), serde_json::json!({}));
    }
}

//! What the end of an exchange says about the pool that served it, for the verdict on a release.

use std::time::Duration;

use crate::model::conduct::Failing;
use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::model::fault::Side;
use crate::proxy::exchange::Exchange;
use crate::proxy::view::WorkerPool;

/// The target has agreed to an upgrade: from there on either side may rest or leave at any time.
const SWITCHING_PROTOCOLS: u16 = 101;

impl Exchange {
    /// Counts it for the verdict on a release, under the route of this number, if it says anything.
    pub(crate) fn counts_on(&self, route: Option<usize>) {
        self.route.set(route);
    }

    /// Counts it on its pool, for the verdict on a release. `first_byte`: as
    /// [`first_byte`](Self::first_byte) says.
    pub(super) fn testify(
        &self,
        pool: &WorkerPool,
        outcome: Outcome,
        fault: Option<Fault>,
        first_byte: Option<Duration>,
    ) {
        // A plain pool is never compared with another.
        let (Some(route), Some(_)) = (self.route.get(), pool.colour) else { return };
        let own = if self.by_target.get() { self.status.get() } else { 0 };
        if let Ok(failing) = judged(own, outcome, fault) {
            let latency = match first_byte {
                Some(took) => took,
                None => self.theirs_since.get().elapsed(),
            };
            pool.conduct()
                .count(self.worker.index, route, failing, latency);
        }
    }
}

/// What came of a request says nothing about its pool.
#[derive(Debug, PartialEq, Eq)]
struct SaysNothing;

/// What an exchange says against its pool. `own` is the status that the target gave, or 0.
///
/// # Errors
///
/// It says nothing, neither for nor against: the client broke its request, the proxy ended it or had
/// no room for it.
fn judged(
    own: u16,
    outcome: Outcome,
    fault: Option<Fault>,
) -> Result<Option<Failing>, SaysNothing> {
    match outcome {
        Outcome::Cut | Outcome::Closed | Outcome::Lost | Outcome::Shed | Outcome::Refused => {
            return Err(SaysNothing);
        }
        Outcome::Answered | Outcome::Replied | Outcome::ClientGone | Outcome::UpstreamFault => {}
    }
    if own == SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    if own >= 500 {
        return Ok(Some(Failing::Status));
    }
    let Some(fault) = fault else { return Ok(None) };
    if fault.side() == Side::Upstream {
        let unreachable =
            matches!(fault, Fault::Connect | Fault::ConnectTimeout | Fault::NoHealthyTarget);
        return Ok(Some(if unreachable {
            Failing::Connect
        } else if fault == Fault::ResponseTimeout {
            Failing::Timeout
        } else {
            Failing::Reset
        }));
    }
    // A client that leaves is no failure; how long it had waited counts all the same.
    let left = matches!(fault, Fault::ClientGone | Fault::SendTimeout);
    left.then_some(None).ok_or(SaysNothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(own: u16, fault: Option<Fault>) -> Result<Option<Failing>, SaysNothing> {
        let outcome = fault.map_or(Outcome::Answered, Fault::outcome);
        judged(own, outcome, fault)
    }

    #[test]
    fn what_the_target_did_wrong_counts_against_it_and_what_the_client_did_never() {
        assert_eq!(says(200, None), Ok(None));
        assert_eq!(says(404, None), Ok(None));
        assert_eq!(says(503, None), Ok(Some(Failing::Status)));
        assert_eq!(says(500, Some(Fault::ClientGone)), Ok(Some(Failing::Status)));
        assert_eq!(says(0, Some(Fault::Connect)), Ok(Some(Failing::Connect)));
        assert_eq!(says(0, Some(Fault::NoHealthyTarget)), Ok(Some(Failing::Connect)));
        assert_eq!(says(200, Some(Fault::Reset)), Ok(Some(Failing::Reset)));
        assert_eq!(says(0, Some(Fault::Protocol)), Ok(Some(Failing::Reset)));
        assert_eq!(says(0, Some(Fault::ResponseTimeout)), Ok(Some(Failing::Timeout)));
        assert_eq!(says(0, Some(Fault::ClientGone)), Ok(None));
        assert_eq!(says(200, Some(Fault::SendTimeout)), Ok(None));
        assert_eq!(says(101, Some(Fault::ResponseTimeout)), Ok(None), "a tunnel may rest");
    }

    #[test]
    fn what_the_proxy_ends_or_turns_away_says_nothing() {
        for fault in [
            Fault::Cut,
            Fault::OutOfFiles,
            Fault::Internal,
            Fault::BodyTooLarge,
            Fault::BodyBroken,
            Fault::BodyTooSlow,
        ] {
            assert_eq!(says(0, Some(fault)), Err(SaysNothing), "{fault:?}");
        }
    }
}

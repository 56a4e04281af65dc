//! The ledger: every request that was taken in ends in exactly one outcome.

use tokio::task::LocalSet;

use crate::proxy::testing::Alone;
use crate::proxy::testing::Faulty;
use crate::proxy::testing::ask;

const ACCEPTED: &str = "proxy_requests_accepted_total";
const LOST: &str = r#"proxy_requests_outcome_total{outcome="lost"}"#;
const REPLIED: &str = r#"proxy_requests_outcome_total{outcome="replied"}"#;

#[tokio::test]
async fn a_panic_is_booked_as_lost_and_costs_one_connection_and_no_other() {
    let test = async {
        let alone = Alone::new();
        let (mut before, serves_before) = alone.client(|stream| stream).await;
        let (mut struck, panicked) = alone.client(Faulty).await;
        assert_eq!(ask(&mut struck).await, "", "closed without a word");
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!((alone.count(ACCEPTED), alone.count(LOST)), (1, 1));
        // The one that was there before, and one that comes after, on the same worker.
        assert!(ask(&mut before).await.starts_with("HTTP/1.1 404 "));
        serves_before.await.unwrap();
        let (mut after, serves_after) = alone.client(|stream| stream).await;
        assert!(ask(&mut after).await.starts_with("HTTP/1.1 404 "));
        serves_after.await.unwrap();
        assert_eq!((alone.count(ACCEPTED), alone.count(LOST), alone.count(REPLIED)), (3, 1, 2));
        assert_eq!(alone.metrics.without_outcome(), 0);
        assert_eq!(alone.worker.clock.len(), 0, "nothing of them is left");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_request_without_an_outcome_shows() {
    let test = async {
        let alone = Alone::new();
        alone.worker.requests.accepted();
        assert_eq!(alone.metrics.without_outcome(), 1);
    };
    LocalSet::new().run_until(test).await;
}

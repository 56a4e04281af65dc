//! How much is sent once more when everything fails.

use std::time::Instant;

use serde_json::json;

use super::count;
use super::unprobed;

#[test]
fn when_every_request_fails_no_more_is_sent_again_than_the_budget_allows() {
    const ASKED: u32 = 300;
    let (one, two, _green, proxy) = unprobed(&json!({}));
    for origin in [&one, &two] {
        origin.tell(|told| told.page = Some("/reset"));
    }
    let mut client = proxy.http();
    let begun = Instant::now();
    for _ in 0..ASKED {
        client.get("/").expect(502);
    }
    let ten_a_second = 10 * (begun.elapsed().as_secs() + 2);
    let again = one.requests().len() + two.requests().len() - ASKED as usize;
    // At each moment the larger of the two counts, and which one that is may change.
    let most = u64::from(ASKED / 5) + ten_a_second;
    assert!((10..=most).contains(&(again as u64)), "{again} of {ASKED}, {most} may be");
    assert_eq!(count(&proxy, "proxy_retries_total"), again as f64);
    let over = count(&proxy, "proxy_retries_over_budget_total");
    assert_eq!(over, f64::from(ASKED) - again as f64);
}

#[test]
fn a_connect_that_fails_counts_against_no_budget() {
    let (dead, alive, _green, proxy) = unprobed(&json!({}));
    dead.kill();
    let mut client = proxy.http();
    for _ in 0..300 {
        client.get("/").expect(200);
        client.post("/", b"").expect(200);
    }
    assert_eq!(alive.requests().len(), 600);
    assert_eq!(count(&proxy, "proxy_retries_over_budget_total"), 0.0);
}

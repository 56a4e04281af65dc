//! The faults of one target of two, one by one. The other is well.

use serde_json::json;

use super::count;
use super::executed;
use super::unprobed;
use super::upload;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::eventually;

/// How a request of `method` with this id fares, over HTTP/1 and HTTP/2.
fn ask(proxy: &Proxy, method: &str, id: &str, h2: bool) -> Result<u16, String> {
    let target = format!("/?id={id}");
    if h2 {
        let answer = proxy.h2().try_request(method, &target, &[], b"");
        return answer.map(|answer| answer.status);
    }
    let answer = proxy.http().try_request(method, &target, &[], b"");
    answer
        .map(|answer| answer.status)
        .map_err(|error| error.to_string())
}

/// Asks until the bad target has had so many requests; `check` is told each: its id, how it fared,
/// and how often it was executed.
fn ask_until_met(
    (bad, good): (&Origin, &Origin),
    proxy: &Proxy,
    method: &str,
    check: impl Fn(&str, Result<u16, String>, usize),
) {
    for n in 0..200 {
        let id = format!("{method}-{n}");
        let fared = ask(proxy, method, &id, n % 2 == 1);
        check(&id, fared, executed([bad, good], &id));
        if bad.requests().len() >= 4 {
            return;
        }
    }
    panic!("the case was never met");
}

#[test]
fn a_target_that_ends_the_connection_without_an_answer_costs_no_idempotent_request() {
    for page in ["/reset", "/close"] {
        for method in ["GET", "HEAD", "DELETE"] {
            let (bad, good, _green, proxy) = unprobed(&json!({}));
            bad.tell(|told| told.page = Some(page));
            ask_until_met((&bad, &good), &proxy, method, |id, fared, executed| {
                assert_eq!(fared, Ok(200), "{page} {id}");
                assert!(executed <= 2, "{page} {id}: {executed}");
            });
            assert!(count(&proxy, "proxy_retries_total") >= 4.0);
        }
    }
}

#[test]
fn a_target_that_ends_the_connection_without_an_answer_never_gets_a_post_repeated() {
    for page in ["/reset", "/close"] {
        for method in ["POST", "PATCH"] {
            let (bad, good, _green, proxy) = unprobed(&json!({}));
            bad.tell(|told| told.page = Some(page));
            ask_until_met((&bad, &good), &proxy, method, |id, fared, executed| {
                assert!(matches!(fared, Ok(200 | 502)), "{page} {id}: {fared:?}");
                assert_eq!(executed, 1, "{page} {id}: {fared:?}");
            });
            assert_eq!(count(&proxy, "proxy_retries_total"), 0.0);
        }
    }
}

#[test]
fn an_upload_that_has_begun_is_never_repeated_whatever_its_method() {
    let (bad, good, _green, proxy) = unprobed(&json!({}));
    bad.tell(|told| told.page = Some("/reset"));
    for n in 0..100 {
        let target = format!("/?id={n}");
        let answer = proxy.http().try_request("PUT", &target, &[], &upload());
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(matches!(status, Ok(200 | 502) | Err(_)), "{answer:?}");
        assert_eq!(executed([&bad, &good], &n.to_string()), 1, "{answer:?}");
        if bad.requests().len() >= 4 {
            return;
        }
    }
    panic!("the case was never met");
}

#[test]
fn an_answer_that_is_not_http_gets_502_and_nothing_is_sent_again() {
    for page in ["/garbage", "/long-head"] {
        let (bad, good, _green, proxy) = unprobed(&json!({}));
        bad.tell(|told| told.page = Some(page));
        ask_until_met((&bad, &good), &proxy, "GET", |id, fared, executed| {
            assert!(matches!(fared, Ok(200 | 502)), "{page} {id}: {fared:?}");
            assert_eq!(executed, 1, "{page} {id}: it has begun to answer");
        });
        let labels = [("outcome", "protocol")];
        let errors = proxy.metrics().sum("proxy_upstream_errors_total", &labels);
        assert!(errors >= 4.0, "{page}: {errors}");
        eventually("its connections are closed", || bad.connections() == 0);
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_and_nothing_is_sent_again() {
    for page in ["/truncate", "/truncate-chunked"] {
        let (bad, good, _green, proxy) = unprobed(&json!({}));
        bad.tell(|told| told.page = Some(page));
        ask_until_met((&bad, &good), &proxy, "GET", |id, fared, executed| {
            let by_bad = bad.executions(id) == 1;
            assert_eq!(fared.is_err(), by_bad, "{page} {id}: taken for whole: {fared:?}");
            assert_eq!(executed, 1, "{page} {id}");
        });
    }
}

#[test]
fn a_target_that_stalls_before_its_answer_gets_504_in_time_and_nothing_is_sent_again() {
    let (bad, good, _green, proxy) = unprobed(&json!({ "timeouts": { "response": "200ms" } }));
    bad.tell(|told| told.page = Some("/stall"));
    ask_until_met((&bad, &good), &proxy, "GET", |id, fared, executed| {
        let expected = if bad.executions(id) == 1 { 504 } else { 200 };
        assert_eq!((fared, executed), (Ok(expected), 1), "{id}");
    });
    bad.wait_until_held(0);
}

#[test]
fn a_target_that_stalls_within_its_answer_is_given_up_and_counted() {
    let (bad, good, _green, proxy) = unprobed(&json!({ "timeouts": { "response": "200ms" } }));
    bad.tell(|told| told.page = Some("/stall-within"));
    ask_until_met((&bad, &good), &proxy, "GET", |id, fared, executed| {
        let by_bad = bad.executions(id) == 1;
        assert_eq!(fared.is_err(), by_bad, "{id}: {fared:?}");
        assert_eq!(executed, 1, "{id}");
    });
    bad.wait_until_held(0);
    let labels = [("outcome", "timeout")];
    let errors = || proxy.metrics().sum("proxy_upstream_errors_total", &labels);
    eventually("each is counted once", || errors() == 4.0);
}

#[test]
fn an_answer_that_comes_while_the_upload_still_runs_reaches_the_client_and_the_upload_ends() {
    let (bad, good, _green, proxy) = unprobed(&json!({}));
    for origin in [&bad, &good] {
        origin.tell(|told| told.page = Some("/early-answer"));
    }
    for n in 0..10 {
        let target = format!("/?id={n}");
        let mut client = proxy.http();
        client.send("POST", &target, &[("Content-Length", "10000000")], b"the beginning");
        client.answer().expect(413);
        assert_eq!(executed([&bad, &good], &n.to_string()), 1);
    }
    eventually("nothing is in flight", || proxy.in_flight("blue") == 0);
}

#[test]
fn a_connection_that_closes_exactly_as_a_request_is_sent_costs_no_get_and_repeats_no_post() {
    let (one, two, _green, proxy) = unprobed(&json!({}));
    for origin in [&one, &two] {
        origin.tell(|told| told.die_on_reuse = true);
    }
    let mut client = proxy.http();
    // No more than the budget allows.
    for n in 0..10 {
        client.get(&format!("/?id=get-{n}")).expect(200);
        let answer = client.post(&format!("/?id=post-{n}"), b"");
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
        assert_eq!(executed([&one, &two], &format!("post-{n}")), 1, "{}", answer.status);
        assert!(executed([&one, &two], &format!("get-{n}")) <= 2);
    }
    let met = |origin: &Origin| origin.requests().iter().any(|seen| seen.nth > 1);
    assert!(met(&one) || met(&two), "the case was never met");
}

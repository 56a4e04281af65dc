//! What leases promise, one thread at a time.

use super::*;
use std::sync::Arc;

impl Holder for Leases {
    fn leases(&self) -> &Leases {
        self
    }
}

#[test]
fn a_retired_pool_refuses_and_leaves_no_trace() {
    let leases = Arc::new(Leases::new(2));
    let held = Lease::take(Arc::clone(&leases), 0).unwrap();
    leases.retire();
    assert_eq!(Lease::take(Arc::clone(&leases), 1).unwrap_err(), Retired);
    assert_eq!(leases.in_flight(), 1);
    drop(held);
    assert_eq!(leases.in_flight(), 0);
}

#[test]
fn a_reopened_pool_takes_leases_and_forgets_the_cut() {
    let leases = Arc::new(Leases::new(1));
    leases.retire();
    leases.cut(Duration::ZERO);
    leases.reopen();
    assert!(!leases.is_cut());
    assert!(Lease::take(leases, 0).is_ok());
}

#[test]
fn a_retired_pool_lets_exceptions_in_and_a_shut_one_nobody() {
    let leases = Arc::new(Leases::new(2));
    leases.retire();
    let rescue = Lease::take_exceptional(Arc::clone(&leases), 1).unwrap();
    assert!(rescue.is_exceptional());
    assert_eq!((leases.plain(), leases.in_flight(), leases.exceptional_of(1)), (0, 1, 1));
    leases.shut();
    assert_eq!(Lease::take_exceptional(Arc::clone(&leases), 0).unwrap_err(), Retired);
    assert_eq!(Lease::take(Arc::clone(&leases), 0).unwrap_err(), Retired);
    assert_eq!(leases.in_flight(), 1, "who is in stays in");
    drop(rescue);
    assert_eq!(leases.in_flight(), 0);
    leases.retire();
    assert!(leases.is_retired() && !leases.is_shut());
    assert!(Lease::take_exceptional(Arc::clone(&leases), 0).is_ok());
}

#[test]
fn an_exception_that_comes_after_a_cut_is_not_cut() {
    let leases = Arc::new(Leases::new(1));
    leases.shut();
    leases.cut(Duration::ZERO);
    leases.retire();
    assert!(!leases.is_cut());
}

#[test]
fn a_cut_is_counted_by_kind_and_gives_everything_back() {
    let leases = Arc::new(Leases::new(1));
    let take = || Lease::take(Arc::clone(&leases), 0).unwrap();
    let requests = [take(), take()];
    let mut tunnels = [take(), take()];
    for tunnel in &mut tunnels {
        tunnel.become_tunnel();
        tunnel.become_tunnel();
    }
    let events = take();
    assert_eq!((leases.in_flight(), leases.tunnels()), (5, 2));
    leases.cut(Duration::from_millis(1500));
    assert_eq!(leases.cut_spread(), Duration::from_millis(1500));
    for (request, how) in requests.into_iter().zip([CutAs::Force, CutAs::Reset]) {
        request.end_as_cut(how);
    }
    for (tunnel, how) in tunnels.into_iter().zip([CutAs::Force, CutAs::WebSocket]) {
        tunnel.end_as_cut(how);
    }
    events.end_as_cut(CutAs::Events);
    let count = CutCount {
        requests: 2,
        tunnels: 1,
        streams_reset: 1,
        websockets_closed: 1,
        events_ended: 1,
    };
    assert_eq!(leases.cut_count(), count);
    assert_eq!(count.forced(), 3, "what ended well is not among them");
    assert_eq!((leases.in_flight(), leases.tunnels()), (0, 0));
}

//! What leases promise, in every interleaving of two threads that loom finds.
//!
//! Run with `RUSTFLAGS="--cfg loom_model" cargo test --lib --target-dir target/loom loom_`. The name is
//! our own: tokio and others change their shape under plain `--cfg loom`.

use super::*;
use loom::sync::Arc;

struct Shared(Arc<Leases>);

impl Holder for Shared {
    fn leases(&self) -> &Leases {
        &self.0
    }
}

#[test]
fn loom_a_drained_pool_never_receives_another_lease() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(2));
        let working = Arc::new(AtomicBool::new(false));
        let worker = loom::thread::spawn({
            let (leases, working) = (Arc::clone(&leases), Arc::clone(&working));
            move || {
                if let Ok(lease) = Lease::take(Shared(leases), 1) {
                    working.store(true, Ordering::Release);
                    working.store(false, Ordering::Release);
                    drop(lease);
                }
            }
        });
        leases.retire();
        if leases.in_flight() == 0 {
            // Drained: whoever had a lease has ended, and nobody gets one any more.
            assert!(!working.load(Ordering::Acquire));
            worker.join().unwrap();
            assert!(!working.load(Ordering::Acquire));
            assert_eq!(leases.in_flight(), 0);
        } else {
            worker.join().unwrap();
        }
    });
}

/// A receipt and a guard: shut first, look at both counts second.
#[test]
fn loom_a_shut_pool_that_was_found_empty_never_receives_another_exception() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(2));
        leases.retire();
        let working = Arc::new(AtomicBool::new(false));
        let worker = loom::thread::spawn({
            let (leases, working) = (Arc::clone(&leases), Arc::clone(&working));
            move || {
                if let Ok(lease) = Lease::take_exceptional(Shared(leases), 1) {
                    working.store(true, Ordering::Release);
                    working.store(false, Ordering::Release);
                    drop(lease);
                }
            }
        });
        leases.shut();
        if leases.in_flight() == 0 {
            // Safe to kill: whoever had a lease has ended, and nobody gets one any more.
            assert!(!working.load(Ordering::Acquire));
            worker.join().unwrap();
            assert!(!working.load(Ordering::Acquire));
            assert_eq!(leases.in_flight(), 0);
        } else {
            worker.join().unwrap();
        }
    });
}

/// A refused guard lets exceptions in again.
#[test]
fn loom_after_a_shut_pool_is_retired_again_it_takes_exceptions_and_no_plain_leases() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(1));
        leases.retire();
        leases.shut();
        let worker = loom::thread::spawn({
            let leases = Arc::clone(&leases);
            move || Lease::take(Shared(leases), 0).is_ok()
        });
        leases.retire();
        assert!(!worker.join().unwrap(), "never open in between");
        assert!(Lease::take_exceptional(Shared(Arc::clone(&leases)), 0).is_ok());
        assert_eq!(leases.in_flight(), 0);
    });
}

#[test]
fn loom_after_a_reopen_the_pool_takes_leases() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(1));
        leases.retire();
        let worker = loom::thread::spawn({
            let leases = Arc::clone(&leases);
            move || Lease::take(Shared(leases), 0).is_ok()
        });
        leases.reopen();
        let _ = worker.join().unwrap();
        assert!(Lease::take(Shared(Arc::clone(&leases)), 0).is_ok());
        assert_eq!(leases.in_flight(), 0);
    });
}

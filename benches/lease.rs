//! What counting a request in and out costs: alone, beside another worker, and while a drain looks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use proxyd::sync::lease::Holder;
use proxyd::sync::lease::Lease;
use proxyd::sync::lease::Leases;

struct Pool(Leases);

impl Holder for Pool {
    fn leases(&self) -> &Leases {
        &self.0
    }
}

fn take_and_drop(pool: &Arc<Pool>, worker: usize) {
    drop(black_box(Lease::take(Arc::clone(pool), worker)));
}

/// Measures worker 0 while another thread does `meanwhile` without a pause.
fn beside(c: &mut Criterion, name: &str, meanwhile: fn(&Arc<Pool>)) {
    let pool = Arc::new(Pool(Leases::new(2)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                meanwhile(&pool);
            }
        });
        c.bench_function(name, |b| b.iter(|| take_and_drop(&pool, 0)));
        stop.store(true, Ordering::Relaxed);
    });
}

fn lease(c: &mut Criterion) {
    let pool = Arc::new(Pool(Leases::new(2)));
    c.bench_function("lease, alone", |b| b.iter(|| take_and_drop(&pool, 0)));
    beside(c, "lease, another worker takes its own", |pool| take_and_drop(pool, 1));
    beside(c, "lease, another worker shares the cell", |pool| take_and_drop(pool, 0));
    beside(c, "lease, a drain looks", |pool| {
        black_box(pool.leases().in_flight());
    });
}

criterion_group!(benches, lease);
criterion_main!(benches);

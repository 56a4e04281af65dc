//! What finding a route costs, from one route to a thousand hosts.

use std::hint::black_box;

use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use proxyd::model::route::HostRule;
use proxyd::model::route::Route;
use proxyd::model::route::Routes;
use proxyd::model::route::host_of;
use proxyd::model::settings::Timeouts;

/// A route for each host `appN.example.com`, every tenth with a path of its own.
fn table(count: usize) -> Routes {
    let routes = (0..count).map(|at| Route {
        host: HostRule::Exact(format!("app{at}.example.com")),
        path: if at % 10 == 9 { "/api".to_owned() } else { "/".to_owned() },
        number: at,
        upstream: at,
        timeouts: Timeouts::default(),
    });
    Routes::new(routes.collect())
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("route lookup");
    for count in [1, 10, 1000] {
        let routes = table(count);
        group.bench_with_input(BenchmarkId::new("exact host", count), &routes, |b, routes| {
            b.iter(|| {
                let host = host_of(black_box("app0.example.com:443"));
                host.map(|host| routes.find(&host, black_box("/api/v1/orders")).is_ok())
            });
        });
        group.bench_with_input(BenchmarkId::new("unknown host", count), &routes, |b, routes| {
            b.iter(|| routes.find(black_box("other.example.org"), "/").is_ok());
        });
    }
    group.finish();
}

/// One host with many prefixes: the list that is walked.
fn prefixes(c: &mut Criterion) {
    let routes = (0..100).map(|at| Route {
        host: HostRule::Any,
        path: format!("/service/{at:03}"),
        number: at,
        upstream: at,
        timeouts: Timeouts::default(),
    });
    let routes = Routes::new(routes.collect());
    let mut group = c.benchmark_group("prefix lookup among 100");
    group.bench_function("plain path", |b| {
        b.iter(|| routes.find("any", black_box("/service/050/orders")).is_ok());
    });
    group.bench_function("path to normalise", |b| {
        b.iter(|| {
            routes
                .find("any", black_box("/x/../service/%30%35%30/orders"))
                .is_ok()
        });
    });
    group.finish();
}

criterion_group!(benches, lookup, prefixes);
criterion_main!(benches);

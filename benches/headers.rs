//! What rewriting the head of a request costs: hop-by-hop fields out, forwarding fields in.

use std::hint::black_box;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use criterion::BatchSize;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use proxyd::proxy::headers::Client;
use proxyd::proxy::headers::join_cookies;
use proxyd::proxy::headers::set_forwarding;
use proxyd::proxy::headers::strip_hop_by_hop;

/// What a browser sends.
const BROWSER: &[(&str, &str)] = &[
    ("host", "dev-api.example.com"),
    ("connection", "keep-alive"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,ko;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://dev-api.example.com/orders"),
    ("cookie", "session=8c1f0f6c9d; theme=dark"),
    ("cache-control", "no-cache"),
    ("priority", "u=0, i"),
];

/// What a client adds that claims to be someone else, and hides a field behind `Connection`.
const CLAIMS: &[(&str, &str)] = &[
    ("connection", "x-secret, upgrade"),
    ("x-secret", "1"),
    ("keep-alive", "timeout=5"),
    ("te", "trailers"),
    ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=203.0.113.7;proto=https"),
];

fn head(fields: &[&[(&'static str, &'static str)]]) -> HeaderMap {
    let lines = fields.iter().copied().flatten();
    lines
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
}

fn rewrite(c: &mut Criterion) {
    let host = HeaderValue::from_static("dev-api.example.com");
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17));
    let stranger = Client::new(address, 443, true, &[]);
    let trusted = match "192.0.2.0/24".parse() {
        Ok(network) => Client::new(address, 443, true, &[network]),
        Err(_) => return,
    };
    let cases = [
        ("browser", head(&[BROWSER]), &stranger),
        ("a stranger's claims", head(&[BROWSER, CLAIMS]), &stranger),
        ("a trusted proxy's claims", head(&[BROWSER, CLAIMS]), &trusted),
    ];
    let mut group = c.benchmark_group("rewrite request head");
    for (name, fields, client) in cases {
        group.bench_function(name, |b| {
            b.iter_batched(
                || fields.clone(),
                |mut fields| {
                    strip_hop_by_hop(&mut fields);
                    join_cookies(&mut fields);
                    set_forwarding(&mut fields, black_box(&host), client);
                    fields
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rewrite);
criterion_main!(benches);

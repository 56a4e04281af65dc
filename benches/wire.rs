//! What the wire costs: a head read, and rewritten for the other side. For instructions instead of
//! time: `valgrind --tool=callgrind <this binary> --test plain`, and what `wire_request` costs.

use std::hint::black_box;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use proxyd::http1::chunked::Decoder;
use proxyd::http1::chunked::Encoder;
use proxyd::http1::framing::Framing;
use proxyd::http1::head;
use proxyd::http1::head::Asked;
use proxyd::http1::head::Authority;
use proxyd::http1::head::Fields;
use proxyd::http1::head::HeadLimits;
use proxyd::http1::head::Parsed;
use proxyd::http1::rewrite;
use proxyd::http1::rewrite::ClientFacts;
use proxyd::http1::rewrite::ConnectionLine;
use proxyd::http1::rewrite::Homeward;
use proxyd::http1::rewrite::Onward;

const LIMITS: HeadLimits = HeadLimits { bytes: 65536, fields: 100, target: 16384 };

/// What a load generator sends.
const PLAIN: &str = "GET /100 HTTP/1.1\r\nHost: 127.0.0.1:18080\r\n\r\n";

/// What a program sends.
const PROGRAM: &str = "GET /100 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n\
                       Accept: */*\r\nConnection: keep-alive\r\n\r\n";

/// What a browser sends.
const BROWSER: &str = "GET /orders/2026/11/overview?page=2&sort=desc HTTP/1.1\r\n\
    Host: dev-api.example.com\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
    Referer: https://dev-api.example.com/orders\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,ko;q=0.8\r\n\
    Cookie: session=8c1f0f6c9d3b4d5e8f7a6b5c4d3e2f1a; theme=dark; consent=all\r\n\
    Priority: u=0, i\r\n\r\n";

/// What an application answers.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Tue, 24 Nov 2026 00:22:52 GMT\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\
    Connection: keep-alive\r\n\r\n";

/// Room that a worker keeps.
struct Kept {
    fields: Fields,
    out: Vec<u8>,
    client: ClientFacts,
}

/// Reads a request, and writes the one for the target.
#[inline(never)]
fn wire_request(bytes: &[u8], kept: &mut Kept) {
    let read = head::request(bytes, &mut kept.fields, &LIMITS);
    let Ok(Parsed::Whole(head)) = read else { return };
    let Authority::One(host) = head.authority else { return };
    let onward = Onward {
        method: head.method,
        target: head.path_and_query(),
        host: host.as_bytes(),
        body: head.body,
        expects_continue: head.expects_continue,
        upgrade: head.upgrade,
        request_id: b"0123456789abcdef0123456789abcdef",
        nominates: head.nominates,
        ends_here: None,
        client: &kept.client,
    };
    kept.out.clear();
    black_box(rewrite::request(&mut kept.out, &onward, head.fields));
}

/// Reads an answer, and writes the one for the client.
#[inline(never)]
fn wire_answer(bytes: &[u8], kept: &mut Kept) {
    let read = head::response(bytes, &mut kept.fields, &LIMITS, Asked::Other);
    let Ok(Parsed::Whole(head)) = read else { return };
    let homeward = Homeward {
        status: head.status,
        reason: head.reason,
        framing: Some(head.body),
        connection: ConnectionLine::None,
        nominates: head.nominates,
        extras: None,
    };
    kept.out.clear();
    rewrite::response(&mut kept.out, &homeward, head.fields);
    black_box(&kept.out);
}

/// Reads chunked content whole.
#[inline(never)]
fn wire_chunks(mut bytes: &[u8]) -> usize {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut content = 0;
    while let Ok(piece) = decoder.next(bytes) {
        content += piece.data.len();
        match bytes.get(piece.consumed..) {
            Some(rest) if piece.consumed > 0 => bytes = rest,
            Some(_) | None => break,
        }
    }
    content
}

fn wire(c: &mut Criterion) {
    let client = ClientFacts::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)), 443, true, false);
    let mut kept = Kept { fields: Fields::new(), out: Vec::new(), client };
    let mut group = c.benchmark_group("read and rewrite");
    for (name, request) in [("plain", PLAIN), ("program", PROGRAM), ("browser", BROWSER)] {
        group.bench_function(name, |b| {
            b.iter(|| wire_request(black_box(request.as_bytes()), &mut kept));
        });
    }
    group.bench_function("answer", |b| {
        b.iter(|| wire_answer(black_box(ANSWER.as_bytes()), &mut kept));
    });
    group.finish();
    let mut chunks = Vec::new();
    let encoder = Encoder::new(Framing::Chunked);
    for _ in 0..64 {
        encoder.push(&[b'x'; 1024], &mut chunks);
    }
    encoder.finish(b"", &mut chunks);
    let mut group = c.benchmark_group("chunks");
    group.throughput(Throughput::Bytes(64 * 1024));
    group.bench_function("decode", |b| b.iter(|| wire_chunks(black_box(&chunks))));
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);

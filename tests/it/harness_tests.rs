//! The harness, tried on itself: clients against targets, without a proxy between.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::io::Write;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsAcceptor;

use crate::harness::Client;
use crate::harness::Health;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::address;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::h2::DATA;
use crate::harness::h2::Frames;
use crate::harness::h2::H2;
use crate::harness::h2::tests_runtime;
use crate::harness::metrics::Metrics;
use crate::harness::pages;
use crate::harness::wait::pause;
use crate::harness::wire::Wire;
use crate::harness::ws::WebSocket;

fn client(origin: &Origin) -> Client {
    Client::plain(origin.address, "app.test").unwrap()
}

#[test]
fn an_address_of_ones_own_is_given_out_once_and_its_block_to_no_other_process() {
    let own: Vec<String> = (0..300).map(|_| address::own()).collect();
    let distinct: HashSet<&String> = own.iter().collect();
    assert_eq!(distinct.len(), own.len());
    for address in &own {
        let (block, _) = address.rsplit_once('.').unwrap();
        let claim = UdpSocket::bind(format!("{block}.255:{}", address::TARGET_PORT));
        assert_eq!(claim.map_err(|e| e.kind()).err(), Some(ErrorKind::AddrInUse), "{address}");
    }
}

#[test]
fn a_target_says_who_it_is_on_a_connection_that_stays_open() {
    let origin = Origin::of_build("blue-1", "b7");
    let mut client = client(&origin);
    for nth in 1..=3 {
        let answer = client.get("/").expect(200);
        assert_eq!(answer.origin(), "blue-1");
        assert_eq!(answer.colour(), "blue");
        assert_eq!(answer.header("x-build"), Some("b7"));
        assert_eq!(origin.requests().last().map(|seen| seen.nth), Some(nth));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn health_does_as_it_is_told() {
    let origin = Origin::start("blue-1");
    assert_eq!(client(&origin).get("/health").status, 200);
    origin.health(Health::Status(503));
    assert_eq!(client(&origin).get("/health").status, 503);
    origin.health(Health::Status(301));
    assert_eq!(client(&origin).get("/health").header("location"), Some("/"));
    origin.health(Health::Garbage);
    assert!(client(&origin).try_get("/health").is_err());
    origin.health(Health::GoodAfter(1));
    assert_eq!(client(&origin).get("/health").status, 503);
    assert_eq!(client(&origin).get("/health").status, 200);
    origin.health(Health::Stall);
    let mut stalled = client(&origin);
    stalled.wire.patience(Duration::from_millis(50));
    assert!(stalled.try_get("/health").is_err());
    origin.health(Health::DieAfter(2));
    assert_eq!(client(&origin).get("/health").status, 200);
    client(&origin).try_get("/health").ok();
    eventually("it is gone", || Client::plain(origin.address, "app.test").is_err());
    assert_eq!(origin.probes(), 2);
}

#[test]
fn requests_are_held_counted_and_released() {
    let origin = Origin::start("blue-1");
    let mut clients: Vec<Client> = (0..3).map(|_| client(&origin)).collect();
    for client in &mut clients {
        client.send("GET", "/hold", &[], b"");
    }
    origin.wait_until_held(3);
    drop(clients.pop());
    origin.wait_until_held(2);
    origin.release();
    for client in &mut clients {
        client.answer().expect(200);
    }
    origin.wait_until_held(0);
}

#[test]
fn a_killed_target_is_gone_at_once_and_may_come_back() {
    let origin = Origin::start("blue-1");
    let mut open = client(&origin);
    open.get("/").expect(200);
    origin.kill();
    assert!(open.is_closed());
    origin.revive();
    client(&origin).get("/").expect(200);
    origin.refuse();
    assert!(Client::plain(origin.address, "app.test").is_err());
}

#[test]
fn what_came_after_an_instant_is_known() {
    let origin = Origin::start("blue-1");
    client(&origin).get("/early");
    let now = Instant::now();
    client(&origin).get("/late");
    let late = origin.requests_begun_after(now);
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].head.path(), "/late");
}

#[test]
fn bodies_arrive_whole_and_are_summed() {
    let origin = Origin::start("blue-1");
    let body = pages::patterned(200_000);
    let said = client(&origin).post("/echo", &body).json();
    assert_eq!(said["sha256"], pages::sha256(&body));
    assert_eq!(said["length"], 200_000);
    let mut client = client(&origin);
    let chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    client.send_raw(chunked);
    let said = client.answer().json();
    assert_eq!(said["sha256"], pages::sha256(b"abc"));
    assert_eq!(said["trailers"][0][1], "7");
    let mirrored = client.post("/mirror", &body);
    assert!(mirrored.body == body);
}

#[test]
fn every_kind_of_answer_is_read_to_its_end() {
    let origin = Origin::start("blue-1");
    let mut one = client(&origin);
    assert!(one.get("/slow?bytes=5000&chunk=1000&every_ms=1").body == pages::patterned(5000));
    assert!(one.get("/chunked?bytes=5000&chunk=7").body == pages::patterned(5000));
    assert_eq!(one.get("/trailers").trailer("x-sum"), Some("42"));
    assert_eq!(one.get("/status?code=204").body, b"");
    assert_eq!(one.get("/status?code=304").body, b"");
    assert_eq!(one.request("HEAD", "/", &[], b"").body, b"");
    let hinted = one.get("/early-hints").expect(200);
    assert_eq!(hinted.interim[0].first_line, "HTTP/1.1 103 Early Hints");
    let raw = one
        .request("GET", "/headers?a=%2F", &[("X-One", "1")], b"")
        .text();
    assert_eq!(raw, "GET /headers?a=%2F HTTP/1.1\r\nHost: app.test\r\nX-One: 1\r\n\r\n");
    let with = one.request("GET", "/with", &[("X-With", "A: 1|A: 2")], b"");
    assert_eq!(with.headers("a"), ["1", "2"]);
    assert!(one.get("/close-delimited").body == pages::patterned(10_000));
    assert!(one.is_closed());
}

#[test]
fn broken_answers_are_seen_as_broken() {
    let origin = Origin::start("blue-1");
    for path in ["/truncate", "/truncate-chunked", "/reset", "/close", "/garbage"] {
        assert!(client(&origin).try_get(path).is_err(), "{path}");
    }
    let mut reused = client(&origin);
    origin.tell(|told| told.close_after = Some(1));
    reused.get("/").expect(200);
    assert!(reused.is_closed());
    origin.tell(|told| {
        told.close_after = None;
        told.die_on_reuse = true;
    });
    let mut reused = client(&origin);
    reused.get("/?id=x").expect(200);
    assert!(reused.try_get("/?id=x").is_err());
    assert_eq!(origin.executions("x"), 2);
}

#[test]
fn a_part_of_an_answer_can_be_looked_at_before_the_rest_comes() {
    let origin = Origin::start("blue-1");
    let mut client = client(&origin);
    client.send("GET", "/stall-within", &[], b"");
    assert_eq!(client.head().status().unwrap(), 200);
    assert!(client.bytes(5000).unwrap() == pages::patterned(5000));
    origin.wait_until_held(1);
    origin.release();
    assert!(client.bytes(5000).unwrap() == pages::patterned(10_000)[5000..]);
}

#[test]
fn upgraded_connections_carry_bytes_both_ways() {
    let origin = Origin::start("blue-1");
    let mut socket = WebSocket::open(Wire::plain(origin.address).unwrap(), "app.test").unwrap();
    assert_eq!(socket.origin, "blue-1");
    assert_eq!(socket.echo("hello").unwrap(), "hello");
    socket.close().unwrap();

    let mut foo = client(&origin);
    foo.send("GET", "/upgrade", &[("Upgrade", "foo"), ("Connection", "Upgrade")], b"");
    assert_eq!(foo.head().status().unwrap(), 101);
    foo.wire.write_all(b"ping").unwrap();
    assert_eq!(foo.bytes(4).unwrap(), b"ping");
    foo.wire.finish_sending();
    assert_eq!(foo.rest(), b"bye");
}

#[test]
fn the_load_checks_what_it_gets() {
    let origin = Origin::start("blue-1");
    let load = Load::to(origin.address, None, 200);
    pause(Duration::from_millis(300));
    let sent = load.requests();
    let report = load.stop();
    report.expect_flawless();
    assert!(report.answers.len() >= sent);
    for kind in ["keep-alive", "new connection", "upload", "download", "websocket"] {
        assert!(report.count(kind) > 0, "{kind}");
    }
    let load = Load::to(origin.address, None, 200);
    pause(Duration::from_millis(50));
    origin.kill();
    pause(Duration::from_millis(50));
    assert!(!load.stop().failures.is_empty());
}

#[test]
fn metrics_are_parsed_with_their_labels_and_types() {
    let text =
        "# HELP a what it is\n# TYPE a counter\na{x=\"1\",y=\"\"} 2\na{x=\"2\",y=\"\"} 3\nb 0.5\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.types["a"], "counter");
    assert_eq!(metrics.sum("a", &[]), 5.0);
    assert_eq!(metrics.value("a", &[("x", "2"), ("y", "")]), 3.0);
    assert_eq!(metrics.value("b", &[]), 0.5);
}

#[test]
fn requests_over_tls_and_http_2_reach_a_server_that_has_our_certificate() {
    let address = tls_server();
    let answer = Client::tls(address, HOST).unwrap().get("/one");
    assert_eq!(answer.expect(200).text(), "GET /one HTTP/1.1");
    let h2 = H2::connect(address, HOST).unwrap();
    assert_eq!(h2.get("/two").expect(200).text(), "GET /two HTTP/2.0");
    let wrong_name = Client::tls(address, "stranger.test");
    assert!(
        wrong_name
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );

    let mut frames = Frames::connect(address, HOST).unwrap();
    frames.get(1, HOST, "/three").unwrap();
    let data = std::iter::from_fn(|| frames.next().ok()).find(|frame| frame.kind == DATA);
    assert_eq!(data.unwrap().payload, b"GET /three HTTP/2.0");
}

/// A server of hyper's, which says what it was asked; ends with the process.
fn tls_server() -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let files = certs::issue(folder.path(), "server", &[HOST]);
    let acceptor = TlsAcceptor::from(certs::server_config(&files));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    tests_runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_tls(acceptor.clone(), stream));
        }
    });
    address
}

async fn serve_tls(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) {
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let io = TokioIo::new(tls);
    let say = service_fn(|request: Request<Incoming>| async move {
        let (method, path) = (request.method(), request.uri().path());
        let said = format!("{method} {path} {:?}", request.version());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
    });
    if io.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
        let server = http2::Builder::new(TokioExecutor::new());
        server.serve_connection(io, say).await.ok();
    } else {
        http1::Builder::new().serve_connection(io, say).await.ok();
    }
}

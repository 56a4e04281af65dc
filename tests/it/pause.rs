//! `proxyctl pause` and `resume`: requests wait instead of failing, and go to whatever is live then.

use std::io::Write;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::eventually_some;
use crate::harness::h2::DATA;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::Frames;
use crate::harness::h2::RST_STREAM;
use crate::harness::pages;
use crate::harness::wait::pause;

fn held(proxy: &Proxy) -> f64 {
    proxy
        .metrics()
        .value("proxy_requests_held", &[("upstream", "app")])
}

#[track_caller]
fn wait_until_held(proxy: &Proxy, count: usize) {
    eventually(&format!("{count} are held"), || held(proxy) == count as f64);
}

#[test]
fn what_is_held_goes_to_whatever_is_live_once_it_is_let_go() {
    let (blue, green, proxy) = app();
    let mut warm = proxy.http();
    warm.get("/").expect(200);
    let told = proxy.ctl(["pause", "app"]).expect(0);
    assert!(told.stdout.starts_with("app: paused until "), "{}", told.stdout);
    let before = blue.requests().len();
    let body = pages::patterned(200_000);
    let mut upload = proxy.https();
    let sending = {
        let body = body.clone();
        thread::spawn(move || {
            upload.send("POST", "/echo?id=one", &[], &body);
            upload
        })
    };
    let h2 = proxy.h2();
    let by_h2: Vec<_> = [("GET", &b""[..]), ("POST", &b"written"[..])]
        .into_iter()
        .map(|(method, body)| {
            let h2 = h2.clone();
            thread::spawn(move || h2.try_request(method, "/", &[], body))
        })
        .collect();
    warm.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 4);
    assert_eq!(proxy.app()["pause"]["writes_only"], false);
    assert_eq!(
        proxy
            .metrics()
            .value("proxy_paused", &[("upstream", "app")]),
        1.0
    );
    assert!(
        proxy
            .ctl(["status"])
            .expect(0)
            .stdout
            .contains("requests are held, 20 s at most")
    );
    // The drain has nothing to wait for.
    let receipt = proxy.promote("green");
    assert_eq!(receipt["safe_to_kill"], "blue");
    assert_eq!(held(&proxy), 4.0);
    let told = proxy.ctl(["resume", "app", "--over", "1ms"]).expect(0);
    assert_eq!(told.stdout, "app: not paused\n");
    assert_eq!(warm.answer().expect(200).colour(), "green");
    for answer in by_h2 {
        assert_eq!(answer.join().unwrap().unwrap().expect(200).colour(), "green");
    }
    let echo = sending.join().unwrap().answer().expect(200).json();
    assert_eq!(echo["sha256"], pages::sha256(&body), "the body is whole");
    assert_eq!((blue.requests().len(), green.executions("one")), (before, 1));
    eventually("the order is over", || proxy.app()["pause"].is_null());
    let metrics = proxy.metrics();
    let app = [("upstream", "app")];
    assert_eq!(metrics.value("proxy_requests_held", &app), 0.0);
    assert_eq!(metrics.value("proxy_requests_held_total", &app), 4.0);
    assert_eq!(warm.get("/").expect(200).colour(), "green", "the connection goes on");
}

#[test]
fn what_is_let_go_is_tried_once_and_over_the_connection_that_was_kept() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.get("/before").expect(200);
    proxy.ctl(["pause", "app"]).expect(0);
    client.send("GET", "/held", &[], b"");
    wait_until_held(&proxy, 1);
    proxy.ctl(["resume", "app", "--over", "1ms"]).expect(0);
    client.answer().expect(200);
    let came_on = |path: &str| {
        let requests = blue.requests();
        let request = requests
            .iter()
            .find(|request| request.head.target() == path);
        request.unwrap().connection
    };
    assert_eq!(came_on("/held"), came_on("/before"));
    let line = eventually_some("the request is logged", || {
        let mut lines = proxy.access_log().into_iter();
        lines.find(|line| line.contains("/held"))
    });
    assert!(line.contains("\"attempts\":1,"), "{line}");
}

#[test]
fn only_writes_are_held_where_only_they_are_to_be() {
    let (blue, _green, proxy) = app();
    proxy.ctl(["pause", "--writes-only"]).expect(0);
    let mut client = proxy.http();
    client.get("/").expect(200);
    client.request("OPTIONS", "/", &[], b"").expect(200);
    proxy.websocket().close().unwrap();
    client.send("DELETE", "/?id=gone", &[], b"");
    wait_until_held(&proxy, 1);
    assert_eq!(blue.executions("gone"), 0);
    proxy.ctl(["resume"]).expect(0);
    client.answer().expect(200);
    assert_eq!(blue.executions("gone"), 1);
}

#[test]
fn who_waits_too_long_or_is_one_too_many_is_told_to_come_back() {
    let (blue, _green, proxy) = app_with(&json!({ "limits": { "paused": 2 } }));
    proxy.ctl(["pause", "--max", "1s"]).expect(0);
    let begun = Instant::now();
    let mut waiting: Vec<Client> = (0..2).map(|_| proxy.http()).collect();
    for client in &mut waiting {
        client.send("POST", "/?id=late", &[], b"x");
    }
    wait_until_held(&proxy, 2);
    let answer = proxy.http().get("/").expect(503);
    assert!(begun.elapsed() < Duration::from_secs(1), "one too many does not wait");
    assert_eq!(answer.header("retry-after"), Some("10"));
    for client in &mut waiting {
        client.answer().expect(503);
        assert!(begun.elapsed() >= Duration::from_secs(1));
    }
    assert_eq!(blue.executions("late"), 0);
    let shed = [("outcome", "shed")];
    assert_eq!(proxy.metrics().value("proxy_requests_outcome_total", &shed), 3.0);
    eventually("the log says why", || {
        let log = proxy.access_log();
        log.iter()
            .filter(|line| line.contains(r#""reason":"paused""#))
            .count()
            == 3
    });
    proxy.ctl(["resume"]).expect(0);
    waiting[0].get("/").expect(200);
}

#[test]
fn a_client_that_leaves_is_dropped_from_the_queue() {
    let (blue, _green, proxy) = app();
    proxy.ctl(["pause"]).expect(0);
    let (mut get, mut post, mut tls) = (proxy.http(), proxy.http(), proxy.https());
    get.send("GET", "/?id=get", &[], b"");
    // Of what it sent, most is unread.
    post.send("POST", "/?id=post", &[], &[b'x'; 100_000]);
    tls.send("POST", "/?id=tls", &[], b"x");
    wait_until_held(&proxy, 3);
    let h2 = Frames::connect(proxy.tls_address(), "app.test");
    let mut h2 = h2.unwrap();
    h2.get(1, "app.test", "/?id=h2").unwrap();
    wait_until_held(&proxy, 4);
    h2.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).unwrap();
    drop((get, post, tls));
    wait_until_held(&proxy, 0);
    proxy.ctl(["resume"]).expect(0);
    proxy.http().get("/").expect(200);
    for id in ["get", "post", "tls", "h2"] {
        assert_eq!(blue.executions(id), 0, "{id}");
    }
    let gone = [("outcome", "client_gone")];
    assert_eq!(proxy.metrics().value("proxy_requests_outcome_total", &gone), 4.0);
}

#[test]
fn the_body_of_what_is_held_stays_with_the_client() {
    let (_blue, _green, proxy) = app();
    proxy.ctl(["pause"]).expect(0);
    let mut client = proxy.http();
    client.send_raw("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n");
    wait_until_held(&proxy, 1);
    let patience = Some(Duration::from_millis(500));
    client.wire.tcp().set_write_timeout(patience).unwrap();
    let (piece, mut sent) = (vec![0; 256 * 1024], 0);
    while let Ok(wrote) = client.wire.write(&piece) {
        sent += wrote;
        assert!(sent < 100_000_000, "somebody takes it");
    }
    assert_eq!(held(&proxy), 1.0);
    // Its end cannot come before what it has sent is read.
    drop(client);
    proxy.ctl(["resume"]).expect(0);
}

#[test]
fn what_is_held_is_let_go_one_after_the_other() {
    let (_blue, _green, proxy) = app();
    proxy.ctl(["pause"]).expect(0);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let mut client = proxy.http();
            thread::spawn(move || {
                client.get("/").expect(200);
                Instant::now()
            })
        })
        .collect();
    wait_until_held(&proxy, 20);
    proxy.ctl(["resume", "--over", "2s"]).expect(0);
    // Who comes now does not wait for them.
    proxy.http().get("/").expect(200);
    let mut times: Vec<Instant> = asked.into_iter().map(|one| one.join().unwrap()).collect();
    times.sort_unstable();
    let middle = times[14] - times[5];
    assert!(middle > Duration::from_millis(500), "half of them within {middle:?}");
}

#[test]
fn who_is_held_once_more_keeps_its_place_also_beyond_a_lower_limit() {
    let (blue, _green, mut proxy) = app_with(&json!({ "limits": { "paused": 3 } }));
    proxy.ctl(["pause", "--max", "60s"]).expect(0);
    let [mut first, mut write, mut last] = [proxy.http(), proxy.http(), proxy.http()];
    first.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 1);
    write.send("POST", "/?id=written", &[], b"x");
    wait_until_held(&proxy, 2);
    last.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 3);
    // Their turns are three seconds from each other. Before the second one's, writes are held again,
    // and none of them could be held anew.
    proxy.ctl(["resume", "--over", "9s"]).expect(0);
    first.answer().expect(200);
    proxy
        .ctl(["pause", "--writes-only", "--max", "60s"])
        .expect(0);
    proxy.rewrite_config(&json!({ "limits": { "paused": 1 } }));
    proxy.ctl(["reload"]).expect(0);
    last.answer().expect(200);
    assert_eq!((held(&proxy), blue.executions("written")), (1.0, 0));
    proxy.http().request("POST", "/", &[], b"x").expect(503);
    proxy.ctl(["resume", "--over", "1ms"]).expect(0);
    write.answer().expect(200);
    let held_in_all = [("upstream", "app")];
    assert_eq!(
        proxy
            .metrics()
            .value("proxy_requests_held_total", &held_in_all),
        3.0,
        "each counts once"
    );
}

#[test]
fn what_is_held_is_counted_apart_for_each_upstream() {
    let (_blue, _green, proxy) = app_with(&json!({
        "upstreams": { "other": { "targets": ["127.0.0.1:9"] } },
    }));
    proxy.ctl(["pause", "app"]).expect(0);
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 1);
    let metrics = proxy.metrics();
    assert_eq!(metrics.value("proxy_requests_held", &[("upstream", "other")]), 0.0);
    assert_eq!(metrics.value("proxy_requests_held_total", &[("upstream", "other")]), 0.0);
    proxy.ctl(["resume", "app", "--over", "1ms"]).expect(0);
    client.answer().expect(200);
}

#[test]
fn a_pause_survives_a_restart_and_is_over_by_itself() {
    let (_blue, _green, mut proxy) = app();
    proxy.ctl(["pause", "--for", "8s"]).expect(0);
    proxy.restart();
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 1);
    client.answer().expect(200);
    eventually("the order is over", || proxy.app()["pause"].is_null());
    assert_eq!(proxy.ctl(["resume"]).expect(0).stdout, "app: not paused\n", "or so already");
}

#[test]
fn a_request_that_is_held_at_the_end_of_a_shutdown_gets_an_answer() {
    let (_blue, _green, mut proxy) = app_with(&json!({ "timeouts": { "shutdown": "300ms" } }));
    proxy.ctl(["pause"]).expect(0);
    let mut client = proxy.http();
    client.send("GET", "/", &[], b"");
    wait_until_held(&proxy, 1);
    proxy.skip_audit();
    proxy.signal(rustix::process::Signal::TERM);
    client.answer().expect(503);
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn what_cannot_be_paused_is_refused_with_the_way_out() {
    let (_blue, _green, proxy) = app();
    let said = proxy.ctl(["pause", "ap"]).expect(2).said();
    assert!(said.contains("there is no upstream \"ap\"") && said.contains("app"), "{said}");
    let said = proxy.ctl(["pause", "--max", "long"]).expect(2).said();
    assert!(said.contains("max: \"long\" is not a duration"), "{said}");
    proxy.ctl(["pause", "app", "--all"]).expect(2);
    assert!(proxy.app()["pause"].is_null());
}

#[test]
fn the_token_of_a_preview_stays_with_the_proxy_although_its_request_was_held() {
    let (_blue, green, proxy) = app();
    let ordered = proxy.ctl(["preview", "green", "--json"]).expect(0);
    let token = ordered.last_event()["previews"][0]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    proxy.ctl(["pause", "app"]).expect(0);
    let mut client = proxy.http();
    client.send("GET", "/held", &[("X-Proxy-Preview", &token)], b"");
    wait_until_held(&proxy, 1);
    proxy.ctl(["resume", "app", "--over", "10ms"]).expect(0);
    assert_eq!(client.answer().expect(200).colour(), "green");
    assert_eq!(green.last().header("x-proxy-preview"), None);
}

#[test]
fn a_body_that_comes_slowly_behind_a_held_head_arrives_whole() {
    let (blue, green, proxy) = app();
    proxy.ctl(["pause"]).expect(0);
    let body = pages::patterned(3000);
    let head = "POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3000\r\n\r\n";
    let mut clients = [proxy.http(), proxy.https()];
    for client in &mut clients {
        client.send_raw(head);
        client.send_raw(&body[..1000]);
    }
    let mut frames = Frames::connect(proxy.tls_address(), "app.test").unwrap();
    frames.post(1, "app.test", "/echo").unwrap();
    frames.send(DATA, 0, 1, &body[..1000]).unwrap();
    wait_until_held(&proxy, 3);
    proxy.promote("green");
    proxy.ctl(["resume", "--over", "1ms"]).expect(0);
    // Each is with a target, which waits for the rest.
    eventually("green has the heads", || green.requests().len() == 3);
    for part in body[1000..].chunks(500) {
        for client in &mut clients {
            client.send_raw(part);
        }
        frames.send(DATA, 0, 1, part).unwrap();
        pause(Duration::from_millis(20));
    }
    frames.send(DATA, END_STREAM, 1, b"").unwrap();
    for client in &mut clients {
        let echo = client.answer().expect(200).json();
        assert_eq!(echo["sha256"], pages::sha256(&body));
    }
    let (echo, _) = frames.content(1);
    assert!(String::from_utf8_lossy(&echo).contains(&pages::sha256(&body)));
    assert!(blue.requests().is_empty());
}

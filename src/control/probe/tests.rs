//! What a probe sends, and what it makes of every kind of answer. Real sockets.

use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::scripted::Act;
use super::scripted::Scripted;
use super::scripted::nobody;
use super::scripted::play;
use super::scripted::status;
use super::scripted::target;
use super::*;

fn health() -> HealthSettings {
    HealthSettings {
        path: "/actuator/health?full=1".to_owned(),
        timeout: Duration::from_secs(5),
        build_header: Some("X-Build".to_owned()),
        ..HealthSettings::default()
    }
}

/// For targets that never finish: the test takes as long as this.
fn short() -> HealthSettings {
    HealthSettings { timeout: Duration::from_millis(150), ..health() }
}

fn ask(health: &HealthSettings) -> Ask<'_> {
    Ask { health, public_host: None, build: None, last_addresses: false }
}

async fn outcome_of(act: Act) -> ProbeOutcome {
    let scripted = Scripted::start(act).await;
    probe(&scripted.target(), &ask(&health()))
        .await
        .record
        .outcome
}

fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

fn broken(why: &str) -> ProbeOutcome {
    ProbeOutcome::Broken(why.to_owned())
}

#[tokio::test]
async fn an_expected_status_is_good_and_any_other_is_named() {
    assert_eq!(outcome_of(status(200)).await, ProbeOutcome::Good(200));
    assert_eq!(outcome_of(status(503)).await, ProbeOutcome::Status(503));
    assert_eq!(outcome_of(status(204)).await, ProbeOutcome::Status(204));
    let health = HealthSettings { expect: vec![200..=204, 401..=401], ..health() };
    for good in [204, 401] {
        let scripted = Scripted::start(status(good)).await;
        let record = probe(&scripted.target(), &ask(&health)).await.record;
        assert_eq!(record.outcome, ProbeOutcome::Good(good));
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_never_followed() {
    let mut elsewhere = Scripted::start(status(200)).await;
    let to = elsewhere.address;
    let moved =
        format!("HTTP/1.1 301 Moved\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(outcome_of(say(&moved)).await, ProbeOutcome::Redirect(301));
    assert!(elsewhere.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_redirect_that_is_expected_is_good() {
    let scripted = Scripted::start(status(302)).await;
    let health = HealthSettings { expect: vec![302..=302], ..health() };
    let record = probe(&scripted.target(), &ask(&health)).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Good(302));
}

#[tokio::test]
async fn a_refused_connection_is_refused() {
    let (_reserved, address) = nobody();
    let target = target(Address::Ip(address));
    assert_eq!(probe(&target, &ask(&health())).await.record.outcome, ProbeOutcome::Refused);
}

#[tokio::test]
async fn a_close_without_an_answer_is_broken() {
    assert_eq!(outcome_of(say("")).await, broken("closed without an answer"));
    assert_eq!(
        outcome_of(say("HTTP/1.1 200 OK\r\nx: y")).await,
        broken("closed without an answer")
    );
}

#[tokio::test]
async fn what_is_not_http_is_not_http() {
    for garbage in
        ["\u{15}\u{3}\u{3}\0\u{2}\u{2}P", "220 mail ready\r\n\r\n", "\r\n\0\0\0\0\r\n\r\n"]
    {
        assert_eq!(outcome_of(say(garbage)).await, ProbeOutcome::NotHttp, "{garbage:?}");
    }
}

#[tokio::test]
async fn a_target_that_never_answers_times_out() {
    let scripted = Scripted::start(Act::SayAndStay(Vec::new())).await;
    let record = probe(&scripted.target(), &ask(&short())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Timeout);
    assert!(record.latency >= short().timeout);
}

#[tokio::test]
async fn a_head_that_drips_is_bounded_by_the_timeout() {
    let scripted = Scripted::start(Act::Drip).await;
    let record = probe(&scripted.target(), &ask(&short())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Timeout);
}

#[tokio::test]
async fn informational_answers_without_end_are_bounded_by_the_timeout() {
    let scripted = Scripted::start(Act::Flood(b"HTTP/1.1 100 Continue\r\n\r\n")).await;
    let record = probe(&scripted.target(), &ask(&short())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Timeout);
}

#[tokio::test]
async fn an_endless_head_is_bounded_in_size() {
    let scripted = Scripted::start(Act::Flood(b"HTTP/1.1 200 OK\r\nx-endless: ")).await;
    let long = HealthSettings { timeout: Duration::from_secs(60), ..health() };
    let record = probe(&scripted.target(), &ask(&long)).await.record;
    assert_ne!(record.outcome, ProbeOutcome::Timeout);
    assert!(!record.outcome.is_good());
    let line = Scripted::start(Act::Flood(b"HTTP")).await;
    let record = probe(&line.target(), &ask(&long)).await.record;
    assert_eq!(record.outcome, ProbeOutcome::NotHttp);
}

#[tokio::test]
async fn a_head_larger_than_the_limit_is_refused_and_says_so() {
    let long = "x".repeat(HEAD_MAX);
    let outcome = outcome_of(say(&format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\n\r\n"))).await;
    assert_eq!(outcome, broken("head larger than 64 KiB"));
}

#[tokio::test]
async fn a_body_that_never_ends_neither_fails_nor_holds_up_the_probe() {
    let stays = Act::SayAndStay(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec());
    let scripted = Scripted::start(stays).await;
    let began = Instant::now();
    let record = probe(&scripted.target(), &ask(&health())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Good(200));
    assert!(began.elapsed() < health().timeout);
    assert!(began.elapsed() >= record.latency + BODY_TIME, "the body counts as latency");
}

#[tokio::test]
async fn the_build_must_be_the_one_asked_for() {
    let health = health();
    let with_build = Ask { build: Some("v8"), ..ask(&health) };
    let presented =
        |lines: &str| say(&format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n"));
    let wanted = || "v8".to_owned();
    let wrong = |found: Option<&str>| ProbeOutcome::WrongBuild {
        found: found.map(str::to_owned),
        wanted: wanted(),
    };
    for (lines, expected) in [
        ("X-Build: v8\r\n", ProbeOutcome::Good(200)),
        ("x-build: v7\r\n", wrong(Some("v7"))),
        ("x-build: v8.1\r\n", wrong(Some("v8.1"))),
        ("x-build: v8\r\nx-build: v7\r\n", wrong(Some("v7"))),
        ("x-build: \u{9b}2Jv7\r\n", wrong(Some("\u{fffd}2Jv7"))),
        ("", wrong(None)),
    ] {
        let scripted = Scripted::start(presented(lines)).await;
        let record = probe(&scripted.target(), &with_build).await.record;
        assert_eq!(record.outcome, expected, "{lines:?}");
    }
    let sick = Scripted::start(status(503)).await;
    let record = probe(&sick.target(), &with_build).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Status(503));
}

#[tokio::test]
async fn a_build_without_a_header_to_look_in_is_wrong() {
    let scripted = Scripted::start(status(200)).await;
    let health = HealthSettings { build_header: None, ..health() };
    let record = probe(&scripted.target(), &Ask { build: Some("v8"), ..ask(&health) })
        .await
        .record;
    let wanted = "v8".to_owned();
    assert_eq!(record.outcome, ProbeOutcome::WrongBuild { found: None, wanted });
}

#[tokio::test]
async fn the_request_is_that_of_a_client_that_came_by_tls() {
    let mut scripted = Scripted::start(status(200)).await;
    let address = scripted.address;
    let named = HealthSettings { host: Some("health.example".to_owned()), ..health() };
    let plain = health();
    for (health, public_host, host) in [
        (&plain, None, address.to_string()),
        (&plain, Some("dev-api.moyeora.site"), "dev-api.moyeora.site".to_owned()),
        (&named, Some("dev-api.moyeora.site"), "health.example".to_owned()),
    ] {
        probe(&scripted.target(), &Ask { public_host, ..ask(health) }).await;
        let head = scripted.heads.recv().await.unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("GET /actuator/health?full=1 HTTP/1.1"));
        let lines = lines.map(str::to_lowercase).collect::<Vec<_>>();
        for wanted in [
            format!("host: {host}"),
            "x-forwarded-proto: https".to_owned(),
            "connection: close".to_owned(),
            format!("user-agent: {USER_AGENT}"),
        ] {
            assert!(lines.contains(&wanted), "no {wanted:?} in {lines:?}");
        }
    }
}

#[tokio::test]
async fn a_target_that_keeps_connections_open_is_left_by_the_probe() {
    let keeps = Act::SayAndStay(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let scripted = Scripted::start(keeps).await;
    let began = Instant::now();
    let record = probe(&scripted.target(), &ask(&health())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Good(200));
    assert!(began.elapsed() < health().timeout);
}

#[tokio::test]
async fn a_unix_socket_is_asked_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let target = target(Address::Unix(path.clone()));
    let health = health();
    assert_eq!(probe(&target, &ask(&health)).await.record.outcome, broken("no such socket"));
    let listener = UnixListener::bind(&path).unwrap();
    let (head, mut heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream, status(200), 0, head).await;
    });
    assert_eq!(probe(&target, &ask(&health)).await.record.outcome, ProbeOutcome::Good(200));
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.contains("\r\nhost: localhost\r\n"), "{head}");
    // Dropping the listener leaves the file: nobody accepts behind it any more.
    assert_eq!(probe(&target, &ask(&health)).await.record.outcome, ProbeOutcome::Refused);
}

#[tokio::test]
async fn a_name_is_resolved_by_each_probe_and_every_address_of_it_is_tried() {
    let scripted = Scripted::start(status(200)).await;
    let port = scripted.address.port();
    let target = target(Address::Name { host: "localhost".to_owned(), port });
    assert!(target.resolved().is_empty());
    let record = probe(&target, &ask(&health())).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Good(200));
    assert!(target.resolved().contains(&scripted.address));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_keeps_what_it_last_resolved_to() {
    // RFC 6761 §6.4: a name under .invalid never resolves.
    let target = target(Address::Name { host: "app.invalid".to_owned(), port: 80 });
    let last = vec!["127.0.0.1:80".parse().unwrap()];
    target.set_resolved(last.clone());
    let long = HealthSettings { timeout: Duration::from_secs(60), ..health() };
    let record = probe(&target, &ask(&long)).await.record;
    assert_eq!(record.outcome, ProbeOutcome::Unresolved);
    assert_eq!(*target.resolved(), last);
}

#[tokio::test]
async fn where_a_name_resolves_no_more_its_last_addresses_are_asked_unless_by_a_gate() {
    let scripted = Scripted::start(status(200)).await;
    let port = scripted.address.port();
    let target = target(Address::Name { host: "app.invalid".to_owned(), port });
    let long = HealthSettings { timeout: Duration::from_secs(60), ..health() };
    let anyway = Ask { last_addresses: true, ..ask(&long) };
    assert_eq!(probe(&target, &anyway).await.record.outcome, ProbeOutcome::Unresolved);
    target.set_resolved(vec![scripted.address]);
    assert_eq!(probe(&target, &anyway).await.record.outcome, ProbeOutcome::Good(200));
    assert_eq!(probe(&target, &ask(&long)).await.record.outcome, ProbeOutcome::Unresolved);
}

#[tokio::test]
async fn a_path_that_cannot_be_asked_for_fails_in_words() {
    let scripted = Scripted::start(status(200)).await;
    let health = HealthSettings { path: "/a b".to_owned(), ..health() };
    let record = probe(&scripted.target(), &ask(&health)).await.record;
    assert!(record.outcome.to_string().starts_with("cannot be asked:"), "{}", record.outcome);
}

#[tokio::test]
async fn one_address_that_swallows_packets_leaves_time_for_the_next() {
    // A listener whose queue is full answers no further SYN: the next connect hangs.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    full.listen(0).unwrap();
    let deaf = full.local_addr().unwrap().as_socket().unwrap();
    let _fills_the_queue = std::net::TcpStream::connect(deaf).unwrap();
    let scripted = Scripted::start(status(200)).await;
    let within = |millis| Instant::now() + Duration::from_millis(millis);
    assert_eq!(connect_tcp(&[deaf], within(200)).await.err(), Some(ProbeOutcome::Timeout));
    let deadline = within(2000);
    assert!(
        connect_tcp(&[deaf, scripted.address], deadline)
            .await
            .is_ok()
    );
    assert!(Instant::now() < deadline);
}

#[tokio::test]
async fn a_bad_answer_is_kept_with_how_its_body_begins() {
    let down = format!("{{\"status\":\"DOWN\",\r\n\"why\":\"{}\"}}", "x".repeat(4000));
    let with = |status: u16| {
        say(&format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{down}", down.len()))
    };
    let kept = |act| async {
        let scripted = Scripted::start(act).await;
        probe(&scripted.target(), &ask(&health())).await.body
    };
    let body = kept(with(503)).await.unwrap_or_default();
    assert!(body.starts_with("{\"status\":\"DOWN\", \"why\":\"xxx"), "{body}");
    assert_eq!(body.len(), BODY_KEPT);
    assert_eq!(kept(with(200)).await, None, "of a good answer there is nothing to explain");
    assert_eq!(kept(status(503)).await, None);
}

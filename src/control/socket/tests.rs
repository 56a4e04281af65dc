//! The control socket over a real one, as `curl --unix-socket` would use it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::task::JoinHandle;

use super::*;
use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;

/// A world with its socket.
struct Served {
    world: World,
    path: PathBuf,
    serving: JoinHandle<()>,
}

async fn served(green: u16) -> (Served, Origin) {
    let (blue, green) = (Origin::start(200).await, Origin::start(green).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let path = world.dir.path().join("run/control.sock");
    let settings = ControlSettings { socket: path.clone(), mode: 0o660 };
    let socket = ControlSocket::bind(&settings).unwrap();
    let serving = tokio::spawn(socket.serve(world.handle.clone(), world.shutdown.stopping()));
    (Served { world, path, serving }, green)
}

async fn send(path: &Path, line: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The head and the body of a whole answer.
async fn ask(path: &Path, line: &str, body: &str) -> (String, String) {
    let mut answer = String::new();
    send(path, line, body)
        .await
        .read_to_string(&mut answer)
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn problem(path: &Path, line: &str, body: &str) -> Refusal {
    let (head, body) = ask(path, line, body).await;
    assert!(head.contains("application/problem+json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// The next event of a streamed (chunked) answer.
async fn next_event(stream: &mut BufReader<UnixStream>) -> Event {
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream ended before");
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

#[tokio::test]
async fn a_promote_streams_its_events_and_ends_with_the_receipt() {
    let (served, _green) = served(200).await;
    let body = json!({ "colour": "green", "upstreams": ["app"], "expect_live": "blue" });
    let stream = send(&served.path, "POST /v1/promote", &body.to_string()).await;
    let mut stream = BufReader::new(stream);
    assert!(matches!(next_event(&mut stream).await, Event::Gating { .. }));
    assert!(matches!(next_event(&mut stream).await, Event::Gating { .. }));
    assert!(matches!(next_event(&mut stream).await, Event::Switched { generation: 2 }));
    assert!(matches!(next_event(&mut stream).await, Event::Drained { .. }));
    let (head, body) = ask(&served.path, "GET /v1/status", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["upstreams"]["app"]["live"], "green");
}

#[tokio::test]
async fn a_client_that_disconnects_while_gating_cancels_the_promotion() {
    let (served, green) = served(503).await;
    let stream = send(&served.path, "POST /v1/promote", r#"{"colour":"green"}"#).await;
    let mut stream = BufReader::new(stream);
    assert!(matches!(next_event(&mut stream).await, Event::Gating { .. }));
    assert!(
        served.world.handle.status().upstreams["app"]
            .promotion
            .is_some()
    );
    drop(stream);
    served
        .world
        .until(|world| world.handle.status().upstreams["app"].promotion.is_none())
        .await;
    green.answer(200);
    assert_eq!(served.world.live("app"), Colour::Blue);
}

#[tokio::test]
async fn a_guard_holds_while_its_connection_is_open() {
    let (served, _green) = served(200).await;
    let stream = send(&served.path, "POST /v1/guard", r#"{"colour":"green"}"#).await;
    let mut stream = BufReader::new(stream);
    let held = next_event(&mut stream).await;
    assert!(matches!(held, Event::Guarded { colour: Colour::Green, .. }), "{held:?}");
    let promote = r#"{"colour":"green"}"#;
    let busy = problem(&served.path, "POST /v1/promote", promote).await;
    assert_eq!((busy.status, busy.code), (409, Code::Busy));
    drop(stream);
    // The release is seen as soon as the connection's end is.
    let wait = async {
        while ask(&served.path, "POST /v1/promote", promote)
            .await
            .0
            .contains("409")
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
    assert_eq!(served.world.live("app"), Colour::Green);
}

#[tokio::test]
async fn connections_that_ask_nothing_keep_nobody_out_and_end_nothing_that_is_under_way() {
    let (served, _green) = served(200).await;
    let guard = send(&served.path, "POST /v1/guard", r#"{"colour":"green"}"#).await;
    let mut guard = BufReader::new(guard);
    let held = next_event(&mut guard).await;
    assert!(matches!(held, Event::Guarded { .. }), "{held:?}");
    let mut idle = Vec::new();
    for _ in 0..2 * CONNECTIONS_MAX {
        idle.push(UnixStream::connect(&served.path).await.unwrap());
    }
    let busy = problem(&served.path, "POST /v1/promote", r#"{"colour":"green"}"#).await;
    assert_eq!((busy.status, busy.code), (409, Code::Busy), "the guard still holds");
    drop(guard);
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_problem_that_says_what() {
    let (served, _green) = served(200).await;
    let long = format!("{{\"colour\":\"{}\"}}", "x".repeat(70_000));
    let cases = [
        ("GET /v2/status", "", 404, "/v2/status"),
        ("GET /v1/promote", "", 405, "POST"),
        ("POST /v1/promote", "{", 422, "EOF"),
        ("POST /v1/promote", r#"{"color":"green"}"#, 422, "color"),
        ("POST /v1/promote", "", 422, "colour"),
        ("POST /v1/promote", r#"{"colour":"red"}"#, 422, "red"),
        ("POST /v1/reload", r#"{"now":true}"#, 422, "now"),
        ("POST /v1/promote", &long, 413, "65536"),
    ];
    for (line, body, status, word) in cases {
        let problem = problem(&served.path, line, body).await;
        assert_eq!(problem.status, status, "{line} {word}");
        assert!(problem.detail.contains(word), "{}", problem.detail);
    }
    let (head, body) = ask(&served.path, "POST /v1/reload", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "{\"applied\":true,\"generation\":1,\"pending_restart\":[]}\n");
}

#[tokio::test]
async fn events_follow_until_the_stop_and_the_file_goes_with_it() {
    let (served, _green) = served(200).await;
    let stream = send(&served.path, "GET /v1/events", "").await;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    stream.read_line(&mut head).await.unwrap();
    ask(&served.path, "POST /v1/promote", r#"{"colour":"green"}"#).await;
    let wanted = async { while !matches!(next_event(&mut stream).await, Event::Drained { .. }) {} };
    wanted.await;
    served.world.shutdown.advance(Stage::Graceful);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    served.serving.await.unwrap();
    assert!(!served.path.exists());
}

#[tokio::test]
async fn a_live_socket_is_refused_and_a_stale_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ControlSettings { socket: dir.path().join("new/control.sock"), mode: 0o600 };
    let first = ControlSocket::bind(&settings).unwrap();
    let folder = std::fs::metadata(dir.path().join("new")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o750);
    let mode = std::fs::metadata(&settings.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = ControlSocket::bind(&settings).unwrap_err();
    let told = format!("another proxyd answers on {}", settings.socket.display());
    assert_eq!(second.to_string(), told);
    drop(first);

    // A daemon that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&settings.socket).unwrap());
    assert!(settings.socket.exists());
    let third = ControlSocket::bind(&settings).unwrap();
    drop(third);
    assert!(!settings.socket.exists());

    std::fs::write(&settings.socket, "precious").unwrap();
    let file = ControlSocket::bind(&settings).unwrap_err();
    assert!(matches!(file, SocketError::NotASocket(_)), "{file}");
    assert!(settings.socket.exists());
}

//! The admin listener over a real connection.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::control::command::status::Status;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::upstream;

async fn ask(address: std::net::SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn answers_scrapers_and_load_balancers_and_nobody_else() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let stopping = world.shutdown.stopping();
    let serving =
        tokio::spawn(serve(listener, world.handle.clone(), Metrics::new("test"), stopping));

    let page = ask(at, "GET /metrics").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("version=0.0.4"), "{page}");
    assert!(page.contains("proxy_generation 1"), "{page}");
    assert!(ask(at, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(at, "GET /readyz").await.starts_with("HTTP/1.1 200"));
    let status = ask(at, "GET /status").await;
    let (_, body) = status.split_once("\r\n\r\n").unwrap();
    let status: Status = serde_json::from_str(body).unwrap();
    assert_eq!(status, world.handle.status());
    assert!(ask(at, "GET /v1/promote").await.starts_with("HTTP/1.1 404"));
    let wrong = ask(at, "POST /status").await;
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.contains("GET, HEAD"), "{wrong}");

    world.shutdown.advance(Stage::Graceful);
    assert!(ask(at, "GET /readyz").await.starts_with("HTTP/1.1 503"));
    assert!(ask(at, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    world.shutdown.advance(Stage::Now);
    serving.await.unwrap().unwrap();
}

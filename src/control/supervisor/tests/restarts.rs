//! What outlives the process, and how it stops.

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::event::Event;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::sync::shutdown::Stage;

#[tokio::test]
async fn a_restart_continues_with_the_remembered_colour_and_the_next_generation() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    world.promote("green").await.last().await;
    let (dir, file) = world.kill().await;
    let world = World::start(dir, file).await;
    assert_eq!((world.generation(), world.live("app")), (3, Colour::Green));
    assert!(world.pool("app", Colour::Blue).leases().is_retired());
    assert!(matches!(world.rollback().await.last().await, Event::Drained { .. }));
    assert_eq!(world.live("app"), Colour::Blue);
}

#[tokio::test]
async fn a_damaged_state_starts_with_the_colour_that_is_healthy() {
    let (blue, green) = (Origin::start(503).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    assert_eq!(world.live("app"), Colour::Blue, "the file says so");
    let (dir, file) = world.kill().await;
    for copy in std::fs::read_dir(dir.path().join("state")).unwrap() {
        std::fs::write(copy.unwrap().path(), "?").unwrap();
    }
    let world = World::start(dir, file).await;
    assert_eq!(world.live("app"), Colour::Green);
    assert!(world.pool("app", Colour::Blue).leases().is_retired());
    assert!(!world.pool("app", Colour::Green).leases().is_retired());
}

#[tokio::test]
async fn a_stop_cancels_the_gate_and_lets_the_drain_end() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let (one, two) = (Origin::start(200).await, Origin::start(503).await);
    let file = json!({ "app": upstream(&[&blue], &[&green]), "web": upstream(&[&one], &[&two]) });
    let world = World::with(file).await;
    let of = |name: &str| crate::control::command::Promote {
        upstreams: Some(vec![name.to_owned()]),
        ..to("green")
    };
    let request = world.request("app");
    let mut drains = world.handle.promote(of("app"), ME).await.unwrap();
    drains
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let mut gates = world.handle.promote(of("web"), ME).await.unwrap();
    gates.next().await.unwrap();
    world.shutdown.advance(Stage::Graceful);
    assert!(matches!(gates.last().await, Event::Refused { code: Code::TakenBack, .. }));
    assert!(!world.handle.is_ready());
    let late = world.handle.promote(of("web"), ME).await.unwrap_err();
    assert_eq!(late.status, 503);
    drop(request);
    assert!(matches!(drains.last().await, Event::Drained { .. }));
    world.running.await.unwrap();
}

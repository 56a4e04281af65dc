//! A colour that is held for a way back: which of its doors is open, and until when.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::Guard;
use crate::control::command::Promote;
use crate::control::command::event::Event;
use crate::control::command::target::SetPool;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::sync::lease::CutAs;
use crate::sync::lease::Door;

async fn held_for(hold: &str) -> World {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"]["hold"] = json!(hold);
    World::with(json!({ "app": file })).await
}

#[tokio::test]
async fn a_held_colour_stays_open_to_exceptions_until_somebody_gives_it_up() {
    let world = held_for("10m").await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let blue = world.pool("app", Colour::Blue);
    let exception = blue.exceptional_lease(0).unwrap();
    drop(request);
    // The exception is not waited for: more may come as long as it is held.
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, None);
    assert!(receipts[0].held_until.is_some());
    drop(exception);
    assert!(blue.exceptional_lease(0).is_ok());
    let guard = |ignore_hold| Guard { colour: "blue".to_owned(), ignore_hold, ..Guard::default() };
    let refused = world.handle.guard(guard(false), ME).await.unwrap_err();
    assert_eq!(refused.code, Code::InUse);
    assert!(!blue.leases().is_shut());
    let way_back = || world.handle.status().upstreams["app"].rollback.clone();
    assert!(way_back().is_some());
    let _given_up = world.handle.guard(guard(true), ME).await.unwrap();
    assert!(way_back().is_none(), "nobody promises it any more");
    assert!(blue.exceptional_lease(0).is_err());
}

#[tokio::test]
async fn a_held_colour_that_had_to_be_cut_is_open_to_exceptions_again() {
    let world = held_for("10m").await;
    let request = world.request("app");
    let wish = Promote {
        colour: "green".to_owned(),
        drain_timeout: Some("100ms".to_owned()),
        wait: true,
        ..Promote::default()
    };
    let mut events = world.handle.promote(wish, ME).await.unwrap();
    let blue = world.pool("app", Colour::Blue);
    world.until(|_| blue.leases().is_cut()).await;
    assert!(blue.exceptional_lease(0).is_err());
    request.end_as_cut(CutAs::Force);
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    assert_eq!((receipts[0].cut.requests, receipts[0].safe_to_kill), (1, None));
    world.until(|_| blue.exceptional_lease(0).is_ok()).await;
}

#[tokio::test]
async fn a_colour_that_is_held_no_longer_is_shut() {
    let world = held_for("500ms").await;
    let Event::Drained { .. } = world.promote("green").await.last().await else {
        panic!("not drained")
    };
    let blue = world.pool("app", Colour::Blue);
    world.until(|_| blue.leases().is_shut()).await;
    let status = world.handle.status();
    assert!(status.upstreams["app"].rollback.is_none());
}

#[tokio::test]
async fn a_held_colour_is_as_open_to_exceptions_after_a_restart() {
    let world = held_for("10m").await;
    world.promote("green").await.last().await;
    let (dir, file) = world.kill().await;
    let world = World::start(dir, file).await;
    assert_eq!(world.pool("app", Colour::Blue).leases().door(), Door::Warm);
}

#[tokio::test]
async fn a_colour_that_is_held_no_longer_is_shut_after_a_restart() {
    let world = held_for("50ms").await;
    world.promote("green").await.last().await;
    let (dir, file) = world.kill().await;
    let over = SystemTime::now() + Duration::from_millis(50);
    let world = World::start(dir, file).await;
    world.until(|_| SystemTime::now() >= over).await;
    let blue = world.pool("app", Colour::Blue);
    world.until(|_| blue.leases().is_shut()).await;
}

fn guard_blue(ignore_hold: bool) -> Guard {
    Guard { colour: "blue".to_owned(), ignore_hold, ..Guard::default() }
}

#[tokio::test]
async fn a_colour_that_a_guard_has_given_up_is_reopened_by_nothing() {
    let world = held_for("10m").await;
    world.promote("green").await.last().await;
    drop(world.handle.guard(guard_blue(true), ME).await.unwrap());
    let Event::Drained { receipts } = world.promote("green").await.last().await else {
        panic!("not drained")
    };
    assert!(receipts[0].already && receipts[0].held_until.is_none());
    assert!(world.pool("app", Colour::Blue).leases().is_shut());
    let (dir, file) = world.kill().await;
    let world = World::start(dir, file).await;
    assert_eq!(world.pool("app", Colour::Blue).leases().door(), Door::Shut);
    assert!(world.handle.guard(guard_blue(false), ME).await.is_ok(), "nothing is held");
}

#[tokio::test]
async fn targets_that_were_forced_on_a_held_colour_are_no_way_back_after_a_restart() {
    let (world, other) = (held_for("10m").await, Origin::start(200).await);
    world.promote("green").await.last().await;
    let request = SetPool {
        upstream: None,
        colour: "blue".to_owned(),
        targets: Some(vec![other.address.to_string()]),
        force: true,
    };
    world.handle.set_pool(request, ME).await.unwrap();
    let (dir, file) = world.kill().await;
    let world = World::start(dir, file).await;
    assert_eq!(world.pool("app", Colour::Blue).leases().door(), Door::Shut);
    assert!(world.handle.status().upstreams["app"].rollback.is_none());
}

#[tokio::test]
async fn a_hold_that_was_given_up_is_not_renewed_by_a_verdict() {
    let world = held_for("10m").await;
    let request = Promote { bake: Some("400ms".to_owned()), ..to("green") };
    let mut events = world.handle.promote(request, ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Switched { .. }))
        .await;
    drop(world.handle.guard(guard_blue(true), ME).await.unwrap());
    events.last().await;
    assert!(world.handle.status().upstreams["app"].rollback.is_none());
    assert!(world.pool("app", Colour::Blue).leases().is_shut());
}

//! The file, applied while everything runs.

use std::sync::Arc;

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::event::Event;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::sync::lease::CutAs;

const ASKED: Cause = Cause::Asked(ME);

#[tokio::test]
async fn a_reload_keeps_what_stayed_and_drains_what_changed() {
    let (blue, green, new) =
        (Origin::start(200).await, Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let [old_blue, old_green] = Colour::BOTH.map(|colour| world.pool("app", colour));
    let request = world.request("app");
    let mut file = world.file.clone();
    file["upstreams"]["app"] = upstream(&[&blue, &new], &[&green]);
    world.write_file(&file);
    let reloaded = world.handle.reload(ASKED).await.unwrap();
    assert_eq!((reloaded.generation, world.generation()), (2, 2));
    assert!(reloaded.pending_restart.is_empty());
    assert!(Arc::ptr_eq(&old_green, &world.pool("app", Colour::Green)));
    let new_blue = world.pool("app", Colour::Blue);
    assert!(!Arc::ptr_eq(&old_blue, &new_blue));
    assert!(Arc::ptr_eq(&old_blue.targets[0], &new_blue.targets[0]));
    assert!(old_blue.leases().is_retired() && !new_blue.leases().is_retired());
    let in_flight = |world: &World| world.handle.status().upstreams["app"].pools["blue"].in_flight;
    assert_eq!(in_flight(&world), 1, "the replaced pool still counts");

    // The replaced pool's request holds the receipt of the next promotion back.
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { in_flight: 1 }))
        .await;
    drop(request);
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, Some(Colour::Blue));
    assert_eq!(in_flight(&world), 0);
}

#[tokio::test]
async fn a_file_that_reads_as_before_is_applied_already() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    for cause in [ASKED, Cause::Signal, Cause::Watch] {
        assert_eq!(world.handle.reload(cause).await.unwrap().generation, 1);
    }
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_everything() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let before = world.pool("app", Colour::Blue);
    let mut notices = world.handle.subscribe();
    std::fs::write(world.path(), "{ \"nonsense\": [").unwrap();
    let refused = world.handle.reload(ASKED).await.unwrap_err();
    assert_eq!((refused.status, refused.code), (422, Code::Config));
    assert!(!refused.problems.is_empty());
    let notice = notices.recv().await.unwrap();
    assert!(matches!(notice.event, Event::Reload { applied: false, generation: 1, .. }));
    let last = world.handle.status().config.last_reload;
    assert!(!last.ok && !last.problems.is_empty());
    assert!(Arc::ptr_eq(&before, &world.pool("app", Colour::Blue)));

    // The old text again: nothing to apply, but no longer bad news.
    world.write_file(&world.file);
    assert_eq!(world.handle.reload(Cause::Watch).await.unwrap().generation, 1);
    assert!(world.handle.status().config.last_reload.ok);
}

#[tokio::test]
async fn a_listener_that_cannot_be_had_refuses_the_whole_file() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut file = world.file.clone();
    file["listeners"][0]["tls"] =
        json!({ "certificates": [{ "cert": "/nowhere/a.pem", "key": "/nowhere/b.pem" }] });
    file["upstreams"]["app"] = upstream(&[&green], &[&blue]);
    world.write_file(&file);
    let refused = world.handle.reload(ASKED).await.unwrap_err();
    let named = |key: &str| {
        let path = format!("listeners[0].tls.certificates[0].{key}");
        refused
            .problems
            .iter()
            .any(|problem| problem.what.contains(&path))
    };
    assert!(named("cert") || named("key"), "{:?}", refused.problems);
    assert_eq!(world.generation(), 1);
}

#[tokio::test]
async fn a_reload_waits_for_the_gate() {
    let (blue, green, new) =
        (Origin::start(200).await, Origin::start(503).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut events = world.promote("green").await;
    events.next().await.unwrap();
    let mut file = world.file.clone();
    file["upstreams"]["app"] = upstream(&[&blue, &new], &[&green]);
    world.write_file(&file);
    let handle = world.handle.clone();
    let reload = tokio::spawn(async move { handle.reload(ASKED).await });
    events.next().await.unwrap();
    assert!(!reload.is_finished());
    assert_eq!(world.generation(), 1);
    green.answer(200);
    events
        .until(|event| matches!(event, Event::Switched { generation: 2 }))
        .await;
    assert_eq!(reload.await.unwrap().unwrap().generation, 3);
    assert_eq!(world.live("app"), Colour::Green);
}

#[tokio::test]
async fn what_only_a_restart_changes_is_told() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut file = world.file.clone();
    file["workers"] = json!(3);
    world.write_file(&file);
    let reloaded = world.handle.reload(ASKED).await.unwrap();
    assert_eq!(reloaded.pending_restart, ["workers"]);
    assert_eq!(world.handle.status().config.pending_restart, ["workers"]);
}

#[tokio::test]
async fn an_upstream_that_returns_comes_back_with_its_colour() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let both = json!({
        "app": upstream(&[&blue], &[&green]),
        "web": { "targets": [blue.address.to_string()] },
    });
    let world = World::with(both).await;
    world.promote("green").await.last().await;
    let mut without = world.file.clone();
    without["upstreams"].as_object_mut().unwrap().remove("app");
    without["routes"][0]["upstream"] = json!("web");
    world.write_file(&without);
    world.handle.reload(ASKED).await.unwrap();
    assert!(world.handle.snapshot().upstream("app").is_none());
    world.write_file(&world.file);
    assert_eq!(world.handle.reload(ASKED).await.unwrap().generation, 4);
    assert_eq!(world.live("app"), Colour::Green);
}

#[tokio::test]
async fn a_replaced_pool_that_does_not_empty_is_cut_at_its_deadline() {
    let (blue, green, new) =
        (Origin::start(200).await, Origin::start(200).await, Origin::start(200).await);
    let mut app = upstream(&[&blue], &[&green]);
    app["promotion"]["drain_timeout"] = json!("50ms");
    let world = World::with(json!({ "app": app })).await;
    let request = world.request("app");
    let old = world.pool("app", Colour::Blue);
    let mut file = world.file.clone();
    file["upstreams"]["app"]["blue"] = json!([new.address.to_string()]);
    world.write_file(&file);
    world.handle.reload(ASKED).await.unwrap();
    world.until(|_| old.leases().is_cut()).await;
    request.end_as_cut(CutAs::Force);
    world.until(|_| old.leases().in_flight() == 0).await;
    assert_eq!(old.leases().cut_count().requests, 1);
}

#[tokio::test]
async fn a_pool_that_was_replaced_while_it_drained_keeps_its_deadline_after_a_rollback() {
    let (blue, green, new) =
        (Origin::start(200).await, Origin::start(200).await, Origin::start(200).await);
    let mut app = upstream(&[&blue], &[&green]);
    app["promotion"]["drain_timeout"] = json!("300ms");
    let world = World::with(json!({ "app": app })).await;
    let (request, old) = (world.request("app"), world.pool("app", Colour::Blue));
    let mut first = world.promote("green").await;
    first
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let mut file = world.file.clone();
    file["upstreams"]["app"]["blue"] = json!([new.address.to_string()]);
    world.write_file(&file);
    world.handle.reload(ASKED).await.unwrap();
    world.rollback().await.last().await;
    assert!(matches!(first.last().await, Event::Reopened { .. }));
    world.until(|_| old.leases().is_cut()).await;
    request.end_as_cut(CutAs::Force);
    let in_flight = |world: &World| world.handle.status().upstreams["app"].pools["blue"].in_flight;
    world.until(|world| in_flight(world) == 0).await;
    assert!(!world.pool("app", Colour::Blue).leases().is_cut());
}

#[tokio::test]
async fn a_pool_that_a_reload_puts_in_the_place_of_one_that_drains_is_shut_before_the_receipt() {
    let (blue, green, new) =
        (Origin::start(200).await, Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { in_flight: 1 }))
        .await;
    let mut file = world.file.clone();
    file["upstreams"]["app"] = upstream(&[&blue, &new], &[&green]);
    world.write_file(&file);
    world.handle.reload(ASKED).await.unwrap();
    let pool = world.pool("app", Colour::Blue);
    let rescued = pool.exceptional_lease(0);
    drop(request);
    if let Ok(rescued) = rescued {
        world.until(|_| pool.leases().is_shut()).await;
        assert!(world.handle.status().upstreams["app"].promotion.is_some(), "it still drains");
        drop(rescued);
    }
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, Some(Colour::Blue));
    assert!(pool.leases().is_shut(), "nobody gets in after that");
}

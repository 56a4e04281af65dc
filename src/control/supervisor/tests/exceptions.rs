//! Which door of a retired pool is open, and who shuts it.

use std::time::Duration;

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::Guard;
use crate::control::command::Promote;
use crate::control::command::canary::Preview;
use crate::control::command::event::Event;
use crate::control::command::status::Phase;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::sync::lease::CutAs;

#[tokio::test]
async fn a_pool_is_born_shut_retired_while_it_drains_and_shut_before_its_receipt() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    assert!(world.pool("app", Colour::Green).leases().is_shut());
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { in_flight: 1 }))
        .await;
    let blue = world.pool("app", Colour::Blue);
    assert!(blue.leases().is_retired() && !blue.leases().is_shut());
    // The last plain request goes and an exception is in: nobody else comes in, and it is waited for.
    let exception = blue.exceptional_lease(0).unwrap();
    drop(request);
    world.until(|_| blue.leases().is_shut()).await;
    assert!(blue.exceptional_lease(0).is_err());
    assert!(world.handle.status().upstreams["app"].promotion.is_some(), "it still drains");
    drop(exception);
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, Some(Colour::Blue));
}

#[tokio::test]
async fn the_deadline_of_a_drain_cuts_exceptions_as_well() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"] = json!({ "drain_timeout": "300ms" });
    let world = World::with(json!({ "app": file })).await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let blue = world.pool("app", Colour::Blue);
    let exception = blue.exceptional_lease(0).unwrap();
    world.until(|_| blue.leases().is_cut()).await;
    assert!(blue.leases().is_shut(), "shut first: who comes after a cut would not be told of it");
    request.end_as_cut(CutAs::Force);
    exception.end_as_cut(CutAs::Force);
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    assert_eq!((receipts[0].cut.requests, receipts[0].safe_to_kill), (2, Some(Colour::Blue)));
}

#[tokio::test]
async fn a_guard_shuts_first_and_a_refused_one_lets_exceptions_in_again() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let guard = || Guard { colour: "green".to_owned(), ..Guard::default() };
    let green = world.pool("app", Colour::Green);
    green.leases().retire();
    let exception = green.exceptional_lease(0).unwrap();
    let refused = world.handle.guard(guard(), ME).await.unwrap_err();
    assert_eq!(refused.code, Code::InUse);
    assert!(!green.leases().is_shut(), "as it was");
    drop(exception);
    let held = world.handle.guard(guard(), ME).await.unwrap();
    assert!(green.exceptional_lease(0).is_err(), "whoever kills it now takes nothing from anybody");
    drop(held);
}

#[tokio::test]
async fn a_promote_of_the_live_colour_leaves_a_preview_of_the_other_one_alone() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let shown = Preview { colour: "green".to_owned(), ..Preview::default() };
    world.handle.preview(shown, ME).await.unwrap();
    let guest = world.pool("app", Colour::Green).exceptional_lease(0);
    let Event::Drained { receipts } = world.promote("blue").await.last().await else {
        panic!("not drained")
    };
    assert_eq!((receipts[0].already, receipts[0].safe_to_kill), (true, None));
    assert!(!world.pool("app", Colour::Green).leases().is_shut());
    drop(guest);
}

#[tokio::test]
async fn a_preview_that_was_ordered_in_a_bake_stays_when_the_drain_of_another_upstream_cuts() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"]["drain_timeout"] = json!("300ms");
    let world = World::with(json!({ "shown": file, "other": file })).await;
    let answered_well = |colour| {
        for name in ["shown", "other"] {
            let pool = world.pool(name, colour);
            (0..200).for_each(|_| pool.conduct().count(0, 0, None, Duration::from_millis(1)));
        }
    };
    answered_well(Colour::Blue);
    let request = Promote { all: true, bake: Some("1s".to_owned()), ..to("green") };
    let mut events = world.handle.promote(request, ME).await.unwrap();
    world
        .until(|world| {
            let app = &world.handle.status().upstreams["shown"];
            let phase = app.promotion.as_ref().map(|promotion| promotion.phase);
            phase == Some(Phase::Baking)
        })
        .await;
    answered_well(Colour::Green);
    let upstreams = Some(vec!["shown".to_owned()]);
    let order = Preview { colour: "blue".to_owned(), upstreams, ..Preview::default() };
    world.handle.preview(order, ME).await.unwrap();
    let (shown, other) = (world.pool("shown", Colour::Blue), world.pool("other", Colour::Blue));
    let guest = shown.exceptional_lease(0).unwrap();
    let rescued = other.exceptional_lease(0).unwrap();
    world.until(|_| other.leases().is_cut()).await;
    assert!(!shown.leases().is_cut(), "nobody waits for its guest");
    rescued.end_as_cut(CutAs::Force);
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    let of = |name: &str| {
        receipts
            .iter()
            .find(|receipt| receipt.upstream == name)
            .unwrap()
    };
    assert_eq!((of("shown").cut.requests, of("shown").safe_to_kill), (0, None));
    assert_eq!((of("other").cut.requests, of("other").safe_to_kill), (1, Some(Colour::Blue)));
    assert!(shown.exceptional_lease(0).is_ok(), "and others are shown it");
    drop(guest);
}

#[tokio::test]
async fn what_is_cut_on_a_pool_that_a_reload_put_in_is_counted_as_the_receipt_says() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let new = Origin::start(200).await;
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"]["drain_timeout"] = json!("4s");
    // As long as it is held, exceptions come in; and then the drain has to wait for them.
    file["promotion"]["hold"] = json!("2s");
    let world = World::with(json!({ "app": file })).await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let mut file = world.file.clone();
    file["upstreams"]["app"]["blue"] = json!([new.address.to_string()]);
    world.write_file(&file);
    world.handle.reload(Cause::Asked(ME)).await.unwrap();
    let put_in = world.pool("app", Colour::Blue);
    let exception = put_in.exceptional_lease(0).unwrap();
    world.until(|_| put_in.leases().is_cut()).await;
    request.end_as_cut(CutAs::Force);
    exception.end_as_cut(CutAs::WebSocket);
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    let cut = receipts[0].cut;
    assert_eq!((cut.requests, cut.websockets_closed), (1, 1));
    let of_blue = r#"{upstream="app",colour="blue""#;
    assert_eq!(world.measured(&format!("proxy_requests_cut_total{of_blue}}}")), 1.0);
    let closed = format!(r#"proxy_streams_closed_total{of_blue},outcome="websocket_closed"}}"#);
    assert_eq!(world.measured(&closed), 1.0);
}

#[tokio::test]
async fn a_receipt_gives_nothing_up_that_another_promotion_gates() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut there = world.promote("green").await;
    there
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    blue.answer(500);
    let mut back = world.promote("blue").await;
    back.until(|event| matches!(event, Event::Gating { .. }))
        .await;
    drop(request);
    let Event::Drained { receipts } = there.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, None, "it is about to be live");
}

#[tokio::test]
async fn exceptions_on_a_held_pool_that_a_reload_has_replaced_keep_the_deadline_of_the_drain() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let new = Origin::start(200).await;
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"]["drain_timeout"] = json!("1s");
    file["promotion"]["hold"] = json!("10m");
    let world = World::with(json!({ "app": file })).await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let replaced = world.pool("app", Colour::Blue);
    let exception = replaced.exceptional_lease(0).unwrap();
    let mut file = world.file.clone();
    file["upstreams"]["app"]["blue"] = json!([new.address.to_string()]);
    world.write_file(&file);
    world.handle.reload(Cause::Asked(ME)).await.unwrap();
    drop(request);
    world.until(|_| replaced.leases().is_cut()).await;
    exception.end_as_cut(CutAs::Force);
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    assert_eq!((receipts[0].cut.requests, receipts[0].safe_to_kill), (1, None));
}

//! What a verdict takes back, and what it leaves alone.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;
use serde_json::json;

use crate::control::command::Promote;
use crate::control::command::Rollback;
use crate::control::command::canary::Canary;
use crate::control::command::event::Event;
use crate::control::command::event::Receipt;
use crate::control::command::target::SetTarget;
use crate::control::command::verdict::Outcome;
use crate::control::command::verdict::Verdict;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::model::conduct::Failing;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::settings::HealthSettings;
use crate::model::target::Admin;

/// Of every promotable upstream, to green, judged so long; it has switched.
async fn baking(world: &World, bake: &str) -> EventStream {
    let request = Promote { all: true, bake: Some(bake.to_owned()), ..to("green") };
    let mut events = world.handle.promote(request, ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Switched { .. }))
        .await;
    events
}

async fn drain(world: &World, origin: &Origin) {
    let request = SetTarget {
        target: origin.address.to_string(),
        state: Admin::Draining,
        ..SetTarget::default()
    };
    drop(world.handle.set_target(request, ME).await.unwrap());
}

fn quick(blue: &Origin, green: &Origin) -> Value {
    upstream(&[blue], &[green])
}

/// So many requests that a colour has answered, all of them well or none.
fn requests(world: &World, upstream: &str, colour: Colour, failing: Option<Failing>) {
    let pool = world.pool(upstream, colour);
    for _ in 0..200 {
        pool.conduct()
            .count(0, 0, failing, Duration::from_millis(1));
    }
}

fn verdict(event: &Event) -> Verdict {
    let (Event::Frozen { receipts } | Event::Reverted { receipts }) = event else {
        panic!("no verdict: {event:?}")
    };
    let of = |receipt: &Receipt| receipt.verdict.clone();
    receipts.iter().find_map(of).unwrap()
}

#[tokio::test]
async fn a_dead_colour_is_not_exchanged_for_one_whose_targets_all_drain() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": quick(&blue, &green) })).await;
    let mut events = baking(&world, "2s").await;
    drain(&world, &blue).await;
    green.answer(500);
    let ending = events.last().await;
    assert_eq!(world.live("app"), Colour::Green, "{ending:?}");
}

#[tokio::test]
async fn a_colour_that_is_judged_bad_stays_live_while_a_target_of_the_old_one_drains() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let other = Origin::start(200).await;
    let world = World::with(json!({ "app": upstream(&[&blue, &other], &[&green]) })).await;
    requests(&world, "app", Colour::Blue, None);
    let mut events = baking(&world, "60s").await;
    drain(&world, &other).await;
    requests(&world, "app", Colour::Green, Some(Failing::Status));
    let verdict = verdict(&events.last().await);
    assert_eq!(verdict.result, Outcome::Failed);
    let expected = format!("app: blue is not well: {} drains", other.address);
    assert_eq!(verdict.obstacle, Some(expected));
    assert_eq!(world.live("app"), Colour::Green);
}

async fn two(app1: [&Origin; 2], app2: [&Origin; 2]) -> World {
    World::with(json!({ "app1": quick(app1[0], app1[1]), "app2": quick(app2[0], app2[1]) })).await
}

#[tokio::test]
async fn what_was_rolled_back_by_hand_is_judged_no_longer() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let well = Origin::start(200).await;
    let world = two([&blue, &green], [&blue, &well]).await;
    let mut events = baking(&world, "2s").await;
    let back =
        Rollback { upstreams: Some(vec!["app1".to_owned()]), wait: false, ..Rollback::default() };
    world.handle.rollback(back, ME).await.unwrap().last().await;
    // It is stopped, as it may be.
    green.answer(500);
    let Event::Reopened { receipts } = events.last().await else { panic!("not reopened") };
    let live = [world.live("app1"), world.live("app2")];
    assert_eq!(live, [Colour::Blue, Colour::Green], "{receipts:?}");
}

#[tokio::test]
async fn a_revert_leaves_alone_what_was_live_already() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let well = Origin::start(200).await;
    let world = two([&blue, &green], [&blue, &well]).await;
    let first = Promote { upstreams: Some(vec!["app2".to_owned()]), ..to("green") };
    world.handle.promote(first, ME).await.unwrap().last().await;
    let mut events = baking(&world, "60s").await;
    green.answer(500);
    let Event::Reverted { receipts } = events.last().await else { panic!("not reverted") };
    let of = |receipt: &Receipt| (receipt.colour, receipt.already);
    assert_eq!(of(&receipts[0]), (Colour::Blue, false));
    assert_eq!(of(&receipts[1]), (Colour::Green, true));
    let failed = receipts[0].verdict.as_ref().unwrap();
    assert_eq!((failed.result, &failed.obstacle), (Outcome::Failed, &None));
    assert_eq!([world.live("app1"), world.live("app2")], [Colour::Blue, Colour::Green]);
}

#[tokio::test]
async fn a_revert_makes_no_colour_live_that_was_only_a_canary() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let well = Origin::start(200).await;
    let world = two([&blue, &green], [&blue, &well]).await;
    let app2 = || Some(vec!["app2".to_owned()]);
    let first = Promote { upstreams: app2(), ..to("green") };
    world.handle.promote(first, ME).await.unwrap().last().await;
    let part = Canary {
        colour: "blue".to_owned(),
        weight: "10".parse().unwrap(),
        upstreams: app2(),
        ..Canary::default()
    };
    world.handle.canary(part, ME).await.unwrap().last().await;
    let mut events = baking(&world, "60s").await;
    green.answer(500);
    let Event::Reverted { receipts } = events.last().await else { panic!("not reverted") };
    assert_eq!([receipts[0].colour, receipts[1].colour], [Colour::Blue, Colour::Green]);
    assert_eq!([world.live("app1"), world.live("app2")], [Colour::Blue, Colour::Green]);
}

fn part_of(colour: &str) -> Canary {
    Canary { colour: colour.to_owned(), weight: "10".parse().unwrap(), ..Canary::default() }
}

#[tokio::test]
async fn a_canary_of_a_colour_that_a_revert_makes_live_meanwhile_is_refused() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let other = Origin::start(200).await;
    let world = World::with(json!({ "app": upstream(&[&blue, &other], &[&green]) })).await;
    let mut events = baking(&world, "60s").await;
    other.answer(500);
    let mut part = world.handle.canary(part_of("blue"), ME).await.unwrap();
    part.until(|event| matches!(event, Event::Gating { .. }))
        .await;
    // One good target of the old colour is enough where the new one is dead.
    green.answer(500);
    assert!(matches!(events.last().await, Event::Reverted { .. }));
    other.answer(200);
    let Event::Refused { reasons, .. } = part.last().await else { panic!("not refused") };
    assert_eq!(reasons[0].what, "blue has become live meanwhile");
}

#[tokio::test]
async fn a_canary_of_the_old_colour_ends_the_bake_for_the_hold_too() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": quick(&blue, &green) })).await;
    let mut events = baking(&world, "60s").await;
    let orders = |world: &World| {
        let snapshot = world.handle.snapshot();
        snapshot.upstream("app").unwrap().orders.held.clone()
    };
    assert!(orders(&world).unwrap().baking);
    world
        .handle
        .canary(part_of("blue"), ME)
        .await
        .unwrap()
        .last()
        .await;
    assert!(matches!(events.last().await, Event::Reopened { .. }));
    assert!(!orders(&world).unwrap().baking);
}

#[tokio::test]
async fn a_pool_that_a_reload_has_replaced_is_not_what_is_dead() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let new = Origin::start(200).await;
    let world = World::with(json!({ "app": quick(&blue, &green) })).await;
    let mut events = baking(&world, "2s").await;
    let old = world.pool("app", Colour::Green);
    let mut file = world.file.clone();
    file["upstreams"]["app"] = quick(&blue, &new);
    world.write_file(&file);
    world.handle.reload(Cause::Asked(ME)).await.unwrap();
    // Its old target is stopped, and the last probe of it said so.
    let probe = ProbeRecord {
        at: SystemTime::now(),
        outcome: ProbeOutcome::Refused,
        latency: Duration::ZERO,
    };
    old.targets[0]
        .health
        .record(probe, &HealthSettings::default());
    let ending = events.last().await;
    assert_eq!(world.live("app"), Colour::Green, "{ending:?}");
}

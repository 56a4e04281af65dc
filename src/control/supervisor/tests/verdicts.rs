//! What a verdict takes back, and what it leaves alone.

use std::time::Duration;

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
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::model::conduct::Failing;
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

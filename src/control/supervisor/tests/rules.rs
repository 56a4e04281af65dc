//! What is refused before it starts, and who holds whom off.

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::Guard;
use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;

async fn refused(world: &World, request: Promote) -> Refusal {
    world.handle.promote(request, ME).await.unwrap_err()
}

#[tokio::test]
async fn a_second_promote_is_busy_while_the_first_gates_and_then_not() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut first = world.promote("green").await;
    first.next().await.unwrap();
    let busy = refused(&world, to("green")).await;
    assert_eq!((busy.status, busy.code), (409, Code::Busy));
    assert!(busy.detail.contains("gating"), "{}", busy.detail);
    assert!(busy.detail.contains("uid 1000"), "{}", busy.detail);
    green.answer(200);
    assert!(matches!(first.last().await, Event::Drained { .. }));
    assert!(matches!(world.promote("blue").await.last().await, Event::Drained { .. }));
}

#[tokio::test]
async fn expect_live_is_a_compare_and_set_and_comes_before_already() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let expecting =
        |colour: &str, live: &str| Promote { expect_live: Some(live.to_owned()), ..to(colour) };
    for colour in ["green", "blue"] {
        let wrong = refused(&world, expecting(colour, "green")).await;
        assert_eq!((wrong.status, wrong.code), (409, Code::ExpectLive), "{colour}");
    }
    let mut right = world
        .handle
        .promote(expecting("green", "blue"), ME)
        .await
        .unwrap();
    assert!(matches!(right.last().await, Event::Drained { .. }));
}

#[tokio::test]
async fn unknown_words_are_refused_by_name() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let plain = json!({ "targets": [blue.address.to_string()] });
    let file = json!({
        "api": upstream(&[&blue], &[&green]),
        "app": upstream(&[&green], &[&blue]),
        "static": plain,
    });
    let world = World::with(file).await;
    let naming = |name: &str| Promote { upstreams: Some(vec![name.to_owned()]), ..to("green") };
    let cases = [
        (to("red"), 422, "red"),
        (to("green"), 422, "api, app"),
        (naming("nowhere"), 404, "nowhere"),
        (naming("static"), 422, "static"),
        (Promote { upstreams: Some(Vec::new()), ..to("green") }, 422, "none"),
        (Promote { all: true, ..naming("app") }, 422, "all"),
        (Promote { gate_timeout: Some("soon".to_owned()), ..naming("app") }, 422, "soon"),
        (Promote { build: Some("b7".to_owned()), ..naming("app") }, 422, "build_header"),
        (Promote { expect_live: Some("red".to_owned()), ..naming("app") }, 422, "red"),
    ];
    for (request, status, word) in cases {
        let refusal = refused(&world, request).await;
        assert_eq!((refusal.status, refusal.code), (status, Code::Unknown), "{word}");
        assert!(refusal.detail.contains(word), "{}", refusal.detail);
    }
    assert_eq!(world.generation(), 1);
}

#[tokio::test]
async fn a_rollback_leads_to_the_colour_before_or_says_that_there_is_none() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let Event::Refused { code, reasons } = world.rollback().await.last().await else {
        panic!("nowhere to go back to")
    };
    assert_eq!((code, reasons[0].colour), (Code::Gate, Colour::Green));
    world.promote("green").await.last().await;
    assert!(matches!(world.rollback().await.last().await, Event::Drained { .. }));
    assert_eq!(world.live("app"), Colour::Blue);
}

#[tokio::test]
async fn a_guard_is_granted_only_for_a_colour_that_is_neither_live_nor_in_use() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let guard = |colour: &str| Guard { colour: colour.to_owned(), ..Guard::default() };
    let live = world.handle.guard(guard("blue"), ME).await.unwrap_err();
    assert_eq!((live.status, live.code), (409, Code::InUse));

    let held = world.handle.guard(guard("green"), ME).await.unwrap();
    let busy = refused(&world, to("green")).await;
    assert_eq!((busy.status, busy.code), (409, Code::Busy));
    drop(held);

    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let in_use = world.handle.guard(guard("blue"), ME).await.unwrap_err();
    assert_eq!(in_use.code, Code::InUse);
    assert!(in_use.detail.contains("1 request is"), "{}", in_use.detail);
    drop(request);
    events.last().await;
    let held = world.handle.guard(guard("blue"), ME).await.unwrap();
    assert_eq!((held.upstream.as_str(), held.colour), ("app", Colour::Blue));
}

#[tokio::test]
async fn a_guard_is_refused_while_a_promotion_of_the_colour_gates() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut events = world.promote("green").await;
    events.next().await.unwrap();
    let guard = Guard { colour: "green".to_owned(), ..Guard::default() };
    let refused = world.handle.guard(guard, ME).await.unwrap_err();
    assert_eq!(refused.code, Code::InUse);
}

//! Promotions in steps.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::Promote;
use crate::control::command::event::Event;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::build;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::ground;
use crate::control::supervisor::testing::parts;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::model::conduct::Failing;
use crate::model::orders::Orders;
use crate::model::orders::canary::Canary;
use crate::sync::shutdown::Stage;

fn in_steps() -> Promote {
    let steps = ["50", "100"].map(|step| step.parse().unwrap()).to_vec();
    Promote { steps, pause: Some("100ms".to_owned()), ..to("green") }
}

#[tokio::test]
async fn a_dry_run_in_steps_is_refused_and_begins_nothing() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = Promote { dry_run: true, ..in_steps() };
    let refused = world.handle.promote(request, ME).await.unwrap_err();
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(world.generation(), 1);
}

#[tokio::test]
async fn a_stop_lets_the_last_promotion_of_the_steps_say_what_it_came_to() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut events = world.handle.promote(in_steps(), ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Step { .. }))
        .await;
    for pool in Colour::BOTH.map(|colour| world.pool("app", colour)) {
        for _ in 0..200 {
            pool.conduct().count(0, 0, None, Duration::from_millis(1));
        }
    }
    events
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    world.shutdown.advance(Stage::Graceful);
    world.until(|world| !world.handle.is_ready()).await;
    drop(request);
    assert!(matches!(events.last().await, Event::Drained { .. }));
    world.running.await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_steps_while_one_is_judged() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut events = world.handle.promote(in_steps(), ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Step { .. }))
        .await;
    world.shutdown.advance(Stage::Graceful);
    assert!(matches!(events.last().await, Event::Refused { code: Code::TakenBack, .. }));
    world.running.await.unwrap();
}

/// Requests that both colours have answered: one of them well, the other not.
fn judged_bad(world: &World, bad: Colour) {
    for colour in Colour::BOTH {
        let failing = (colour == bad).then_some(Failing::Status);
        let pool = world.pool("app", colour);
        for _ in 0..200 {
            pool.conduct()
                .count(0, 0, failing, Duration::from_millis(1));
        }
    }
}

/// Whether blue, which was held, is given up once steps with it were judged bad.
async fn is_given_up(targets: Option<Vec<String>>) {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let mut file = upstream(&[&blue], &[&green]);
    file["promotion"]["hold"] = json!("10m");
    let world = World::with(json!({ "app": file })).await;
    world.promote("green").await.last().await;
    let request = Promote { colour: "blue".to_owned(), targets, ..in_steps() };
    let mut events = world.handle.promote(request, ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Step { .. }))
        .await;
    let way_back = || world.handle.status().upstreams["app"].rollback.clone();
    assert!(way_back().is_none(), "a rollback leads to green");
    judged_bad(&world, Colour::Blue);
    assert!(matches!(events.last().await, Event::Reverted { .. }));
    world
        .until(|world| world.pool("app", Colour::Blue).leases().is_shut())
        .await;
    assert!(way_back().is_none());
}

#[tokio::test]
async fn a_held_colour_that_its_steps_have_shown_to_be_bad_is_no_way_back() {
    is_given_up(None).await;
}

#[tokio::test]
async fn targets_of_a_deploy_that_its_steps_have_shown_to_be_bad_are_no_way_back() {
    let other = Origin::start(200).await;
    is_given_up(Some(vec![other.address.to_string()])).await;
}

/// A supervisor that does not run, on which a canary of 50 % stands that somebody began by hand.
async fn with_a_canary() -> (tempfile::TempDir, Supervisor) {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let (dir, _file) = ground(&json!({ "app": upstream(&[&blue], &[&green]) }));
    let (mut supervisor, _handle, _published) = build(parts(&dir)).await.unwrap();
    let (colour, weight) = (Colour::Green, "50".parse().unwrap());
    let (since, in_steps) = (SystemTime::now(), false);
    let canary = Some(Canary { colour, weight, salt: 1, since, in_steps });
    let order = |orders: &mut Orders| orders.canary = canary;
    supervisor.order(["app"], order).await.unwrap();
    (dir, supervisor)
}

fn is_in_steps(supervisor: &Supervisor) -> bool {
    supervisor.memory.orders["app"].canary.unwrap().in_steps
}

#[tokio::test]
async fn what_the_state_says_of_steps_is_true_while_they_go_on_and_after_them() {
    let (_dir, mut supervisor) = with_a_canary().await;
    drop(supervisor.promote(&in_steps(), ME).await.unwrap());
    assert!(is_in_steps(&supervisor), "they begin at the weight that it has already");
    let serial = *supervisor.walks.keys().next().unwrap();
    supervisor.relayed(serial, None).await;
    supervisor.stop_walks().await;
    assert!(supervisor.walks.is_empty());
    assert!(!is_in_steps(&supervisor));
}

#[tokio::test]
async fn steps_whose_requester_goes_as_the_canary_begins_are_judged() {
    let (_dir, mut supervisor) = with_a_canary().await;
    drop(supervisor.promote(&in_steps(), ME).await.unwrap());
    let serial = *supervisor.walks.keys().next().unwrap();
    supervisor.relayed(serial, None).await;
    assert!(supervisor.walks[&serial].is_judging());
}

#[tokio::test]
async fn steps_whose_requester_goes_at_the_gate_are_over_and_begin_no_canary() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut events = world.handle.promote(in_steps(), ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Gating { .. }))
        .await;
    drop(events);
    world
        .until(|world| {
            let app = &world.handle.status().upstreams["app"];
            app.steps.is_none() && app.promotion.is_none()
        })
        .await;
    assert!(world.handle.status().upstreams["app"].canary.is_none());
}

#[tokio::test]
async fn a_deploy_in_steps_that_is_malformed_has_changed_nothing() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let (world, other) = (
        World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await,
        Origin::start(200).await,
    );
    let targets = || Some(vec![other.address.to_string()]);
    let steps = ["50"].map(|step| step.parse().unwrap()).to_vec();
    for wrong in [
        Promote { targets: targets(), steps, ..in_steps() },
        Promote { targets: targets(), pause: Some("soon".to_owned()), ..in_steps() },
    ] {
        let refused = world.handle.promote(wrong, ME).await.unwrap_err();
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(world.generation(), 1);
    }
}

#[tokio::test]
async fn a_deploy_during_the_steps_of_another_is_busy_and_told_of_a_canary_by_hand() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut events = world.handle.promote(in_steps(), ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Step { .. }))
        .await;
    let other = Origin::start(200).await;
    let deploy = Promote { targets: Some(vec![other.address.to_string()]), ..to("green") };
    let refused = world.handle.promote(deploy.clone(), ME).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy, "{refused:?}");
    let by_hand = crate::control::command::canary::Canary {
        colour: "green".to_owned(),
        weight: "10".parse().unwrap(),
        ..Default::default()
    };
    drop(world.handle.canary(by_hand, ME).await.unwrap());
    events.last().await;
    let refused = world.handle.promote(deploy, ME).await.unwrap_err();
    assert_eq!(refused.code, Code::InUse);
    assert!(
        refused
            .detail
            .contains("a canary gives green 10 % of the users"),
        "{refused:?}"
    );
}

//! Targets that are drained by name.

use serde_json::json;

use crate::control::command::event::Event;
use crate::control::command::target::SetTarget;
use crate::control::command::target::TargetEvent;
use crate::control::command::target::TargetPhase;
use crate::control::supervisor::handle::Cause;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::model::target::Admin;

fn target(event: Event) -> TargetEvent {
    let Event::Target(event) = event else { panic!("not about a target") };
    event
}

#[tokio::test]
async fn a_target_drains_with_what_it_was_sent_under_another_weight() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let other = Origin::start(200).await;
    let world = World::with(json!({ "app": upstream(&[&blue, &other], &[&green]) })).await;
    let lease = world.request("app");
    let before = world.pool("app", Colour::Blue).targets[0].clone();
    assert!(before.in_flight.begin(0));
    let mut file = world.file.clone();
    let [address, other] = [&blue, &other].map(|origin| origin.address.to_string());
    file["upstreams"]["app"]["blue"] = json!([{ "address": address, "weight": 2 }, other]);
    world.write_file(&file);
    let reloaded = world.handle.reload(Cause::Asked(ME)).await.unwrap();
    assert_eq!(reloaded.generation, 2);
    let request =
        SetTarget { target: address, state: Admin::Draining, wait: true, ..SetTarget::default() };
    let mut events = world.handle.set_target(request, ME).await.unwrap();
    let first = target(events.next().await.unwrap());
    assert_eq!((first.phase, first.in_flight), (TargetPhase::Draining, 1));
    before.in_flight.end(0);
    drop(lease);
    let receipt = target(events.last().await).receipt.unwrap();
    assert!(receipt.safe_to_restart && receipt.in_flight == 0);
}

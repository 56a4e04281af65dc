//! From the gate to the receipt.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::json;

use crate::control::command::Code;
use crate::control::command::Promote;
use crate::control::command::event::Cut;
use crate::control::command::event::Event;
use crate::control::gate::Asked;
use crate::control::supervisor::build;
use crate::control::supervisor::testing::ME;
use crate::control::supervisor::testing::Origin;
use crate::control::supervisor::testing::World;
use crate::control::supervisor::testing::ground;
use crate::control::supervisor::testing::parts;
use crate::control::supervisor::testing::to;
use crate::control::supervisor::testing::upstream;
use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::sync::lease::CutAs;

#[tokio::test]
async fn a_promote_gates_twice_switches_drains_and_ends_with_a_receipt() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut events = world.promote("green").await;
    for _ in 0..2 {
        let gating = events.next().await.unwrap();
        assert!(matches!(gating, Event::Gating { targets } if targets[0].passed));
    }
    let switched = events.next().await.unwrap();
    assert_eq!(switched, Event::Switched { generation: 2 });
    assert_eq!(world.live("app"), Colour::Green);
    assert!(world.pool("app", Colour::Blue).leases().is_retired());
    assert_eq!(events.next().await.unwrap(), Event::Draining { in_flight: 1 });
    let promotion = world.handle.status().upstreams["app"].promotion.clone();
    assert_eq!(promotion.unwrap().colour, Colour::Green);
    drop(request);
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    let [receipt] = receipts.as_slice() else { panic!("one receipt") };
    assert_eq!((receipt.colour, receipt.generation), (Colour::Green, 2));
    assert_eq!((receipt.in_flight, receipt.cut), (0, Cut::default()));
    assert_eq!(receipt.safe_to_kill, Some(Colour::Blue));
    world
        .until(|world| world.handle.status().upstreams["app"].promotion.is_none())
        .await;
}

/// On threads of their own, as workers are: a moment in which the new snapshot is out and its live
/// colour still shut would be a request turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_loads_a_new_snapshot_finds_its_live_colour_open() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (handle, stopped) = (world.handle.clone(), Arc::clone(&stop));
    let worker = std::thread::spawn(move || {
        let mut shut = 0;
        while !stopped.load(Ordering::Acquire) {
            let snapshot = handle.snapshot();
            let app = snapshot.upstream("app").unwrap();
            let live = app.pool(app.live().unwrap()).unwrap();
            // Shut, and no newer snapshot to turn to.
            let newest = |snapshot| Arc::ptr_eq(snapshot, &handle.snapshot());
            shut += u32::from(live.leases().is_retired() && newest(&snapshot));
        }
        shut
    });
    for nth in 0..50 {
        let colour = if nth % 2 == 0 { "green" } else { "blue" };
        let request = Promote { force: true, ..to(colour) };
        let mut events = world.handle.promote(request, ME).await.unwrap();
        assert!(matches!(events.last().await, Event::Drained { .. }));
    }
    stop.store(true, Ordering::Release);
    assert_eq!(worker.join().unwrap(), 0);
}

#[tokio::test]
async fn a_refused_gate_names_the_target_and_leaves_everything_as_it_was() {
    let (blue, good, bad) =
        (Origin::start(200).await, Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&good, &bad]) })).await;
    let request = Promote { gate_timeout: Some("300ms".to_owned()), ..to("green") };
    let mut events = world.handle.promote(request, ME).await.unwrap();
    let Event::Refused { code, reasons } = events.last().await else { panic!("not refused") };
    assert_eq!(code, Code::Gate);
    let [reason] = reasons.as_slice() else { panic!("one is to blame: {reasons:?}") };
    let told = format!("{} answered 503 (", bad.address);
    assert!(reason.what.starts_with(&told), "{}", reason.what);
    assert_eq!((world.generation(), world.live("app")), (1, Colour::Blue));
    assert!(world.pool("app", Colour::Green).leases().is_retired());
}

#[tokio::test]
async fn a_target_that_fails_between_gate_and_switch_refuses_the_promotion() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let (dir, _file) = ground(&json!({ "app": upstream(&[&blue], &[&green]) }));
    let (mut supervisor, handle, _published) = build(parts(&dir)).await.unwrap();
    let snapshot = handle.snapshot();
    let app = snapshot.upstream("app").unwrap();
    let target = &app.pool(Colour::Green).unwrap().targets[0];
    let probe =
        |outcome| ProbeRecord { at: SystemTime::UNIX_EPOCH, outcome, latency: Duration::ZERO };
    let mut events = supervisor.promote(&to("green"), ME).await.unwrap();
    // Both rounds were good, but by the time of the switch a later probe has failed.
    target
        .health
        .record(probe(ProbeOutcome::Status(503)), &app.health);
    for _ in 0..2 {
        let record = probe(ProbeOutcome::Good(200));
        let (upstream, target) = (Arc::clone(&app.name), Arc::clone(target));
        let asked = vec![(Colour::Green, Asked { upstream, target, record })];
        supervisor.round(0, asked).await;
    }
    let last = events.last().await;
    let Event::Refused { code: Code::Gate, reasons } = last else { panic!("{last:?}") };
    assert!(reasons[0].what.contains("between the gate and the switch"), "{reasons:?}");
    let now = handle.snapshot();
    assert_eq!((now.generation, now.upstream("app").unwrap().live()), (1, Some(Colour::Blue)));
}

#[tokio::test]
async fn a_rollback_during_the_drain_reopens_the_colour_and_ends_the_first_promotion() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut first = world.promote("green").await;
    first
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let mut second = world.rollback().await;
    let Event::Reopened { receipts } = first.last().await else { panic!("not reopened") };
    assert_eq!(receipts[0].safe_to_kill, None);
    assert_eq!(receipts[0].in_flight, 1);
    let Event::Drained { receipts } = second.last().await else { panic!("not drained") };
    assert_eq!(receipts[0].safe_to_kill, Some(Colour::Green));
    assert_eq!((world.generation(), world.live("app")), (3, Colour::Blue));
    assert!(!world.pool("app", Colour::Blue).leases().is_retired());
    assert!(world.pool("app", Colour::Green).leases().is_retired());
    drop(request);
}

#[tokio::test]
async fn a_drain_that_does_not_end_is_cut_and_counted() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut tunnel = world.request("app");
    tunnel.become_tunnel();
    let websocket = world.request("app");
    let pool = world.pool("app", Colour::Blue);
    let obeys = tokio::spawn(async move {
        while !pool.leases().is_cut() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        request.end_as_cut(CutAs::Force);
        tunnel.end_as_cut(CutAs::Force);
        websocket.end_as_cut(CutAs::WebSocket);
    });
    let wish = Promote { drain_timeout: Some("100ms".to_owned()), ..to("green") };
    let mut events = world.handle.promote(wish, ME).await.unwrap();
    let Event::Cut { receipts } = events.last().await else { panic!("not cut") };
    assert_eq!(
        receipts[0].cut,
        Cut { requests: 1, tunnels: 1, websockets_closed: 1, ..Cut::default() }
    );
    assert_eq!((receipts[0].in_flight, receipts[0].safe_to_kill), (0, Some(Colour::Blue)));
    obeys.await.unwrap();
}

#[tokio::test]
async fn several_upstreams_pass_one_gate_and_switch_in_one_generation() {
    let (one, two) = (Origin::start(200).await, Origin::start(200).await);
    let (three, four) = (Origin::start(200).await, Origin::start(503).await);
    let file = json!({ "api": upstream(&[&one], &[&two]), "web": upstream(&[&three], &[&four]) });
    let world = World::with(file).await;
    let all = Promote { all: true, ..to("green") };
    let mut events = world.handle.promote(all, ME).await.unwrap();
    events
        .until(|event| matches!(event, Event::Gating { targets } if targets.len() == 2))
        .await;
    assert_eq!(world.generation(), 1, "one bad target holds both back");
    four.answer(200);
    let Event::Drained { receipts } = events.last().await else { panic!("not drained") };
    assert_eq!(
        receipts
            .iter()
            .map(|one| one.generation)
            .collect::<Vec<_>>(),
        [2, 2]
    );
    assert_eq!((world.live("api"), world.live("web")), (Colour::Green, Colour::Green));
    assert_eq!(world.generation(), 2);
}

#[tokio::test]
async fn a_requester_that_goes_away_while_gating_cancels_and_changes_nothing() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut notices = world.handle.subscribe();
    let mut events = world.promote("green").await;
    events.next().await.unwrap();
    drop(events);
    let cancelled = loop {
        let notice = notices.recv().await.unwrap();
        if let Event::Refused { code, .. } = notice.event {
            break code;
        }
    };
    assert_eq!(cancelled, Code::TakenBack);
    green.answer(200);
    assert_eq!((world.generation(), world.live("app")), (1, Colour::Blue));
    let mut again = world.promote("green").await;
    assert!(matches!(again.last().await, Event::Drained { .. }), "nothing holds the upstream");
}

#[tokio::test]
async fn a_requester_that_goes_away_after_the_switch_changes_nothing() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let mut notices = world.handle.subscribe();
    let request = world.request("app");
    let mut events = world.promote("green").await;
    events
        .until(|event| matches!(event, Event::Switched { .. }))
        .await;
    drop(events);
    drop(request);
    loop {
        let notice = notices.recv().await.unwrap();
        if let Event::Drained { receipts } = notice.event {
            assert_eq!(receipts[0].safe_to_kill, Some(Colour::Blue));
            break;
        }
    }
    assert_eq!(world.live("app"), Colour::Green);
}

#[tokio::test]
async fn a_state_that_cannot_be_made_durable_refuses_the_switch() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    // At once, whatever is being written there at this moment.
    std::fs::rename(world.dir.path().join("state"), world.dir.path().join("gone")).unwrap();
    let mut events = world.promote("green").await;
    let last = events.last().await;
    assert!(matches!(last, Event::Refused { code: Code::NotDurable, .. }), "{last:?}");
    assert_eq!((world.generation(), world.live("app")), (1, Colour::Blue));
    assert!(!world.pool("app", Colour::Blue).leases().is_retired());
    assert!(world.pool("app", Colour::Green).leases().is_retired());
}

#[tokio::test]
async fn promoting_the_live_colour_waits_for_the_drain_that_still_runs() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    let mut first = world.promote("green").await;
    first
        .until(|event| matches!(event, Event::Draining { .. }))
        .await;
    let mut second = world.promote("green").await;
    assert_eq!(second.next().await.unwrap(), Event::Draining { in_flight: 1 });
    drop(request);
    let Event::Drained { receipts } = second.last().await else { panic!("not drained") };
    assert!(receipts[0].already);
    assert_eq!(receipts[0].safe_to_kill, Some(Colour::Blue));
    assert!(matches!(first.last().await, Event::Drained { .. }));
    assert_eq!(world.generation(), 2);
}

#[tokio::test]
async fn without_waiting_the_last_word_is_the_switch() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let request = world.request("app");
    for _ in ["changes", "is already so"] {
        let wish = Promote { wait: false, ..to("green") };
        let mut events = world.handle.promote(wish, ME).await.unwrap();
        assert_eq!(events.last().await, Event::Switched { generation: 2 });
    }
    assert_eq!(world.pool("app", Colour::Blue).leases().in_flight(), 1);
    drop(request);
}

#[tokio::test]
async fn a_dry_run_tells_the_verdict_and_changes_nothing() {
    let (blue, green) = (Origin::start(200).await, Origin::start(200).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let pool = world.pool("app", Colour::Blue);
    let request = world.request("app");
    let wish = Promote { dry_run: true, ..to("green") };
    let mut events = world.handle.promote(wish, ME).await.unwrap();
    let last = events.last().await;
    assert!(matches!(last, Event::WouldSwitch { in_flight: 1, tunnels: 0, .. }), "{last:?}");
    assert_eq!((world.generation(), world.live("app")), (1, Colour::Blue));
    assert!(Arc::ptr_eq(&pool, &world.pool("app", Colour::Blue)));
    drop(request);
}

#[tokio::test]
async fn force_skips_the_gate() {
    let (blue, green) = (Origin::start(200).await, Origin::start(503).await);
    let world = World::with(json!({ "app": upstream(&[&blue], &[&green]) })).await;
    let wish = Promote { force: true, ..to("green") };
    let mut events = world.handle.promote(wish, ME).await.unwrap();
    assert_eq!(events.next().await.unwrap(), Event::Switched { generation: 2 });
    assert_eq!(world.live("app"), Colour::Green);
}

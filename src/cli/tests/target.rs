//! target, roll and deploy: what is asked, and each way in which they end.

use crate::cli::fake::Fake;
use crate::cli::fake::Reply;
use crate::cli::fake::Seen;
use crate::cli::fake::lines;
use crate::cli::fake::problem;
use crate::cli::fake::quiet;
use crate::cli::fake::run;

const DRAINING: &str = r#"{"event":"target","upstream":"app","colour":"blue","target":"a:1","phase":"draining","in_flight":3}"#;
const DRAINED: &str = r#"{"event":"target","upstream":"app","colour":"blue","target":"a:1","phase":"drained","in_flight":0,"receipt":{"target":"a:1","generation":8,"seconds":0.5,"in_flight":0,"cut":{"requests":0,"tunnels":0},"safe_to_restart":true}}"#;
const STUCK: &str = r#"{"event":"target","upstream":"app","colour":"blue","target":"a:1","phase":"cut","in_flight":2,"receipt":{"target":"a:1","generation":8,"seconds":30.5,"in_flight":2,"cut":{"requests":1,"tunnels":0},"safe_to_restart":false}}"#;
const ROLLING: &str = r#"{"event":"rolling","upstream":"app"}"#;
const NEWER: &str = r#"{"event":"levitating","upstream":"app"}"#;
const DRAIN: &str = "target drain app a:1";
const ROLL: [&str; 4] = ["roll", "app", "--exec", "false"];

fn status() -> (&'static str, Reply) {
    let one = |address: &str| {
        format!(
            r#"{{"address":"{address}","admin":"ready","healthy":true,"in_flight":0,"last_probe":null}}"#
        )
    };
    let pool = |targets: String| format!(r#"{{"in_flight":0,"tunnels":0,"targets":[{targets}]}}"#);
    let (blue, green) = (pool([one("a:1"), one("b:1")].join(",")), pool(one("c:1")));
    let body = format!(
        r#"{{"version":"0","generation":7,"upstreams":{{"app":{{"live":"blue","standby":"green","promotion":null,"pools":{{"blue":{blue},"green":{green}}}}}}},"listeners":[],"config":{{"path":"p","pending_restart":[],"last_reload":{{"at":"","ok":true,"problems":[]}}}}}}"#
    );
    ("GET /v1/status", Reply::Whole(200, body))
}

fn daemon(reply: Reply) -> Fake {
    Fake::new(&[
        status(),
        ("POST /v1/target", reply),
        ("POST /v1/roll", Reply::Held(lines(&[ROLLING]))),
    ])
}

#[tokio::test]
async fn a_drain_is_told_as_it_goes_and_its_receipt_comes_last() {
    let mut fake = daemon(Reply::Lines(lines(&[DRAINING, NEWER, DRAINED])));
    let ran = fake.run(&format!("{DRAIN} --wait --timeout 30s")).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let told: Vec<&str> = ran.out.lines().collect();
    assert_eq!(told[0], "app: blue a:1 drains: 3 in flight");
    assert_eq!(told[1], "app: blue a:1 is drained: safe to restart");
    assert!(told[2].contains(r#""safe_to_restart":true"#), "{told:?}");
    let (_, body) = fake.asked().await;
    assert_eq!(
        body,
        r#"{"upstream":"app","target":"a:1","state":"draining","wait":true,"timeout":"30s"}"#
    );
}

#[tokio::test]
async fn who_does_not_wait_is_done_once_it_drains_and_who_does_is_told_when_the_daemon_goes_away() {
    let begun = || daemon(Reply::Lines(lines(&[DRAINING])));
    assert_eq!(begun().run(DRAIN).await.code, 0);
    let ran = begun().run(&format!("{DRAIN} --wait")).await;
    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("is not known"), "{ran:?}");
    let broken = daemon(Reply::Broken(lines(&[DRAINING])));
    assert_eq!(broken.run(&format!("{DRAIN} --wait")).await.code, 7);
}

#[tokio::test]
async fn a_refusal_keeps_its_exit_code() {
    for (status, code, exit) in
        [(404, "unknown", 2), (409, "busy", 4), (409, "in_use", 1), (500, "not_durable", 8)]
    {
        let ran = daemon(problem(status, code, "because")).run(DRAIN).await;
        assert_eq!(ran.code, exit, "{ran:?}");
        assert!(ran.err.contains("because"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_roll_works_on_no_target_on_which_something_is_left_and_lets_go_at_its_end() {
    let mut fake = daemon(Reply::Lines(lines(&[DRAINING, STUCK])));
    let ran = run(fake.socket(), &ROLL, quiet()).await;
    assert_eq!(ran.code, 1);
    for part in [
        "2 in flight after the deadline, nothing was run",
        "left draining: a:1",
        "not begun: b:1",
        "--target b:1",
    ] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(fake.closed().await, "POST /v1/roll");
}

#[tokio::test]
async fn a_roll_whose_daemon_will_not_drain_leaves_nothing_draining() {
    let fake = daemon(problem(409, "in_use", "no other target is ready"));
    let ran = run(fake.socket(), &ROLL, quiet()).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no other target is ready"), "{ran:?}");
    assert!(!ran.err.contains("left draining"), "{ran:?}");
}

#[tokio::test]
async fn a_roll_whose_daemon_goes_away_says_what_may_be_left_draining() {
    let fake = daemon(Reply::Broken(lines(&[DRAINING])));
    let ran = run(fake.socket(), &ROLL, quiet()).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("left draining: a:1; not begun: b:1"), "{ran:?}");
}

#[tokio::test]
async fn a_roll_that_is_not_let_begin_asks_for_nothing_else() {
    let busy = ("POST /v1/roll", problem(409, "busy", "a promotion of green is gating"));
    let mut fake = Fake::new(&[status(), busy]);
    let ran = run(fake.socket(), &ROLL, quiet()).await;
    assert_eq!(ran.code, 4);
    while let Ok(seen) = fake.seen.try_recv() {
        assert!(!matches!(&seen, Seen::Asked(line, _) if line.contains("/v1/target")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_deploy_names_the_standby_and_the_colour_that_must_still_be_live() {
    let refused = r#"{"event":"refused","code":"gate","reasons":[{"upstream":"app","colour":"green","what":"d:1 refused the connection"}]}"#;
    let promote = ("POST /v1/promote", Reply::Lines(lines(&[refused])));
    let mut fake = Fake::new(&[status(), promote]);
    let ran = fake
        .run("deploy --target d:1 --target e:1 --gate-timeout 5s")
        .await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("green has its former targets again"), "{ran:?}");
    let (line, body) = fake.asked().await;
    assert_eq!(line, "POST /v1/promote");
    assert_eq!(
        body,
        r#"{"colour":"green","upstreams":["app"],"gate_timeout":"5s","wait":true,"expect_live":"blue","targets":["d:1","e:1"]}"#
    );
}

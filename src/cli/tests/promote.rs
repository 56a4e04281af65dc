//! promote and rollback: each way in which they end.

use tokio::sync::mpsc;

use crate::cli::fake::Fake;
use crate::cli::fake::Reply;
use crate::cli::fake::lines;
use crate::cli::fake::problem;
use crate::cli::fake::quiet;
use crate::cli::fake::run;
use crate::cli::signals::Caught;
use crate::cli::signals::Signals;

const ROUND_BAD: &str = r#"{"event":"gating","targets":[{"upstream":"app","address":"10.0.0.11:8081","outcome":"200","passed":true,"latency_ms":1.0},{"upstream":"app","address":"10.0.0.12:8081","outcome":"503","passed":false,"latency_ms":1.0}]}"#;
const ROUND_GOOD: &str = r#"{"event":"gating","targets":[{"upstream":"app","address":"10.0.0.11:8081","outcome":"200","passed":true,"latency_ms":1.0},{"upstream":"app","address":"10.0.0.12:8081","outcome":"200","passed":true,"latency_ms":1.0}]}"#;
const SWITCHED: &str = r#"{"event":"switched","generation":8}"#;
const DRAINING: &str = r#"{"event":"draining","in_flight":3}"#;
const RECEIPT: &str = r#"{"upstream":"app","colour":"green","generation":8,"gate_seconds":1.5,"drained_seconds":0.21,"in_flight":0,"cut":{"requests":0,"tunnels":0},"safe_to_kill":"blue"}"#;
const PROMOTE: &str = "POST /v1/promote";

fn drained() -> String {
    format!(r#"{{"event":"drained","receipts":[{RECEIPT}]}}"#)
}

fn status(live: &str, standby: &str, promotion: &str) -> (&'static str, Reply) {
    let body = format!(
        r#"{{"version":"0","generation":7,"upstreams":{{"app":{{"live":"{live}","standby":"{standby}","promotion":{promotion},"pools":{{}}}},"files":{{"promotion":null,"pools":{{}}}}}},"listeners":[],"config":{{"path":"p","pending_restart":[],"last_reload":{{"at":"","ok":true,"problems":[]}}}}}}"#
    );
    ("GET /v1/status", Reply::Whole(200, body))
}

fn daemon(reply: Reply) -> Fake {
    Fake::new(&[status("blue", "green", "null"), (PROMOTE, reply)])
}

#[tokio::test]
async fn every_phase_is_told_as_it_happens_and_the_receipt_comes_last() {
    let told = lines(&[ROUND_BAD, ROUND_BAD, ROUND_GOOD, ROUND_GOOD, SWITCHED, DRAINING, DRAINING]);
    let mut fake = daemon(Reply::Lines([told, vec![drained()]].concat()));
    let ran = fake.run("promote green").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let expected = [
        "app: gate round 1: 1 of 2 targets passed: 10.0.0.12:8081 answered 503",
        "app: gate round 3: 2 of 2 targets passed",
        "app: gate round 4: 2 of 2 targets passed",
        "app: switched to green, generation 8",
        "app: draining blue: 3 in flight",
        "app: blue drained in 0.21 s, safe to kill: blue",
        RECEIPT,
    ];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected);
    let (line, body) = fake.asked().await;
    assert_eq!((line.as_str(), body.as_str()), (PROMOTE, r#"{"colour":"green","wait":true}"#));
}

#[tokio::test]
async fn every_flag_reaches_the_daemon() {
    let mut fake = daemon(Reply::Lines(lines(&[SWITCHED])));
    let ran = fake
        .run("promote green --upstream app --upstream api --gate-timeout 5s --drain-timeout 1m --no-wait --expect-live blue --build b1 --quiet")
        .await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert_eq!(
        fake.asked().await.1,
        r#"{"colour":"green","upstreams":["app","api"],"gate_timeout":"5s","drain_timeout":"1m","wait":false,"expect_live":"blue","build":"b1"}"#
    );
    fake.run("promote green --all --dry-run").await;
    assert_eq!(fake.asked().await.1, r#"{"colour":"green","all":true,"wait":true,"dry_run":true}"#);
}

#[tokio::test]
async fn json_passes_the_events_on_unchanged_and_says_nothing_else() {
    // Another spelling and an event of a newer daemon: neither is touched.
    let told = lines(&["{ \"event\":\"novelty\" }", ROUND_BAD, SWITCHED, &drained()]);
    let ran = daemon(Reply::Lines(told.clone()))
        .run("--json promote green")
        .await;
    assert_eq!(ran.out, told.join("\n") + "\n");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[tokio::test]
async fn quiet_prints_the_receipt_alone() {
    let told = lines(&[ROUND_GOOD, SWITCHED, DRAINING, &drained()]);
    let ran = daemon(Reply::Lines(told)).run("promote green -q").await;
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, format!("{RECEIPT}\n"), ""));
}

#[tokio::test]
async fn refused_by_the_gate_names_every_reason_and_exits_1() {
    let refused = r#"{"event":"refused","code":"gate","reasons":[{"upstream":"app","colour":"green","target":"10.0.0.12:8081","what":"10.0.0.12:8081 answered 503 (3 of 3 probes)"},{"upstream":"app","colour":"green","what":"10.0.0.13:8081 answered 302","hint":"follows no redirect"}]}"#;
    let ran = daemon(Reply::Lines(lines(&[ROUND_BAD, refused])))
        .run("promote green -q")
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(
        ran.err,
        "proxyctl: app: green refused: 10.0.0.12:8081 answered 503 (3 of 3 probes)\n\
         proxyctl: app: green refused: 10.0.0.13:8081 answered 302\n  hint: follows no redirect\n"
    );
}

#[tokio::test]
async fn every_verdict_has_its_exit_code() {
    let cut = RECEIPT.replace(r#""requests":0,"tunnels":0"#, r#""requests":2,"tunnels":1"#);
    let reopened = RECEIPT.replace(r#""safe_to_kill":"blue""#, r#""safe_to_kill":null"#);
    let reason = r#"{"upstream":"","colour":"green","what":"no space left"}"#;
    for (event, code, says) in [
        (
            format!(r#"{{"event":"cut","receipts":[{cut}]}}"#),
            3,
            "proxyctl: app: 2 requests and 1 tunnel on blue had to be cut at the drain deadline\n",
        ),
        (
            format!(r#"{{"event":"reopened","receipts":[{reopened}]}}"#),
            6,
            "proxyctl: app: taken back while it drained: nothing is safe to kill\n",
        ),
        (
            format!(r#"{{"event":"refused","code":"taken_back","reasons":[{reason}]}}"#),
            6,
            "proxyctl: green taken back: no space left\n",
        ),
        (
            format!(r#"{{"event":"refused","code":"not_durable","reasons":[{reason}]}}"#),
            8,
            "proxyctl: green refused: no space left\n",
        ),
    ] {
        let ran = daemon(Reply::Lines(vec![event]))
            .run("promote green --quiet")
            .await;
        assert_eq!((ran.code, ran.err.as_str()), (code, says));
        let receipts = ran.out.lines().count();
        assert_eq!(receipts, usize::from(code == 3 || says.contains("while it drained")));
    }
}

#[tokio::test]
async fn what_is_refused_before_the_gate_exits_with_the_code_of_the_problem() {
    for (status, word, code) in [
        (404, "unknown", 2),
        (422, "unknown", 2),
        (409, "busy", 4),
        (409, "expect_live", 5),
        (507, "not_durable", 8),
    ] {
        let fake = daemon(problem(status, word, "app: no such thing"));
        let ran = fake.run("promote green").await;
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{word}");
        assert_eq!(ran.err, "proxyctl: app: no such thing\n  hint: the way out\n");
        let ran = fake.run("promote green --json").await;
        assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{word}");
        assert!(ran.out.contains(&format!(r#""code":"{word}""#)), "{}", ran.out);
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen() {
    let would = ROUND_GOOD
        .replace("gating", "would_switch")
        .replace("]}", r#"],"in_flight":3,"tunnels":1}"#);
    let ran = daemon(Reply::Lines(vec![would]))
        .run("promote green --dry-run")
        .await;
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        "app: would switch to green: 2 of 2 targets passed; 3 in flight on blue, 1 tunnel among them; nothing has changed\n"
    );
}

#[tokio::test]
async fn a_rollback_names_the_standby_colour_and_force_is_loud() {
    let back = ("POST /v1/rollback", Reply::Lines(lines(&[SWITCHED, &drained()])));
    let mut fake = Fake::new(&[status("blue", "green", "null"), back]);
    let ran = fake.run("rollback --force").await;
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("WARNING: --force: the gate is skipped"), "{}", ran.err);
    assert!(
        ran.out
            .starts_with("app: switched to green, generation 8\n"),
        "{}",
        ran.out
    );
    assert_eq!(fake.asked().await.1, r#"{"force":true,"wait":true}"#);
}

#[tokio::test]
async fn without_a_daemon_the_socket_is_named_and_the_exit_code_is_7() {
    let ran = run("/nonexistent/control.sock".into(), &["promote", "green"], quiet()).await;
    assert_eq!((ran.code, ran.out.as_str()), (7, ""));
    assert!(ran.err.starts_with("proxyctl: no daemon answers on /nonexistent/control.sock: there is no such socket\n  hint: "), "{}", ran.err);
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let ran = run(stale, &["promote", "green"], quiet()).await;
    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("nothing listens there"), "{}", ran.err);
}

#[tokio::test]
async fn a_daemon_that_dies_leaves_exit_code_7_and_says_what_is_known() {
    for (told, says) in [
        (lines(&[ROUND_GOOD]), "whether it had switched is not known"),
        (lines(&[SWITCHED]), "it had switched, nothing is known to be safe to kill"),
    ] {
        for reply in [Reply::Broken(told.clone()), Reply::Lines(told.clone())] {
            let ran = daemon(reply).run("promote green").await;
            assert_eq!(ran.code, 7);
            assert!(ran.err.contains(says), "{}", ran.err);
            assert!(ran.err.ends_with("  hint: proxyctl status\n"), "{}", ran.err);
        }
    }
    let switched = Reply::Broken(lines(&[SWITCHED]));
    assert_eq!(daemon(switched).run("promote green --no-wait").await.code, 0);
}

#[tokio::test]
async fn ctrl_c_closes_the_connection_and_says_what_came_of_it() {
    let gating = r#"{"id":"1","colour":"green","phase":"draining","since":""}"#;
    for (state, caught, code, says) in [
        (status("blue", "green", "null"), Caught::Interrupt, 130, "cancelled, nothing has changed"),
        (status("green", "blue", gating), Caught::Terminate, 143, "it had switched already"),
    ] {
        let mut fake = Fake::new(&[state, (PROMOTE, Reply::Held(lines(&[ROUND_BAD])))]);
        let (sender, receiver) = mpsc::unbounded_channel();
        let socket = fake.socket();
        let command = run(socket, &["promote", "green"], Signals::Scripted(receiver));
        let test = async {
            assert_eq!(fake.asked().await.0, PROMOTE);
            sender.send(caught).unwrap();
        };
        let (ran, ()) = tokio::join!(command, test);
        assert_eq!(ran.code, code);
        assert!(ran.err.starts_with("proxyctl: app: interrupted: "), "{}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
        assert_eq!(fake.closed().await, PROMOTE);
    }
}

#[tokio::test]
async fn ctrl_c_at_the_gate_of_steps_tells_a_canary_that_has_begun_from_nothing() {
    let canary = r#""canary":{"colour":"green","weight":1,"since":""},"#;
    let steps = r#""steps":{"id":"1","colour":"green","weight":1,"step":1,"steps":2,"pause_seconds":60,"since":"","by":"proxyd"},"#;
    for (more, says) in [
        (String::new(), "cancelled, nothing has changed"),
        (canary.to_owned(), "the canary had begun already"),
        (format!("{canary}{steps}"), "the steps go on by themselves"),
    ] {
        let (line, Reply::Whole(code, body)) = status("blue", "green", "null") else {
            panic!("no whole answer")
        };
        let body = body.replacen(r#""promotion""#, &format!(r#"{more}"promotion""#), 1);
        let state = (line, Reply::Whole(code, body));
        let mut fake = Fake::new(&[state, (PROMOTE, Reply::Held(lines(&[ROUND_GOOD])))]);
        let (sender, receiver) = mpsc::unbounded_channel();
        let socket = fake.socket();
        let words = ["promote", "green", "--steps", "1,100"];
        let command = run(socket, &words, Signals::Scripted(receiver));
        let test = async {
            assert_eq!(fake.asked().await.0, PROMOTE);
            sender.send(Caught::Interrupt).unwrap();
        };
        let (ran, ()) = tokio::join!(command, test);
        assert_eq!(ran.code, 130);
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

#[tokio::test]
async fn an_output_that_cannot_be_written_does_not_stop_a_promotion() {
    use crate::cli::args::Args;
    use crate::cli::run::Hand;
    use crate::cli::screen::Screen;
    use clap::Parser;
    let mut fake = daemon(Reply::Lines(lines(&[ROUND_GOOD, SWITCHED, &drained()])));
    let mut room = [0_u8; 4];
    let mut full: &mut [u8] = &mut room;
    let mut err = Vec::new();
    let mut hand = Hand::new(fake.socket(), Screen::plain(&mut full), Screen::plain(&mut err));
    hand.signals = quiet();
    let args = Args::try_parse_from(["proxyctl", "promote", "green"]).unwrap();
    assert_eq!(hand.run(args).await, 0);
    assert_eq!(fake.asked().await.0, PROMOTE);
    assert!(
        String::from_utf8(err)
            .unwrap()
            .starts_with("proxyctl: standard output: ")
    );
}

//! status, standby, probe, reload, events, completions.

use std::time::Duration;

use crate::cli::fake::Fake;
use crate::cli::fake::Reply;
use crate::cli::fake::lines;
use crate::cli::fake::quiet;
use crate::cli::fake::run;
use crate::cli::look;
use crate::cli::run::Hand;
use crate::cli::screen::Screen;

const STATUS: &str = r#"{"version":"0.1.0","generation":7,"upstreams":{"api":{"live":"blue","standby":"green","promotion":null,"pools":{}},"app":{"live":"green","standby":"blue","promotion":null,"pools":{}}},"listeners":[],"config":{"path":"p","pending_restart":[],"last_reload":{"at":"","ok":true,"problems":[]}}}"#;

fn daemon(path: &str, reply: Reply) -> Fake {
    Fake::new(&[(path, reply)])
}

#[tokio::test]
async fn the_state_is_printed_unchanged_as_json_and_as_a_table_otherwise() {
    let fake = daemon("GET /v1/status", Reply::Whole(200, STATUS.to_owned()));
    let ran = fake.run("status --json").await;
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, format!("{STATUS}\n"), ""));
    let ran = fake.run("status").await;
    assert_eq!(ran.code, 0);
    assert!(
        ran.out
            .starts_with("proxyd 0.1.0, generation 7\n\napi: blue is live\n"),
        "{}",
        ran.out
    );
    let ran = fake.run("status --quiet").await;
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
}

#[tokio::test]
async fn watching_prints_page_after_page_until_nobody_reads() {
    let fake = daemon("GET /v1/status", Reply::Whole(200, STATUS.to_owned()));
    let one = fake.run("status").await.out;
    let mut room = vec![0_u8; one.len() * 2 + 4];
    let mut err = Vec::new();
    let mut left = room.as_mut_slice();
    let mut hand = Hand::new(fake.socket(), Screen::plain(&mut left), Screen::plain(&mut err));
    let ended = look::watch(&mut hand, Duration::from_millis(1)).await;
    assert_eq!(ended.unwrap(), 0);
    let pages = String::from_utf8(room).unwrap();
    assert_eq!(pages.matches("proxyd 0.1.0, generation 7").count(), 2, "{pages}");
}

#[tokio::test]
async fn standby_prints_the_colour_alone() {
    let fake = daemon("GET /v1/status", Reply::Whole(200, STATUS.to_owned()));
    let ran = fake.run("standby --upstream app --quiet").await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "blue\n", ""));
    let ran = fake.run("standby --upstream app --json").await;
    assert_eq!(ran.out, "{\"standby\":\"blue\",\"upstream\":\"app\"}\n");
    let ran = fake.run("standby").await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err
            .contains("none is named: api, app\n  hint: add --upstream NAME"),
        "{}",
        ran.err
    );
    assert_eq!(fake.run("standby --upstream nope").await.code, 2);
}

#[tokio::test]
async fn a_probe_exits_0_only_if_all_pass() {
    for (passed, code) in [(true, 0), (false, 1)] {
        let body = format!(
            r#"{{"passed":{passed},"targets":[{{"upstream":"app","address":"10.0.0.12:8081","outcome":"503","passed":{passed},"latency_ms":1.25}}]}}"#
        );
        let mut fake = daemon("POST /v1/probe", Reply::Whole(200, body.clone()));
        let ran = fake.run("probe green --upstream app").await;
        assert_eq!(ran.code, code);
        let verdict = if passed { "passed" } else { "failed" };
        assert_eq!(
            ran.out,
            format!(
                "UPSTREAM  TARGET          VERDICT  ANSWER  LATENCY\napp       10.0.0.12:8081  {verdict}   503     1.2 ms\n"
            )
        );
        assert_eq!(fake.asked().await.1, r#"{"colour":"green","upstreams":["app"]}"#);
        let ran = fake.run("probe green --json").await;
        assert_eq!((ran.code, ran.out), (code, format!("{body}\n")));
    }
}

#[tokio::test]
async fn a_refused_reload_lists_every_problem_and_exits_1() {
    let body = r#"{"status":422,"title":"invalid","detail":"proxy.yaml is not valid","code":"config","problems":[{"file":"proxy.yaml","line":14,"column":7,"what":"upstreams.app.green[1]: \"10.0.0.5\" has no port","hint":"write it"},{"file":"proxy.yaml","line":0,"column":0,"what":"routes: missing"}]}"#;
    let fake = daemon("POST /v1/reload", Reply::Whole(422, body.to_owned()));
    let ran = fake.run("reload").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(
        ran.err,
        "proxy.yaml:14:7: upstreams.app.green[1]: \"10.0.0.5\" has no port\n  hint: write it\n\
         proxy.yaml: routes: missing\n"
    );
    let ran = fake.run("reload --json").await;
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (1, format!("{body}\n"), ""));
}

#[tokio::test]
async fn a_reload_says_what_waits_for_a_restart() {
    let body = r#"{"applied":true,"generation":9,"pending_restart":["workers","admin"]}"#;
    let ran = daemon("POST /v1/reload", Reply::Whole(200, body.to_owned()))
        .run("reload")
        .await;
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        "configuration applied, generation 9\ntakes effect at a restart: workers, admin\n"
    );
}

#[tokio::test]
async fn events_are_followed_until_the_daemon_ends_them() {
    let told = lines(&[
        r#"{"at":"2026-11-23T20:00:00Z","event":"probe","upstream":"app","colour":"blue","target":"10.0.0.1:1","healthy":false,"outcome":"timeout"}"#,
        r#"{"at":"2026-11-23T20:00:01Z","event":"novelty"}"#,
        r#"{"at":"2026-11-23T20:00:02Z","id":"1","upstreams":["app"],"promoting":"green","event":"switched","generation":8}"#,
    ]);
    let fake = daemon("GET /v1/events", Reply::Lines(told.clone()));
    let ran = fake.run("events").await;
    assert_eq!(ran.code, 7);
    assert_eq!(
        ran.out,
        "2026-11-23T20:00:00Z app: blue 10.0.0.1:1 is unhealthy: it did not answer in time\n\
         2026-11-23T20:00:02Z app: green: switched, generation 8\n"
    );
    assert_eq!(fake.run("events --json").await.out, told.join("\n") + "\n");
}

#[tokio::test]
async fn an_answer_that_is_no_daemons_exits_7() {
    let fake = daemon("GET /v1/status", Reply::Whole(200, "<html>".to_owned()));
    let ran = fake.run("status").await;
    assert_eq!(ran.code, 7);
    assert!(
        ran.err
            .starts_with("proxyctl: the daemon's answer is not understood"),
        "{}",
        ran.err
    );
    let ran = fake.run("reload").await;
    assert_eq!(ran.code, 7);
    assert!(
        ran.err
            .starts_with("proxyctl: answered 404 Not Found: what?\n"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn completions_need_no_daemon() {
    for shell in ["bash", "zsh", "fish"] {
        let words = ["completions", shell];
        let ran = run("/nonexistent/s".into(), &words, quiet()).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains("expect-live"), "{shell}");
    }
}

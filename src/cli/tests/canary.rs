//! canary and preview.

use crate::cli::fake::Fake;
use crate::cli::fake::Reply;
use crate::cli::fake::lines;

const ROUND: &str = r#"{"event":"gating","targets":[{"upstream":"app","address":"10.0.0.11:8081","outcome":"200","passed":true,"latency_ms":1.0}]}"#;
const BEGUN: &str = r#"{"event":"canary","colour":"green","weight":12.5,"generation":8}"#;
const STATUS: &str = r#"{"version":"0","generation":7,"upstreams":{"app":{"live":"blue","standby":"green","promotion":null,"canary":{"colour":"green","weight":5,"since":"2026-11-29T20:00:00Z"},"preview":{"colour":"green","since":"S","until":"U"},"pools":{}}},"listeners":[],"config":{"path":"p","pending_restart":[],"last_reload":{"at":"","ok":true,"problems":[]}}}"#;
const CANARY: &str = "POST /v1/canary";
const PREVIEW: &str = "POST /v1/preview";

fn daemon(path: &'static str, reply: Reply) -> Fake {
    Fake::new(&[("GET /v1/status", Reply::Whole(200, STATUS.to_owned())), (path, reply)])
}

#[tokio::test]
async fn a_canary_is_told_by_its_gate_and_what_its_users_get() {
    let mut fake = daemon(CANARY, Reply::Lines(lines(&[ROUND, BEGUN])));
    let ran = fake
        .run("canary green --weight 12.5 --gate-timeout 5s --build b1")
        .await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let expected = [
        "app: gate round 1: 1 of 1 target passed",
        "app: green gets 12.5 % of the users, generation 8",
    ];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected);
    let (line, body) = fake.asked().await;
    let asked = r#"{"colour":"green","weight":12.5,"gate_timeout":"5s","wait":true,"build":"b1"}"#;
    assert_eq!((line.as_str(), body.as_str()), (CANARY, asked));
}

#[tokio::test]
async fn its_end_is_told_as_a_promote_of_the_live_colour() {
    let switched = r#"{"event":"switched","generation":9}"#;
    let drained = r#"{"event":"drained","receipts":[{"upstream":"app","colour":"blue","generation":9,"gate_seconds":0.0,"drained_seconds":0.2,"in_flight":0,"cut":{"requests":0,"tunnels":0},"safe_to_kill":"green"}]}"#;
    for line in ["canary green --weight 0", "rollback", "promote blue"] {
        let path = match line {
            "rollback" => "POST /v1/rollback",
            "promote blue" => "POST /v1/promote",
            _ => CANARY,
        };
        let fake = daemon(path, Reply::Lines(lines(&[switched, drained])));
        let ran = fake.run(line).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        assert!(ran.out.starts_with("app: switched to blue, generation 9\n"), "{}", ran.out);
        assert!(
            ran.out
                .contains("app: green drained in 0.20 s, safe to kill: green"),
            "{}",
            ran.out
        );
    }
}

#[tokio::test]
async fn a_share_that_is_none_is_wrong_usage_before_anybody_is_asked() {
    for weight in ["0.05", "101", "-1", "x", ""] {
        let line = format!("proxyctl canary green --weight={weight}");
        let parsed = clap::Parser::try_parse_from(line.split(' '));
        let error = parsed.map(|_: crate::cli::args::Args| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{weight}");
    }
}

#[tokio::test]
async fn a_preview_prints_a_link_and_a_line_for_curl_and_says_where_there_is_no_link() {
    let link =
        r#""link":"https://a.test/.well-known/proxyd/preview?token=T","host":"https://p.test/""#;
    let body = |more: &str| {
        format!(
            r#"{{"generation":8,"previews":[{{"upstream":"app","colour":"green","until":"U","token":"T","url":"https://a.test/"{more}}}]}}"#
        )
    };
    let mut fake = daemon(PREVIEW, Reply::Whole(200, body(&format!(",{link}"))));
    let ran = fake.run("preview green --for 2h").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let expected = [
        "app: green is previewed until U",
        "https://p.test/",
        "https://a.test/.well-known/proxyd/preview?token=T",
        "curl -H 'X-Proxy-Preview: T' https://a.test/",
    ];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fake.asked().await.1, r#"{"colour":"green","for":"2h"}"#);
    let fake = daemon(PREVIEW, Reply::Whole(200, body("")));
    let ran = fake.run("preview green --quiet").await;
    assert_eq!(ran.out, "curl -H 'X-Proxy-Preview: T' https://a.test/\n");
    assert!(ran.err.contains("app: no link"), "{}", ran.err);
}

#[tokio::test]
async fn the_end_of_a_preview_is_one_line() {
    let body = r#"{"generation":9,"previews":[],"ended":["app"]}"#;
    let mut fake = daemon(PREVIEW, Reply::Whole(200, body.to_owned()));
    let ran = fake.run("preview green --off").await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "app: no preview\n"));
    assert_eq!(fake.asked().await.1, r#"{"colour":"green","off":true}"#);
}

#[tokio::test]
async fn the_table_of_the_status_shows_both() {
    let fake = daemon(CANARY, Reply::Lines(Vec::new()));
    let out = fake.run("status").await.out;
    assert!(
        out.contains("  canary: green gets 5 % of the users, since 2026-11-29T20:00:00Z"),
        "{out}"
    );
    assert!(out.contains("  preview: green is shown to who has the link until U\n"), "{out}");
}

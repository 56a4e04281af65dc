//! What is refused, in which words, at which place.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use crate::config::file;

const GOOD: &str = "\
listeners:
  - bind: 127.0.0.1:80
routes:
  - upstream: app
upstreams:
  app:
    blue: [10.0.0.1:80]
    green: [10.0.0.2:80]
";

/// All problems, one a line without the file's name, hints behind `; `.
fn problems(text: &str) -> Vec<String> {
    let Err(problems) = file::parse(text, Path::new("f.yaml")) else { return Vec::new() };
    let line = |p: &crate::model::problem::Problem| {
        let mut line = format!("{}:{}: {}", p.line, p.column, p.what);
        if let Some(hint) = &p.hint {
            write!(line, "; {hint}").unwrap();
        }
        line
    };
    problems.iter().map(line).collect()
}

/// The only problem of a file that is good but for one replacement.
fn only(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let mut found = problems(&GOOD.replace(from, to));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// The only problem of a file that is good but for one section more.
fn with(section: &str) -> String {
    let mut found = problems(&format!("{GOOD}{section}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
listeners:
  - bnd: 0.0.0.0:80
    redirect_to_https: yes
  - bind: 443
    tls: {certificates: []}
    bind: 0.0.0.0:443
routes:
  - upstream: ap
  - upstream: app
    gate_timeout: 3s
upstreams:
  app:
    blue: [10.0.0.5, 10.0.0.11:8080, {address: 10.0.0.6:80, wieght: 3, weight: 0}]
    green: [\"10.0.0.11:8080\"]
    live: grean
    health: {interval: 30, rise: 0, expect: [200, 20x, 299-200]}
timeouts:
  idle:
  send: 0s
  conect: 3s
limits: {request_header: 64kb, request_body: 10}
control: {mode: 660}
admin: {}
workers: 0
";
    let expected = [
        "2:5: listeners[0].bnd: unknown key; did you mean \"bind\"?",
        "2:5: listeners[0].bind: is missing",
        "3:24: listeners[0].redirect_to_https: expected true or false, found \"yes\"",
        "4:11: listeners[1].bind: \"443\" has no address; write \"0.0.0.0:443\", or \"[::]:443\" for IPv4 and IPv6",
        "5:25: listeners[1].tls.certificates: is empty",
        "6:5: listeners[1].bind: the key stands twice; the first stands in line 4",
        "8:15: routes[0].upstream: there is no upstream \"ap\"; did you mean \"app\"?",
        "9:5: routes[1]: takes the same requests as routes[0]: host *, path /; remove one of the two",
        "10:5: routes[1].gate_timeout: unknown key; \"gate_timeout\" belongs under \"promotion\" of an upstream",
        "13:12: upstreams.app.blue[0]: \"10.0.0.5\" has no port; write \"10.0.0.5:8080\" with its port",
        "13:61: upstreams.app.blue[2].wieght: unknown key; did you mean \"weight\"?",
        "13:80: upstreams.app.blue[2].weight: 0 is not from 1 to 1000",
        "14:13: upstreams.app.green[0]: 10.0.0.11:8080 is already upstreams.app.blue[1]; each target is one process: give each colour its own ports",
        "15:11: upstreams.app.live: \"grean\" is not blue or green; did you mean \"green\"?",
        "16:24: upstreams.app.health.interval: \"30\" has no unit; write \"30s\" for seconds",
        "16:34: upstreams.app.health.rise: 0 is not from 1 to 1000",
        "16:51: upstreams.app.health.expect[1]: \"20x\" is not a status; write a status from 200 to 599, or a range: 200-299",
        "16:56: upstreams.app.health.expect[2]: \"299-200\" is empty; write \"200-299\"",
        "18:7: timeouts.idle: expected a duration such as 30s, found nothing; remove the key, or comment it out, to take its default",
        "19:9: timeouts.send: \"0s\" is no time at all; write 1ms or more",
        "20:3: timeouts.conect: unknown key; did you mean \"connect\"?",
        "21:26: limits.request_header: \"64kb\" is not a size; write \"64KiB\"",
        "21:46: limits.request_body: \"10\" has no unit; write \"10B\" for bytes",
        "22:17: control.mode: \"660\" is not a mode; write the four octal digits in quotes: \"0660\"",
        "23:8: admin.bind: is missing",
        "24:10: workers: 0 is not from 1 to 1024; auto is one a core",
    ];
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(problems(GOOD), [""; 0]);
}

#[test]
fn pools_are_checked_against_each_other() {
    let both = only("green: [10.0.0.2:80]", "green: [10.0.0.1:80]");
    assert!(both.contains("10.0.0.1:80 is already upstreams.app.blue[0]"), "{both}");
    let twice = only("blue: [10.0.0.1:80]", "blue: [App.test:80, app.test.:80]");
    assert!(twice.starts_with("7:25: upstreams.app.blue[1]: app.test:80 is already"), "{twice}");
    assert_eq!(only("blue: [10.0.0.1:80]", "blue: []"), "7:11: upstreams.app.blue: is empty");
    let backup = only("[10.0.0.1:80]", "[{address: 10.0.0.1:80, backup: true}]");
    assert!(backup.starts_with("7:11: upstreams.app.blue: every target is a backup"), "{backup}");
    let missing = only("    green: [10.0.0.2:80]\n", "");
    assert!(missing.starts_with("7:5: upstreams.app.green: is missing"), "{missing}");
    let none = only("app:\n    blue: [10.0.0.1:80]\n    green: [10.0.0.2:80]", "app: {}");
    assert!(none.starts_with("6:8: upstreams.app: has no targets; write blue and green"), "{none}");
}

#[test]
fn no_target_is_a_door_of_the_control_plane() {
    let leads = |bind: &str, target: &str| {
        let text = GOOD.replace("10.0.0.1:80", target);
        problems(&format!("{text}admin: {{bind: \"{bind}\"}}\ncontrol: {{socket: run/c.sock}}\n"))
    };
    for (bind, target) in [
        ("127.0.0.1:9090", "127.0.0.1:9090"),
        ("127.0.0.1:9090", "0.0.0.0:9090"),
        ("127.0.0.1:9090", "\"[::ffff:127.0.0.1]:9090\""),
        ("127.0.0.1:9090", "localhost:9090"),
        ("127.0.0.1:9090", "Admin.LocalHost.:9090"),
        ("0.0.0.0:9090", "127.8.0.1:9090"),
        ("[::]:9090", "127.0.0.1:9090"),
        ("[::]:9090", "\"[::1]:9090\""),
        ("10.0.0.7:9090", "10.0.0.7:9090"),
    ] {
        let found = leads(bind, target);
        assert_eq!(found.len(), 1, "{bind} {target}: {found:#?}");
        assert!(found[0].starts_with("7:12: upstreams.app.blue[0]: "), "{found:#?}");
        assert!(found[0].contains(" is admin.bind: "), "{found:#?}");
    }
    for target in ["unix:run/c.sock", "unix:./run/../run/c.sock", "unix:run//c.sock"] {
        let found = leads("127.0.0.1:9090", target);
        assert_eq!(found.len(), 1, "{target}: {found:#?}");
        assert!(found[0].contains(" is control.socket: "), "{found:#?}");
        assert!(found[0].ends_with("operators come in without a route"), "{found:#?}");
    }
    for (bind, target) in [
        ("127.0.0.1:9090", "127.0.0.1:9091"),
        ("127.0.0.1:9090", "127.0.0.2:9090"),
        ("127.0.0.1:9090", "10.0.0.7:9090"),
        ("0.0.0.0:9090", "10.0.0.7:9090"),
        ("127.0.0.1:9090", "app.test:9090"),
        ("10.0.0.7:9090", "localhost:9090"),
        ("127.0.0.1:9090", "unix:run/d.sock"),
    ] {
        assert_eq!(leads(bind, target), [""; 0], "{bind} {target}");
    }
}

#[test]
fn a_plain_upstream_has_nothing_of_colours() {
    let text = GOOD.replace(
        "green: [10.0.0.2:80]",
        "targets: [10.0.0.3:80]\n    live: blue\n    promotion: {}",
    );
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("7:11: upstreams.app.blue: stands beside targets"));
    assert!(found[1].starts_with("9:11: upstreams.app.live: stands beside targets"));
    assert!(found[2].starts_with("10:16: upstreams.app.promotion: stands beside targets"));
}

#[test]
fn listeners_are_checked_against_each_other() {
    let bind = "  - bind: 127.0.0.1:80\n";
    let same = only(bind, "  - bind: 127.0.0.1:80\n  - bind: 127.0.0.1:80\n");
    assert_eq!(same, "3:11: listeners[1].bind: 127.0.0.1:80 is already bound by listeners[0].bind");
    let wide = only(bind, "  - bind: 127.0.0.1:80\n  - bind: \"[::]:80\"\n");
    assert!(wide.contains("[::]:80 overlaps with 127.0.0.1:80"), "{wide}");
    let admin = with("admin: {bind: 0.0.0.0:80}");
    assert!(admin.starts_with("9:15: admin.bind: 0.0.0.0:80 overlaps with"), "{admin}");
    let free = GOOD
        .replace(bind, "  - bind: 127.0.0.1:0\n  - bind: 127.0.0.1:0\n  - bind: 127.0.0.2:80\n");
    assert_eq!(problems(&free), [""; 0]);
    let nowhere = only(bind, "  - bind: 127.0.0.1:80\n    redirect_to_https: true\n");
    assert!(nowhere.contains("redirect_to_https: no listener has tls"), "{nowhere}");
    let tls = "  - bind: 127.0.0.1:80\n    redirect_to_https: true\n    tls: {certificates: [{cert: a, key: b}]}\n";
    assert!(only(bind, tls).contains("redirect_to_https: stands beside tls"));
}

#[test]
fn routes_are_checked_against_each_other() {
    let route = "  - upstream: app\n";
    let same =
        only(route, "  - {upstream: app, path: /a/}\n  - {upstream: app, path: /a, host: \"*\"}\n");
    assert!(same.starts_with("5:5: routes[1]: takes the same requests as routes[0]"), "{same}");
    let dangling = only(route, "  - upstream: web\n");
    assert_eq!(dangling, "4:15: routes[0].upstream: there is no upstream \"web\"; known: app");
    // A bad upstream is not a missing one.
    let bad = only("blue: [10.0.0.1:80]", "blue: [10.0.0.1]");
    assert!(bad.starts_with("7:12: upstreams.app.blue[0]: "), "{bad}");
}

#[test]
fn socket_paths_that_the_kernel_refuses_are_refused_here() {
    let long = "x".repeat(120);
    let control = with(&format!("control: {{socket: /{long}}}"));
    assert!(control.contains("control.socket: the socket path"), "{control}");
    assert!(only("10.0.0.1:80", &format!("unix:/{long}")).contains("at most 107"));
}

#[test]
fn a_key_of_another_section_is_sent_home() {
    let misplaced = with("drain_timeout: 3s");
    assert!(misplaced.contains("belongs under \"promotion\" of an upstream"), "{misplaced}");
    let idle = only("  - upstream: app", "  - upstream: app\n    timeouts: {idle: 3s}");
    assert!(idle.contains("belongs under \"timeouts\" at the top of the file"), "{idle}");
    let nginx = only("bind: 127.0.0.1:80", "bind: 127.0.0.1:80\n    ssl: {}");
    assert!(nginx.contains("did you mean \"tls\"?"), "{nginx}");
}

#[test]
fn broken_syntax_is_one_problem_with_a_place() {
    let one = |text: &str| {
        let mut found = problems(text);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    };
    assert!(one("").contains("the file is empty"));
    assert!(one("# nothing\n").contains("the file is empty"));
    assert!(one("a: [1, 2\n").starts_with("1:4: not valid YAML: unclosed bracket"));
    assert!(one("a:\n\t- 1\n").contains("indent with spaces"));
    assert!(one("listeners:\n  - bind: [::]:443\n").contains("needs quotes: \"[::]:443\""));
    assert!(one("a: 1\n---\nb: 1\n").starts_with("2:1: not valid YAML: a second document"));
    assert!(one("just words\n").contains("found \"just words\""));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_without_a_line() {
    let problem = file::load(Path::new("/nowhere/proxy.yaml"))
        .unwrap_err()
        .remove(0);
    assert_eq!((problem.line, problem.column), (0, 0));
    assert_eq!(problem.what, "cannot be read: no such file or directory");
    assert!(problem.hint.unwrap().contains("--config"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(file::load(folder.path()).unwrap_err()[0].what, "cannot be read: is a directory");
    let latin = folder.path().join("proxy.yaml");
    std::fs::write(&latin, b"a: 1\nb: caf\xe9\n").unwrap();
    let problem = file::load(&latin).unwrap_err().remove(0);
    assert_eq!((problem.line, problem.what.as_str()), (2, "is not UTF-8 text"));
}

#[test]
fn aliases_and_merges_are_understood() {
    let text = GOOD.replace("blue: [10.0.0.1:80]", "blue: &pool [10.0.0.1:80]");
    let text = text.replace("green: [10.0.0.2:80]", "green: *pool");
    let found = problems(&text);
    assert!(
        found[0].starts_with("8:12: upstreams.app.green[0]: 10.0.0.1:80 is already"),
        "{found:?}"
    );
    let merged = format!(
        "{GOOD}    health: &h {{rise: 2}}\n  b: {{targets: [a:1], health: {{<<: *h, fall: 9}}}}\n"
    );
    let loaded = file::parse(&merged, Path::new("f.yaml")).unwrap();
    let health = &loaded.settings.upstreams["b"].health;
    assert_eq!((health.rise, health.fall), (2, 9));
}

#[test]
fn a_bomb_is_refused_quickly() {
    let nest = |s: String, i: usize| {
        s + &format!("a{}: &a{} [{}]\n", i + 1, i + 1, format!("*a{i},").repeat(9))
    };
    let names: String = (0..20_000).fold(String::new(), |s, i| s + &format!("  u{i}: 1\n"));
    let bombs = [
        "[".repeat(200_000),
        "{a: ".repeat(60_000),
        "- ".repeat(100_000),
        (0..20).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), nest),
        "a: 1\n".repeat(20_000),
        format!("upstreams:\n{names}"),
        format!("upstreams: {{a: 1}}\nroutes:\n{}", "- upstream: b\n".repeat(10_000)),
        "x".repeat(300_000),
    ];
    for bomb in bombs {
        let began = Instant::now();
        let found = problems(&bomb);
        assert!((1..=101).contains(&found.len()));
        // Moments, even on a machine that is busy; what goes off takes hours.
        assert!(began.elapsed() < Duration::from_secs(60), "{}", found[0]);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        problems(&text);
    }

    #[test]
    fn no_damage_panics_and_every_problem_has_a_place(
        at in 0..GOOD.len(), drop in 0usize..9, put in "[ -~\n]{0,6}"
    ) {
        let end = (at + drop).min(GOOD.len());
        let text = format!("{}{put}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(problems) = file::parse(&text, Path::new("f.yaml")) {
            let lines = text.lines().count() as u64 + 1;
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|p| p.line >= 1 && p.line <= lines && p.column >= 1));
        }
    }
}

#[test]
fn a_canary_and_a_preview_are_refused_where_they_could_mean_two_things() {
    let upstream = |key: &str| {
        only("    green: [10.0.0.2:80]", &format!("    green: [10.0.0.2:80]\n    {key}"))
    };
    let pin = |pin: &str| upstream(&format!("canary: {{pins: [{pin}]}}"));
    assert_eq!(
        pin("{value: 1}"),
        "9:21: upstreams.app.canary.pins[0]: names nothing to look at; \
         write either header or cookie, and the value it must have"
    );
    assert!(pin("{header: a, cookie: b, value: 1}").contains("names two things"));
    assert!(pin("{header: a}").contains("pins[0].value: is missing"));
    assert!(pin("{header: a b, value: 1}").contains("is not the name of a header"));
    assert!(pin("{cookie: 'a;b', value: 1}").contains("is not the name of a cookie"));
    assert!(pin("{cookie: a, value: ' 1'}").contains("is not a value that can be compared"));
    assert!(upstream("canary: {sticky: cookies}").contains("did you mean \"cookie\"?"));
    assert!(upstream("preview: {host: '*.a.test'}").contains("*.a.test is not one host"));
    let twice = upstream(
        "preview: {host: a.test}\n  b: {blue: ['a:1'], green: ['a:2'], preview: {host: a.test}}",
    );
    assert!(twice.contains("a.test is the host of upstreams.app.preview already"), "{twice}");
    let routed = GOOD.replace("  - upstream: app", "  - {upstream: app, host: a.test}");
    let routed = problems(&format!("{routed}    preview: {{host: a.test}}\n"));
    assert_eq!(routed.len(), 1, "{routed:?}");
    assert!(routed[0].contains("a.test is the host of routes[0] already"), "{routed:?}");
    let plain = only(
        "    blue: [10.0.0.1:80]\n    green: [10.0.0.2:80]",
        "    targets: ['a:1']\n    preview: {}",
    );
    assert!(plain.contains("upstreams.app.preview: stands beside targets"), "{plain}");
}

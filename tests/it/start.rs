//! The start of the daemon: what is refused, in one clear line with the way out.

use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::harness::Health;
use crate::harness::Origin;
use crate::harness::Output;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::certs;
use crate::harness::ctl::proxyd;
use crate::harness::eventually;

/// Starts `proxyd` on this proxy's file, expecting that it refuses.
#[track_caller]
fn refused(proxy: &Proxy) -> Output {
    let path = proxy.config_path();
    let output = proxyd(&["run", "--config", path.to_str().unwrap()]).expect(1);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() {
    let (_blue, _green, proxy) = app();
    let output = refused(&proxy);
    assert!(output.stderr.contains("control.sock"), "{}", output.stderr);
    assert_eq!(proxy.colour(), "blue", "the first goes on");
    proxy.promote("green");
}

#[test]
fn a_second_daemon_on_the_same_port_is_refused() {
    let (blue, green, proxy) = app();
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let listeners = json!([{ "bind": proxy.plain_address().to_string() }]);
    let second = setup.with(&json!({ "listeners": listeners })).prepare();
    let output = refused(&second);
    assert!(output.stderr.contains(&proxy.plain_address().to_string()), "{}", output.stderr);
    for _ in 0..20 {
        proxy.http().get("/").expect(200);
    }
}

#[test]
fn a_port_in_use_by_another_program_is_refused() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let taken = TcpListener::bind((setup.address(), 8080)).unwrap();
    let proxy = setup.prepare();
    let output = refused(&proxy);
    assert!(output.stderr.contains(&proxy.plain_address().to_string()), "{}", output.stderr);
    drop(taken);
}

#[test]
fn a_stale_socket_is_replaced() {
    let (_blue, _green, mut proxy) = app();
    proxy.kill9();
    assert!(proxy.socket().exists());
    proxy.start_again();
    assert_eq!(proxy.colour(), "blue");
}

#[test]
fn an_invalid_file_is_refused_with_every_problem() {
    let setup = Proxy::setup();
    let proxy = setup
        .with(&json!({ "upstreams": { "app": { "blue": ["10.0.0.5"] } } }))
        .prepare();
    proxy.write_config_text("listeners: []\nroutes:\n  - upstream: a\nupstreams:\n  b: {}\nx: 1\n");
    let output = refused(&proxy);
    for place in ["proxy.yaml:3:", "proxy.yaml:6:"] {
        assert!(output.stderr.contains(place), "{place} in {}", output.stderr);
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = proxyd(&["run", "--config", "/nowhere/at/all.yaml"]).expect(1);
    assert!(output.stderr.contains("/nowhere/at/all.yaml"), "{}", output.stderr);
}

#[test]
fn an_unreadable_key_is_named() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::setup().blue(&[&blue]).green(&[&green]).prepare();
    fs::write(proxy.file("app.key"), "not a key").unwrap();
    let output = refused(&proxy);
    assert!(output.stderr.contains("app.key"), "{}", output.stderr);
    fs::remove_file(proxy.file("app.key")).unwrap();
    let output = refused(&proxy);
    assert!(output.stderr.contains("app.key"), "{}", output.stderr);
}

#[test]
fn check_validates_and_starts_nothing() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::setup().blue(&[&blue]).green(&[&green]).prepare();
    let path = proxy.config_path();
    let check = || proxyd(&["check", "--config", path.to_str().unwrap()]);
    check().expect(0);
    assert!(!proxy.socket().exists());
    proxy.write_config_text("listeners: []\n");
    let output = check().expect(1);
    assert!(output.said().contains("proxy.yaml"), "{output:?}");
    assert_eq!(blue.probes(), 0);
}

#[test]
fn check_reads_the_certificates_that_are_here_and_names_those_that_are_not() {
    let proxy = Proxy::setup().prepare();
    let path = proxy.config_path();
    let check = || proxyd(&["check", "--config", path.to_str().unwrap()]);
    let other = certs::issue(proxy.folder(), "other", &["other.test"]);
    let name = |key: &str| {
        proxy.write_config_text(&format!(
            "listeners: [{{bind: \"127.0.0.1:1\", tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}}}]\nroutes: [{{upstream: app}}]\nupstreams: {{app: {{targets: [\"127.0.0.1:2\"]}}}}\n",
            cert = other.cert.display(),
        ));
    };
    name(other.key.to_str().unwrap());
    check().expect(0);
    certs::issue(proxy.folder(), "another", &["another.test"]);
    name(proxy.file("another.key").to_str().unwrap());
    let refused = check().expect(1);
    let place = "proxy.yaml:1:";
    assert!(refused.stderr.contains(place), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("listeners[0].tls.certificates[0].key"),
        "{}",
        refused.stderr
    );
    name("/nowhere/key.pem");
    let elsewhere = check().expect(0);
    assert!(
        elsewhere
            .stderr
            .contains("/nowhere/key.pem is not on this machine"),
        "{elsewhere:?}"
    );
}

#[test]
fn wrong_usage_is_2_and_the_version_is_known() {
    proxyd(&["--no-such-flag"]).expect(2);
    proxyd(&["dance"]).expect(2);
    let output = proxyd(&["--version"]).expect(0);
    assert!(output.stdout.contains(env!("CARGO_PKG_VERSION")), "{output:?}");
    proxyd(&["--help"]).expect(0);
}

#[test]
fn the_schema_describes_the_file() {
    let output = proxyd(&["schema"]).expect(0);
    let schema: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    for key in ["listeners", "routes", "upstreams", "timeouts", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn port_0_is_allowed_and_the_real_address_is_told() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let listeners = json!({ "listeners": [{ "bind": "127.0.0.1:0" }], "workers": 2 });
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(&listeners)
        .start();
    let listener = proxy.status()["listeners"][0].clone();
    assert_eq!(listener["bind"], "127.0.0.1:0");
    let address: std::net::SocketAddr = listener["address"].as_str().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    for _ in 0..20 {
        crate::harness::Client::plain(address, "app.test")
            .unwrap()
            .get("/")
            .expect(200);
    }
}

#[test]
fn it_opens_after_one_round_of_probes_whatever_its_result() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    blue.health(Health::Stall);
    green.health(Health::Status(503));
    let proxy = Proxy::between(&[&blue], &[&green]);
    assert!(blue.probes() > 0 && green.probes() > 0);
    proxy.http().get("/").expect(200);
}

#[test]
fn a_missing_state_folder_is_made() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let state = setup.folder().join("a/b/state");
    let proxy = setup.with(&json!({ "state_dir": state })).start();
    assert!(state.is_dir());
    proxy.promote("green");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_refused() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::setup().blue(&[&blue]).green(&[&green]).prepare();
    fs::write(proxy.file("state"), "a file").unwrap();
    let output = refused(&proxy);
    assert!(output.stderr.contains("state"), "{}", output.stderr);
}

#[test]
fn without_admin_there_is_none() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let proxy = setup.with(&json!({ "admin": null })).start();
    proxy.http().get("/").expect(200);
    eventually("nobody listens", || std::net::TcpStream::connect(proxy.admin_address()).is_err());
}

#[test]
fn the_demo_tells_its_whole_story() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_proxyd"));
    command.args(["demo", "--once"]);
    let mut running = crate::harness::ctl::start(command);
    let mut story = String::new();
    while let Some((_, line)) = running.line() {
        story.push_str(&line);
        story.push('\n');
    }
    let output = running.finish().expect(0);
    assert!(story.contains("green"), "{story}\n{}", output.stderr);
}

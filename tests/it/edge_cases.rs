//! What stands at the edges: names that move, both families, accounts, disks that cannot be
//! written, and the small limits.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Health;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::config::HOST;
use crate::harness::ctl;
use crate::harness::eventually;
use crate::harness::h2;
use crate::harness::h2::Frames;
use crate::harness::wire::Wire;

/// `proxyd` where `/etc/hosts` is `hosts`; `None` where nobody may mount.
pub fn with_hosts(proxy: &Proxy, hosts: &Path) -> Option<ctl::Running> {
    let elsewhere = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
            .arg(hosts)
            .args(program);
        command
    };
    let may = elsewhere(&["true"]).output().ok()?;
    if !may.status.success() {
        return None;
    }
    let mut command = elsewhere(&[env!("CARGO_BIN_EXE_proxyd"), "run", "--config"]);
    command.arg(proxy.config_path());
    Some(ctl::start(command))
}

#[test]
fn a_name_as_a_target_is_resolved_again_with_every_probe() {
    let (one, two, green) =
        (Origin::start("blue-1"), Origin::start("blue-2"), Origin::start("green-1"));
    let setup = Proxy::setup().green(&[&green]);
    let hosts = setup.folder().join("hosts");
    let point = |to: &Origin| fs::write(&hosts, format!("{} moving.test\n", to.address.ip()));
    point(&one).unwrap();
    let blue = json!([format!("moving.test:{}", one.address.port())]);
    let mut proxy = setup
        .with(&json!({ "upstreams": { "app": { "blue": blue } } }))
        .prepare();
    let Some(daemon) = with_hosts(&proxy, &hosts) else { return };
    eventually("it serves", || {
        Client::plain(proxy.plain_address(), HOST).is_ok_and(|mut c| c.try_get("/").is_ok())
    });
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-1");
    one.kill();
    point(&two).unwrap();
    eventually("requests follow the name", || {
        let mut client = proxy.http();
        client
            .try_get("/")
            .is_ok_and(|answer| answer.origin() == "blue-2")
    });
    assert_eq!(proxy.app()["pools"]["blue"]["targets"][0]["address"], blue[0]);
    daemon.signal(Signal::TERM);
    daemon.finish().expect(0);
    proxy.skip_audit();
}

#[test]
fn the_unspecified_ipv6_address_serves_both_families() {
    let listeners = json!({ "listeners": [{ "bind": "[::]:0" }], "workers": 2 });
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let mut proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(&listeners)
        .prepare();
    proxy.spawn();
    let mut port = 0;
    eventually("it listens", || {
        let address = proxy
            .try_status()
            .and_then(|status| status["listeners"][0]["address"].as_str()?.parse().ok());
        port = address.map_or(0, |address: SocketAddr| address.port());
        port != 0
    });
    for (address, seen) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let Ok(mut client) = Client::plain(address, HOST) else { continue };
        client.get("/").expect(200);
        assert_eq!(blue.last().headers("x-forwarded-for"), [seen]);
    }
}

#[test]
fn no_more_idle_connections_are_kept_than_the_limit_allows() {
    for (limit, second) in [(0, 1), (128, 2)] {
        let limits = json!({ "limits": { "idle_upstream_connections": limit } });
        let (blue, _green, proxy) = app_with(&limits);
        let mut client = proxy.http();
        client.get("/").expect(200);
        client.get("/").expect(200);
        assert_eq!(blue.requests()[1].nth, second, "limit {limit}");
    }
}

const END_HEADERS: u8 = 4;

/// A header block in literal fields that use no table (RFC 7541 §6.2.2).
fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

#[test]
fn an_upload_over_http2_arrives_with_its_trailers() {
    let (blue, _green, proxy) = app_with(&json!({}));
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let head = literal(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/echo"),
        ("trailer", "x-sum"),
    ]);
    frames.send(h2::HEADERS, END_HEADERS, 1, &head).unwrap();
    frames.send(h2::DATA, 0, 1, b"the body").unwrap();
    let trailers = literal(&[("x-sum", "42")]);
    frames
        .send(h2::HEADERS, END_HEADERS | h2::END_STREAM, 1, &trailers)
        .unwrap();
    let said = loop {
        let frame = frames.next().unwrap();
        if frame.kind == h2::DATA && !frame.payload.is_empty() {
            break String::from_utf8(frame.payload).unwrap();
        }
    };
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["length"], 8);
    assert_eq!(said["trailers"], json!([["x-sum", "42"]]));
    assert_eq!(blue.last().method(), "POST");
}

#[test]
fn with_no_target_left_the_answer_is_503_and_says_when_to_come_back() {
    let (blue, _green, proxy) = app_with(&json!({}));
    blue.kill();
    let healthy = || proxy.app()["pools"]["blue"]["targets"][0]["healthy"].clone();
    eventually("blue is known to be gone", || healthy() == json!(false));
    let answer = proxy.http().get("/").expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.header("x-request-id").is_some());
    let mut admin = Client::plain(proxy.admin_address(), "admin").unwrap();
    admin.get("/readyz").expect(200); // the proxy itself is fine
    blue.revive();
    eventually("it comes back", || proxy.http().get("/").status == 200);
}

#[test]
fn at_the_first_start_without_any_target_it_opens_and_says_503() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    blue.kill();
    green.health(Health::Status(503));
    let proxy = Proxy::between(&[&blue], &[&green]);
    assert_eq!(proxy.live(), "blue");
    let answer = proxy.http().get("/").expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    green.health(Health::Status(200));
    proxy.promote("green");
    assert_eq!(proxy.colour(), "green");
}

/// A disk that may only be read from now on, where the tests may mount one.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn over(folder: &Path) -> Option<Self> {
        let bound = Command::new("mount")
            .arg("--bind")
            .args([folder, folder])
            .output();
        if !bound.ok()?.status.success() {
            return None;
        }
        let mounted = Self(folder.to_owned());
        let options = ["-o", "remount,bind,ro"];
        let output = Command::new("mount").args(options).arg(folder).output();
        output.ok()?.status.success().then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_state_folder_that_can_only_be_read_refuses_promotes_and_serves_on() {
    let (_blue, _green, mut proxy) = app_with(&json!({}));
    proxy.promote("green");
    proxy.stop();
    let Some(mounted) = ReadOnly::over(&proxy.file("state")) else { return };
    proxy.start_again();
    assert_eq!(proxy.colour(), "green", "reading suffices to start");
    let output = proxy.ctl(["promote", "blue"]).expect(8);
    assert!(output.stderr.contains("ead-only"), "{}", output.stderr);
    assert_eq!(output.stderr.matches("proxyctl:").count(), 1, "{}", output.stderr);
    assert_eq!(proxy.colour(), "green");
    proxy.stop();
    drop(mounted);
}

#[test]
fn plain_proxyd_takes_the_file_beside_it() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let mut proxy = Proxy::setup().blue(&[&blue]).green(&[&green]).prepare();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyd"));
    command.current_dir(proxy.folder());
    let daemon = ctl::start(command);
    eventually("it serves", || {
        Client::plain(proxy.plain_address(), HOST).is_ok_and(|mut c| c.try_get("/").is_ok())
    });
    assert_eq!(proxy.colour(), "blue");
    daemon.signal(Signal::TERM);
    daemon.finish().expect(0);
    proxy.skip_audit();
}

#[test]
fn a_request_for_h2c_is_answered_in_http_1_1() {
    let (blue, _green, proxy) = app_with(&json!({}));
    let mut client = Client::over(Wire::plain(proxy.plain_address()).unwrap(), HOST);
    let fields = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ];
    client.request("GET", "/", &fields, b"").expect(200);
    for name in ["upgrade", "http2-settings"] {
        assert_eq!(blue.last().header(name), None, "{name}");
    }
    client.get("/").expect(200);
}

#[test]
fn whether_to_send_the_body_is_for_the_target_to_say() {
    let (blue, _green, proxy) = app_with(&json!({}));
    let mut client = proxy.http();
    let fields = [("Expect", "100-continue"), ("Content-Length", "4")];
    client.send("POST", "/echo", &fields, b"");
    assert_eq!(client.head().status().unwrap(), 100);
    client.send_raw(b"body");
    assert_eq!(client.answer().expect(200).json()["length"], 4);
    assert_eq!(blue.last().header("expect"), Some("100-continue"));
}

#[test]
fn an_answer_of_unknown_length_that_is_cut_is_not_passed_off_as_whole() {
    let (_blue, _green, proxy) = app_with(&json!({}));
    let mut plain = proxy.http();
    plain.send("POST", "/mirror", &[("Content-Length", "10")], b"hello");
    plain.head();
    assert_eq!(plain.line().unwrap(), "5");
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    let head = literal(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/mirror"),
    ]);
    frames.send(h2::HEADERS, END_HEADERS, 1, &head).unwrap();
    frames.send(h2::DATA, 0, 1, b"hello").unwrap();
    while frames.next().unwrap().kind != h2::DATA {}
    proxy
        .ctl(["promote", "green", "--drain-timeout", "200ms"])
        .expect(3);
    let end = loop {
        let frame = frames.next().unwrap();
        if frame.stream == 1 {
            break frame;
        }
    };
    assert_eq!(end.kind, h2::RST_STREAM, "{end:?}");
    let rest = plain.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_probe_asks_for_the_host_that_is_given_then_the_routes_then_the_target() {
    let host = |change| {
        let (_blue, green, proxy) = app_with(&change);
        proxy.ctl(["probe", "green"]).expect(0);
        let asked = green.probe_requests().pop().unwrap();
        (asked.head.header("host").unwrap().to_owned(), green.address.to_string())
    };
    let routes = json!([
        { "host": "*.wild.test", "upstream": "app" },
        { "host": HOST, "upstream": "app" },
    ]);
    let health = json!({ "app": { "health": { "host": "probe.test" } } });
    assert_eq!(host(json!({ "routes": routes, "upstreams": health })).0, "probe.test");
    assert_eq!(host(json!({ "routes": routes })).0, HOST);
    let (asked, target) = host(json!({}));
    assert_eq!(asked, target);
}

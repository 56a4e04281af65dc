//! A target that is named, and whose name changes or resolves no more.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::edge_cases::with_hosts;
use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::config::HOST;
use crate::harness::eventually;

#[test]
fn a_name_that_resolves_no_more_keeps_its_last_addresses() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().green(&[&green]);
    let hosts = setup.folder().join("hosts");
    fs::write(&hosts, format!("{} fading.test\n", blue.address.ip())).unwrap();
    let targets = json!([format!("fading.test:{}", blue.address.port())]);
    let mut proxy = setup
        .with(&json!({ "upstreams": { "app": { "blue": targets } } }))
        .prepare();
    let Some(daemon) = with_hosts(&proxy, &hosts) else { return };
    eventually("it serves", || {
        Client::plain(proxy.plain_address(), HOST).is_ok_and(|mut c| c.try_get("/").is_ok())
    });
    proxy.http().get("/").expect(200);
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let probes = blue.probes();
    eventually("its last address is still probed", || blue.probes() > probes + 5);
    for _ in 0..10 {
        proxy.http().get("/").expect(200);
        proxy.http().post("/", b"x").expect(200);
    }
    let target = &proxy.app()["pools"]["blue"]["targets"][0];
    assert_eq!(target["healthy"], json!(true), "{target}");
    daemon.signal(Signal::TERM);
    daemon.finish().expect(0);
    proxy.skip_audit();
}

#[test]
fn a_name_that_moves_takes_kept_connections_along() {
    let (old, new, green) =
        (Origin::start("blue-1"), Origin::start("blue-2"), Origin::start("green-1"));
    let setup = Proxy::setup().green(&[&green]);
    let hosts = setup.folder().join("hosts");
    let point = |to: &Origin| fs::write(&hosts, format!("{} moving.test\n", to.address.ip()));
    point(&old).unwrap();
    let targets = json!([format!("moving.test:{}", old.address.port())]);
    let mut proxy = setup
        .with(&json!({ "upstreams": { "app": { "blue": targets } } }))
        .prepare();
    let Some(daemon) = with_hosts(&proxy, &hosts) else { return };
    eventually("it serves", || {
        Client::plain(proxy.plain_address(), HOST).is_ok_and(|mut c| c.try_get("/").is_ok())
    });
    let mut client = proxy.http();
    assert_eq!(client.get("/").expect(200).origin(), "blue-1");
    point(&new).unwrap();
    // The old one lives on, and its connection is never idle for long.
    eventually("requests follow the name", || client.get("/").expect(200).origin() == "blue-2");
    for _ in 0..20 {
        assert_eq!(client.get("/").expect(200).origin(), "blue-2");
    }
    daemon.signal(Signal::TERM);
    daemon.finish().expect(0);
    proxy.skip_audit();
}

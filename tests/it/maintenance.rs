//! `proxyctl maintenance`: clients are told so, until somebody says that it is over or it is over by itself.

use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::eventually;

const JSON: [(&str, &str); 1] = [("Accept", "application/json")];

#[test]
fn clients_get_a_503_that_says_when_to_come_back_and_the_connection_stays() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.get("/").expect(200);
    let told = proxy
        .ctl(["maintenance", "on", "--for", "1h", "--retry-after", "90s"])
        .expect(0);
    assert!(told.stdout.contains("app: in maintenance until "), "{}", told.stdout);
    let before = blue.requests().len();
    let answer = client.get("/").expect(503);
    assert_eq!(answer.header("retry-after"), Some("90"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.text().contains("being maintained"), "{}", answer.text());
    let answer = client.request("POST", "/", &JSON, b"x").expect(503);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(blue.requests().len(), before, "nothing reaches the application");
    assert_eq!(
        proxy
            .metrics()
            .value("proxy_maintenance", &[("upstream", "app")]),
        1.0
    );
    let told = proxy.ctl(["maintenance", "off"]).expect(0);
    assert_eq!(told.stdout, "app: not in maintenance\n");
    client.get("/").expect(200);
    assert!(proxy.app()["maintenance"].is_null());
}

#[test]
fn allowed_networks_are_served_and_a_claim_counts_only_from_a_trusted_proxy() {
    let (blue, green) = (Origin::start("blue"), Origin::start("green"));
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(&json!({ "trusted_proxies": ["127.0.0.1"] }))
        .start();
    proxy
        .ctl(["maintenance", "on", "--allow", "192.0.2.0/24", "--allow", "2001:db8::7"])
        .expect(0);
    let mut client = proxy.http();
    client.get("/").expect(503);
    for (from, status) in [
        ("192.0.2.9", 200),
        ("2001:db8::7", 200),
        ("198.51.100.1, 192.0.2.9", 200),
        ("192.0.2.9, 198.51.100.1", 503),
    ] {
        client
            .request("GET", "/", &[("X-Forwarded-For", from)], b"")
            .expect(status);
    }
    assert_eq!(proxy.app()["maintenance"]["allow"], json!(["192.0.2.0/24", "2001:db8::7/128"]));
    let (_blue, _green, proxy) = app();
    proxy
        .ctl(["maintenance", "on", "--allow", "192.0.2.0/24"])
        .expect(0);
    proxy
        .http()
        .request("GET", "/", &[("X-Forwarded-For", "192.0.2.9")], b"")
        .expect(503);
}

#[test]
fn it_survives_a_restart_and_a_reload_and_is_over_by_itself() {
    let (_blue, _green, mut proxy) = app();
    proxy.ctl(["maintenance", "on", "--for", "6s"]).expect(0);
    let until = proxy.app()["maintenance"]["until"].clone();
    proxy.restart();
    assert_eq!(proxy.app()["maintenance"]["until"], until);
    proxy.http().get("/").expect(503);
    proxy.rewrite_config(&json!({ "timeouts": { "response": "59s" } }));
    proxy.ctl(["reload"]).expect(0);
    eventually("it is over by itself", || proxy.http().get("/").status == 200);
    eventually("status says so", || proxy.app()["maintenance"].is_null());
    proxy.restart();
    proxy.http().get("/").expect(200);
}

#[test]
fn a_page_of_ones_own_is_shown_to_browsers() {
    let (_blue, _green, proxy) = app();
    let page = proxy.file("page.html");
    std::fs::write(&page, "<h1>Back at nine</h1>").unwrap();
    proxy
        .ctl(["maintenance", "on", "--page", page.to_str().unwrap()])
        .expect(0);
    let answer = proxy.http().get("/").expect(503);
    assert_eq!(answer.text(), "<h1>Back at nine</h1>");
    let h2 = proxy.h2();
    assert_eq!(h2.get("/").expect(503).text(), "<h1>Back at nine</h1>");
}

#[test]
fn promotions_go_on_meanwhile() {
    let (_blue, _green, proxy) = app();
    proxy.ctl(["maintenance", "on"]).expect(0);
    proxy.promote("green");
    proxy.http().get("/").expect(503);
    proxy.ctl(["maintenance", "off"]).expect(0);
    assert_eq!(proxy.colour(), "green");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_way_out() {
    let (_blue, _green, proxy) = app();
    for (arguments, said) in [
        (vec!["maintenance", "on", "--for", "soon"], "is not a duration"),
        (vec!["maintenance", "on", "--allow", "10.0.0.0/40"], "is neither a network"),
        (vec!["maintenance", "on", "--upstream", "ap"], "there is no upstream \"ap\""),
        (vec!["maintenance", "on", "--page", "/no/such/page"], "/no/such/page"),
    ] {
        let told = proxy.ctl(arguments).expect(2);
        assert!(told.stderr.contains(said) && told.stderr.contains("hint:"), "{}", told.stderr);
    }
    proxy.http().get("/").expect(200);
}

#[test]
fn a_state_that_cannot_be_made_durable_changes_nothing() {
    let (_blue, _green, proxy) = app();
    let state = proxy.file("state");
    let new = state.join("state-a.json.new");
    std::fs::create_dir(&new).unwrap();
    proxy.ctl(["maintenance", "on"]).expect(8);
    proxy.http().get("/").expect(200);
    std::fs::remove_dir(&new).unwrap();
    proxy.ctl(["maintenance", "on"]).expect(0);
}

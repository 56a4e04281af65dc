//! `proxyctl preview`: the standby colour by the front door, for whoever has the link.

use serde_json::Value;
use serde_json::json;

use super::canary;
use super::given;
use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::eventually;

/// Orders a preview of green; how it can be seen.
fn order(proxy: &Proxy, more: &[&str]) -> Value {
    let words = [&["preview", "green", "--json"], more].concat();
    let output = proxy.ctl(words).expect(0);
    output.last_event()["previews"][0].clone()
}

fn token(invitation: &Value) -> &str {
    invitation["token"].as_str().unwrap()
}

/// The path and query of the link.
fn link(invitation: &Value) -> String {
    let link = invitation["link"].as_str().unwrap();
    let (_, after) = link.split_once("://").unwrap();
    after[after.find('/').unwrap()..].to_owned()
}

fn colour(client: &mut Client, fields: &[(&str, &str)]) -> String {
    client.request("GET", "/", fields, b"").expect(200).colour()
}

#[test]
fn the_link_leaves_a_cookie_that_shows_the_standby_colour_and_nobody_else_sees_it() {
    let (_blue, green, proxy) = app();
    let invitation = order(&proxy, &[]);
    assert_eq!((&invitation["colour"], &invitation["upstream"]), (&json!("green"), &json!("app")));
    assert!(
        invitation["link"]
            .as_str()
            .unwrap()
            .starts_with("https://localhost:8443/.well-known/")
    );
    let mut client = proxy.https();
    let led = client
        .get(&format!("{}&to=/a%3Fb=1", link(&invitation)))
        .expect(303);
    assert_eq!(led.header("location"), Some("/a?b=1"));
    assert_eq!(led.header("cache-control"), Some("no-store"));
    let cookie = led.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let cookie = given(&led).unwrap();
    let with =
        [("Cookie", cookie.as_str()), ("X-With", "Cache-Control: max-age=600|Expires: never")];
    let seen = client.request("GET", "/with", &with, b"").expect(200);
    assert_eq!((seen.colour().as_str(), seen.header("x-proxy-colour")), ("green", Some("green")));
    assert_eq!(seen.header("cache-control"), Some("no-store"), "in the place of the target's own");
    assert_eq!(seen.header("x-robots-tag"), Some("noindex, nofollow"));
    assert_eq!(green.last().header("cookie"), Some(cookie.as_str()), "the cookie passes");
    let other = client.get("/").expect(200);
    assert_eq!((other.colour().as_str(), other.header("x-proxy-colour")), ("blue", None));
    assert_eq!(proxy.app()["preview"]["colour"], "green");
    assert_eq!(proxy.live(), "blue");
}

#[test]
fn the_header_shows_it_in_both_protocols_and_ends_at_the_proxy() {
    let (_blue, green, proxy) = app();
    let invitation = order(&proxy, &[]);
    let with = [("x-proxy-preview", token(&invitation)), ("x-kept", "1")];
    let h2 = proxy.h2();
    let mut plain = proxy.http();
    for answer in [
        plain.request("GET", "/headers", &with, b""),
        plain.request("POST", "/echo", &with, b"body"),
        h2.try_request("GET", "/headers", &with, b"").unwrap(),
        h2.try_request("POST", "/echo", &with, b"body").unwrap(),
    ] {
        let answer = answer.expect(200);
        assert_eq!(
            (answer.colour().as_str(), answer.header("x-proxy-colour")),
            ("green", Some("green"))
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let came = green.last();
        assert_eq!((came.header("x-proxy-preview"), came.header("x-kept")), (None, Some("1")));
    }
    // The same connections, without it.
    assert_eq!(colour(&mut plain, &[]), "blue");
    assert_eq!(h2.get("/").expect(200).colour(), "blue");
    let line = proxy.ctl(["preview", "green"]).expect(0).stdout;
    assert!(line.contains("curl -H 'X-Proxy-Preview: "), "{line}");
}

#[test]
fn tokens_that_are_forged_over_or_of_another_upstream_show_nothing() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .upstream("other", &[&Origin::start("blue-2")], &[&Origin::start("green-2")])
        .start();
    let app = ["--upstream", "app"];
    let first = order(&proxy, &app);
    let second = order(&proxy, &app);
    let other = order(&proxy, &["--upstream", "other"]);
    assert_eq!(other["link"], Value::Null, "that path leads to app");
    let good = token(&second);
    let mut client = proxy.http();
    let forged = format!("{}{}", if good.starts_with('A') { "B" } else { "A" }, &good[1..]);
    for bad in [token(&first), token(&other), &forged, "", "x"] {
        client
            .request("GET", "/", &[("X-Proxy-Preview", bad)], b"")
            .expect(404);
        client
            .get(&format!("/.well-known/proxyd/preview?token={bad}"))
            .expect(404);
        assert_eq!(colour(&mut client, &[("Cookie", &format!("proxyd_preview={bad}"))]), "blue");
    }
    assert_eq!(colour(&mut client, &[("X-Proxy-Preview", good)]), "green");
    let short = order(&proxy, &["--upstream", "app", "--for", "1s"]);
    let with = [("X-Proxy-Preview", token(&short))];
    eventually("it is over", || proxy.app()["preview"].is_null());
    assert_eq!(colour(&mut client, &with), "blue");
    proxy
        .ctl(["guard", "green", "--upstream", "app", "--", "true"])
        .expect(0);
}

#[test]
fn no_link_leads_away_from_its_host() {
    let (_blue, _green, proxy) = app();
    let link = link(&order(&proxy, &[]));
    let mut client = proxy.http();
    for to in
        ["https://evil.test/", "//evil.test/", "/%5Cevil.test", "/%09/evil.test", "%2F%2Fevil.test"]
    {
        let led = client.get(&format!("{link}&to={to}")).expect(303);
        assert_eq!(led.header("location"), Some("/"), "{to}");
    }
    let led = client
        .get(&format!("{link}&to=/x%0d%0aX-Evil:1"))
        .expect(303);
    assert_eq!((led.header("location"), led.header("x-evil")), (Some("/"), None));
}

#[test]
fn while_it_stands_a_guard_is_refused_and_off_ends_it_for_every_token() {
    let (_blue, green, proxy) = app();
    let invitation = order(&proxy, &[]);
    let refused = proxy.ctl(["guard", "green", "--", "true"]).expect(125);
    assert!(refused.stderr.contains("green is previewed until"), "{}", refused.stderr);
    let mut held = proxy.http();
    held.send("GET", "/hold", &[("X-Proxy-Preview", token(&invitation))], b"");
    green.wait_until_held(1);
    assert_eq!(proxy.in_flight("green"), 1, "it is counted");
    let off = proxy.ctl(["preview", "green", "--off"]).expect(0);
    assert!(off.stdout.contains("app: no preview"), "{}", off.stdout);
    let mut client = proxy.http();
    assert_eq!(colour(&mut client, &[("X-Proxy-Preview", token(&invitation))]), "blue");
    let refused = proxy.ctl(["guard", "green", "--", "true"]).expect(125);
    assert!(refused.stderr.contains("1 request is in flight on green"), "{}", refused.stderr);
    green.release();
    assert_eq!(held.answer().expect(200).colour(), "green");
    eventually("nothing is left", || proxy.in_flight("green") == 0);
    proxy.ctl(["guard", "green", "--", "true"]).expect(0);
}

#[test]
fn it_outlives_a_restart_and_a_reload_and_ends_with_the_promote() {
    let (_blue, _green, mut proxy) = app();
    let invitation = order(&proxy, &["--for", "1h"]);
    let with = [("X-Proxy-Preview", token(&invitation))];
    proxy.restart();
    assert_eq!(colour(&mut proxy.http(), &with), "green");
    let second = Origin::start("green-2");
    let targets = json!([second.address.to_string()]);
    proxy.rewrite_config(&json!({ "upstreams": { "app": { "green": targets } } }));
    proxy.ctl(["reload"]).expect(0);
    assert_eq!(
        proxy
            .http()
            .request("GET", "/", &with, b"")
            .expect(200)
            .origin(),
        "green-2"
    );
    let refused = proxy.ctl(["preview", "blue"]).expect(5);
    assert!(refused.stderr.contains("blue is live already"), "{}", refused.stderr);
    let receipt = proxy.promote("green");
    assert_eq!(receipt["safe_to_kill"], "blue");
    assert_eq!(proxy.app()["preview"], Value::Null);
    assert_eq!(
        proxy
            .http()
            .request("GET", "/", &with, b"")
            .header("x-proxy-colour"),
        None
    );
    proxy.ctl(["guard", "blue", "--", "true"]).expect(0);
}

#[test]
fn a_canary_may_run_meanwhile_and_its_end_ends_the_preview() {
    let (_blue, _green, proxy) = app();
    let invitation = order(&proxy, &[]);
    let with = [("X-Proxy-Preview", token(&invitation))];
    canary(&proxy, "0.1");
    assert_eq!(colour(&mut proxy.http(), &with), "green");
    let end = proxy
        .ctl(["canary", "green", "--weight", "0", "--json"])
        .expect(0);
    assert_eq!(end.receipt()["safe_to_kill"], "green");
    assert_eq!(colour(&mut proxy.http(), &with), "blue");
    proxy.ctl(["guard", "green", "--", "true"]).expect(0);
}

#[test]
fn a_host_of_its_own_shows_it_while_it_is_ordered_and_is_unknown_otherwise() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let host = "preview.test";
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(&json!({
            "routes": [{ "host": HOST, "upstream": "app" }],
            "upstreams": { "app": { "preview": { "host": host } } },
        }))
        .start();
    let (mut usual, mut hidden) =
        (proxy.http(), Client::plain(proxy.plain_address(), host).unwrap());
    hidden.get("/").expect(404);
    let invitation = order(&proxy, &[]);
    assert_eq!(invitation["host"], format!("https://{host}:8443/"));
    assert!(
        invitation["link"]
            .as_str()
            .unwrap()
            .starts_with(&format!("https://{HOST}:8443/"))
    );
    let seen = hidden.get("/").expect(200);
    assert_eq!((seen.colour().as_str(), seen.header("x-proxy-colour")), ("green", Some("green")));
    assert_eq!(colour(&mut usual, &[]), "blue");
    proxy.ctl(["preview", "green", "--off"]).expect(0);
    hidden.get("/").expect(404);
    assert_eq!(colour(&mut usual, &[]), "blue");
}

#[test]
fn what_the_proxy_says_by_itself_to_who_has_a_token_is_marked_and_kept_by_no_cache() {
    let (_blue, green, proxy) = app();
    let invitation = order(&proxy, &[]);
    let with = [("x-proxy-preview", token(&invitation))];
    green.kill();
    let answers = [
        proxy.http().request("GET", "/", &with, b""),
        proxy.https().request("POST", "/", &with, b"x"),
        proxy.h2().try_request("GET", "/", &with, b"").unwrap(),
    ];
    for answer in answers {
        assert!(matches!(answer.status, 502 | 503), "{answer:?}");
        assert_eq!(answer.header("x-proxy-colour"), Some("green"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-robots-tag"), Some("noindex, nofollow"));
    }
    // Nobody else is told of it.
    let other = proxy.http().get("/").expect(200);
    assert_eq!((other.colour().as_str(), other.header("x-proxy-colour")), ("blue", None));
}

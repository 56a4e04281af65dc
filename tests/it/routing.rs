//! Which upstream serves a request, and the answer where none does.

use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::certs;
use crate::harness::config::HOST;

/// A plain upstream of one target.
fn single(origin: &Origin) -> serde_json::Value {
    json!({ "targets": [origin.address.to_string()], "health": { "path": "/health" } })
}

/// Asks for `path` of `host`; which target answered, or the status.
fn asked(proxy: &Proxy, host: &str, path: &str) -> String {
    let answer = proxy.http().request("GET", path, &[("Host", host)], b"");
    if answer.status == 200 { answer.origin() } else { answer.status.to_string() }
}

#[test]
fn the_most_specific_host_wins_then_the_longest_prefix() {
    let names = ["exact", "exact-api", "exact-api-v2", "wild", "any", "any-api"];
    let origins = names.map(Origin::start);
    let mut setup = Proxy::setup();
    for origin in &origins {
        let upstream = single(origin);
        setup = setup.with(&json!({ "upstreams": { &origin.name: upstream } }));
    }
    let routes = json!([
        { "upstream": "any" },
        { "path": "/api", "upstream": "any-api" },
        { "host": "*.shop.test", "upstream": "wild" },
        { "host": "www.shop.test", "path": "/", "upstream": "exact" },
        { "host": "www.shop.test", "path": "/api", "upstream": "exact-api" },
        { "host": "www.shop.test", "path": "/api/v2/", "upstream": "exact-api-v2" },
    ]);
    let proxy = setup
        .with(&json!({ "routes": routes, "upstreams": { "app": null } }))
        .start();
    let cases = [
        ("www.shop.test", "/", "exact"),
        ("WWW.Shop.TEST", "/", "exact"),
        ("www.shop.test:8080", "/", "exact"),
        ("www.shop.test", "/api", "exact-api"),
        ("www.shop.test", "/api?x=1", "exact-api"),
        ("www.shop.test", "/api/", "exact-api"),
        ("www.shop.test", "/api/v2/x", "exact-api-v2"),
        ("www.shop.test", "/apix", "exact"),
        ("www.shop.test", "/api/v2x", "exact-api"),
        ("blog.shop.test", "/api", "wild"),
        ("shop.test", "/", "any"),
        ("other.test", "/api/x", "any-api"),
        ("other.test", "/apix", "any"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(asked(&proxy, host, path), expected, "{host}{path}");
    }
}

#[test]
fn an_unknown_host_or_path_gets_a_clear_404() {
    let routes = json!({ "routes": [{ "host": HOST, "path": "/app", "upstream": "app" }] });
    let (blue, _green, proxy) = app_with(&routes);
    assert_eq!(asked(&proxy, HOST, "/app"), "blue-1");
    for (host, path) in [("stranger.test", "/app"), (HOST, "/"), (HOST, "/apple")] {
        let fields = [("Host", host), ("Accept", "application/json")];
        let mut client = proxy.http();
        let answer = client.request("GET", path, &fields, b"").expect(404);
        assert!(answer.header("content-type").unwrap().contains("json"));
        assert!(answer.json().is_object());
        assert!(answer.header("x-request-id").is_some());
        assert!(client.is_open(), "a 404 does not cost the connection");
        let fields = [("Host", host), ("Accept", "text/html")];
        let answer = client.request("GET", path, &fields, b"").expect(404);
        assert!(answer.header("content-type").unwrap().contains("html"));
    }
    assert_eq!(blue.requests().len(), 1);
}

#[test]
fn a_host_under_another_certificate_than_the_sni_gets_421() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let other = certs::issue(setup.folder(), "other", &["other.test"]);
    let mut listeners = setup.config["listeners"].clone();
    let certificates = listeners[1]["tls"]["certificates"].as_array_mut().unwrap();
    certificates.push(json!({ "cert": other.cert, "key": other.key }));
    let proxy = setup.with(&json!({ "listeners": listeners })).start();
    let mut client = Client::tls(proxy.tls_address(), HOST).unwrap();
    client.get("/").expect(200);
    client
        .request("GET", "/", &[("Host", "localhost")], b"")
        .expect(200); // same certificate
    client
        .request("GET", "/", &[("Host", "other.test")], b"")
        .expect(421);
    assert!(client.is_closed(), "it is to use another connection for that host");
    let mut client = Client::tls(proxy.tls_address(), HOST).unwrap();
    client
        .request("GET", "/", &[("Host", "nobody.test")], b"")
        .expect(200); // nobody's name
    let plain = proxy
        .http()
        .request("GET", "/", &[("Host", "other.test")], b"");
    plain.expect(200); // no SNI
}

#[test]
fn requests_are_spread_over_the_targets_of_the_live_colour() {
    let targets = ["blue-1", "blue-2", "blue-3"].map(Origin::start);
    let green = Origin::start("green-1");
    let proxy = Proxy::between(&[&targets[0], &targets[1], &targets[2]], &[&green]);
    let mut client = proxy.http();
    for _ in 0..60 {
        client.get("/").expect(200);
    }
    for target in &targets {
        assert!(target.requests().len() >= 5, "{}: {}", target.name, target.requests().len());
    }
    assert_eq!(green.requests().len(), 0);
}

#[test]
fn a_target_with_work_in_flight_is_preferred_less() {
    let (one, two) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let proxy = Proxy::between(&[&one, &two], &[&green]);
    let mut waiting: Vec<_> = (0..10).map(|_| proxy.http()).collect();
    for (nth, client) in waiting.iter_mut().enumerate() {
        client.send("GET", "/hold", &[], b"");
        crate::harness::eventually("it is held", || one.held() + two.held() == nth + 1);
    }
    assert_eq!((one.held(), two.held()), (5, 5), "power of two choices, of two");
    one.release();
    two.release();
    for client in &mut waiting {
        client.answer().expect(200);
    }
}

#[test]
fn a_target_may_be_a_unix_socket() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().green(&[&green]);
    let path = setup.folder().join("app.sock");
    crate::harness::origin::relay_unix(&path, blue.address);
    let address = format!("unix:{}", path.display());
    let pool = json!({ "upstreams": { "app": { "blue": [address] } } });
    let proxy = setup.with(&pool).start();
    assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-1");
}

#[test]
fn a_backup_serves_only_while_no_other_is_healthy() {
    let (main, backup) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let pool = json!([
        main.address.to_string(),
        { "address": backup.address.to_string(), "backup": true },
    ]);
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({ "upstreams": { "app": { "blue": pool } } }))
        .start();
    for _ in 0..10 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-1");
    }
    main.kill();
    for _ in 0..10 {
        assert_eq!(proxy.http().get("/").expect(200).origin(), "blue-2");
    }
}

#[test]
fn weights_share_the_requests() {
    let (heavy, light) = (Origin::start("blue-1"), Origin::start("blue-2"));
    let green = Origin::start("green-1");
    let pool = json!([
        { "address": heavy.address.to_string(), "weight": 9 },
        { "address": light.address.to_string(), "weight": 1 },
    ]);
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({ "upstreams": { "app": { "blue": pool } } }))
        .start();
    let mut client = proxy.http();
    for _ in 0..200 {
        client.get("/").expect(200);
    }
    let (heavy, light) = (heavy.requests().len(), light.requests().len());
    assert!(heavy > 3 * light && light > 0, "{heavy} to {light}");
}

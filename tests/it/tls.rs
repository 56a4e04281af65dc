//! TLS: names, versions, protocols, tickets; the redirect from plain HTTP.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::version;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::wire::Wire;

#[test]
fn alpn_chooses_h2_and_else_http_1_1() {
    let (_blue, _green, proxy) = app();
    let chosen = |offered: &[&str]| {
        Wire::tls(proxy.tls_address(), HOST, offered)
            .unwrap()
            .protocol()
            .unwrap_or_default()
    };
    assert_eq!(chosen(&["h2", "http/1.1"]), "h2");
    assert_eq!(chosen(&["http/1.1"]), "http/1.1");
    assert_eq!(chosen(&[]), "");
}

#[test]
fn a_client_without_alpn_is_served_http_1_1() {
    let (_blue, _green, proxy) = app();
    let wire = Wire::tls(proxy.tls_address(), HOST, &[]).unwrap();
    Client::over(wire, HOST).get("/").expect(200);
}

#[test]
fn versions_1_2_and_1_3_are_served() {
    let (_blue, _green, proxy) = app();
    for version in [&version::TLS12, &version::TLS13] {
        let config = certs::client_config_of(&["http/1.1"], &[version]);
        let wire = Wire::tls_with(proxy.tls_address(), HOST, config).unwrap();
        Client::over(wire, HOST).get("/").expect(200);
    }
}

#[test]
fn a_session_is_resumed() {
    let (_blue, _green, proxy) = app();
    let config = certs::client_config(&["http/1.1"]);
    let kind_of_handshake = || {
        let wire = Wire::tls_with(proxy.tls_address(), HOST, Arc::clone(&config)).unwrap();
        let mut client = Client::over(wire, HOST);
        client.get("/").expect(200); // a ticket comes after the handshake
        let Wire::Tls(stream) = &client.wire else { return None };
        stream.conn.handshake_kind()
    };
    assert!(kind_of_handshake() != Some(HandshakeKind::Resumed));
    assert_eq!(kind_of_handshake(), Some(HandshakeKind::Resumed));
}

#[test]
fn the_certificate_is_chosen_by_the_name_exact_before_wildcard_before_default() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let exact = certs::issue(setup.folder(), "exact", &["one.wild.test"]);
    let wildcard = certs::issue(setup.folder(), "wildcard", &["*.wild.test"]);
    let mut listeners = setup.config["listeners"].clone();
    let certificates = listeners[1]["tls"]["certificates"].as_array_mut().unwrap();
    for files in [&wildcard, &exact] {
        certificates.push(json!({ "cert": files.cert, "key": files.key }));
    }
    let proxy = setup.with(&json!({ "listeners": listeners })).start();
    for host in ["one.wild.test", "two.wild.test", HOST, "localhost"] {
        Client::tls(proxy.tls_address(), host)
            .unwrap()
            .get("/")
            .expect(200);
    }
    let presented = |host| {
        let wire = Wire::tls(proxy.tls_address(), host, &[]).unwrap();
        wire.certificate().unwrap()
    };
    assert_eq!(presented(HOST), presented("localhost"));
    assert_ne!(presented("one.wild.test"), presented("two.wild.test"));
    // Nobody's name: the default's certificate, which the client then refuses.
    let stranger = Wire::tls(proxy.tls_address(), "stranger.test", &[]);
    assert!(
        stranger
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
}

#[test]
fn what_is_not_tls_ends_its_connection_and_is_counted() {
    let (_blue, _green, proxy) = app();
    let mut client = Client::plain(proxy.tls_address(), HOST).unwrap();
    let answer = client.get("/").expect(400);
    assert!(answer.text().contains("https"), "it says what went wrong");
    assert!(client.is_closed());
    let mut garbage = Client::plain(proxy.tls_address(), HOST).unwrap();
    garbage.send_raw([0xff; 64]);
    assert!(garbage.rest().len() < 16, "at most an alert");
    proxy.https().get("/").expect(200);
    let metrics = proxy.metrics();
    assert!(metrics.sum("proxy_tls_handshakes_total", &[("outcome", "failed")]) == 2.0);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "tls_handshake": "200ms" } }));
    let mut silent = Client::plain(proxy.tls_address(), HOST).unwrap();
    let mut half = Client::plain(proxy.tls_address(), HOST).unwrap();
    half.send_raw(b"\x16\x03\x01\x02\x00\x01");
    assert!(silent.is_closed());
    assert!(half.rest().len() < 16, "at most an alert");
    proxy.https().get("/").expect(200);
}

#[test]
fn a_redirecting_listener_answers_308_with_path_and_query() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let mut listeners = setup.config["listeners"].clone();
    listeners[0]["redirect_to_https"] = json!(true);
    let proxy = setup.with(&json!({ "listeners": listeners })).start();
    let mut client = proxy.http();
    let answer = client.get("/a%2Fb/c?x=1&y=%20").expect(308);
    let location = answer.header("location").unwrap();
    assert_eq!(location, format!("https://{HOST}/a%2Fb/c?x=1&y=%20"));
    assert!(client.is_open());
    let challenge = client.get("/.well-known/acme-challenge/token");
    assert_ne!(challenge.status, 308, "the ACME challenge must be reachable in plain");
    assert_eq!(proxy.https().get("/").expect(200).origin(), "blue-1");
}

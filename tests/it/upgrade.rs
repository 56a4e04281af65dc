//! WebSockets and other upgraded connections: tunnels, but only after the target's own 101.

use std::io::Write;

use serde_json::json;

use crate::harness::app;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::wire::Wire;
use crate::harness::ws::WebSocket;

const FOO: [(&str, &str); 2] = [("Upgrade", "foo"), ("Connection", "Upgrade")];

#[test]
fn a_websocket_echoes_over_plain_and_tls() {
    let (_blue, _green, proxy) = app();
    let plain = Wire::plain(proxy.plain_address()).unwrap();
    for mut socket in [proxy.websocket(), WebSocket::open(plain, "app.test").unwrap()] {
        assert_eq!(socket.origin, "blue-1");
        for text in ["one", "two", &"x".repeat(100_000)] {
            assert!(socket.echo(text).unwrap() == text);
        }
        socket.close().unwrap();
    }
}

#[test]
fn a_tunnel_is_counted_while_it_lasts() {
    let (_blue, _green, proxy) = app();
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    let pool = || proxy.app()["pools"]["blue"].clone();
    eventually("one tunnel", || pool()["tunnels"] == 1 && pool()["in_flight"] == 1);
    socket.close().unwrap();
    eventually("none", || pool()["tunnels"] == 0 && pool()["in_flight"] == 0);
}

#[test]
fn any_other_protocol_is_tunnelled_with_half_close() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    client.send("GET", "/upgrade", &FOO, b"");
    let head = client.head();
    assert_eq!(head.status().unwrap(), 101);
    assert_eq!(head.header("upgrade"), Some("foo"));
    assert!(head.has_token("connection", "upgrade"));
    assert_eq!(blue.last().header("upgrade"), Some("foo"));
    assert!(blue.last().has_token("connection", "upgrade"));
    client.wire.write_all(b"ping\0\xff").unwrap();
    assert_eq!(client.bytes(6).unwrap(), b"ping\0\xff");
    client.wire.finish_sending();
    assert_eq!(client.rest(), b"bye");
}

#[test]
fn an_upgrade_that_the_target_declines_stays_http() {
    let (blue, _green, proxy) = app();
    let mut client = proxy.http();
    // The second request comes before the first is answered: it must not be tunnelled.
    client.send_raw(
        "GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n\
         GET /second HTTP/1.1\r\nHost: app.test\r\nX-Real-IP: 6.6.6.6\r\n\r\n",
    );
    client.answer().expect(200);
    client.answer().expect(200);
    assert_eq!(blue.last().target(), "/second");
    assert_eq!(blue.last().headers("x-real-ip"), ["127.0.0.1"], "it passed the proxy's rules");
}

#[test]
fn upgrade_without_the_connection_field_is_no_upgrade() {
    let (blue, _green, proxy) = app();
    proxy
        .http()
        .request("GET", "/upgrade", &[("Upgrade", "foo")], b"")
        .expect(200);
    assert_eq!(blue.last().header("upgrade"), None);
}

#[test]
fn a_tunnel_ends_when_the_target_dies() {
    let (blue, _green, mut proxy) = app();
    let mut socket = proxy.websocket();
    socket.echo("hello").unwrap();
    blue.kill();
    assert!(socket.receive().is_err());
    drop(socket);
    proxy.stop();
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_ended() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "tunnel": "300ms" } }));
    let mut socket = proxy.websocket();
    for _ in 0..5 {
        crate::harness::wait::pause(std::time::Duration::from_millis(100));
        socket.echo("still here").unwrap();
    }
    assert!(socket.receive().is_err());
    eventually("no tunnel is left", || proxy.app()["pools"]["blue"]["tunnels"] == 0);
}

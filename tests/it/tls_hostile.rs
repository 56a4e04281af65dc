//! Peers that mean harm by TLS, or are merely old: each costs its own connection and no other.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::app_with;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::hello;
use crate::harness::hello::HANDSHAKE_FAILURE;
use crate::harness::hello::Hello;
use crate::harness::hello::PROTOCOL_VERSION;
use crate::harness::hello::hear;
use crate::harness::hello::only_alert;
use crate::harness::hello::say;
use crate::harness::wait::pause;
use crate::harness::wire::Wire;

/// More than an alert has, fewer than any answer.
const ALERT_LENGTH: usize = 7;

/// What a client of this library says first.
fn first_flight(config: Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from(HOST).unwrap();
    let mut flight = Vec::new();
    ClientConnection::new(config, name)
        .unwrap()
        .write_tls(&mut flight)
        .unwrap();
    flight
}

/// How many handshakes ended so. That the proxy serves was seen by a connection without a handshake.
fn handshakes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metrics()
        .sum("proxy_tls_handshakes_total", &[("outcome", outcome)])
}

fn byte_by_byte(to: &mut impl Write, bytes: &[u8]) {
    for byte in bytes {
        to.write_all(&[*byte]).unwrap();
        pause(Duration::from_micros(200));
    }
}

#[test]
fn versions_before_1_2_are_refused_by_name() {
    let (_blue, _green, proxy) = app();
    let good = Hello::of_1_2();
    for version in [0x0300, 0x0301, 0x0302] {
        let old = Hello { version, ..good.clone() };
        let answer = say(proxy.tls_address(), &old.bytes()).unwrap();
        assert_eq!(only_alert(&answer), PROTOCOL_VERSION, "{version:#x}");
    }
    // One that says so in the words of 1.3.
    let old = Hello { versions: vec![0x0302, 0x0301], ..good };
    let answer = say(proxy.tls_address(), &old.bytes()).unwrap();
    assert_eq!(only_alert(&answer), PROTOCOL_VERSION);
    proxy.https().get("/").expect(200);
    eventually("each is counted", || handshakes(&proxy, "failed") == 1.0 + 4.0);
}

#[test]
fn an_sslv2_hello_is_ended_with_no_more_than_an_alert() {
    let (_blue, _green, proxy) = app();
    // RFC 6101 appendix E: two bytes of length, CLIENT-HELLO, the version, three lengths.
    for version in [[0, 2], [3, 0], [3, 3]] {
        let mut old = vec![0x80, 0x1c, 1, version[0], version[1], 0, 3, 0, 0, 0, 16, 1, 0, 0x80];
        old.extend([7; 16]);
        assert!(say(proxy.tls_address(), &old).unwrap().len() <= ALERT_LENGTH);
    }
    proxy.https().get("/").expect(200);
}

#[test]
fn suites_that_are_weak_are_not_spoken() {
    let (_blue, _green, proxy) = app();
    let weak: [(&str, &[u16]); 8] = [
        ("NULL", &[0x0001, 0x0002, 0x003b, 0xc006, 0xc010]),
        ("EXPORT", &[0x0003, 0x0006, 0x0008, 0x0014]),
        ("anonymous", &[0x0018, 0x0034, 0x006c, 0xc018]),
        ("RC4", &[0x0004, 0x0005, 0xc007, 0xc011]),
        ("DES and 3DES", &[0x0009, 0x000a, 0xc008, 0xc012]),
        ("RSA key exchange", &[0x002f, 0x0035, 0x003c, 0x009c, 0x009d]),
        ("CBC", &[0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc027]),
        ("finite fields", &[0x0033, 0x0039, 0x009e, 0x009f, 0xccaa]),
    ];
    for (name, suites) in weak {
        let weak = Hello { suites: suites.to_vec(), ..Hello::of_1_2() };
        let answer = say(proxy.tls_address(), &weak.bytes()).unwrap();
        assert_eq!(only_alert(&answer), HANDSHAKE_FAILURE, "{name}");
    }
    proxy.https().get("/").expect(200);
}

#[test]
fn nothing_is_ever_compressed() {
    let (_blue, _green, proxy) = app();
    // DEFLATE alone (RFC 3749): there must be something to fall back to.
    let only = Hello { compressions: vec![1], ..Hello::of_1_2() };
    only_alert(&say(proxy.tls_address(), &only.bytes()).unwrap());
    let offered = Hello { compressions: vec![1, 0], ..Hello::of_1_2() };
    let mut wire = Wire::plain(proxy.tls_address()).unwrap();
    wire.write_all(&offered.bytes()).unwrap();
    let mut head = [0; 5 + 4 + 2 + 32 + 1];
    wire.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[5], head[9..11].to_vec()), (22, 2, vec![3, 3]), "a ServerHello");
    let session = usize::from(head[43]);
    let mut rest = vec![0; session + 3];
    wire.read_exact(&mut rest).unwrap();
    assert_eq!(rest.last(), Some(&0), "the compression method that was chosen");
}

#[test]
fn garbage_of_any_first_byte_costs_its_own_connection_only() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "tls_handshake": "500ms" } }));
    let counted = || handshakes(&proxy, "failed") + handshakes(&proxy, "timeout");
    let mut other = proxy.https();
    for byte in 0..=255 {
        let answer = say(proxy.tls_address(), &[byte; 300]).unwrap();
        assert!(answer.len() <= ALERT_LENGTH, "{byte}: {answer:?}");
        if byte % 16 == 0 {
            other.get("/").expect(200);
        }
    }
    eventually("each is counted once", || counted() == 1.0 + 256.0);
}

#[test]
fn half_a_handshake_and_silence_ends_in_time_while_others_are_served() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "tls_handshake": "1s" } }));
    let modern = first_flight(certs::client_config(&["h2"]));
    let halves: [&[u8]; 7] = [
        b"",
        b"\x16",
        b"GE",
        &modern[..5],
        &modern[..modern.len() - 1],
        &modern,                  // the rest of its handshake never comes
        &Hello::of_1_2().bytes(), // nor does its key exchange
    ];
    let begun = Instant::now();
    let open: Vec<_> = halves
        .iter()
        .map(|half| {
            let mut wire = Wire::plain(proxy.tls_address()).unwrap();
            wire.write_all(half).unwrap();
            wire
        })
        .collect();
    proxy.https().get("/").expect(200);
    assert_eq!(handshakes(&proxy, "timeout"), 0.0, "they are all waited for meanwhile");
    for (number, mut wire) in open.into_iter().enumerate() {
        let answer = hear(&mut wire).unwrap_or_else(|| panic!("half {number} is held for ever"));
        let told = hello::split(&answer);
        assert!(number >= 5 || told.is_empty(), "half {number} heard {told:?}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(900), "they were given their time");
    eventually("each is counted", || handshakes(&proxy, "timeout") == 7.0);
}

#[test]
fn a_hello_that_drips_is_ended_at_the_deadline_though_it_moves() {
    let (_blue, _green, proxy) = app_with(&json!({ "timeouts": { "tls_handshake": "500ms" } }));
    let modern = first_flight(certs::client_config(&["h2"]));
    let mut wire = Wire::plain(proxy.tls_address()).unwrap();
    let begun = Instant::now();
    let all_sent = modern.iter().all(|byte| {
        pause(Duration::from_millis(20));
        wire.write_all(&[*byte]).is_ok()
    });
    assert!(!all_sent, "{} bytes were taken at 50 a second", modern.len());
    assert!(begun.elapsed() < Duration::from_secs(10));
    proxy.https().get("/").expect(200);
}

#[test]
fn a_hello_is_understood_however_it_is_cut() {
    let (_blue, _green, proxy) = app();
    for version in [&version::TLS12, &version::TLS13] {
        for one_byte_records in [false, true] {
            let config = certs::client_config_of(&["http/1.1"], &[version]);
            let name = ServerName::try_from(HOST).unwrap();
            let mut tls = ClientConnection::new(config, name).unwrap();
            let Wire::Plain(mut tcp) = Wire::plain(proxy.tls_address()).unwrap() else { return };
            let mut flight = Vec::new();
            tls.write_tls(&mut flight).unwrap();
            if one_byte_records {
                tcp.write_all(&hello::recut(&flight, 1)).unwrap();
            } else {
                byte_by_byte(&mut tcp, &flight);
            }
            tls.complete_io(&mut tcp).unwrap();
            let wire = Wire::Tls(Box::new(rustls::StreamOwned::new(tls, tcp)));
            Client::over(wire, HOST).get("/").expect(200);
        }
    }
}

#[test]
fn records_that_are_too_large_too_many_or_out_of_place_are_refused() {
    let (_blue, _green, proxy) = app();
    let fragment = hello::record(22, &[&[1, 0xff, 0xff, 0xff][..], &[0; 16_000]].concat());
    let bad: [(&str, Vec<u8>); 8] = [
        ("longer than a record may be", vec![22, 3, 1, 0xff, 0xff, 1, 0, 0, 4]),
        ("a message of 16 MB", fragment.repeat(20)),
        ("empty handshake records", hello::record(22, b"").repeat(20_000)),
        ("cipher changes before a hello", hello::record(20, &[1]).repeat(10_000)),
        ("data before a hello", hello::record(23, &[0; 64])),
        ("a heartbeat (RFC 6520)", hello::record(24, &[1, 0x40, 0])),
        ("a Finished before a hello", hello::record(22, &[20, 0, 0, 0])),
        ("warnings without end", hello::record(21, &[1, 90]).repeat(10_000)),
    ];
    for (what, bytes) in bad {
        let answer = say(proxy.tls_address(), &bytes).unwrap_or_else(|| panic!("held: {what}"));
        assert!(answer.len() <= ALERT_LENGTH, "{what}: {} bytes", answer.len());
    }
    proxy.https().get("/").expect(200);
}

#[test]
fn a_clients_alert_in_the_middle_of_a_handshake_ends_it() {
    let (_blue, _green, proxy) = app();
    let modern = first_flight(certs::client_config(&["h2"]));
    for alert in [[2, 40], [2, 48], [1, 0]] {
        let mut wire = Wire::plain(proxy.tls_address()).unwrap();
        wire.write_all(&modern).unwrap();
        wire.write_all(&hello::record(21, &alert)).unwrap();
        assert!(hear(&mut wire).is_some(), "{alert:?} is not the end");
    }
    eventually("each is counted", || handshakes(&proxy, "failed") == 1.0 + 3.0);
    proxy.https().get("/").expect(200);
}

#[test]
fn a_record_that_does_not_open_ends_its_connection_with_bad_record_mac() {
    let (_blue, _green, proxy) = app();
    let mut other = proxy.https();
    let mut client = proxy.https();
    client.get("/").expect(200);
    let Wire::Tls(stream) = &mut client.wire else { return };
    stream
        .sock
        .write_all(&[&[23, 3, 3, 0, 40][..], &[9; 40]].concat())
        .unwrap();
    let error = stream.read(&mut [0; 64]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    other.get("/").expect(200);
}

#[test]
fn every_end_is_said_with_close_notify_and_a_clients_own_is_understood() {
    let (_blue, _green, proxy) = app();
    for version in [&version::TLS12, &version::TLS13] {
        let config = certs::client_config_of(&["http/1.1"], &[version]);
        let connect = || {
            let wire = Wire::tls_with(proxy.tls_address(), HOST, Arc::clone(&config)).unwrap();
            Client::over(wire, HOST)
        };
        let mut client = connect();
        client
            .request("GET", "/", &[("Connection", "close")], b"")
            .expect(200);
        // An end without close_notify would be an error: it could be an attacker's.
        assert_eq!(client.wire.read(&mut [0; 8]).unwrap(), 0);
        // A client's goodbye is answered by ours, not by silence until it is idle for too long.
        let mut client = connect();
        client.get("/").expect(200);
        let Wire::Tls(stream) = &mut client.wire else { return };
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn key_updates_are_followed_and_a_flood_of_them_is_ended() {
    let (_blue, _green, proxy) = app();
    let mut client = proxy.https();
    for _ in 0..3 {
        let Wire::Tls(stream) = &mut client.wire else { return };
        stream.conn.refresh_traffic_keys().unwrap();
        client.get("/").expect(200);
    }
    let Wire::Tls(stream) = &mut client.wire else { return };
    for _ in 0..1000 {
        stream.conn.refresh_traffic_keys().unwrap();
        if stream.flush().is_err() {
            break;
        }
    }
    let ended = match stream.read(&mut [0; 8]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    };
    assert!(ended, "a thousand new keys for no data");
    proxy.https().get("/").expect(200);
}

#[test]
fn plaintext_of_every_kind_is_told_where_it_is() {
    let (_blue, _green, proxy) = app();
    let requests = [
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        format!("POST /upload HTTP/1.1\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9000)),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "CONNECT app.test:443 HTTP/1.1\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let mut client = Client::plain(proxy.tls_address(), HOST).unwrap();
        client.send_raw(&request);
        client.wire.finish_sending();
        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:.40}: {answer}");
        assert!(answer.contains("https://"), "{answer}");
    }
}

/// What the command line client of OpenSSL says and hears; it shares nothing with the library here.
fn openssl(proxy: &Proxy, arguments: &[&str], says: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-servername", HOST, "-connect"])
        .arg(proxy.tls_address().to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // It is left open: the client ends with the connection, not with its input.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(says.as_bytes()).unwrap();
    let (mut out, mut errors) = (String::new(), String::new());
    let (from, errors_from) = (child.stdout.as_mut(), child.stderr.as_mut());
    from.unwrap().read_to_string(&mut out).unwrap();
    errors_from.unwrap().read_to_string(&mut errors).unwrap();
    drop(stdin);
    child.wait().unwrap();
    out + &errors
}

#[test]
fn a_client_that_wants_to_renegotiate_is_refused() {
    let (_blue, _green, proxy) = app();
    let heard = openssl(&proxy, &["-tls1_2"], "R\n");
    assert!(heard.contains("New, TLSv1.2"), "{heard}");
    assert!(heard.contains("RENEGOTIATING"), "{heard}");
    assert!(heard.contains("no renegotiation"), "{heard}");
    proxy.https().get("/").expect(200);
}

#[test]
fn early_data_is_neither_offered_nor_taken() {
    let (_blue, _green, proxy) = app();
    let request = proxy.file("request");
    std::fs::write(&request, "GET /early HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let session = proxy.file("session");
    let (request, session) = (request.to_str().unwrap(), session.to_str().unwrap());
    let plain = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    let first = openssl(&proxy, &["-tls1_3", "-sess_out", session], plain);
    assert!(first.contains("Max Early Data: 0"), "{first}");
    let resumed = ["-tls1_3", "-sess_in", session, "-early_data", request];
    let second = openssl(&proxy, &resumed, plain);
    assert!(second.contains("Reused, TLSv1.3"), "{second}");
    assert!(second.contains("Early data was not sent"), "{second}");
    // A client that is willing, with a ticket of ours, is not given a way to try.
    let mut config = Arc::unwrap_or_clone(certs::client_config(&["http/1.1"]));
    config.enable_early_data = true;
    let config = Arc::new(config);
    let wire = Wire::tls_with(proxy.tls_address(), HOST, Arc::clone(&config)).unwrap();
    Client::over(wire, HOST).get("/").expect(200);
    let name = ServerName::try_from(HOST).unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    assert!(tls.early_data().is_none(), "the ticket allows early data");
}

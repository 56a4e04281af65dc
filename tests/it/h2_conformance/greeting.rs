//! How a connection begins (RFC 9113 §3.4).

use std::io;

use crate::h2_conformance::FRAME_SIZE_ERROR;
use crate::h2_conformance::PROTOCOL_ERROR;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::h2::ACK;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
use crate::harness::h2::PING;
use crate::harness::h2::PREFACE;
use crate::harness::h2::SETTINGS;

/// What is said before anything else, and by what the connection ends.
fn ends_with(greet: impl Fn(&mut Frames) -> io::Result<()>) -> Option<u32> {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::open(proxy.tls_address(), HOST).unwrap();
    greet(&mut frames).ok();
    let last = frames.rest().into_iter().find(|f| f.kind == GOAWAY);
    proxy.h2().get("/other").expect(200);
    assert_eq!(blue.requests().len(), 1, "only another client's");
    last.map(|frame| frame.error())
}

#[test]
fn what_does_not_begin_with_the_preface_is_not_http_2() {
    ends_with(|f| f.raw(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"));
    ends_with(|f| f.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"));
}

#[test]
fn the_goaway_names_the_last_stream_and_says_why() {
    let (blue, _green, proxy) = app();
    let mut frames = Frames::connect(proxy.tls_address(), HOST).unwrap();
    frames.get(1, HOST, "/hold").unwrap();
    frames.get(3, HOST, "/hold").unwrap();
    blue.wait_until_held(2);
    frames.send(PING, 0, 0, &[0; 7]).unwrap();
    let all = frames.rest();
    let goaway = all.last().expect("a last word");
    assert_eq!((goaway.last_stream(), goaway.error()), (3, FRAME_SIZE_ERROR));
    assert_eq!(String::from_utf8_lossy(&goaway.payload[8..]), "not the size of its type");
    blue.wait_until_held(0);
}

#[test]
fn what_does_not_go_on_with_settings_is_a_protocol_error() {
    let error = ends_with(|f| {
        f.raw(PREFACE)?;
        f.get(1, HOST, "/never")
    });
    assert_eq!(error, Some(PROTOCOL_ERROR));
    let error = ends_with(|f| {
        f.raw(PREFACE)?;
        f.send(SETTINGS, ACK, 0, &[])
    });
    assert_eq!(error, Some(PROTOCOL_ERROR));
}

//! How a connection begins (RFC 9113 §3.4).

use std::io;

use crate::h2_conformance::PROTOCOL_ERROR;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::h2::ACK;
use crate::harness::h2::Frames;
use crate::harness::h2::GOAWAY;
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

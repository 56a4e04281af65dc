//! What is made of a head that came as bytes: its lines are copied as they came, wherever they may be.

use super::*;
use crate::http1::framing::Framing;
use crate::http1::head;
use crate::http1::head::Authority;
use crate::http1::head::Fields;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;

const ID: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What is sent on of a received head, behind what was in the buffer before, and where its words are.
fn sent(received: &str) -> (Vec<u8>, Marks) {
    let limits = HeadLimits { bytes: 4096, fields: 200, target: 99 };
    let mut room = Fields::new();
    let read = head::request(received.as_bytes(), &mut room, &limits);
    let Ok(Parsed::Whole(head)) = read else { panic!("{read:?}") };
    let Authority::One(host) = head.authority else { panic!("{head:?}") };
    let client = ClientFacts::new("192.0.2.7".parse().unwrap(), 443, true, false);
    let onward = Onward {
        method: head.method,
        target: head.target,
        host: host.as_bytes(),
        body: Framing::None,
        expects_continue: false,
        upgrade: None,
        request_id: ID,
        nominates: head.nominates,
        ends_here: None,
        client: &client,
    };
    let mut out = b"before".to_vec();
    let marks = request(&mut out, &onward, &head);
    (out, marks)
}

/// Whether what is sent on begins with these lines, and then come the proxy's own.
fn begins_with(received: &str, lines: &str) -> bool {
    let (out, _) = sent(received);
    out.starts_with(format!("before{lines}X-Request-ID: ").as_bytes())
}

#[test]
fn a_received_head_is_copied_as_it_came_and_the_marks_still_say_where() {
    let received =
        "GET /a HTTP/1.1\r\nHost: a.test\r\nReferer: r\r\nUser-Agent: u\r\nReferer: s\r\n\r\n";
    assert!(begins_with(received, received.strip_suffix("\r\n").unwrap()));
    let (out, marks) = sent(received);
    let of = |span: Span| std::str::from_utf8(span.of(&out)).unwrap();
    assert_eq!((of(marks.method), of(marks.target), of(marks.host)), ("GET", "/a", "a.test"));
    assert_eq!((marks.referer.map(of), marks.user_agent.map(of)), (Some("r"), Some("u")));
    assert_eq!(marks.request_id.of(&out), ID);
}

#[test]
fn a_received_head_that_nominates_fields_passes_without_them() {
    let start = "GET /a HTTP/1.1\r\nHost: a.test\r\n";
    let received = format!("{start}X-A: 1\r\nConnection: x-b\r\nX-B: 2\r\nX-C: 3\r\n\r\n");
    assert!(begins_with(&received, &format!("{start}X-A: 1\r\nX-C: 3\r\n")));
}

#[test]
fn one_cookie_line_is_copied_as_it_came_and_several_are_joined() {
    let start = "GET /a HTTP/1.1\r\nHost: a.test\r\n";
    let one = format!("{start}Cookie: a=1; b=2\r\nX-A: 1\r\n");
    assert!(begins_with(&format!("{one}\r\n"), &one));
    let two = format!("{start}Cookie: a=1\r\nX-A: 1\r\ncookie: b=2\r\n\r\n");
    assert!(begins_with(&two, &format!("{start}Cookie: a=1; b=2\r\nX-A: 1\r\n")));
}

#[test]
fn a_head_with_more_lines_than_are_counted_at_once_passes_whole() {
    for count in [62, 63, 64, 65, 130] {
        let lines: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let head = format!("GET /a HTTP/1.1\r\nHost: a.test\r\n{lines}");
        assert!(begins_with(&format!("{head}\r\n"), &head), "{count}");
    }
}

#[test]
fn a_clients_address_is_told_as_text() {
    let client = ClientFacts::new("::ffff:192.0.2.7".parse().unwrap(), 80, false, false);
    assert_eq!((client.text(), client.scheme), ("192.0.2.7", "http"));
}

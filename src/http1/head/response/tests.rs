//! What is made of the heads of answers.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 100, target: 0 };

fn with<T>(
    head: impl AsRef<[u8]>,
    to: Asked,
    see: impl FnOnce(ResponseHead<'_, '_>) -> T,
) -> Option<T> {
    match response(head.as_ref(), &mut Fields::new(), &LIMITS, to) {
        Ok(Parsed::Whole(head)) => Some(see(head)),
        Ok(Parsed::Partial) => panic!("partial"),
        Err(fault) => {
            assert_eq!(fault, Fault::Protocol);
            None
        }
    }
}

fn seen<T>(head: impl AsRef<[u8]>, see: impl FnOnce(ResponseHead<'_, '_>) -> T) -> Option<T> {
    with(head, Asked::Other, see)
}

#[test]
fn a_head_is_read_whole_and_as_it_came() {
    let text = "HTTP/1.1 200 Fine, thanks\r\nServer: x\r\ncontent-LENGTH: 5\r\n\r\n12345";
    let read = seen(text, |head| {
        assert_eq!(head.length, text.len() - 5);
        assert_eq!(head.bytes(), &text.as_bytes()[..head.length]);
        assert_eq!((head.status, head.reason), (200, &b"Fine, thanks"[..]));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.body, Framing::Length(5));
        assert!(head.keep_alive && !head.nominates);
        assert_eq!(head.upgrade, None);
        let second = head
            .fields
            .clone()
            .nth(1)
            .map(|line| (line.name, line.value));
        assert_eq!(second, Some((&b"content-LENGTH"[..], &b"5"[..])));
    });
    assert_eq!(read, Some(()));
}

#[test]
fn a_head_that_is_cut_anywhere_is_not_whole_yet() {
    let text = b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        let mut room = Fields::new();
        let parsed = response(&text[..end], &mut room, &LIMITS, Asked::Other);
        assert!(matches!(parsed, Ok(Parsed::Partial)), "{end}: {parsed:?}");
    }
}

#[test]
fn the_reason_may_be_anything_that_is_text() {
    let reason = |line: &[u8]| {
        let fields: [&[u8]; 2] = [b"\r\n\r\n", b"\r\nA: b\r\n\r\n"];
        let read = fields.map(|end| seen([line, end].concat(), |head| head.reason.to_vec()));
        assert_eq!(read[0], read[1]);
        read[0].clone()
    };
    assert_eq!(reason(b"HTTP/1.1 200"), Some(Vec::new()));
    assert_eq!(reason(b"HTTP/1.1 200 "), Some(Vec::new()));
    assert_eq!(reason(b"HTTP/1.1 299 \xe4\xff \t!"), Some(b"\xe4\xff \t!".to_vec()));
    for bad in [&b"HTTP/1.1 200 a\0b"[..], b"HTTP/1.1 200 a\x7f", b"HTTP/1.1 200 a\rb"] {
        assert_eq!(reason(bad), None, "{bad:?}");
    }
}

#[test]
fn what_is_not_clear_is_not_http() {
    for head in [
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\n",
        "HTTP/1.1 200 OK\r\n\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(seen(head, |_| ()), None, "{head:?}");
    }
    let words = "Connection: a, b, c, d, e\r\n".repeat(13);
    assert_eq!(seen(format!("HTTP/1.1 200 OK\r\n{words}\r\n"), |_| ()), None);
}

#[test]
fn the_limits_hold() {
    let limits = HeadLimits { bytes: 40, fields: 2, target: 0 };
    let of = |head: &str| {
        let mut room = Fields::new();
        response(head.as_bytes(), &mut room, &limits, Asked::Other)
            .map(|parsed| matches!(parsed, Parsed::Whole(_)))
    };
    let whole = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(16));
    assert_eq!((whole.len(), of(&whole)), (40, Ok(true)));
    assert_eq!(of(&whole[..39]), Ok(false));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(17));
    assert_eq!(of(&long), Err(Fault::Protocol));
    assert_eq!(of(&long[..40]), Err(Fault::Protocol));
    assert_eq!(of("HTTP/1.1 200 OK\r\nA:\r\nB:\r\nC:\r\n\r\n"), Err(Fault::Protocol));
    let many = HeadLimits { bytes: 4096, fields: 150, target: 0 };
    for (fields, expected) in [(128, true), (129, true), (150, true), (151, false)] {
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(fields));
        let mut room = Fields::new();
        let parsed = response(head.as_bytes(), &mut room, &many, Asked::Other);
        assert_eq!(parsed.is_ok(), expected, "{fields}");
    }
}

#[test]
fn some_answers_have_no_content_whatever_they_say() {
    let framing = |line: &str, to: Asked| {
        let head = format!("HTTP/1.1 {line}\r\nContent-Length: 5\r\n\r\n");
        with(head, to, |head| (head.body, head.keep_alive))
    };
    assert_eq!(framing("200 OK", Asked::Other), Some((Framing::Length(5), true)));
    assert_eq!(framing("200 OK", Asked::Head), Some((Framing::None, true)));
    assert_eq!(framing("304 Not Modified", Asked::Other), Some((Framing::None, true)));
    // These must not announce any (RFC 9110 §8.6), so somebody may have sent some.
    assert_eq!(framing("204 No Content", Asked::Other), Some((Framing::None, false)));
    assert_eq!(framing("103 Early Hints", Asked::Other), Some((Framing::None, false)));
    let hints =
        seen("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", |head| (head.body, head.keep_alive));
    assert_eq!(hints, Some((Framing::None, true)));
    let odd = seen("HTTP/1.1 999 \r\n\r\n", |head| head.status);
    assert_eq!(odd, Some(999));
}

#[test]
fn content_without_a_length_ends_with_the_connection() {
    let read = seen("HTTP/1.1 200 OK\r\n\r\n", |head| (head.body, head.keep_alive));
    assert_eq!(read, Some((Framing::UntilClose, false)));
}

#[test]
fn a_connection_goes_on_unless_it_is_closed_or_old() {
    let goes_on = |version, line: &str| {
        let head = format!("HTTP/1.{version} 200 OK\r\nContent-Length: 0\r\n{line}\r\n");
        seen(head, |head| head.keep_alive)
    };
    assert_eq!(goes_on(1, ""), Some(true));
    assert_eq!(goes_on(0, ""), Some(false));
    assert_eq!(goes_on(1, "Connection: close\r\n"), Some(false));
    assert_eq!(goes_on(0, "Connection: keep-alive\r\n"), Some(true));
    let equal = seen("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", |head| {
        (head.body, head.keep_alive)
    });
    assert_eq!(equal, Some((Framing::Length(3), true)));
}

#[test]
fn the_protocol_switched_to_is_told_only_with_101() {
    let upgrade = |status: &str| {
        let lines = "Connection: upgrade, x-a\r\nUpgrade: websocket\r\nUpgrade: other\r\n";
        seen(format!("HTTP/1.1 {status}\r\n{lines}\r\n"), |head| {
            assert!(head.nominates);
            (head.upgrade.map(<[u8]>::to_vec), head.keep_alive)
        })
    };
    assert_eq!(upgrade("101 Switching Protocols"), Some((Some(b"websocket".to_vec()), false)));
    assert_eq!(upgrade("200 OK"), Some((None, false)));
}

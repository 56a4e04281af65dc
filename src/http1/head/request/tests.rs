//! What is made of the heads of requests.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 100, target: 1024 };

fn faults(head: impl AsRef<[u8]>) -> Option<Fault> {
    request(head.as_ref(), &mut Fields::new(), &LIMITS).err()
}

fn with<T>(head: impl AsRef<[u8]>, see: impl FnOnce(RequestHead<'_, '_>) -> T) -> T {
    match request(head.as_ref(), &mut Fields::new(), &LIMITS) {
        Ok(Parsed::Whole(head)) => see(head),
        other => panic!("{other:?}"),
    }
}

/// Sees a GET with these lines beside its Host.
fn get<T>(lines: &str, see: impl FnOnce(RequestHead<'_, '_>) -> T) -> T {
    with(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), see)
}

#[test]
fn a_head_is_read_whole_and_as_it_came() {
    let text = "POST /a%2Fb/../c?d=\"e\" HTTP/1.1\r\nhOST: a.test:81\r\nContent-Length:5 \r\n\
                aCCEPT:\t*/*\t\r\nUser-Agent: u\r\nReferer: r\r\nX-Request-ID: id-1\r\nEmpty:\r\n\r\n12345";
    with(text, |head| {
        assert_eq!(head.length, text.len() - 5);
        assert_eq!((head.method, head.target), ("POST", "/a%2Fb/../c?d=\"e\""));
        assert_eq!((head.path(), head.path_and_query()), ("/a%2Fb/../c", head.target));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.authority, Authority::One("a.test:81"));
        assert_eq!(head.body, Framing::Length(5));
        assert!(head.keep_alive && !head.expects_continue && !head.nominates);
        assert_eq!(head.upgrade, None);
        assert_eq!(head.accept, Some(&b"*/*"[..]));
        assert_eq!(head.user_agent, Some(&b"u"[..]));
        assert_eq!(head.referer, Some(&b"r"[..]));
        assert_eq!(head.request_id, Some(&b"id-1"[..]));
        let pairs: Vec<_> = head
            .fields
            .clone()
            .map(|line| (line.name, line.value))
            .collect();
        assert_eq!(pairs.len(), 7);
        assert_eq!(pairs[0], (&b"hOST"[..], &b"a.test:81"[..]));
        assert_eq!(pairs[6], (&b"Empty"[..], &b""[..]));
    });
}

#[test]
fn a_head_that_is_cut_anywhere_is_not_whole_yet() {
    let text = b"\r\nGET /a HTTP/1.1\r\nHost: a.test\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        let mut room = Fields::new();
        let parsed = request(&text[..end], &mut room, &LIMITS);
        assert!(matches!(parsed, Ok(Parsed::Partial)), "{end}: {parsed:?}");
    }
    with(text, |head| assert_eq!(head.length, text.len()));
}

#[test]
fn one_empty_line_before_a_request_is_forgiven_and_no_more() {
    with("\r\nGET / HTTP/1.0\r\n\r\n", |head| assert_eq!(head.length, 20));
    for head in ["\r\n\r\nGET / HTTP/1.0\r\n\r\n", "\nGET / HTTP/1.0\r\n\r\n", "\r\rGET", "\r\n\n"]
    {
        assert_eq!(faults(head), Some(Fault::Malformed), "{head:?}");
    }
}

#[test]
fn lines_end_with_crlf_and_nothing_else() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\nB: c\r\n\r\n",
        "GET / HTTP/1.0\n\r\n",
        "GET / HTTP/1.0\r\n\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    ] {
        assert_eq!(faults(head), Some(Fault::Malformed), "{head:?}");
    }
}

#[test]
fn the_limits_hold_whether_the_head_is_whole_or_not() {
    let limits = HeadLimits { bytes: 60, fields: 2, target: 20 };
    let of = |head: &str| {
        request(head.as_bytes(), &mut Fields::new(), &limits).map(|parsed| match parsed {
            Parsed::Whole(_) => "whole",
            Parsed::Partial => "partial",
        })
    };
    assert_eq!(of("GET /2345678 HTTP/1.0\r\n\r\n"), Err(Fault::TargetTooLong));
    assert_eq!(of("GET /234567 HTTP/1.0\r\n\r\n"), Ok("whole"));
    assert_eq!(of("GET /234567 HTTP/1.0\r\n"), Ok("partial"));
    assert_eq!(of("GET /23456789012345678"), Err(Fault::TargetTooLong));
    assert_eq!(of("GET /2345678901234567"), Ok("partial"));
    let short = format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "a".repeat(37));
    assert_eq!(short.len(), 60);
    assert_eq!(of(&short), Ok("whole"));
    assert_eq!(of(&format!("\r\n{short}")), Err(Fault::HeadTooLarge));
    assert_eq!(of(&short[..59]), Ok("partial"));
    let long = format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "a".repeat(38));
    assert_eq!(of(&long), Err(Fault::HeadTooLarge));
    assert_eq!(of(&long[..60]), Err(Fault::HeadTooLarge));
    assert_eq!(of("GET / HTTP/1.0\r\nA: b\r\nA: b\r\n\r\n"), Ok("whole"));
    assert_eq!(of("GET / HTTP/1.0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n"), Err(Fault::HeadTooLarge));
}

#[test]
fn many_fields_find_room_on_the_heap_as_far_as_the_limit_goes() {
    let limits = HeadLimits { bytes: 4096, fields: 200, target: 20 };
    let of = |fields: usize| {
        let head = format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(fields));
        let mut room = Fields::new();
        request(head.as_bytes(), &mut room, &limits).map(|parsed| match parsed {
            Parsed::Whole(head) => head.fields.len(),
            Parsed::Partial => 0,
        })
    };
    for fields in [127, 128, 129, 200] {
        assert_eq!(of(fields), Ok(fields));
    }
    assert_eq!(of(201), Err(Fault::HeadTooLarge));
}

#[test]
fn other_versions_are_told_from_nonsense() {
    for (line, fault) in [
        ("GET / HTTP/2.0", Fault::VersionNotSupported),
        ("GET / HTTP/1.2", Fault::VersionNotSupported),
        ("GET / HTTP/0.9", Fault::VersionNotSupported),
        ("PRI * HTTP/2.0", Fault::VersionNotSupported),
        ("GET / HTTP/1.10", Fault::Malformed),
        ("GET / HTTP/2", Fault::Malformed),
        ("GET / http/1.1", Fault::Malformed),
        ("GET / HTTP/1,1", Fault::Malformed),
        ("GET /", Fault::Malformed),
        ("GET  / HTTP/1.1", Fault::Malformed),
        ("GET /  HTTP/1.1", Fault::Malformed),
        ("GET / HTTP/1.1 ", Fault::Malformed),
        ("GET\t/ HTTP/1.1", Fault::Malformed),
        (" GET / HTTP/1.1", Fault::Malformed),
        ("G@T / HTTP/1.1", Fault::Malformed),
        ("GET /\u{7f} HTTP/1.1", Fault::Malformed),
        ("GET /a b HTTP/1.1", Fault::Malformed),
    ] {
        assert_eq!(faults(format!("{line}\r\nHost: a\r\n\r\n")), Some(fault), "{line}");
    }
    assert_eq!(faults(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Fault::Malformed));
    with("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n", |head| assert_eq!(head.path(), "/ä"));
}

#[test]
fn a_version_that_is_cut_is_no_fault_yet_and_nonsense_is_one_at_once() {
    for version in ["HTTP/1.1\r\n", "HTTP/2.0", "HTTP/9.9"] {
        for end in 0..version.len() - 1 {
            assert_eq!(faults(format!("GET / {}", &version[..end])), None, "{version} {end}");
        }
    }
    for nonsense in ["X", "HTTPS", "HTTP/x", "HTTP/1.x", "HTTP/1.1\n", "HTTP/1.1\rx", "\r\n"] {
        assert_eq!(faults(format!("GET / {nonsense}")), Some(Fault::Malformed), "{nonsense}");
    }
}

#[test]
fn the_path_is_what_routes_see_whatever_form_the_target_has() {
    for (line, path, onward) in [
        ("GET /a?b?c", "/a", "/a?b?c"),
        ("GET //a", "//a", "//a"),
        ("GET http://a", "/", "/"),
        ("GET http://a?b", "/", "?b"),
        ("GET http://a/b?c", "/b", "/b?c"),
        ("OPTIONS *", "*", "*"),
        ("OPTIONS http://a", "*", "*"),
        ("OPTIONS http://a/", "/", "/"),
        ("OPTIONS http://a?b", "/", "?b"),
        ("CONNECT a:443", "a:443", "a:443"),
    ] {
        with(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), |head| {
            assert_eq!((head.path(), head.path_and_query()), (path, onward), "{line}");
        });
    }
}

#[test]
fn the_authority_is_one_or_bad() {
    let of = |target: &str, version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|h| format!("Host: {h}\r\n")).collect();
        with(format!("GET {target} HTTP/1.{version}\r\n{hosts}\r\n"), |head| match head.authority {
            Authority::One(one) => Some(one.to_owned()),
            Authority::None => Some(String::new()),
            Authority::Bad => None,
        })
    };
    assert_eq!(of("/", "1", &["a.test"]).as_deref(), Some("a.test"));
    assert_eq!(of("/", "0", &["a.test"]).as_deref(), Some("a.test"));
    assert_eq!(of("/", "0", &[]).as_deref(), Some(""));
    assert_eq!(of("http://a.test/", "0", &[]).as_deref(), Some("a.test"));
    assert_eq!(of("http://A.test/", "1", &["a.test:80"]).as_deref(), Some("A.test"));
    assert_eq!(of("/", "1", &[]), None);
    assert_eq!(of("http://a.test/", "1", &[]), None);
    assert_eq!(of("/", "1", &["a.test", "a.test"]), None);
    assert_eq!(of("/", "0", &["a.test", "a.test"]), None);
    assert_eq!(of("/", "0", &["a test"]), None);
    assert_eq!(of("/", "1", &[""]), None);
    assert_eq!(of("http://a.test/", "1", &["b.test"]), None);
    assert_eq!(of("http://u@a.test/", "1", &["u@a.test"]), None);
    let connect = "CONNECT http://x HTTP/1.1\r\nHost: a\r\n\r\n";
    with(connect, |head| assert_eq!(head.authority, Authority::One("a")));
}

#[test]
fn a_connection_goes_on_unless_it_is_closed_or_old() {
    let goes_on = |version, lines: &str| {
        with(format!("GET / HTTP/1.{version}\r\nHost: a\r\n{lines}\r\n"), |head| head.keep_alive)
    };
    assert!(goes_on(1, ""));
    assert!(!goes_on(0, ""));
    assert!(goes_on(0, "Connection: keep-alive\r\n"));
    assert!(!goes_on(1, "Connection: x\r\nConnection: a, Close\r\n"));
    assert!(get("Connection: x-a, close\r\n", |head| head.nominates));
    let words = "Connection: a, b, c, d, e\r\n".repeat(13);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{words}\r\n");
    assert_eq!(faults(head), Some(Fault::HeadTooLarge));
}

#[test]
fn any_upgrade_but_h2c_is_one() {
    let upgrade = |lines: &str| get(lines, |head| head.upgrade.map(<[u8]>::to_vec));
    let websocket = Some(b"websocket".to_vec());
    assert_eq!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), websocket);
    assert!(upgrade("Connection: upgrade\r\nUpgrade: foo/1, bar\r\n").is_some());
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\n"), None);
    for value in ["h2c", "H2C-16", "websocket, H2c", "", ",", "wébsocket"] {
        let lines = format!("Connection: upgrade\r\nUpgrade: {value}\r\n");
        assert_eq!(upgrade(&lines), None, "{value}");
    }
    let twice = "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n";
    assert_eq!(upgrade(twice), None);
    let old = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(with(old, |head| head.upgrade.map(<[u8]>::to_vec)), None);
}

#[test]
fn only_100_continue_can_be_expected_and_not_of_http_1_0() {
    assert!(get("Expect: 100-Continue\r\n", |head| head.expects_continue));
    let old = "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!with(old, |head| head.expects_continue));
    for value in ["", "100-continued", "100-continue, x", "200-ok"] {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\n\r\n");
        assert_eq!(faults(head), Some(Fault::ExpectationFailed), "{value}");
    }
}

#[test]
fn an_id_is_one_sane_word_or_none() {
    let id = |lines: &str| get(lines, |head| head.request_id.map(<[u8]>::to_vec));
    assert_eq!(id("X-Request-ID: abc-1\r\n"), Some(b"abc-1".to_vec()));
    assert_eq!(id("x-request-id: a\r\nx-request-id: a\r\n"), None);
    assert!(id(&format!("X-Request-ID: {}\r\n", "a".repeat(128))).is_some());
    assert_eq!(id(&format!("X-Request-ID: {}\r\n", "a".repeat(129))), None);
    for value in ["", "two words", "a\"b", "a\\b", "ä"] {
        assert_eq!(id(&format!("X-Request-ID: {value}\r\n")), None, "{value}");
    }
}

#[test]
fn the_first_of_several_lines_is_told() {
    let lines = "Accept: a\r\nAccept: b\r\nUser-Agent: c\r\nUser-Agent: d\r\nReferer: e\r\n\
                 Referer: f\r\n";
    get(lines, |head| {
        assert_eq!(head.accept, Some(&b"a"[..]));
        assert_eq!(head.user_agent, Some(&b"c"[..]));
        assert_eq!(head.referer, Some(&b"e"[..]));
    });
}

//! What the heads sent on look like.

use std::net::IpAddr;

use super::*;
use crate::http1::framing::Framing;

const HOST: (&str, &str) = ("Host", "ignored.test");

fn client(trusted: bool) -> ClientFacts {
    ClientFacts::new("192.0.2.7".parse().unwrap(), 443, true, trusted)
}

fn onward(client: &ClientFacts) -> Onward<'_> {
    Onward {
        method: "GET",
        target: "/a?b",
        host: b"a.test:8443",
        body: Framing::None,
        expects_continue: false,
        upgrade: None,
        request_id: b"id-1",
        nominates: false,
        ends_here: None,
        client,
    }
}

fn pairs<'f>(
    fields: &'f [(&'f str, &'f str)],
) -> impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

fn sent(onward: &Onward<'_>, fields: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    request(&mut out, onward, pairs(fields));
    String::from_utf8(out).unwrap()
}

/// The lines between `Host` and what the proxy adds for a client that is not trusted.
fn passed(onward: &Onward<'_>, fields: &[(&str, &str)]) -> Vec<String> {
    let all = sent(onward, fields);
    let (_, after_host) = all.split_once("Host: a.test:8443\r\n").unwrap();
    let (passed, _) = after_host
        .split_once("X-Forwarded-For: 192.0.2.7\r\n")
        .unwrap();
    passed.lines().map(str::to_owned).collect()
}

fn values<'t>(head: &'t str, name: &str) -> Vec<&'t str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

fn answered(homeward: &Homeward<'_>, fields: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    response(&mut out, homeward, pairs(fields));
    String::from_utf8(out).unwrap()
}

fn homeward(framing: Option<Framing>) -> Homeward<'static> {
    Homeward {
        status: 200,
        reason: b"OK",
        framing,
        connection: ConnectionLine::None,
        nominates: false,
        extras: None,
    }
}

#[test]
fn what_passes_keeps_its_case_and_order_and_the_rest_is_said_by_the_proxy() {
    let client = client(false);
    let fields = [("uSER-agent", "u"), HOST, ("X-B", "1"), ("x-a", ""), ("X-B", "2")];
    assert_eq!(
        sent(&onward(&client), &fields),
        "GET /a?b HTTP/1.1\r\nHost: a.test:8443\r\nuSER-agent: u\r\nX-B: 1\r\nx-a: \r\nX-B: 2\r\n\
         X-Request-ID: id-1\r\nX-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: a.test:8443\r\n\
         Forwarded: for=192.0.2.7;host=\"a.test:8443\";proto=https\r\n\r\n"
    );
}

#[test]
fn the_target_is_an_origin_or_the_asterisk() {
    let client = client(false);
    for (target, line) in [("/a", "GET /a "), ("*", "GET * "), ("?a", "GET /?a "), ("", "GET / ")] {
        let onward = Onward { target, ..onward(&client) };
        let mut out = b"before".to_vec();
        let marks = request(&mut out, &onward, pairs(&[]));
        assert!(out.starts_with(format!("before{line}HTTP/1.1\r\n").as_bytes()));
        assert_eq!(marks.target.of(&out), line[4..].trim().as_bytes());
    }
}

#[test]
fn the_marks_say_where_the_log_finds_its_words() {
    let client = client(false);
    let fields =
        [HOST, ("Referer", "r1"), ("User-Agent", "u1"), ("referer", "r2"), ("user-agent", "u2")];
    let mut out = b"before".to_vec();
    let marks = request(&mut out, &onward(&client), pairs(&fields));
    assert_eq!(marks.method.of(&out), b"GET");
    assert_eq!(marks.target.of(&out), b"/a?b");
    assert_eq!(marks.host.of(&out), b"a.test:8443");
    assert_eq!(marks.request_id.of(&out), b"id-1");
    assert_eq!(marks.referer.map(|span| span.of(&out)), Some(&b"r1"[..]));
    assert_eq!(marks.user_agent.map(|span| span.of(&out)), Some(&b"u1"[..]));
    assert_eq!(marks.host.of(b"short"), b"");
    let marks = request(&mut out, &onward(&client), pairs(&[("x-request-ID", "other")]));
    assert_eq!(marks.request_id.of(&out), b"id-1");
    assert_eq!((marks.referer, marks.user_agent), (None, None));
    assert!(out.windows(20).any(|w| w == b"x-request-ID: id-1\r\n"));
}

#[test]
fn hop_by_hop_fields_end_here_also_the_nominated_ones() {
    let client = client(false);
    let fields = [
        ("Connection", "close, X-Secret"),
        ("connection", "x-other , host, content-type,content-length"),
        ("X-Secret", "1"),
        ("x-OTHER", "2"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic x"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMA"),
        ("Transfer-Encoding", "chunked"),
        HOST,
        ("Content-Type", "text/plain"),
        ("Accept", "*/*"),
    ];
    let nominating = Onward { nominates: true, ..onward(&client) };
    let left = ["Content-Type: text/plain", "Accept: */*", "X-Request-ID: id-1"];
    assert_eq!(passed(&nominating, &fields), left);
    let all = passed(&onward(&client), &fields);
    assert_eq!(all[..2], ["X-Secret: 1", "x-OTHER: 2"]);
}

#[test]
fn names_with_an_underscore_are_dropped_whoever_sends_them() {
    for trusted in [false, true] {
        let client = client(trusted);
        let fields = [("X_Forwarded_For", "6.6.6.6"), ("Content_Length", "5"), ("x_a", "1")];
        let head = sent(&onward(&client), &fields);
        assert!(!head.contains('_'), "{head}");
    }
}

#[test]
fn the_content_is_framed_once_and_as_it_was_understood() {
    let client = client(false);
    let framed = |body: Framing, fields: &[(&str, &str)]| {
        let head = sent(&Onward { body, ..onward(&client) }, fields);
        let lines = head.lines().skip(1);
        let framing = lines.filter(|line| {
            let line = line.to_ascii_lowercase();
            line.starts_with("content-length") || line.starts_with("transfer-encoding")
        });
        framing.map(str::to_owned).collect::<Vec<_>>()
    };
    let said = [("content-length", "007"), ("Content-Length", "007")];
    assert_eq!(framed(Framing::Length(7), &said), ["content-length: 7"]);
    assert_eq!(framed(Framing::Length(0), &[]), ["Content-Length: 0"]);
    let most = u64::MAX;
    assert_eq!(framed(Framing::Length(most), &[]), [format!("Content-Length: {most}")]);
    assert_eq!(framed(Framing::Chunked, &said), ["Transfer-Encoding: chunked"]);
    assert_eq!(framed(Framing::None, &said), [""; 0]);
}

#[test]
fn expect_passes_only_while_the_client_holds_its_content_back() {
    let client = client(false);
    let fields = [("Expect", "100-continue")];
    let waiting = Onward { expects_continue: true, ..onward(&client) };
    assert_eq!(passed(&waiting, &fields)[0], "Expect: 100-continue");
    assert_eq!(passed(&onward(&client), &fields), ["X-Request-ID: id-1"]);
}

#[test]
fn an_upgrade_is_asked_for_anew() {
    let client = client(false);
    let fields = [("Connection", "upgrade, keep-alive"), ("Upgrade", "websocket")];
    let head = sent(&Onward { upgrade: Some(b"websocket"), ..onward(&client) }, &fields);
    assert!(head.ends_with("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_eq!(values(&head, "connection").len(), 1);
    assert!(!sent(&onward(&client), &fields).contains("pgrade"));
}

#[test]
fn a_split_cookie_is_joined() {
    let client = client(false);
    let fields = [("cookie", "a=1"), ("X-A", "1"), ("Cookie", "b=2"), ("cookie", "c=3")];
    let all = passed(&onward(&client), &fields);
    assert_eq!(all[..2], ["cookie: a=1; b=2; c=3", "X-A: 1"]);
    let nominating = Onward { nominates: true, ..onward(&client) };
    let all = passed(&nominating, &[("Connection", "cookie"), ("Cookie", "a=1")]);
    assert_eq!(all, ["X-Request-ID: id-1"]);
}

#[test]
fn a_clients_own_claims_are_replaced() {
    let fields = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "ftp"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Prefix", "/admin"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Request-ID", "bad id"),
    ];
    let client = client(false);
    let head = sent(&onward(&client), &fields);
    assert_eq!(values(&head, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(values(&head, "x-real-ip"), ["192.0.2.7"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a.test:8443"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["443"]);
    assert_eq!(values(&head, "x-forwarded-prefix"), [""; 0]);
    let element = "for=192.0.2.7;host=\"a.test:8443\";proto=https";
    assert_eq!(values(&head, "forwarded"), [element]);
    assert_eq!(values(&head, "x-request-id"), ["id-1"]);
}

#[test]
fn a_trusted_proxys_claims_are_extended() {
    let fields = [
        ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
        ("X-Forwarded-For", ""),
        ("X-Forwarded-For", "10.0.0.\u{2}"),
        ("X-Forwarded-For", "10.0.0.2"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Prefix", "/app"),
        ("Forwarded", "for=203.0.113.9"),
    ];
    let client = client(true);
    let head = sent(&Onward { host: b"a.test", ..onward(&client) }, &fields);
    assert_eq!(values(&head, "x-forwarded-for"), ["203.0.113.9, 10.0.0.1, 10.0.0.2, 192.0.2.7"]);
    assert_eq!(values(&head, "x-real-ip"), ["203.0.113.9"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-prefix"), ["/app"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["443"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a.test"]);
    let elements = "for=203.0.113.9, for=192.0.2.7;host=a.test;proto=https";
    assert_eq!(values(&head, "forwarded"), [elements]);
}

#[test]
fn what_a_trusted_proxy_says_stays_and_what_it_nominates_goes() {
    let mut fields = vec![
        ("X-Real-IP", "203.0.113.9"),
        ("X-Forwarded-Host", "b.test"),
        ("X-Forwarded-Port", "80"),
        ("X-Forwarded-For", "203.0.113.9"),
    ];
    let client = client(true);
    let head = sent(&onward(&client), &fields);
    assert_eq!(values(&head, "x-real-ip"), ["203.0.113.9"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["b.test"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["80"]);
    fields.push(("Connection", "X-Real-IP, x-forwarded-for, x-forwarded-host"));
    let head = sent(&Onward { nominates: true, ..onward(&client) }, &fields);
    assert_eq!(values(&head, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(values(&head, "x-real-ip"), ["192.0.2.7"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a.test:8443"]);
}

#[test]
fn an_ipv6_client_is_quoted_and_a_mapped_one_is_ipv4() {
    let of = |address: &str, host: &'static [u8]| {
        let address: IpAddr = address.parse().unwrap();
        let client = ClientFacts::new(address, 80, false, false);
        let head = sent(&Onward { host, ..onward(&client) }, &[]);
        let forwarded = values(&head, "forwarded");
        (forwarded[0].to_owned(), values(&head, "x-forwarded-for")[0].to_owned())
    };
    let (forwarded, chain) = of("2001:db8::1", b"a.test");
    assert_eq!(forwarded, "for=\"[2001:db8::1]\";host=a.test;proto=http");
    assert_eq!(chain, "2001:db8::1");
    let (forwarded, chain) = of("::ffff:192.0.2.7", b"");
    assert_eq!(forwarded, "for=192.0.2.7;host=\"\";proto=http");
    assert_eq!(chain, "192.0.2.7");
    for host in [&b"a\"b"[..], b"a\\b"] {
        assert_eq!(of("192.0.2.7", host).0, "for=192.0.2.7;proto=http");
    }
}

#[test]
fn what_is_said_of_a_client_once_more_is_what_would_be_said_anew() {
    let hosts = [&b"a.test"[..], b"a.test:80", b"a.tes", b"", b"a\"b", b"b"];
    let known = client(false);
    for host in hosts
        .iter()
        .flat_map(|a| hosts.map(|b| [*a, *a, b]))
        .flatten()
    {
        let anew = client(false);
        assert_eq!(
            sent(&Onward { host, ..onward(&known) }, &[]),
            sent(&Onward { host, ..onward(&anew) }, &[])
        );
    }
}

#[test]
fn an_answer_keeps_its_fields_but_for_those_of_the_connection() {
    let fields = [
        ("sERVER", "x"),
        ("Connection", "keep-alive, x-hop"),
        ("X-Hop", "1"),
        ("Content-Length", "05"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "05"),
        ("X_A", "1"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2"),
    ];
    let homeward = Homeward { nominates: true, ..homeward(Some(Framing::Length(5))) };
    assert_eq!(
        answered(&homeward, &fields),
        "HTTP/1.1 200 OK\r\nsERVER: x\r\nContent-Length: 05\r\nSet-Cookie: a=1\r\n\
         Set-Cookie: b=2\r\nX_A: 1\r\nTrailer: X-Sum\r\n\r\n"
    );
    let for_http2: Vec<_> = response_fields(200, true, pairs(&fields))
        .map(|(name, _)| name)
        .collect();
    let names = ["sERVER", "Content-Length", "Set-Cookie", "Set-Cookie", "X_A", "Trailer"];
    assert_eq!(for_http2, names.map(str::as_bytes));
    assert_eq!(response_fields(200, false, pairs(&fields)).count(), 7);
    let is_length = |(name, _): (&[u8], &[u8])| name == b"Content-Length";
    assert!(!response_fields(204, true, pairs(&fields)).any(is_length));
}

#[test]
fn an_answer_is_framed_as_the_proxy_frames_it() {
    let length = [("Content-Length", "5")];
    let of = |homeward: &Homeward<'_>| answered(homeward, &length);
    let own = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let bare = "HTTP/1.1 200 OK\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(of(&homeward(Some(Framing::None))), own);
    assert_eq!(of(&homeward(Some(Framing::Length(5)))), own);
    assert_eq!(of(&homeward(Some(Framing::UntilClose))), bare);
    assert_eq!(of(&homeward(Some(Framing::Chunked))), chunked);
    assert_eq!(of(&homeward(None)), bare);
    assert_eq!(answered(&homeward(Some(Framing::Length(7))), &[]), own.replace('5', "7"));
    let none = Homeward { status: 204, reason: b"No Content", ..homeward(Some(Framing::None)) };
    assert_eq!(of(&none), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_status_line_has_its_reason_even_where_it_is_empty() {
    let of = |status: u16, reason: &'static [u8]| {
        answered(&Homeward { status, reason, ..homeward(None) }, &[])
    };
    assert_eq!(of(103, b"Early Hints"), "HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_eq!(of(200, b""), "HTTP/1.1 200 \r\n\r\n");
    assert_eq!(of(999, b"OK"), "HTTP/1.1 999 OK\r\n\r\n");
}

#[test]
fn an_answer_says_what_becomes_of_the_connection() {
    let of = |connection: ConnectionLine<'static>| {
        let all = answered(&Homeward { connection, ..homeward(None) }, &[("Connection", "x")]);
        all.strip_prefix("HTTP/1.1 200 OK\r\n").unwrap().to_owned()
    };
    assert_eq!(of(ConnectionLine::None), "\r\n");
    assert_eq!(of(ConnectionLine::Close), "Connection: close\r\n\r\n");
    assert_eq!(of(ConnectionLine::KeepAlive), "Connection: keep-alive\r\n\r\n");
    let upgrade = of(ConnectionLine::Upgrade(b"websocket"));
    assert_eq!(upgrade, "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

#[test]
fn fields_of_one_connection_are_known() {
    assert!(is_hop_by_hop(b"Keep-Alive") && is_hop_by_hop(b"connection"));
    assert!(!is_hop_by_hop(b"Trailer"));
}

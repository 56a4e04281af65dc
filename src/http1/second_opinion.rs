//! What is accepted and sent on must mean the same one message to other readers: `httparse`, and
//! hyper's server and client.

mod generate;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::http1::chunked::Decoder;
use crate::http1::chunked::Encoder;
use crate::http1::framing::Framing;
use crate::http1::head;
use crate::http1::head::Asked;
use crate::http1::head::Authority;
use crate::http1::head::Fields;
use crate::http1::head::HeadLimits;
use crate::http1::head::Parsed;
use crate::http1::rewrite;
use crate::http1::rewrite::ClientFacts;
use crate::http1::rewrite::ConnectionLine;
use crate::http1::rewrite::Homeward;
use crate::http1::rewrite::Onward;
use crate::http1::second_opinion::generate::answer;
use crate::http1::second_opinion::generate::request;

const LIMITS: HeadLimits = HeadLimits { bytes: 8192, fields: 50, target: 4096 };

/// Fields: names and values.
type Names = Vec<(String, Vec<u8>)>;

/// A message as somebody understood it: its first line, its host, its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meant {
    line: String,
    host: String,
    content: Vec<u8>,
}

/// Content as a decoder reads it; `None` if it is not complete and right.
fn content_of(framing: Framing, mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(framing);
    let mut content = Vec::new();
    while !decoder.is_done() {
        let piece = decoder.next(rest).ok()?;
        content.extend_from_slice(&rest[piece.data]);
        if piece.consumed == 0 {
            decoder.at_eof().ok()?;
        }
        rest = &rest[piece.consumed..];
    }
    Some(content)
}

fn frame(framing: Framing, content: &[u8], out: &mut Vec<u8>) {
    Encoder::new(framing).push(content, out);
    Encoder::new(framing).finish(b"", out);
}

/// What a proxy would make of a request: what it means, and what is sent on.
fn forward(bytes: &[u8]) -> Option<(Meant, Vec<u8>)> {
    let mut room = Fields::new();
    let Ok(Parsed::Whole(head)) = head::request(bytes, &mut room, &LIMITS) else { return None };
    let Authority::One(host) = head.authority else { return None };
    let content = content_of(head.body, &bytes[head.length..])?;
    let client =
        ClientFacts::new("192.0.2.7".parse().unwrap(), 80, false, bytes.len().is_multiple_of(2));
    let onward = Onward {
        method: head.method,
        target: head.path_and_query(),
        host: host.as_bytes(),
        body: head.body,
        expects_continue: head.expects_continue,
        upgrade: head.upgrade,
        request_id: head.request_id.unwrap_or(b"made"),
        nominates: head.nominates,
        ends_here: None,
        client: &client,
    };
    let mut sent = Vec::new();
    let marks = rewrite::request(&mut sent, &onward, &head);
    // Wherever the fields come from, the same is written: runs that are copied as they came are what
    // would be written anew.
    let (mut by_line, mut by_pair) = (Vec::new(), Vec::new());
    assert_eq!(rewrite::request(&mut by_line, &onward, head.fields.clone()), marks);
    assert_eq!(rewrite::request(&mut by_pair, &onward, head.pairs()), marks);
    assert_eq!((&by_line, &by_pair), (&sent, &sent), "{}", String::from_utf8_lossy(&sent));
    let text = |span: rewrite::Span| String::from_utf8(span.of(&sent).to_vec()).unwrap();
    let line = format!("{} {}", text(marks.method), text(marks.target));
    let meant = Meant { line, host: text(marks.host), content: content.clone() };
    frame(head.body, &content, &mut sent);
    (head.method != "CONNECT").then_some((meant, sent))
}

/// What hyper's server makes of these bytes: every request, and the status of the last answer.
fn served(bytes: &[u8]) -> (Vec<Meant>, u16) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let hosts: Vec<&[u8]> = head
                .headers
                .get_all("host")
                .iter()
                .map(http::HeaderValue::as_bytes)
                .collect();
            let host = String::from_utf8(hosts.join(&b"|"[..])).unwrap();
            let line = format!("{} {}", head.method, head.uri);
            let content = body.collect().await.unwrap().to_bytes().to_vec();
            seen.lock().unwrap().push(Meant { line, host, content });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let answers = in_runtime(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut server = hyper::server::conn::http1::Builder::new();
        server.half_close(true);
        // How it ends is seen in what it answers.
        drop(server.serve_connection(TokioIo::new(theirs), service).await);
        let mut answers = Vec::new();
        ours.read_to_end(&mut answers).await.unwrap();
        String::from_utf8(answers).unwrap()
    });
    let last = answers.rmatch_indices("HTTP/1.1 ").next();
    let status = last.and_then(|(at, _)| answers.get(at + 9..at + 12)?.parse().ok());
    (seen.lock().unwrap().clone(), status.unwrap_or(0))
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// The head that `httparse` reads, as text that can be compared.
fn httparse_request(bytes: &[u8]) -> Option<(usize, String, Names)> {
    let mut room = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut room);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { return None };
    let line = format!("{} {} {}", head.method?, head.path?, head.version?);
    Some((length, line, lines(head.headers)))
}

fn lines(fields: &[httparse::Header<'_>]) -> Names {
    fields
        .iter()
        .map(|field| (field.name.to_owned(), field.value.to_vec()))
        .collect()
}

/// What a proxy would make of an answer to a GET: its status and content, and what is sent on.
fn send_back(bytes: &[u8]) -> Option<(u16, Vec<u8>, Vec<u8>)> {
    let mut room = Fields::new();
    let parsed = head::response(bytes, &mut room, &LIMITS, Asked::Other);
    let Ok(Parsed::Whole(head)) = parsed else { return None };
    let content = content_of(head.body, &bytes[head.length..])?;
    let homeward = Homeward {
        status: head.status,
        reason: head.reason,
        framing: Some(head.body),
        connection: match head.body {
            Framing::UntilClose => ConnectionLine::Close,
            Framing::None | Framing::Length(_) | Framing::Chunked => ConnectionLine::None,
        },
        nominates: head.nominates,
        extras: None,
    };
    let (mut sent, mut by_pair) = (Vec::new(), Vec::new());
    rewrite::response(&mut by_pair, &homeward, head.pairs());
    rewrite::response(&mut sent, &homeward, head.fields);
    assert_eq!(by_pair, sent);
    frame(head.body, &content, &mut sent);
    (head.status >= 200).then_some((head.status, content, sent))
}

/// What hyper's client makes of these bytes as the answer to a GET.
fn received(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    in_runtime(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(theirs))
            .await
            .ok()?;
        let driver = tokio::spawn(connection);
        let mut head = Vec::new();
        let asked = tokio::spawn(sender.send_request(Request::new(Empty::<Bytes>::new())));
        while !head.ends_with(b"\r\n\r\n") {
            head.push(ours.read_u8().await.ok()?);
        }
        ours.write_all(bytes).await.ok()?;
        ours.shutdown().await.ok()?;
        let (head, body) = asked.await.ok()?.ok()?.into_parts();
        let content = body.collect().await.ok()?.to_bytes().to_vec();
        drop(driver);
        Some((head.status.as_u16(), content))
    })
}

proptest! {
    /// Whatever is accepted was one whole head, and `httparse` reads the same in it.
    #[test]
    fn httparse_reads_the_same_head(bytes in request()) {
        let mut room = Fields::new();
        let read = head::request(&bytes, &mut room, &LIMITS);
        let Ok(Parsed::Whole(head)) = read else { return Ok(()) };
        let minor = u8::from(head.version == head::Version::Http11);
        let line = format!("{} {} {minor}", head.method, head.target);
        let fields: Names = head
            .fields
            .map(|field| (String::from_utf8(field.name.to_vec()).unwrap(), field.value.to_vec()))
            .collect();
        prop_assert_eq!(httparse_request(&bytes), Some((head.length, line, fields)));
    }

    /// However a head is cut, it is either not whole yet, or the same is made of it as of the whole.
    #[test]
    fn a_cut_head_is_not_whole_or_means_the_same(bytes in request(), cut in any::<Index>()) {
        let verdict = |bytes: &[u8]| {
            let mut room = Fields::new();
            head::request(bytes, &mut room, &LIMITS).map(|parsed| match parsed {
                Parsed::Partial => None,
                Parsed::Whole(head) => Some((head.length, head.body, head.fields.len())),
            })
        };
        let part = verdict(&bytes[..cut.index(bytes.len())]);
        if part != Ok(None) {
            prop_assert_eq!(part, verdict(&bytes));
        }
    }

    /// Whatever is accepted and sent on is exactly one request to hyper, and the same one.
    #[test]
    fn hyper_serves_the_same_one_request(bytes in request()) {
        let Some((meant, sent)) = forward(&bytes) else { return Ok(()) };
        let read = httparse_request(&sent);
        prop_assert!(read.is_some(), "{}", String::from_utf8_lossy(&sent));
        let (seen, status) = served(&sent);
        // hyper knows fewer targets than may be sent; what it does not know, it refuses.
        let target = meant.line.split_once(' ').map_or("", |(_, target)| target);
        if target.parse::<http::Uri>().is_ok() {
            prop_assert_eq!((seen, status), (vec![meant], 200));
        } else {
            prop_assert_eq!((seen, status), (vec![], 400));
        }
    }

    /// Whatever answer is accepted, `httparse` reads the same in it, and sent on it is the same
    /// answer to hyper.
    #[test]
    fn hyper_receives_the_same_answer(bytes in answer()) {
        let Some((status, content, sent)) = send_back(&bytes) else { return Ok(()) };
        let mut room = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut room);
        prop_assert!(matches!(head.parse(&bytes), Ok(httparse::Status::Complete(_))));
        prop_assert_eq!(head.code, Some(status));
        prop_assert_eq!(received(&sent), Some((status, content)));
    }
}

#[test]
fn most_of_what_is_generated_by_hand_is_sent_on() {
    for (bytes, line) in [
        ("GET http://a.test?x HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /?x"),
        ("OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "OPTIONS *"),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc", "POST /"),
    ] {
        let (meant, sent) = forward(bytes.as_bytes()).unwrap();
        assert_eq!(meant.line, line);
        assert_eq!(served(&sent), (vec![meant], 200));
    }
    let (status, content, sent) = send_back(b"HTTP/1.1 200\r\n\r\nabc").unwrap();
    assert_eq!(received(&sent), Some((status, content)));
}

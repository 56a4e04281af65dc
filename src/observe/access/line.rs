//! One request as one line: JSON, or the combined format of Apache and nginx. Written byte by byte
//! into the worker's buffer, so that a line allocates nothing; whatever a client sends, it stays one
//! line and valid.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use crate::model::fault::Fault;
use crate::model::fault::Outcome;
use crate::observe::access::escape::put;
use crate::observe::access::escape::put_address;
use crate::observe::access::escape::put_combined;
use crate::observe::access::escape::put_json;
use crate::observe::access::escape::put_millis;
use crate::observe::access::escape::put_number;
use crate::observe::access::escape::put_optional;
use crate::observe::access::escape::put_thousandth;
use crate::observe::time;

/// What the access log tells about one request, after its end.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When the head had been read.
    pub at: SystemTime,
    /// The client's address, behind trusted proxies the one that they vouch for.
    pub client: IpAddr,
    /// As the client sent it.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The Host or `:authority`; empty if there was none.
    pub host: &'a str,
    /// The raw path and query.
    pub target: &'a str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'a str,
    /// What the client was answered.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// The upstream; empty if the request got to none.
    pub upstream: &'a str,
    /// The colour; empty for a plain pool or none.
    pub colour: &'a str,
    /// The last target that was tried; empty if none was.
    pub target_address: &'a str,
    /// How often the request was sent, or tried to be sent, to a target.
    pub attempts: u32,
    /// How long connecting to that target took; `None` on a connection that was open already.
    pub connect: Option<Duration>,
    /// From the request's head to the first byte of the target's answer.
    pub first_byte: Option<Duration>,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// How the request ended.
    pub outcome: Outcome,
    /// Why, if it failed.
    pub fault: Option<Fault>,
    /// The `X-Request-ID`.
    pub request_id: &'a str,
    /// The Referer as sent.
    pub referer: Option<&'a [u8]>,
    /// The User-Agent as sent.
    pub user_agent: Option<&'a [u8]>,
    /// The snapshot that decided.
    pub generation: u64,
    /// The listener's `bind`.
    pub listener: &'a str,
}

/// A shape of line, with what it need not work out again for each.
#[derive(Debug)]
pub(super) enum Shape {
    Json(Stamp),
    Combined(Stamp),
}

/// The text of the second that was written last: under load hundreds of lines share one.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: u64,
    text: String,
}

impl Stamp {
    fn of(&mut self, second: u64, write: fn(u64) -> String) -> &str {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = write(second);
        }
        &self.text
    }
}

impl Shape {
    /// Appends the line, with its line end.
    pub(super) fn append(&mut self, line: &mut Vec<u8>, entry: &Entry<'_>) {
        match self {
            Self::Json(stamp) => json(line, entry, stamp),
            Self::Combined(stamp) => combined(line, entry, stamp),
        }
    }
}

fn json(line: &mut Vec<u8>, entry: &Entry<'_>, stamp: &mut Stamp) {
    let (second, millis) = time::seconds_and_millis(entry.at);
    put(line, b"{\"time\":\"");
    put(line, stamp.of(second, time::date_time).as_bytes());
    put(line, b".");
    put_thousandth(line, u64::from(millis));
    put(line, b"Z\",\"client\":\"");
    put_address(line, entry.client);
    put(line, b"\",\"method\":");
    put_json(line, entry.method.as_bytes());
    put(line, b",\"scheme\":");
    put_json(line, entry.scheme.as_bytes());
    put(line, b",\"host\":");
    put_json(line, entry.host.as_bytes());
    put(line, b",\"path\":");
    put_json(line, entry.target.as_bytes());
    put(line, b",\"protocol\":");
    put_json(line, entry.protocol.as_bytes());
    put(line, b",\"status\":");
    put_number(line, u64::from(entry.status));
    put(line, b",\"bytes_in\":");
    put_number(line, entry.bytes_in);
    put(line, b",\"bytes_out\":");
    put_number(line, entry.bytes_out);
    put(line, b",\"upstream\":");
    put_json(line, entry.upstream.as_bytes());
    put(line, b",\"colour\":");
    put_json(line, entry.colour.as_bytes());
    put(line, b",\"target\":");
    put_json(line, entry.target_address.as_bytes());
    put(line, b",\"attempts\":");
    put_number(line, u64::from(entry.attempts));
    put(line, b",\"connect_ms\":");
    put_optional(line, entry.connect, put_millis);
    put(line, b",\"first_byte_ms\":");
    put_optional(line, entry.first_byte, put_millis);
    put(line, b",\"duration_ms\":");
    put_millis(line, entry.took);
    put(line, b",\"outcome\":\"");
    put(line, entry.outcome.as_str().as_bytes());
    put(line, b"\",\"reason\":");
    put_optional(line, entry.fault, |line, fault| put_json(line, fault.as_str().as_bytes()));
    put(line, b",\"request_id\":");
    put_json(line, entry.request_id.as_bytes());
    put(line, b",\"referer\":");
    put_optional(line, entry.referer, put_json);
    put(line, b",\"user_agent\":");
    put_optional(line, entry.user_agent, put_json);
    put(line, b",\"generation\":");
    put_number(line, entry.generation);
    put(line, b",\"listener\":");
    put_json(line, entry.listener.as_bytes());
    put(line, b"}\n");
}

/// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
/// "$http_user_agent"`, as nginx writes it with its clock in UTC.
fn combined(line: &mut Vec<u8>, entry: &Entry<'_>, stamp: &mut Stamp) {
    let (second, _) = time::seconds_and_millis(entry.at);
    put_address(line, entry.client);
    put(line, b" - - [");
    put(line, stamp.of(second, time::common_log).as_bytes());
    put(line, b"] \"");
    put_combined(line, entry.method.as_bytes());
    put(line, b" ");
    put_combined(line, entry.target.as_bytes());
    put(line, b" ");
    put_combined(line, entry.protocol.as_bytes());
    put(line, b"\" ");
    put_number(line, u64::from(entry.status));
    put(line, b" ");
    put_number(line, entry.bytes_out);
    put(line, b" \"");
    put_combined(line, entry.referer.unwrap_or(b"-"));
    put(line, b"\" \"");
    put_combined(line, entry.user_agent.unwrap_or(b"-"));
    put(line, b"\"\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::time::UNIX_EPOCH;

    fn entry() -> Entry<'static> {
        Entry {
            at: UNIX_EPOCH + Duration::from_millis(1_795_464_000_007),
            client: "::ffff:192.0.2.10".parse().unwrap(),
            method: "GET",
            scheme: "https",
            host: "dev-api.moyeora.site",
            target: "/a?b=%22",
            protocol: "HTTP/1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 18_446_744_073_709_551_615,
            upstream: "app",
            colour: "green",
            target_address: "10.0.0.1:81",
            attempts: 2,
            connect: None,
            first_byte: Some(Duration::from_micros(12_045)),
            took: Duration::from_micros(1_000_007),
            outcome: Outcome::Answered,
            fault: None,
            request_id: "0f8a",
            referer: None,
            user_agent: Some(b"curl/8.0 \"\\\x1b\xff"),
            generation: 8,
            listener: "0.0.0.0:443",
        }
    }

    fn written(mut shape: Shape, entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        shape.append(&mut line, entry);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_json_line_is_written_to_the_letter() {
        assert_eq!(
            written(Shape::Json(Stamp::default()), &entry()),
            concat!(
                r#"{"time":"2026-11-23T20:00:00.007Z","client":"192.0.2.10","method":"GET","#,
                r#""scheme":"https","host":"dev-api.moyeora.site","path":"/a?b=%22","#,
                r#""protocol":"HTTP/1.1","status":200,"bytes_in":0,"#,
                r#""bytes_out":18446744073709551615,"upstream":"app","colour":"green","#,
                r#""target":"10.0.0.1:81","attempts":2,"connect_ms":null,"#,
                r#""first_byte_ms":12.045,"duration_ms":1000.007,"outcome":"answered","#,
                r#""reason":null,"request_id":"0f8a","referer":null,"#,
                r#""user_agent":"curl/8.0 \"\\\u001B\u00FF","generation":8,"#,
                r#""listener":"0.0.0.0:443"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_combined_line_is_the_one_that_nginx_writes() {
        let line = written(Shape::Combined(Stamp::default()), &entry());
        assert_eq!(
            line,
            concat!(
                r#"192.0.2.10 - - [23/Nov/2026:20:00:00 +0000] "GET /a?b=%22 HTTP/1.1" 200 "#,
                r#"18446744073709551615 "-" "curl/8.0 \x22\x5C\x1B\xFF""#,
                "\n"
            )
        );
    }

    #[test]
    fn the_second_is_written_anew_when_it_changes() {
        let mut shape = Shape::Json(Stamp::default());
        let mut lines = Vec::new();
        for millis in [0, 999, 1000, 86_400_000, 5] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            shape.append(&mut lines, &Entry { at, ..entry() });
        }
        let text = String::from_utf8(lines).unwrap();
        let times: Vec<&str> = text.lines().map(|line| line.get(9..33).unwrap()).collect();
        assert_eq!(
            times,
            [
                "1970-01-01T00:00:00.000Z",
                "1970-01-01T00:00:00.999Z",
                "1970-01-01T00:00:01.000Z",
                "1970-01-02T00:00:00.000Z",
                "1970-01-01T00:00:00.005Z",
            ]
        );
    }

    /// What a reader of the JSON line gets back for these bytes.
    fn readable(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().copied().map(char::from));
        }
        text
    }

    proptest! {
        #[test]
        fn whatever_is_sent_a_json_line_is_one_line_and_reads_back(
            agent in proptest::collection::vec(any::<u8>(), 0..64),
            target in any::<String>(),
            took in any::<u64>(),
            client in any::<IpAddr>(),
        ) {
            let took = Duration::from_micros(took);
            let user_agent = Some(&agent[..]);
            let line = written(
                Shape::Json(Stamp::default()),
                &Entry { target: &target, user_agent, took, client, ..entry() },
            );
            prop_assert_eq!(line.find(|c: char| c.is_control()), Some(line.len() - 1));
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&value["path"], &Value::from(target));
            prop_assert_eq!(&value["user_agent"], &Value::from(readable(&agent)));
            prop_assert_eq!(&value["client"], &Value::from(client.to_canonical().to_string()));
            prop_assert!(value["duration_ms"].is_number());
            prop_assert_eq!(value.as_object().unwrap().len(), 24);
        }

        #[test]
        fn whatever_is_sent_a_combined_line_is_printable_ascii_in_its_own_quotes(
            agent in proptest::collection::vec(any::<u8>(), 0..64),
            target in any::<String>(),
        ) {
            let user_agent = Some(&agent[..]);
            let line = written(
                Shape::Combined(Stamp::default()),
                &Entry { target: &target, user_agent, ..entry() },
            );
            let body = line.strip_suffix('\n').unwrap();
            prop_assert!(body.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
            prop_assert_eq!(body.bytes().filter(|byte| *byte == b'"').count(), 6);
        }
    }
}

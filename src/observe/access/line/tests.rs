//! Every line to the letter, and whatever is sent.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static PLACE: LazyLock<Fixed> = LazyLock::new(|| Fixed::target("app", "green", "10.0.0.1:81"));
static PLAIN_PLACE: LazyLock<Fixed> = LazyLock::new(|| Fixed::target("app", "", "10.0.0.1:81"));
static LISTENER: LazyLock<Fixed> = LazyLock::new(|| Fixed::listener("0.0.0.0:443"));

fn entry() -> Entry<'static> {
    Entry {
        at: Duration::from_millis(1_795_464_000_007),
        client: "192.0.2.10",
        method: b"GET",
        scheme: "https",
        host: b"dev-api.moyeora.site",
        target: b"/a?b=%22",
        protocol: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 18_446_744_073_709_551_615,
        place: &PLACE,
        attempts: 2,
        connect: None,
        first_byte: Some(Duration::from_micros(12_045)),
        took: Duration::from_micros(1_000_007),
        outcome: Outcome::Answered,
        fault: None,
        request_id: b"0f8a",
        referer: None,
        user_agent: Some(b"curl/8.0 \"\\\x1b\xff"),
        generation: 8,
        moved: None,
        listener: &LISTENER,
    }
}

fn written(mut shape: Shape, entry: &Entry<'_>) -> String {
    let mut line = vec![0; 64 * 1024];
    let length = shape.write(&mut line, entry).unwrap();
    line.truncate(length);
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
fn an_unusual_json_line_is_written_to_the_letter() {
    let unusual = Entry {
        client: "2001:db8::1",
        scheme: "h\"",
        protocol: "HTTP/1.0",
        status: 502,
        place: &PLAIN_PLACE,
        attempts: 3,
        connect: Some(Duration::from_micros(2_500)),
        first_byte: None,
        outcome: Outcome::UpstreamFault,
        fault: Some(Fault::Reset),
        referer: Some(b"http://x/\"".as_slice()),
        user_agent: None,
        ..entry()
    };
    assert_eq!(
        written(Shape::Json(Stamp::default()), &unusual),
        concat!(
            r#"{"time":"2026-11-23T20:00:00.007Z","client":"2001:db8::1","method":"GET","#,
            r#""scheme":"h\"","host":"dev-api.moyeora.site","path":"/a?b=%22","#,
            r#""protocol":"HTTP/1.0","status":502,"bytes_in":0,"#,
            r#""bytes_out":18446744073709551615,"upstream":"app","colour":"","#,
            r#""target":"10.0.0.1:81","attempts":3,"connect_ms":2.500,"#,
            r#""first_byte_ms":null,"duration_ms":1000.007,"outcome":"upstream_fault","#,
            r#""reason":"reset","request_id":"0f8a","referer":"http://x/\"","#,
            r#""user_agent":null,"generation":8,"listener":"0.0.0.0:443"}"#,
            "\n"
        )
    );
    // Each of a pair that usually goes together, alone.
    let line = |entry| written(Shape::Json(Stamp::default()), &entry);
    assert!(
        line(Entry { attempts: 1, connect: Some(Duration::ZERO), ..entry() })
            .contains(r#""attempts":1,"connect_ms":0.000,"first_byte_ms":12.045,"#)
    );
    assert!(
        line(Entry { attempts: 1, scheme: "http", protocol: "HTTP/2.0", ..entry() })
            .contains(r#""attempts":1,"connect_ms":null,"first_byte_ms":12.045,"#)
    );
    assert!(
        line(Entry { fault: Some(Fault::Cut), ..entry() })
            .contains(r#""outcome":"answered","reason":"cut","request_id":"0f8a","#)
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
    let (mut lines, mut filled) = (vec![0; 4096], 0);
    for millis in [0, 999, 1000, 86_400_000, 5] {
        let at = Duration::from_millis(millis);
        let entry = Entry { at, ..entry() };
        filled += shape.write(&mut lines[filled..], &entry).unwrap();
    }
    lines.truncate(filled);
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

#[test]
fn a_line_is_written_whole_or_is_said_not_to_fit() {
    for mut shape in [Shape::Json(Stamp::default()), Shape::Combined(Stamp::default())] {
        let mut buffer = [0; 1024];
        let length = shape.write(&mut buffer, &entry()).unwrap();
        for room in 0..length {
            assert_eq!(shape.write(&mut buffer[..room], &entry()), Err(Full), "{room}");
        }
        assert_eq!(shape.write(&mut buffer[..length], &entry()), Ok(length));
    }
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
    ) {
        let took = Duration::from_micros(took);
        let user_agent = Some(&agent[..]);
        let line = written(
            Shape::Json(Stamp::default()),
            &Entry { target: target.as_bytes(), user_agent, took, ..entry() },
        );
        prop_assert_eq!(line.find(|c: char| c.is_control()), Some(line.len() - 1));
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&value["path"], &Value::from(target));
        prop_assert_eq!(&value["user_agent"], &Value::from(readable(&agent)));
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
            &Entry { target: target.as_bytes(), user_agent, ..entry() },
        );
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(body.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
        prop_assert_eq!(body.bytes().filter(|byte| *byte == b'"').count(), 6);
    }
}

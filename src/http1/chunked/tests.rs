//! What is made of content, byte by byte.

use super::*;

/// All content of `input` and how much of it was consumed, fed `step` bytes at a time.
fn read(framing: Framing, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, Decoder), BadBody> {
    let mut decoder = Decoder::new(framing);
    let mut content = Vec::new();
    let mut at = 0;
    for end in (1..=input.len()).filter(|end| end % step == 0 || *end == input.len()) {
        loop {
            let rest = &input[at..end];
            let piece = decoder.next(rest)?;
            content.extend_from_slice(&rest[piece.data.clone()]);
            at += piece.consumed;
            if piece.consumed == 0 || decoder.is_done() {
                break;
            }
        }
    }
    Ok((content, at, decoder))
}

fn chunks(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = read(Framing::Chunked, input, input.len().max(1));
    let slow = read(Framing::Chunked, input, 1);
    let parts = |read: Result<(Vec<u8>, usize, Decoder), BadBody>| {
        read.ok().map(|(content, at, _)| (content, at))
    };
    let all = parts(all);
    assert_eq!(all, parts(slow));
    all
}

#[test]
fn a_length_takes_so_many_bytes_and_no_more() {
    let (content, consumed, mut decoder) = read(Framing::Length(5), b"123456", 4).unwrap();
    assert_eq!((content, consumed), (b"12345".to_vec(), 5));
    assert_eq!((decoder.is_done(), decoder.left()), (true, Some(0)));
    assert_eq!(decoder.next(b"6"), Ok(Piece { consumed: 0, data: 0..0 }));
    assert_eq!(decoder.at_eof(), Ok(()));
    assert_eq!(decoder.trailers(), b"");
    let (_, _, mut decoder) = read(Framing::Length(5), b"12", 1).unwrap();
    assert_eq!((decoder.is_done(), decoder.left()), (false, Some(3)));
    assert_eq!(decoder.at_eof(), Err(BadBody));
}

#[test]
fn what_is_moved_past_counts() {
    let mut decoder = Decoder::new(Framing::Length(5));
    decoder.skip(3);
    assert_eq!(decoder.left(), Some(2));
    decoder.skip(9);
    assert!(decoder.is_done());
    let mut decoder = Decoder::new(Framing::UntilClose);
    decoder.skip(9);
    assert_eq!((decoder.is_done(), decoder.left()), (false, None));
}

#[test]
fn no_content_is_done_at_once() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = Decoder::new(framing);
        assert!(decoder.is_done());
        assert_eq!(decoder.next(b"GET"), Ok(Piece { consumed: 0, data: 0..0 }));
    }
}

#[test]
fn content_until_the_close_ends_there() {
    let (content, consumed, mut decoder) = read(Framing::UntilClose, b"123", 2).unwrap();
    assert_eq!((content, consumed), (b"123".to_vec(), 3));
    assert!(!decoder.is_done());
    assert_eq!(decoder.at_eof(), Ok(()));
    assert!(decoder.is_done());
}

#[test]
fn chunks_are_joined_and_what_follows_is_left() {
    let input = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET";
    assert_eq!(chunks(input), Some((b"abc0123456789".to_vec(), input.len() - 3)));
    assert_eq!(chunks(b"000\r\n\r\n"), Some((Vec::new(), 7)));
    assert_eq!(chunks(b"0000000000000001\r\na\r\n0\r\n\r\n").map(|(c, _)| c), Some(b"a".to_vec()));
    let (_, _, mut decoder) = read(Framing::Chunked, b"3\r\nab", 1).unwrap();
    assert_eq!((decoder.left(), decoder.at_eof()), (None, Err(BadBody)));
}

#[test]
fn a_size_may_be_as_large_as_a_number_can_be() {
    let (content, _, decoder) = read(Framing::Chunked, b"ffffffffffffffff\r\nab", 1).unwrap();
    assert_eq!(content, b"ab");
    assert!(!decoder.is_done());
}

#[test]
fn extensions_are_read_over_up_to_a_limit() {
    let input = b"1;a=\"b\xff\t\"\r\nx\r\n0;;\r\n\r\n";
    assert_eq!(chunks(input), Some((b"x".to_vec(), input.len())));
    let input = b"1 \t;a\r\nx\r\n0 ;\r\n\r\n";
    assert_eq!(chunks(input), Some((b"x".to_vec(), input.len())));
    let wide = |length: usize| format!("1{};\r\nx\r\n0\r\n\r\n", " ".repeat(length - 1));
    assert!(chunks(wide(256).as_bytes()).is_some());
    assert!(chunks(wide(257).as_bytes()).is_none());
    let long = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(length - 1));
    assert!(chunks(long(256).as_bytes()).is_some());
    assert!(chunks(long(257).as_bytes()).is_none());
    let many = |chunks: usize| format!("1;{}\r\nx\r\n", "a".repeat(255)).repeat(chunks);
    assert!(chunks(many(64).as_bytes()).is_some());
    assert!(chunks(many(65).as_bytes()).is_none());
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    for input in [
        "\r\n",
        ";a\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\t\r\n",
        "0x1\r\n",
        "+1\r\n",
        "-1\r\n",
        "g\r\n",
        "1\n",
        "1\r\r",
        "1\rx",
        "1;a\n",
        "1;a\r1",
        "1;a\0",
        "1;a\x7f",
        "1 a\r\n",
        "1 \t \r\n",
        " ;a\r\n",
        "00000000000000001\r\n",
        "10000000000000000\r\n",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\na\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\nA: b\n",
        "0\r\nA: b\rC",
        "0\r\nA\r\n",
        "0\r\n: b\r\n",
        "0\r\nA : b\r\n",
        "0\r\n A: b\r\n",
        "0\r\nA: b\r\n c\r\n",
        "0\r\nA: b\0\r\n",
        "0\r\nA: b\x7f\r\n",
    ] {
        assert_eq!(chunks(input.as_bytes()), None, "{input:?}");
    }
}

#[test]
fn only_trailers_that_may_come_late_are_passed_on() {
    let lines = "0\r\nX-Sum: a\r\nCONTENT-length: 5\r\nHost: b\r\ngrpc-status:0 \r\nX_A: b\r\n\
                 Transfer-Encoding: chunked\r\nIf-Match: c\r\nproxy-x: d\r\nX-Forwarded-For: e\r\n\
                 Authorization: f\r\nSet-Cookie: g\r\nEmpty:\r\n\r\nGET";
    let (content, consumed, decoder) = read(Framing::Chunked, lines.as_bytes(), 7).unwrap();
    assert_eq!((content, consumed), (Vec::new(), lines.len() - 3));
    let passed = "X-Sum: a\r\ngrpc-status: 0\r\nEmpty: \r\n";
    assert_eq!(std::str::from_utf8(decoder.trailers()), Ok(passed));
}

#[test]
fn trailers_are_bounded() {
    let of = |lines: usize, length: usize| {
        let line = format!("A:{}\r\n", "b".repeat(length - 2));
        chunks(format!("0\r\n{}\r\n", line.repeat(lines)).as_bytes()).is_some()
    };
    assert!(of(64, 3));
    assert!(!of(65, 3));
    assert!(of(1, 16 * 1024));
    assert!(!of(1, 16 * 1024 + 1));
    assert!(of(2, 8 * 1024));
    assert!(!of(2, 8 * 1024 + 1));
}

#[test]
fn an_encoder_adds_what_the_framing_asks_for() {
    let written = |framing: Framing| {
        let mut out = Vec::new();
        let encoder = Encoder::new(framing);
        for data in ["abc", "", "0123456789abcdef"] {
            encoder.push(data.as_bytes(), &mut out);
        }
        encoder.finish(b"A: b\r\n", &mut out);
        assert_eq!(encoder.is_chunked(), framing == Framing::Chunked);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(Framing::Length(19)), "abc0123456789abcdef");
    assert_eq!(written(Framing::UntilClose), "abc0123456789abcdef");
    let chunked = "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n";
    assert_eq!(written(Framing::Chunked), chunked);
}

#[test]
fn a_size_line_is_hexadecimal() {
    for (size, line) in [(1, "1\r\n"), (0xab0, "ab0\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        assert_eq!(size_line(size, &mut SizeLine::default()), line.as_bytes());
    }
}

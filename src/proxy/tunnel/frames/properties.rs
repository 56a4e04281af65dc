//! The same ends as others find: those of a library that writes frames, and of a reader that has all
//! the bytes before it.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

use super::Frames;

/// Where frames end and whether one was a Close, from a reader that has all the bytes. `None` for
/// the ends behind what is no frame.
fn second_reader(masked: bool, bytes: &[u8]) -> (Vec<usize>, bool) {
    let (mut ends, mut at, mut closed) = (Vec::new(), 0, false);
    let number = |from: usize, length: usize| -> Option<u64> {
        let digits = bytes.get(from..from + length)?;
        Some(
            digits
                .iter()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        )
    };
    while let (Some(first), Some(second)) = (bytes.get(at), bytes.get(at + 1)) {
        let (control, short) = (first & 8 != 0, second & 127);
        let (more, length) = match short {
            126 => (2, number(at + 2, 2)),
            127 => (8, number(at + 2, 8)),
            _ => (0, Some(u64::from(short))),
        };
        let head = 2 + more + if second & 128 != 0 { 4 } else { 0 };
        let bad = (second & 128 != 0) != masked
            || (control && (short > 125 || first & 128 == 0))
            || length.is_some_and(|length| length >= 1 << 63);
        let Some(end) =
            length.and_then(|length| (at + head).checked_add(usize::try_from(length).ok()?))
        else {
            break;
        };
        if bad || bytes.len() < end {
            break;
        }
        closed |= first & 15 == 8;
        ends.push(end);
        at = end;
    }
    (ends, closed)
}

/// Passes `bytes` piece by piece; the places at which it stood between two frames.
fn pass_in_pieces(masked: bool, bytes: &[u8], pieces: &[usize]) -> (Vec<usize>, Frames) {
    let (mut frames, mut between, mut from) = (Frames::new(masked), Vec::new(), 0);
    for piece in pieces.iter().chain(std::iter::repeat(&usize::MAX)) {
        let mut left = piece.saturating_add(from).min(bytes.len());
        let whole = frames.whole(&bytes[from..left]);
        if whole > 0 {
            left = from + whole;
            between.push(left);
        }
        frames.pass(&bytes[from..left]);
        assert!(whole == 0 || frames.is_between());
        from = left;
        if from == bytes.len() {
            return (between, frames);
        }
    }
    unreachable!("the pieces never end")
}

fn opcode() -> impl Strategy<Value = OpCode> {
    prop::sample::select(vec![
        OpCode::Data(Data::Continue),
        OpCode::Data(Data::Text),
        OpCode::Data(Data::Binary),
        OpCode::Control(Control::Ping),
        OpCode::Control(Control::Pong),
        OpCode::Control(Control::Close),
    ])
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..130_usize, 65_530..65_540_usize]
}

fn written(masked: bool, frames: &[(OpCode, usize, bool, bool)]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (opcode, length, is_final, rsv1) in frames {
        let control = matches!(opcode, OpCode::Control(_));
        let header = FrameHeader {
            is_final: *is_final || control,
            rsv1: *rsv1,
            opcode: *opcode,
            mask: masked.then_some([7, 8, 9, 10]),
            ..FrameHeader::default()
        };
        let length = if control { length % 126 } else { *length };
        Frame::from_payload(header, vec![0x55; length].into())
            .format(&mut bytes)
            .unwrap();
        ends.push(bytes.len());
    }
    (bytes, ends)
}

proptest! {
    #[test]
    fn frames_of_a_library_end_where_it_ended_them(
        masked in any::<bool>(),
        frames in vec((opcode(), length(), any::<bool>(), any::<bool>()), 1..8),
        pieces in vec(1..200_usize, 0..40),
    ) {
        let (bytes, ends) = written(masked, &frames);
        prop_assert_eq!(&second_reader(masked, &bytes).0, &ends);
        let (between, followed) = pass_in_pieces(masked, &bytes, &pieces);
        prop_assert!(followed.is_between() && !followed.is_broken());
        prop_assert!(between.iter().all(|at| ends.contains(at)), "{:?} of {:?}", between, ends);
        prop_assert_eq!(between.last(), ends.last());
        let closes = frames.iter().any(|(opcode, ..)| *opcode == OpCode::Control(Control::Close));
        prop_assert_eq!(followed.has_closed(), closes);
        for cut in ends.iter().flat_map(|end| [end - 1, *end]).filter(|cut| *cut > 0) {
            let mut frames = Frames::new(masked);
            frames.pass(&bytes[..cut]);
            prop_assert_eq!(frames.is_between(), ends.contains(&cut), "at {}", cut);
        }
    }

    #[test]
    fn any_bytes_are_read_as_a_second_reader_reads_them(
        masked in any::<bool>(),
        bytes in vec(prop_oneof![
            4 => any::<u8>(),
            2 => prop::sample::select(vec![0_u8, 1, 2, 0x81, 0x82, 0x88, 0x89, 126, 127, 254, 255]),
        ], 0..200),
        pieces in vec(1..20_usize, 0..40),
    ) {
        let (ends, closed) = second_reader(masked, &bytes);
        prop_assert_eq!(Frames::new(masked).whole(&bytes), ends.last().copied().unwrap_or(0));
        let (between, frames) = pass_in_pieces(masked, &bytes, &pieces);
        prop_assert!(between.iter().all(|at| ends.contains(at)));
        let at_end = bytes.is_empty() || ends.last() == Some(&bytes.len());
        prop_assert_eq!(frames.is_between(), at_end);
        prop_assert_eq!(frames.has_closed(), at_end && closed);
    }
}

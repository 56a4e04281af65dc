//! Whatever two sides of a WebSocket send, in whatever pieces: frames end where a reader of the whole
//! finds their ends, nothing is lost or added on the way, and a Close of the proxy's own never stands
//! inside a frame or behind a Close.
//!
//! The first four bytes say how the rest is divided: between the two sides, into pieces, and when the
//! drain's deadline comes. The files are those of proxyd itself; of all that is around them they only
//! need to know of an exchange whether it is to part.

#![no_main]

// They are formatted where they are at home.
#[rustfmt::skip]
#[path = "../../src/proxy/tunnel/frames.rs"]
mod frames;
#[rustfmt::skip]
#[path = "../../src/proxy/tunnel/websocket.rs"]
mod websocket;

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use libfuzzer_sys::fuzz_target;
use proxyd::model::fault::Fault;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use self::frames::Frames;
use self::proxy::exchange::Exchange;
use self::websocket::WebSocket;

fuzz_target!(|bytes: &[u8]| play(bytes));

mod model {
    pub use proxyd::model::fault;
}

mod proxy {
    pub mod exchange {
        use std::cell::Cell;

        use proxyd::model::fault::Fault;

        #[derive(Default)]
        pub struct Exchange {
            pub parts: Cell<bool>,
            pub ended: Cell<Option<Fault>>,
        }

        impl Exchange {
            pub fn is_parting(&self) -> bool {
                self.parts.get()
            }

            pub fn end(&self, fault: Fault) {
                self.ended.set(Some(fault));
            }

            pub fn has_said_goodbye(&self) {
                assert!(self.parts.get(), "nobody asked for it");
            }
        }
    }

    pub mod tunnel {
        pub(crate) use crate::frames;

        /// Small: many pieces with few bytes.
        pub const BUFFER: usize = 64;
    }
}

/// A Close 1012 from a target's side, and one from a client's, whose mask is anything.
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
const MASKED: [u8; 2] = [0x88, 0x82];

fn play(bytes: &[u8]) {
    let [divided, pieces, parts_at, early, rest @ ..] = bytes else { return };
    let at = usize::from(*divided) * (rest.len() + 1) / 256;
    let (client, target) = rest.split_at(at);
    for (masked, said) in [(true, client), (false, target)] {
        pieces_are_one_whole(masked, said, Dice(u32::from(*pieces)));
    }
    runs(client, target, usize::from(*parts_at), usize::from(*early), *pieces);
}

/// Where frames end, and behind which of them one was a Close; up to what is no frame.
fn ends(masked: bool, bytes: &[u8]) -> (Vec<usize>, Option<usize>, bool) {
    let (mut ends, mut at, mut closed) = (vec![0], None, 0);
    loop {
        let rest = &bytes[closed..];
        let [first, second, ..] = rest else { return (ends, at, false) };
        let more = [0, 2, 8][usize::from(second & 127).saturating_sub(125)];
        let length = rest.get(2..2 + more);
        let head = 2 + more + if second & 128 != 0 { 4 } else { 0 };
        if length.is_none() || rest.len() < head {
            return (ends, at, false);
        }
        let number = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        let short = u64::from(second & 127);
        let length = length.map_or(0, |digits| digits.iter().fold(0, number));
        let length = if more == 0 { short } else { length };
        let odd = first & 8 != 0 && (short > 125 || first & 128 == 0);
        if odd || (second & 128 != 0) != masked || length >> 63 != 0 {
            return (ends, at, true);
        }
        let Some(end) = usize::try_from(length)
            .ok()
            .and_then(|it| it.checked_add(head))
        else {
            return (ends, at, false);
        };
        if end > rest.len() {
            return (ends, at, false);
        }
        closed += end;
        ends.push(closed);
        if first & 15 == 8 && at.is_none() {
            at = Some(closed);
        }
    }
}

fn pieces_are_one_whole(masked: bool, bytes: &[u8], mut dice: Dice) {
    let (ends, closed, broken) = ends(masked, bytes);
    let last = *ends.last().unwrap();
    let mut whole = Frames::new(masked);
    assert_eq!(whole.whole(bytes), last, "the last end that is there");
    whole.pass(bytes);
    let mut frames = Frames::new(masked);
    let mut from = 0;
    while from < bytes.len() {
        let to = (from + dice.upto(20) + 1).min(bytes.len());
        frames.pass(&bytes[from..to]);
        from = to;
        let is_end = ends.contains(&from) && !frames.is_broken();
        assert_eq!(frames.is_between(), is_end, "{from} of {ends:?}");
    }
    assert_eq!(frames.is_broken(), broken);
    let state = |frames: &Frames| (frames.is_between(), frames.has_closed(), frames.is_broken());
    assert_eq!(state(&frames), state(&whole));
    assert_eq!(frames.has_closed(), closed.is_some() && frames.is_between());
}

fn runs(client: &[u8], target: &[u8], parts_at: usize, early: usize, pieces: u8) {
    let (up, to_client) = client.split_at(early.min(client.len()));
    let exchange = Exchange::default();
    let mut socket = WebSocket::new(up, &[]);
    let mut left = Side::new(to_client, u32::from(pieces));
    let mut right = Side::new(target, u32::from(pieces) + 1000);
    let mut cx = Context::from_waker(Waker::noop());
    let mut over = false;
    for turn in 0..8 * (client.len() + target.len()) + 512 {
        exchange.parts.set(turn >= 4 * parts_at && parts_at < 255);
        over = socket
            .poll(&mut cx, &exchange, &mut left, &mut right)
            .is_ready();
        if over {
            break;
        }
    }
    let parts = exchange.parts.get();
    is_told_rightly(true, client, &right.heard, parts);
    is_told_rightly(false, target, &left.heard, parts);
    if !parts {
        assert!(over && right.heard == client && left.heard == target, "nothing is lost");
    }
    if exchange.ended.get() == Some(Fault::Closed) {
        let (_, closed, _) = ends(false, &left.heard);
        assert!(closed.is_some(), "the client was told");
    }
}

/// What was heard is what was said, up to some place; and then nothing, or between two frames a
/// Close.
fn is_told_rightly(masked: bool, said: &[u8], heard: &[u8], parts: bool) {
    let same = said.iter().zip(heard).take_while(|(a, b)| a == b).count();
    if same == heard.len() {
        return;
    }
    assert!(parts, "nothing of our own is said before");
    let (ends, closed, _) = ends(masked, said);
    let is_close = |bytes: &[u8]| match masked {
        true => {
            let code = |at: usize| Some(bytes.get(6 + at)? ^ bytes[2 + at]);
            bytes.len() <= 8
                && MASKED.iter().zip(bytes).all(|(a, b)| a == b)
                && code(0).is_none_or(|byte| byte == CLOSE[2])
                && code(1).is_none_or(|byte| byte == CLOSE[3])
        }
        false => CLOSE.starts_with(bytes),
    };
    let stands = |at: usize| {
        ends.contains(&at) && closed.is_none_or(|closed| closed > at) && is_close(&heard[at..])
    };
    assert!((same.saturating_sub(8)..=same).any(stands), "{said:02x?} {heard:02x?}");
}

/// Numbers without a pattern, always the same ones.
struct Dice(u32);

impl Dice {
    fn upto(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(self.0 >> 16).unwrap_or(0) % (most + 1)
    }
}

/// One end of the tunnel: says what it has to say in pieces, and takes as little as it likes.
struct Side {
    says: Vec<u8>,
    heard: Vec<u8>,
    dice: Dice,
}

impl Side {
    fn new(says: &[u8], dice: u32) -> Self {
        Self { says: says.to_vec(), heard: Vec::new(), dice: Dice(dice) }
    }
}

impl AsyncRead for Side {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.dice.upto(24).min(room.remaining());
        if most == 0 {
            return Poll::Pending;
        }
        let most = most.min(self.says.len());
        let piece: Vec<u8> = self.says.drain(..most).collect();
        room.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.dice.upto(24).min(bytes.len());
        if most == 0 {
            return Poll::Pending;
        }
        self.heard.extend_from_slice(&bytes[..most]);
        Poll::Ready(Ok(most))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dice.upto(3) == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

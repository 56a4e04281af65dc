//! A hundred random conversations, each parted at a random moment, over streams that take a few
//! bytes at a time. A failure prints the seed; `SEED=n cargo test --lib websocket::simulation` replays
//! it alone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::split;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio::task::yield_now;

use crate::proxy::tunnel::frames::Frames;
use crate::proxy::tunnel::websocket::tests::Between;
use crate::proxy::tunnel::websocket::tests::CLOSED;

const SEEDS: u64 = 100;

/// What one side wrote, frame by frame, and what came to it.
struct Told {
    wrote: Vec<Vec<u8>>,
    came: Vec<u8>,
}

/// A frame whose payload says nothing.
fn frame(dice: &mut fastrand::Rng, first: u8, masked: bool) -> Vec<u8> {
    let length = if first & 8 == 0 { dice.usize(0..300) } else { dice.usize(2..126) };
    let flag = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match u8::try_from(length) {
        Ok(short @ 0..=125) => frame.push(flag | short),
        _ => {
            frame.push(flag | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    if masked {
        frame.extend_from_slice(&[1, 2, 3, 4]);
    }
    frame.extend((0..length).map(|_| dice.u8(..)));
    frame
}

/// Talks in pieces until it hears a whole Close; then finishes the frame at hand, and answers.
async fn talk(stream: DuplexStream, masked: bool, seed: u64) -> Told {
    let (mut from, mut to) = split(stream);
    let heard = Rc::new(Cell::new(false));
    let hears = Rc::clone(&heard);
    let listening = spawn_local(async move {
        let (mut came, mut frames, mut piece) = (Vec::new(), Frames::new(!masked), [0; 7]);
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            frames.pass(&piece[..length]);
            came.extend_from_slice(&piece[..length]);
            hears.set(hears.get() | frames.has_closed());
        }
        hears.set(true);
        came
    });
    let (mut dice, mut wrote) = (fastrand::Rng::with_seed(seed), Vec::new());
    loop {
        let last = heard.get();
        let first =
            if last { 0x88 } else { *dice.choice([0x81, 0x01, 0x80, 0xc2, 0x89].iter()).unwrap() };
        let one = frame(&mut dice, first, masked);
        let mut rest = &one[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(dice.usize(1..=rest.len()));
            // Whoever has heard all that it needs is gone.
            if to.write_all(piece).await.is_err() {
                break;
            }
            rest = later;
            for _ in 0..dice.u8(0..4) {
                yield_now().await;
            }
        }
        wrote.push(one);
        if last {
            break;
        }
    }
    drop(to);
    Told { wrote, came: listening.await.unwrap() }
}

/// What came is whole frames in the order in which they were written, and then one Close: ours, or the
/// other side's.
fn judge(came: &[u8], wrote: &[Vec<u8>], masked: bool, seed: u64) {
    let mut rest = came;
    let (close, frames) = wrote.split_last().unwrap();
    for frame in frames {
        let Some(later) = rest.strip_prefix(&frame[..]) else { break };
        rest = later;
    }
    if rest == close {
        return;
    }
    let [0x88, length, code @ ..] = rest else { panic!("seed {seed}: {rest:x?} at the end") };
    let code = match (masked, code) {
        (true, [a, b, _, _, c, d]) => [a ^ c, b ^ d],
        (false, [a, b]) => [*a, *b],
        _ => panic!("seed {seed}: {rest:x?} is not our Close"),
    };
    assert_eq!((length & 0x7f, u16::from_be_bytes(code)), (2, 1012), "seed {seed}");
}

async fn play(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let between = Between::with(b"", b"", dice.usize(1..200));
    let (client, target, rest) = between.take();
    let [one, other] = [(client, true, dice.u64(..)), (target, false, dice.u64(..))]
        .map(|(stream, masked, seed)| spawn_local(talk(stream, masked, seed)));
    for _ in 0..dice.usize(0..400) {
        yield_now().await;
    }
    rest.part();
    let (client, target) = (one.await.unwrap(), other.await.unwrap());
    judge(&target.came, &client.wrote, true, seed);
    judge(&client.came, &target.wrote, false, seed);
    assert_eq!(rest.ended(CLOSED).await, 1, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn every_conversation_is_whole_frames_and_one_close_each_way() {
    let only = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        // The clock moves by itself only once nobody has anything to do: then it is stuck.
        let play = tokio::time::timeout(Duration::from_secs(3600), play(seed));
        let played = LocalSet::new().run_until(play).await;
        assert!(played.is_ok(), "seed {seed}: what is awaited never comes");
    }
}

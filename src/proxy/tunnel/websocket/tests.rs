//! Both directions of a tunnel, and how it ends: every order in which the two sides and we can say
//! Close.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::proxy::exchange::Kind;
use crate::proxy::testing::Alone;
use crate::sync::lease::FOR_AN_ANSWER;
use crate::sync::lease::LAST_WORDS;
use crate::sync::lease::TO_A_BOUNDARY;

pub(super) const CLOSED: &str = r#"proxy_requests_outcome_total{outcome="closed"}"#;
const CUT: &str = r#"proxy_requests_outcome_total{outcome="cut"}"#;
/// A tunnel that its two sides have ended: as if its last byte had been answered.
const ENDED: &str = r#"proxy_requests_outcome_total{outcome="replied"}"#;

const OUR_CLOSE: &[u8] = &[0x88, 2, 0x03, 0xf4];

/// A frame of a target: "hello".
const HELLO: &[u8] = b"\x81\x05hello";
/// The same of a client, under a mask of ones.
const MASKED_HELLO: &[u8] = b"\x81\x85\x01\x01\x01\x01idmmn";
const CLIENTS_CLOSE: &[u8] = b"\x88\x82\x00\x00\x00\x00\x03\xe8";
const TARGETS_CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// A tunnel with a test at both of its ends.
pub(super) struct Between {
    alone: Alone,
    exchange: Rc<Exchange>,
    client: DuplexStream,
    target: DuplexStream,
    running: JoinHandle<()>,
}

impl Between {
    fn open() -> Self {
        Self::with(b"", b"", 64 * 1024)
    }

    pub(super) fn with(early: &[u8], came: &[u8], room: usize) -> Self {
        let alone = Alone::new();
        let exchange = alone.exchange();
        exchange.can_part(Kind::WebSocket);
        let (client, mut ours) = duplex(room);
        let (target, mut theirs) = duplex(room);
        let (mut socket, runs) = (WebSocket::new(early, came), Rc::clone(&exchange));
        let running = tokio::task::spawn_local(async move {
            let step = |cx: &mut Context<'_>| match runs.poll_ended(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => socket.poll(cx, &runs, &mut ours, &mut theirs),
            };
            poll_fn(step).await;
            runs.complete();
        });
        Self { alone, exchange, client, target, running }
    }

    /// The test's two ends, and what is between them.
    pub(super) fn take(self) -> (DuplexStream, DuplexStream, Middle) {
        let Self { alone, exchange, client, target, running } = self;
        (client, target, Middle { alone, exchange, running })
    }

    fn tick(&self) {
        self.alone.worker.clock.tick(Instant::now(), true);
    }

    /// The deadline has come.
    fn part(&self) {
        self.alone.worker.is_ending.set(true);
        // One tick gives it its turn, and it takes it at once.
        self.tick();
    }

    /// Lets it work until it waits.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    async fn client_gets(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }

    async fn target_gets(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.target.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }

    /// A whole Close 1012, masked.
    async fn target_gets_our_close(&mut self) {
        let mut got = [0; 8];
        self.target.read_exact(&mut got).await.unwrap();
        let [0x88, 0x82, a, b, _, _, c, d] = got else { panic!("{got:x?}") };
        assert_eq!([a ^ c, b ^ d], SERVICE_RESTART);
    }

    /// It ends, and is booked as `outcome`; nothing more has come at either end.
    async fn ends_as(mut self, outcome: &str) {
        self.running.await.unwrap();
        drop(self.exchange);
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        self.target.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "after the end");
        assert_eq!(self.alone.count(outcome), 1, "{outcome}");
        assert_eq!(self.alone.metrics.without_outcome(), 0);
    }
}

/// A tunnel whose ends somebody else has.
pub(super) struct Middle {
    alone: Alone,
    exchange: Rc<Exchange>,
    running: JoinHandle<()>,
}

impl Middle {
    /// The deadline has come.
    pub(super) fn part(&self) {
        self.alone.worker.is_ending.set(true);
        self.alone.worker.clock.tick(Instant::now(), true);
    }

    /// Waits for the end; how often it was booked as `outcome`.
    pub(super) async fn ended(self, outcome: &str) -> u64 {
        self.running.await.unwrap();
        drop(self.exchange);
        self.alone.count(outcome)
    }
}

/// Runs a test of one thread whose clock stands still.
macro_rules! tests {
    ($($name:ident $body:block)+) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            // The clock moves by itself only once nobody has anything to do: then it is stuck.
            let body = tokio::time::timeout(Duration::from_secs(3600), async $body);
            LocalSet::new().run_until(body).await.expect("what is awaited never comes");
        }
    )+};
}

tests! {
    between_two_frames_both_sides_get_a_close_and_answer_in_either_order {
        for client_first in [true, false] {
            let mut between = Between::open();
            between.client.write_all(MASKED_HELLO).await.unwrap();
            between.target_gets(MASKED_HELLO).await;
            between.target.write_all(HELLO).await.unwrap();
            between.client_gets(HELLO).await;
            between.part();
            between.client_gets(OUR_CLOSE).await;
            between.target_gets_our_close().await;
            for clients_turn in [client_first, !client_first] {
                assert!(!between.running.is_finished());
                if clients_turn {
                    between.client.write_all(CLIENTS_CLOSE).await.unwrap();
                } else {
                    between.target.write_all(TARGETS_CLOSE).await.unwrap();
                }
                between.settle().await;
            }
            between.ends_as(CLOSED).await;
        }
    }

    a_frame_at_hand_is_finished_first_wherever_the_deadline_finds_it {
        for at in 1..MASKED_HELLO.len() {
            let mut between = Between::open();
            between.client.write_all(&MASKED_HELLO[..at]).await.unwrap();
            between.target_gets(&MASKED_HELLO[..at]).await;
            between.part();
            // The other direction does not wait.
            between.client_gets(OUR_CLOSE).await;
            for byte in &MASKED_HELLO[at..] {
                between.client.write_all(&[*byte]).await.unwrap();
                between.settle().await;
            }
            between.client.write_all(MASKED_HELLO).await.unwrap();
            between.target_gets(&MASKED_HELLO[at..]).await;
            between.target_gets_our_close().await;
            between.client.write_all(CLIENTS_CLOSE).await.unwrap();
            between.target.write_all(TARGETS_CLOSE).await.unwrap();
            between.ends_as(CLOSED).await;
        }
        for at in 1..HELLO.len() {
            let mut between = Between::open();
            between.target.write_all(&HELLO[..at]).await.unwrap();
            between.client_gets(&HELLO[..at]).await;
            between.part();
            between.target_gets_our_close().await;
            between.target.write_all(&[&HELLO[at..], HELLO].concat()).await.unwrap();
            between.client_gets(&[&HELLO[at..], HELLO, OUR_CLOSE].concat()).await;
            between.client.write_all(CLIENTS_CLOSE).await.unwrap();
            between.target.write_all(TARGETS_CLOSE).await.unwrap();
            between.ends_as(CLOSED).await;
        }
    }

    whole_frames_that_have_come_are_passed_and_a_part_of_one_is_not_begun {
        // A client that takes little: most of it waits here.
        let come = [HELLO, HELLO, HELLO, &HELLO[..4]].concat();
        let mut between = Between::with(b"", &come, 5);
        between.settle().await;
        between.part();
        between.client_gets(&[HELLO, HELLO, HELLO, OUR_CLOSE].concat()).await;
        between.target_gets_our_close().await;
        between.target.write_all(&[&HELLO[4..], TARGETS_CLOSE].concat()).await.unwrap();
        between.client.write_all(CLIENTS_CLOSE).await.unwrap();
        between.ends_as(CLOSED).await;
    }

    a_close_may_stand_between_the_fragments_of_a_message {
        let mut between = Between::open();
        let fragment = b"\x01\x03abc";
        between.target.write_all(fragment).await.unwrap();
        between.client_gets(fragment).await;
        between.part();
        between.client_gets(OUR_CLOSE).await;
        between.target_gets_our_close().await;
        between.target.write_all(b"\x80\x01d").await.unwrap();
        between.target.write_all(TARGETS_CLOSE).await.unwrap();
        between.client.write_all(CLIENTS_CLOSE).await.unwrap();
        between.ends_as(CLOSED).await;
    }

    who_does_not_answer_is_waited_for_a_while_and_no_longer {
        let mut between = Between::open();
        between.part();
        between.client_gets(OUR_CLOSE).await;
        between.target_gets_our_close().await;
        between.client.write_all(MASKED_HELLO).await.unwrap();
        between.settle().await;
        tokio::time::advance(FOR_AN_ANSWER / 2).await;
        between.tick();
        between.settle().await;
        assert!(!between.running.is_finished());
        tokio::time::advance(FOR_AN_ANSWER).await;
        between.tick();
        between.ends_as(CLOSED).await;
    }

    who_is_stuck_within_a_frame_is_cut {
        for of_client in [true, false] {
            let mut between = Between::open();
            if of_client {
                between.client.write_all(&MASKED_HELLO[..3]).await.unwrap();
                between.target_gets(&MASKED_HELLO[..3]).await;
            } else {
                between.target.write_all(&HELLO[..3]).await.unwrap();
                between.client_gets(&HELLO[..3]).await;
            }
            between.part();
            if of_client {
                between.client_gets(OUR_CLOSE).await;
            } else {
                between.target_gets_our_close().await;
            }
            tokio::time::advance(TO_A_BOUNDARY + Duration::from_millis(1)).await;
            between.tick();
            between.ends_as(CUT).await;
        }
    }

    a_client_that_takes_nothing_is_cut {
        let mut between = Between::with(b"", &[HELLO, HELLO].concat(), 3);
        between.settle().await;
        between.part();
        tokio::time::advance(LAST_WORDS).await;
        between.tick();
        between.running.await.unwrap();
        drop(between.exchange);
        assert_eq!(between.alone.count(CUT), 1);
        let mut got = Vec::new();
        between.client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, &HELLO[..3]);
    }

    what_is_no_websocket_after_all_is_cut_at_once {
        let mut between = Between::open();
        between.client.write_all(b"SSH-2.0-client\r\n").await.unwrap();
        between.target_gets(b"SSH-2.0-client\r\n").await;
        between.part();
        between.ends_as(CUT).await;
    }

    a_handshake_that_a_side_has_begun_is_left_to_the_two {
        let mut between = Between::open();
        between.client.write_all(CLIENTS_CLOSE).await.unwrap();
        between.target_gets(CLIENTS_CLOSE).await;
        between.part();
        between.settle().await;
        between.target.write_all(&[HELLO, TARGETS_CLOSE].concat()).await.unwrap();
        between.client_gets(&[HELLO, TARGETS_CLOSE].concat()).await;
        between.ends_as(ENDED).await;

        let mut between = Between::open();
        between.target.write_all(TARGETS_CLOSE).await.unwrap();
        between.client_gets(TARGETS_CLOSE).await;
        between.part();
        between.settle().await;
        between.client.write_all(CLIENTS_CLOSE).await.unwrap();
        between.target_gets(CLIENTS_CLOSE).await;
        between.ends_as(ENDED).await;
    }

    a_side_that_says_close_while_ours_is_on_its_way_gets_no_second_one {
        // The head of the client's Close has passed, and the rest of it comes.
        let mut between = Between::open();
        between.client.write_all(&CLIENTS_CLOSE[..4]).await.unwrap();
        between.target_gets(&CLIENTS_CLOSE[..4]).await;
        between.part();
        between.client_gets(OUR_CLOSE).await;
        between.client.write_all(&CLIENTS_CLOSE[4..]).await.unwrap();
        between.target_gets(&CLIENTS_CLOSE[4..]).await;
        between.settle().await;
        between.target.write_all(TARGETS_CLOSE).await.unwrap();
        between.ends_as(CLOSED).await;
    }

    a_side_that_leaves_keeps_the_other_from_nothing {
        let mut between = Between::open();
        between.part();
        between.client_gets(OUR_CLOSE).await;
        between.target_gets_our_close().await;
        let (gone, _) = duplex(1);
        drop(std::mem::replace(&mut between.target, gone));
        between.settle().await;
        between.client.write_all(CLIENTS_CLOSE).await.unwrap();
        between.running.await.unwrap();
        drop(between.exchange);
        assert_eq!(between.alone.count(CLOSED), 1);
    }

    bytes_pass_both_ways_until_both_sides_are_done {
        let mut between = Between::with(b"early", b"came", 64);
        between.client_gets(b"came").await;
        between.target_gets(b"early").await;
        between.client.write_all(b"up").await.unwrap();
        between.client.shutdown().await.unwrap();
        let mut got = String::new();
        between.target.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "up");
        between.target.write_all(b"down").await.unwrap();
        between.client_gets(b"down").await;
        between.target.shutdown().await.unwrap();
        between.ends_as(ENDED).await;
    }
}

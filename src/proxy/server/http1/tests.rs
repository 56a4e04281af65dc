//! What a connection owes the others of its worker.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio::task::yield_now;

use crate::proxy::testing::Alone;

const ACCEPTED: &str = "proxy_requests_accepted_total";

/// Has a turn behind each of the connection's, until so many requests have been taken in; notes how many
/// were in one turn at `most`.
async fn watch(alone: Rc<Alone>, until: u64, most: Rc<Cell<u64>>) {
    let mut before = 0;
    while before < until {
        let now = alone.count(ACCEPTED);
        most.set(most.get().max(now - before));
        before = now;
        yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_asks_much_at_once_and_is_answered_by_ourselves_lets_others_have_their_turn()
{
    const MANY: usize = 1000;
    let test = async {
        let alone = Rc::new(Alone::new());
        let (mut client, serves) = alone.client(|stream| stream).await;
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(MANY - 1);
        client.write_all(&requests).await.unwrap();
        let last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(last).await.unwrap();
        let most = Rc::new(Cell::new(0));
        let watches = spawn_local(watch(Rc::clone(&alone), MANY as u64, Rc::clone(&most)));
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.unwrap();
        serves.await.unwrap();
        watches.await.unwrap();
        let answered = answers
            .windows(13)
            .filter(|text| text == b"HTTP/1.1 404 ")
            .count();
        assert_eq!(answered, MANY);
        // A turn is of 128; the one who watches may miss one.
        assert!((1..300).contains(&most.get()), "{} in one turn", most.get());
    };
    LocalSet::new().run_until(test).await;
}

//! Tasks in which the requests of HTTP/2 are answered: one that has answered its request waits for
//! another.
//!
//! A task for each request would be allocated, filed, moved into its place as a whole and taken apart
//! again, at a cost of more instructions than it takes to choose a target. Each task is alone with its
//! request all the same: what goes wrong in one ends that request and no other.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::rc::Weak;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::thread::LocalKey;

use tokio::task::spawn_local;

use crate::proxy::connection::keep_waker;

/// How many tasks of a worker wait at most. Each is as large as what a request needs until its answer
/// begins, some 2 KB.
const WAITING_MAX: usize = 256;

/// Where one task takes its work from.
struct Seat<J> {
    job: Cell<Option<J>>,
    /// Its task, while it waits.
    waker: RefCell<Option<Waker>>,
}

/// The tasks of one worker that wait. One that has ended, with its runtime, is not among them.
pub(super) struct Seats<J> {
    waiting: RefCell<Vec<Weak<Seat<J>>>>,
}

impl<J> Seat<J> {
    /// Waits for work.
    fn poll(&self, cx: &Context<'_>) -> Poll<J> {
        if let Some(job) = self.job.take() {
            return Poll::Ready(job);
        }
        keep_waker(&self.waker, cx);
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Does what comes to a seat, for as long as it may wait for more.
async fn sit<J: 'static, W: AsyncFn(J)>(
    seats: &'static LocalKey<Seats<J>>,
    seat: Rc<Seat<J>>,
    work: W,
) {
    let mut stays = true;
    while stays {
        let job = poll_fn(|cx| seat.poll(cx)).await;
        work(job).await;
        stays = seats.with(|seats| seats.wait(&seat));
    }
}

impl<J: 'static> Seats<J> {
    /// No task yet.
    pub(super) const fn new() -> Self {
        Self { waiting: RefCell::new(Vec::new()) }
    }

    /// Has `job` done by `work`, in a task that waits or in a new one.
    pub(super) fn take<W>(seats: &'static LocalKey<Self>, job: J, work: W)
    where
        W: AsyncFn(J) + 'static,
    {
        let waiting = seats.with(|seats| {
            let mut waiting = seats.waiting.borrow_mut();
            std::iter::from_fn(|| waiting.pop()).find_map(|seat| seat.upgrade())
        });
        if let Some(seat) = waiting {
            seat.job.set(Some(job));
            return seat.wake();
        }
        let seat = Rc::new(Seat { job: Cell::new(Some(job)), waker: RefCell::new(None) });
        drop(spawn_local(sit(seats, seat, work)));
    }

    /// Lets a task wait for more, if there are not too many.
    fn wait(&self, seat: &Rc<Seat<J>>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push(Rc::downgrade(seat));
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::Id;
    use tokio::task::LocalSet;

    use super::*;

    /// Says which task does it; then waits for the end, or panics for want of one.
    type Asked = (oneshot::Sender<Id>, Option<oneshot::Receiver<()>>);

    thread_local! {
        static SEATS: Seats<Asked> = const { Seats::new() };
    }

    async fn work((says, end): Asked) {
        says.send(tokio::task::id()).unwrap();
        end.expect("an end").await.unwrap();
    }

    /// The task that is at work, and what ends its work.
    async fn begin() -> (Id, oneshot::Sender<()>) {
        let ((says, said), (ends, end)) = (oneshot::channel(), oneshot::channel());
        Seats::take(&SEATS, (says, Some(end)), work);
        (said.await.unwrap(), ends)
    }

    async fn end(ends: oneshot::Sender<()>) {
        let waiting = || SEATS.with(|seats| seats.waiting.borrow().len());
        let before = waiting();
        ends.send(()).unwrap();
        while waiting() == before {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_has_done_its_work_is_given_the_next() {
        let all = async {
            let (one, ends_one) = begin().await;
            let (other, ends_other) = begin().await;
            assert_ne!(one, other, "each has its own while both last");
            end(ends_one).await;
            end(ends_other).await;
            let (last, ends_last) = begin().await;
            let (first, ends_first) = begin().await;
            assert_eq!((first, last), (one, other));
            end(ends_first).await;
            end(ends_last).await;
        };
        LocalSet::new().run_until(all).await;
    }

    #[tokio::test]
    async fn work_that_panics_ends_alone() {
        let all = async {
            let (kept, ends) = begin().await;
            let (says, said) = oneshot::channel();
            Seats::take(&SEATS, (says, None), work);
            let panicked = said.await.unwrap();
            end(ends).await;
            assert_eq!(SEATS.with(|seats| seats.waiting.borrow().len()), 1);
            let (next, _ends) = begin().await;
            let (another, _ends) = begin().await;
            assert_eq!(next, kept);
            assert_ne!(another, panicked);
        };
        LocalSet::new().run_until(all).await;
    }

    async fn once() {
        let (_task, ends) = begin().await;
        end(ends).await;
    }

    #[tokio::test]
    async fn a_task_that_has_ended_with_its_runtime_is_given_nothing() {
        for _runtime in 0..2 {
            LocalSet::new().run_until(once()).await;
        }
    }

    /// Has so many things done at once.
    async fn at_once(count: usize) {
        let mut busy = Vec::new();
        for _ in 0..count {
            busy.push(begin().await.1);
        }
        for ends in busy {
            ends.send(()).unwrap();
        }
        while SEATS.with(|seats| seats.waiting.borrow().len()) < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        // Whoever has not come to it yet does now.
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn no_more_than_so_many_wait() {
        LocalSet::new().run_until(at_once(WAITING_MAX + 1)).await;
        assert_eq!(SEATS.with(|seats| seats.waiting.borrow().len()), WAITING_MAX);
    }
}

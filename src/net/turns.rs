//! Whose turn it is on a worker to do what takes long, so that it cannot starve what else runs there.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::task::yield_now;

/// One step at a time, first come, first served, and between two of them everything else that is
/// ready on the thread. One for each worker; clones share it.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Fair: permits go out in the order in which they were asked for.
    one: Semaphore,
    waiting: Cell<usize>,
    limit: usize,
}

/// Somebody's turn.
#[derive(Debug)]
#[must_use = "a turn that is dropped at once is none"]
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
}

struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Turns {
    /// At most `waiting` wait for their turn; whoever comes then is refused.
    #[must_use]
    pub fn new(waiting: usize) -> Self {
        let shared = Shared { one: Semaphore::new(1), waiting: Cell::new(0), limit: waiting };
        Self { shared: Rc::new(shared) }
    }

    /// Waits for a turn. It ends with `Turn::end`.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`]: too many wait already.
    pub async fn take(&self) -> io::Result<Turn<'_>> {
        let Shared { one, waiting, limit } = &*self.shared;
        if let Ok(permit) = one.try_acquire() {
            return Ok(Turn { _permit: permit });
        }
        if waiting.get() >= *limit {
            return Err(busy());
        }
        let _waiting = Waiting::new(waiting);
        let permit = one.acquire().await.map_err(|_closed| busy())?;
        Ok(Turn { _permit: permit })
    }
}

impl Turn<'_> {
    /// Lets everything else on this thread run once, what the kernel has just reported included,
    /// before the next one gets its turn.
    pub async fn end(self) {
        yield_now().await;
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "too many wait for their turn")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;
    use std::task::Waker;

    use tokio::task::JoinSet;
    use tokio::task::LocalSet;

    use super::*;

    type Order = Rc<RefCell<Vec<Option<usize>>>>;

    async fn step(at: usize, turns: Turns, order: Order) {
        let turn = turns.take().await.unwrap();
        order.borrow_mut().push(Some(at));
        turn.end().await;
    }

    async fn note_until_all_are_done(order: Order) {
        while order.borrow().iter().flatten().count() < 20 {
            order.borrow_mut().push(None);
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn turns_go_in_order_and_everything_else_runs_between_two() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let turns = Turns::new(100);
        let work = async {
            let one = |at| step(at, turns.clone(), Rc::clone(&order));
            let mut all: JoinSet<()> = JoinSet::new();
            (0..20).for_each(|at| drop(all.spawn_local(one(at))));
            all.spawn_local(note_until_all_are_done(Rc::clone(&order)));
            all.join_all().await;
        };
        LocalSet::new().run_until(work).await;
        let order = order.borrow();
        let steps: Vec<_> = order.iter().flatten().copied().collect();
        assert_eq!(steps, (0..20).collect::<Vec<_>>());
        let side_by_side = order
            .windows(2)
            .filter(|pair| pair.iter().all(Option::is_some))
            .count();
        assert_eq!(side_by_side, 0, "{order:?}");
    }

    #[tokio::test]
    async fn only_so_many_wait_and_who_gives_up_makes_room() {
        let turns = Turns::new(1);
        let first = turns.take().await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        {
            let mut second = pin!(turns.take());
            assert!(second.as_mut().poll(cx).is_pending());
            let third = turns.take().await.unwrap_err();
            assert_eq!(third.kind(), io::ErrorKind::ResourceBusy);
        }
        let mut fourth = pin!(turns.take());
        assert!(fourth.as_mut().poll(cx).is_pending(), "the second one is gone");
        first.end().await;
        assert!(fourth.as_mut().poll(cx).is_ready());
    }
}

//! Orders: a change of what stands beside the live colours, by one publish; and what is over by itself.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::sleep;

use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::events;
use crate::control::journal::Memory;
use crate::control::reload;
use crate::control::reload::Ground;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::refusal;
use crate::model::orders::Order;
use crate::model::orders::Orders;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;

/// The clock on the wall may be set while an order waits for its end.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A colour that is no longer held may be stopped at any time: nothing goes there any more.
fn shut_standby(snapshot: &Snapshot, upstream: &str) {
    let upstream = snapshot.upstream(upstream);
    let unseen = upstream.filter(|upstream| upstream.orders.preview.is_none());
    let standby = unseen.and_then(|upstream| upstream.pool(upstream.live()?.other()));
    let idle = |pool: &&Arc<Pool>| pool.leases().is_retired() && pool.leases().plain() == 0;
    if let Some(pool) = standby.filter(idle) {
        pool.leases().shut();
    }
}

impl Supervisor {
    /// Changes what is ordered for these upstreams: makes it durable, then publishes it. Pools that
    /// the new snapshot no longer has drain as after a reload.
    ///
    /// # Errors
    ///
    /// It cannot be made durable. Nothing has changed then.
    pub(super) async fn order(
        &mut self,
        upstreams: impl IntoIterator<Item = &str>,
        edit: impl Fn(&mut Orders),
    ) -> Result<Arc<Snapshot>, Refusal> {
        let memory = self.edited(upstreams, edit);
        let generation = self.snapshots.load().generation + 1;
        self.make_durable(generation, &memory)
            .await
            .map_err(|why| refusal::not_durable(&why))?;
        Ok(self.adopt(generation, memory))
    }

    fn edited<'a>(
        &self,
        upstreams: impl IntoIterator<Item = &'a str>,
        edit: impl Fn(&mut Orders),
    ) -> Memory {
        let mut memory = self.memory.clone();
        for name in upstreams {
            let mut orders = memory.orders.remove(name).unwrap_or_default();
            edit(&mut orders);
            if !orders.is_empty() {
                memory.orders.insert(name.to_owned(), orders);
            }
        }
        memory
    }

    /// Publishes what `memory` says, which is durable.
    pub(super) fn adopt(&mut self, generation: u64, memory: Memory) -> Arc<Snapshot> {
        self.memory = memory;
        let old = self.snapshots.load();
        let (memory, workers, now) = (&self.memory, self.workers, SystemTime::now());
        let key = &self.key;
        let ground = Ground { generation, memory, old: Some(&old), workers, key, now };
        let new = self.make_current(reload::snapshot(Arc::clone(&old.settings), ground));
        self.replace_pools(&old, &new);
        new
    }

    /// Resolves when an order may be over. Cancel safe.
    pub(super) async fn order_over(memory: &Memory) {
        let first = memory.orders.values().filter_map(Orders::next_expiry).min();
        let Some(first) = first else { return std::future::pending().await };
        let left = first.duration_since(SystemTime::now()).unwrap_or_default();
        sleep(left.min(LOOK_AGAIN)).await;
    }

    /// Drops what is over. That need not be durable: whoever reads the old state at the next start
    /// sees by the clock that it is over.
    pub(super) async fn expire(&mut self) {
        let now = SystemTime::now();
        let mut over: Vec<(String, Order)> = Vec::new();
        for (name, orders) in &self.memory.orders {
            let ended = orders.clone().expire(now);
            over.extend(ended.into_iter().map(|order| (name.clone(), order)));
        }
        if over.is_empty() {
            return;
        }
        let names: Vec<&str> = over.iter().map(|(name, _)| name.as_str()).collect();
        let memory = self.edited(names, |orders| drop(orders.expire(now)));
        let generation = self.snapshots.load().generation + 1;
        if let Err(why) = self.make_durable(generation, &memory).await {
            tracing::warn!(why, "that orders are over could not be made durable");
        }
        let new = self.adopt(generation, memory);
        for (upstream, order) in over {
            match order {
                Order::Preview => self.shut_after_preview(&upstream),
                Order::Held => shut_standby(&new, &upstream),
                Order::Maintenance | Order::Pause | Order::Targets => {}
            }
            tracing::info!(upstream, order = order.as_str(), generation, "order is over");
            let (stands, until) = (false, None);
            let event = Event::Ordered { upstream, order, stands, until, generation };
            self.record_over(&event);
            self.bus.tell(event);
        }
    }

    /// Tells of an order that somebody gave or took back.
    pub(super) fn ordered(
        &self,
        upstream: &str,
        order: Order,
        until: Option<SystemTime>,
        generation: u64,
    ) {
        let upstream = upstream.to_owned();
        let (stands, until) = (until.is_some(), until.map(events::at));
        self.bus
            .tell(Event::Ordered { upstream, order, stands, until, generation });
    }
}

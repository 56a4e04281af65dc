//! A pause is ordered, or what it holds is let go.

use std::time::Duration;
use std::time::SystemTime;

use crate::control::command::Refusal;
use crate::control::command::pause::Pause;
use crate::control::command::pause::Paused;
use crate::control::command::pause::Resume;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::model::orders::Order;
use crate::model::orders::Orders;
use crate::model::orders::pause;

/// How long a pause lasts unless somebody says: one that was forgotten must not be an outage.
const FOR: Duration = Duration::from_secs(5 * 60);

/// How long a request is held unless somebody says: most clients wait 30 s, and people less.
const MAX: Duration = Duration::from_secs(20);

/// Over which time requests are let go unless somebody says: a thousand at once would be a flood.
const OVER: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Orders that requests to upstreams are held.
    pub(super) async fn pause(
        &mut self,
        request: &Pause,
        caller: Caller,
    ) -> Result<Paused, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let names = self.names_of(request.upstreams.as_deref(), request.all)?;
        let since = SystemTime::now();
        let lasts = request::duration("for", request.lasts.as_deref())?.unwrap_or(FOR);
        let max = request::duration("max", request.max.as_deref())?.unwrap_or(MAX);
        let (until, writes_only) = (since + lasts, request.writes_only);
        let order = pause::Pause { since, until, writes_only, max, over: OVER };
        let held = |orders: &mut Orders| orders.pause = Some(order.clone());
        let new = self.order(names.iter().map(String::as_str), held).await?;
        let generation = new.generation;
        for upstream in &names {
            tracing::info!(upstream, writes_only, generation, %caller, "paused");
            self.ordered(upstream, Order::Pause, Some(until), generation);
        }
        Ok(Paused { generation, upstreams: names, until: Some(events::at(until)) })
    }

    /// Lets what is held go. The order stands until the last of it has been: that is its end, of which
    /// everybody is told then.
    pub(super) async fn resume(
        &mut self,
        request: &Resume,
        caller: Caller,
    ) -> Result<Paused, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let names = self.names_of(request.upstreams.as_deref(), request.all)?;
        let over = request::duration("over", request.over.as_deref())?.unwrap_or(OVER);
        let now = SystemTime::now();
        let snapshot = self.snapshots.load();
        let holds = |name: &&str| {
            let upstream = snapshot.upstream(name);
            upstream.is_some_and(|upstream| {
                let pause = upstream.orders.pause.as_ref();
                pause.is_some_and(|pause| now < pause.until)
            })
        };
        let held: Vec<&str> = names.iter().map(String::as_str).filter(holds).collect();
        let mut generation = snapshot.generation;
        if !held.is_empty() {
            let ended = |order: &pause::Pause| pause::Pause { until: now, over, ..order.clone() };
            let let_go = |orders: &mut Orders| orders.pause = orders.pause.as_ref().map(ended);
            generation = self.order(held.iter().copied(), let_go).await?.generation;
        }
        for upstream in held {
            tracing::info!(upstream, generation, %caller, "resumed");
        }
        Ok(Paused { generation, upstreams: names, until: None })
    }

    fn names_of(&self, named: Option<&[String]>, all: bool) -> Result<Vec<String>, Refusal> {
        let snapshot = self.snapshots.load();
        let upstreams = request::of_any_kind(named, all, &snapshot)?;
        let names = upstreams.iter().map(|upstream| upstream.name.to_string());
        Ok(names.collect())
    }
}

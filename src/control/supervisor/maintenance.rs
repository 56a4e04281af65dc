//! Maintenance is ordered, or is over.

use std::time::Duration;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::control::command::Refusal;
use crate::control::command::maintenance::Maintain;
use crate::control::command::maintenance::Maintained;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::model::orders::Order;
use crate::model::orders::Orders;
use crate::model::orders::maintenance::Maintenance;

/// How long it lasts unless somebody says: a long evening's work. An end that nobody had in mind
/// must not let clients in while it goes on, and one that was forgotten not shut them out for days.
const FOR: Duration = Duration::from_secs(4 * 3600);

/// When clients are told to come back unless somebody says.
const RETRY_AFTER: Duration = Duration::from_secs(120);

/// The longest page, in bytes: it is kept with the state and in memory.
const PAGE_MAX: usize = 32 * 1024;

impl Supervisor {
    /// Orders maintenance of upstreams, or says that it is over.
    pub(super) async fn maintain(
        &mut self,
        request: &Maintain,
        caller: Caller,
    ) -> Result<Maintained, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let snapshot = self.snapshots.load();
        let upstreams = request::of_any_kind(request.upstreams.as_deref(), request.all, &snapshot)?;
        let names: Vec<&str> = upstreams.iter().map(|upstream| &*upstream.name).collect();
        let order = if request.on { Some(meaning(request, SystemTime::now())?) } else { None };
        let stands = |orders: &Orders| orders.maintenance.is_some();
        let anything = request.on || upstreams.iter().any(|upstream| stands(&upstream.orders));
        let until = order.as_ref().map(|order| order.until);
        let mut generation = snapshot.generation;
        if anything {
            let new = self
                .order(names.iter().copied(), |orders| orders.maintenance.clone_from(&order))
                .await?;
            generation = new.generation;
            for name in &names {
                tracing::info!(upstream = name, on = request.on, generation, %caller, "maintenance");
                self.ordered(name, Order::Maintenance, until, generation);
            }
        }
        let upstreams = names.into_iter().map(str::to_owned).collect();
        Ok(Maintained { generation, upstreams, until: until.map(events::at) })
    }
}

fn meaning(request: &Maintain, now: SystemTime) -> Result<Maintenance, Refusal> {
    let lasts = request::duration("for", request.lasts.as_deref())?.unwrap_or(FOR);
    let retry_after = request::duration("retry_after", request.retry_after.as_deref())?;
    let page = request.page.clone();
    if page.as_ref().is_some_and(|page| page.len() > PAGE_MAX) {
        let long = refusal::malformed(format!("page: longer than {} KiB", PAGE_MAX / 1024));
        return Err(refusal::hinted(long, "keep pictures and styles elsewhere"));
    }
    let allow = request.allow.iter().map(|text| network(text));
    Ok(Maintenance {
        since: now,
        until: now + lasts,
        allow: allow.collect::<Result<_, _>>()?,
        retry_after: retry_after.unwrap_or(RETRY_AFTER),
        page,
    })
}

/// `10.0.0.0/8`, or one address.
fn network(text: &str) -> Result<IpNet, Refusal> {
    let one = || {
        text.parse()
            .map(|address: std::net::IpAddr| IpNet::from(address.to_canonical()))
    };
    text.parse::<IpNet>()
        .or_else(|_no_network| one())
        .map_err(|_neither| {
            let wrong = refusal::malformed(format!(
                "allow: \"{text}\" is neither a network nor an address"
            ));
            refusal::hinted(wrong, "write it as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")
        })
}

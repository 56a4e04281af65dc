//! A colour gets other targets than the file gives it, or the file's again; by itself, or as the first
//! step of a promotion.

use std::sync::Arc;

use crate::config::pool;
use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::command::event::Event;
use crate::control::command::target::PoolSet;
use crate::control::command::target::SetPool;
use crate::control::journal::Memory;
use crate::control::promotion::Ending;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::guards;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::EventStream;
use crate::control::supervisor::promote::goes_in_steps;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::control::supervisor::running::Running;
use crate::control::supervisor::targets;
use crate::model::colour::Colour;
use crate::model::orders::Order;
use crate::model::orders::Orders;
use crate::model::orders::held::Held;
use crate::model::settings::Settings;
use crate::model::settings::TargetSettings;
use crate::model::snapshot::Snapshot;
use crate::model::target::Address;
use crate::model::upstream::Upstream;

impl Supervisor {
    /// Gives a colour other targets, or says why not.
    pub(super) async fn set_pool(
        &mut self,
        request: &SetPool,
        caller: Caller,
    ) -> Result<PoolSet, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let (upstream, colour) = request::pool(request, &self.snapshots.load())?;
        if serves(&upstream, colour) && !request.force {
            return Err(refusal::serves(&upstream, colour));
        }
        if !request.force {
            guards::is_let_go(&upstream, colour)?;
        }
        self.may_change(std::iter::once((&*upstream.name, colour)))?;
        let snapshot = self
            .give(&upstream, colour, request.targets.as_deref(), caller, false)
            .await?;
        let now = snapshot.upstream(&upstream.name);
        let pool = now.and_then(|upstream| upstream.pool(colour));
        let names = |upstream: &Upstream| upstream.orders.targets.contains_key(&colour);
        Ok(PoolSet {
            upstream: upstream.name.to_string(),
            colour,
            generation: snapshot.generation,
            targets: pool.map_or_else(Vec::new, |pool| {
                pool.targets.iter().map(|it| it.name.to_string()).collect()
            }),
            overridden: now.is_some_and(names),
        })
    }

    /// Orders the list; `None`: the file's. What is so already is not ordered again.
    async fn give(
        &mut self,
        upstream: &Upstream,
        colour: Colour,
        list: Option<&[String]>,
        caller: Caller,
        provisional: bool,
    ) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.snapshots.load();
        let name = &upstream.name;
        let (wanted, others) = self.checked(&snapshot.settings, upstream, colour, list)?;
        if upstream.orders.targets.get(&colour) == wanted.as_ref() {
            return Ok(snapshot);
        }
        let new = self
            .order([&**name], |orders| {
                let mut given = orders.clone();
                given.set_targets(colour, wanted.clone(), false, |_| true);
                let stays = given.targets_of(colour, snapshot.settings.written(name, colour));
                let is_there = |address: &Address| {
                    let mut all = stays.iter().chain(&others);
                    all.any(|target| target.address == *address)
                };
                orders.set_targets(colour, wanted.clone(), provisional, is_there);
                // Nothing has vouched for these: they are no way back.
                Held::give_up(&mut orders.held, colour);
            })
            .await?;
        let (generation, stands) = (new.generation, wanted.is_some());
        tracing::info!(upstream = %name, %colour, generation, stands, %caller, "targets ordered");
        let (upstream, order, until) = (name.to_string(), Order::Targets, None);
        self.bus
            .tell(Event::Ordered { upstream, order, stands, until, generation });
        Ok(new)
    }

    /// The list by the rules of the file, `None` where it is the file's own; and the other colour's.
    fn checked(
        &self,
        settings: &Settings,
        upstream: &Upstream,
        colour: Colour,
        list: Option<&[String]>,
    ) -> Result<(Option<Vec<Address>>, Vec<TargetSettings>), Refusal> {
        let (name, other) = (&upstream.name, colour.other());
        let of_file = settings.written(name, colour);
        let others = upstream
            .orders
            .targets_of(other, settings.written(name, other));
        let as_text = || {
            of_file
                .iter()
                .map(|target| target.address.to_string())
                .collect()
        };
        let list = list.map_or_else(as_text, <[String]>::to_vec);
        let targets = pool::targets(name, colour, &list, &others, settings, &self.path)
            .map_err(|problems| refusal::bad_targets(&problems))?;
        let own: Vec<&Address> = of_file.iter().map(|target| &target.address).collect();
        let list: Vec<Address> = targets.into_iter().map(|target| target.address).collect();
        let is_own = list.iter().eq(own);
        Ok(((!is_own).then_some(list), others))
    }

    /// Gives the standby colour its targets and promotes it: one step for whoever comes second.
    pub(super) async fn deploy(
        &mut self,
        request: &Promote,
        list: &[String],
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        let wish = request::promote(request, &self.snapshots.load())?;
        let [(upstream, colour)] = wish.members.as_slice() else {
            return Err(refusal::malformed("targets: name one upstream".to_owned()));
        };
        if wish.dry_run {
            return Err(refusal::malformed("targets: a dry run changes nothing".to_owned()));
        }
        // Nothing may change for a deploy that is refused.
        let names = [upstream.name.to_string()];
        self.meets_no_walk(&names)?;
        if goes_in_steps(request) {
            self.may_walk(request, &names)?;
        }
        if serves(upstream, *colour) {
            return Err(refusal::serves(upstream, *colour));
        }
        // Whoever deploys again gives the way back up, but not while it is being judged.
        if upstream
            .orders
            .held
            .as_ref()
            .is_some_and(|held| held.baking)
        {
            guards::is_let_go(upstream, *colour)?;
        }
        self.may_start(&wish)?;
        let [name] = names;
        self.give(upstream, *colour, Some(list), caller, true)
            .await?;
        let started = self.start_deploy(request, caller).await;
        if started.is_err() {
            self.put_targets_back(&name).await;
        }
        started
    }

    async fn start_deploy(
        &mut self,
        request: &Promote,
        caller: Caller,
    ) -> Result<EventStream, Refusal> {
        if goes_in_steps(request) {
            return self.walk(request, caller, true).await;
        }
        let mut wish = request::promote(request, &self.snapshots.load())?;
        targets::may_serve(&wish)?;
        wish.deploys = true;
        self.start(wish, caller).await
    }

    /// A promotion that gave its colour other targets has changed nothing: these go again, too.
    pub(super) async fn take_targets_back(&mut self, running: &Running, ending: Ending) {
        if !running.deploys || !matches!(ending, Ending::Refused | Ending::Cancelled) {
            return;
        }
        for name in running.names() {
            self.put_targets_back(&name).await;
        }
    }

    async fn put_targets_back(&mut self, upstream: &str) {
        let stands = |orders: &Orders| orders.former.is_some();
        if !self.memory.orders.get(upstream).is_some_and(stands) {
            return;
        }
        let put_back = |orders: &mut Orders| {
            orders.take_targets_back();
        };
        match self.order([upstream], put_back).await {
            Ok(new) => {
                let generation = new.generation;
                tracing::info!(upstream, generation, "the former targets are back");
                let orders = new.upstream(upstream).map(|upstream| &upstream.orders);
                let stands = orders.is_some_and(|orders| !orders.targets.is_empty());
                let (upstream, order, until) = (upstream.to_owned(), Order::Targets, None);
                self.bus
                    .tell(Event::Ordered { upstream, order, stands, until, generation });
            }
            Err(refused) => {
                let why = refused.detail;
                tracing::error!(
                    upstream,
                    why,
                    "the former targets cannot be put back before a restart"
                );
            }
        }
    }
}

/// Lists that were ordered and have an address of the other colour now: its key in the file, what is
/// wrong, and the way out.
pub(super) fn clashes(settings: &Settings, memory: &Memory) -> Vec<(String, String, String)> {
    let mut clashes = Vec::new();
    for (name, orders) in memory
        .orders
        .iter()
        .filter(|(_, orders)| !orders.targets.is_empty())
    {
        let of = |colour| orders.targets_of(colour, settings.written(name, colour));
        let (blue, green) = (of(Colour::Blue), of(Colour::Green));
        let both = |target: &&TargetSettings| blue.iter().any(|it| it.address == target.address);
        let Some(target) = green.iter().find(both) else { continue };
        let ordered = |colour: &Colour| orders.targets.contains_key(colour);
        let colour = Colour::BOTH
            .into_iter()
            .find(ordered)
            .unwrap_or(Colour::Green);
        clashes.push((
            format!("upstreams.{name}.{}", colour.other()),
            format!(
                "has {}, and so has {colour}, whose targets were set at run time",
                target.address
            ),
            format!("proxyctl pool reset {colour} --upstream {name}"),
        ));
    }
    clashes
}

/// Whether requests are sent to this colour as things stand.
fn serves(upstream: &Upstream, colour: Colour) -> bool {
    upstream
        .pool(colour)
        .is_some_and(|pool| !pool.leases().is_retired())
}

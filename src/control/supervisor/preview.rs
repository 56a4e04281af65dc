//! A preview is ordered, or over.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::control::command::Refusal;
use crate::control::command::canary::Invitation;
use crate::control::command::canary::Preview as Request;
use crate::control::command::canary::Previewed;
use crate::control::events;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::model::choice::preview::LINK;
use crate::model::colour::Colour;
use crate::model::orders::Order;
use crate::model::orders::preview::Preview;
use crate::model::pool::Pool;
use crate::model::settings::RouteSettings;
use crate::model::signed::Purpose;
use crate::model::snapshot::Snapshot;
use crate::model::upstream::Upstream;

/// How long it lasts unless somebody says: a meeting.
const FOR: Duration = Duration::from_secs(3600);

impl Supervisor {
    /// Orders previews of the standby colour, or says that they are over.
    pub(super) async fn preview(
        &mut self,
        request: &Request,
        caller: Caller,
    ) -> Result<Previewed, Refusal> {
        if self.stopping {
            return Err(refusal::stopping());
        }
        let (upstreams, colour) = request::preview(request, &self.snapshots.load())?;
        let names: Vec<String> = upstreams
            .iter()
            .map(|upstream| upstream.name.to_string())
            .collect();
        if request.off {
            return self.end_previews(&upstreams, names, caller).await;
        }
        let lasts = request::duration("for", request.lasts.as_deref())?.unwrap_or(FOR);
        for upstream in &upstreams {
            self.may_preview(upstream, colour)?;
        }
        let since = SystemTime::now();
        let until = since + lasts;
        let order = Preview { colour, salt: fastrand::u64(..), since, until };
        // Exceptions may come in before anybody is sent there.
        let shut: Vec<Arc<Pool>> = upstreams
            .iter()
            .filter_map(|upstream| upstream.pool(colour))
            .filter(|pool| pool.leases().is_shut())
            .cloned()
            .collect();
        shut.iter().for_each(|pool| pool.leases().admit());
        let all = names.iter().map(String::as_str);
        let ordered = self.order(all, |orders| orders.preview = Some(order)).await;
        if ordered.is_err() {
            shut.iter().for_each(|pool| pool.leases().shut());
        }
        let new = ordered?;
        let mut previews = Vec::new();
        for upstream in names.iter().filter_map(|name| new.upstream(name)) {
            self.ordered(&upstream.name, Order::Preview, Some(until), new.generation);
            previews.push(self.invitation(&new, upstream, &order));
        }
        let (upstreams, generation) = (names.join(","), new.generation);
        tracing::info!(upstreams, %colour, generation, %caller, "preview");
        Ok(Previewed { generation, previews, ended: Vec::new() })
    }

    async fn end_previews(
        &mut self,
        upstreams: &[Upstream],
        names: Vec<String>,
        caller: Caller,
    ) -> Result<Previewed, Refusal> {
        let mut generation = self.snapshots.load().generation;
        let stand = |upstream: &Upstream| upstream.orders.preview.is_some();
        if upstreams.iter().any(stand) {
            let all = names.iter().map(String::as_str);
            generation = self
                .order(all, |orders| orders.preview = None)
                .await?
                .generation;
            for upstream in upstreams.iter().filter(|upstream| stand(upstream)) {
                self.ordered(&upstream.name, Order::Preview, None, generation);
            }
            tracing::info!(upstreams = names.join(","), generation, %caller, "preview is over");
            names.iter().for_each(|name| self.shut_after_preview(name));
        }
        Ok(Previewed { generation, previews: Vec::new(), ended: names })
    }

    /// A standby pool that nobody is shown any more takes no exceptions. One that drains has exceptions
    /// of its own, and is shut by that.
    pub(super) fn shut_after_preview(&self, upstream: &str) {
        let snapshot = self.snapshots.load();
        let Some(upstream) = snapshot.upstream(upstream) else { return };
        // What is held stays open to its exceptions.
        if upstream.orders.held.is_some() {
            return;
        }
        let pool = upstream.live().and_then(|live| upstream.pool(live.other()));
        if let Some(pool) = pool.filter(|pool| pool.leases().is_retired())
            && !self.is_draining(&upstream.name)
        {
            pool.leases().shut();
        }
    }

    pub(super) fn is_draining(&self, upstream: &str) -> bool {
        self.running.values().any(|running| {
            running.machine.is_draining() && running.names().iter().any(|name| name == upstream)
        })
    }

    /// A colour that still drains, or that somebody is about to stop, is shown to nobody.
    fn may_preview(&self, upstream: &Upstream, colour: Colour) -> Result<(), Refusal> {
        let name = &upstream.name;
        if let Some(holder) = self.guard_of(name, colour) {
            return Err(refusal::busy_guard(name, colour, holder));
        }
        if self.is_draining(name) {
            return Err(refusal::draining(name, colour));
        }
        Ok(())
    }

    fn invitation(&self, snapshot: &Snapshot, upstream: &Upstream, order: &Preview) -> Invitation {
        let purpose = Purpose::Preview { upstream: &upstream.name, salt: order.salt };
        let until = order
            .until
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let token = upstream.key.sign(purpose, until.as_secs());
        let own = |route: &&RouteSettings| route.upstream == upstream.name;
        let path = snapshot
            .settings
            .routes
            .iter()
            .find(own)
            .map_or("/", |route| route.path.as_str());
        let (scheme, port) = self.front_door();
        let host = upstream.public_host.as_deref();
        let at = |host: &str| format!("{scheme}://{host}{port}");
        let site = at(host.unwrap_or("localhost"));
        let index = snapshot
            .upstreams
            .iter()
            .position(|other| other.name == upstream.name);
        let led = snapshot.routes.find(host.unwrap_or(""), LINK).ok();
        let leads_here = led.is_some_and(|route| Some(route.upstream) == index);
        Invitation {
            upstream: upstream.name.to_string(),
            colour: order.colour,
            until: events::at(order.until),
            link: leads_here.then(|| format!("{site}{LINK}?token={token}")),
            url: format!("{site}{path}"),
            host: upstream
                .preview_host
                .as_deref()
                .map(|host| format!("{}/", at(host))),
            token,
        }
    }

    /// How clients come in: by the first listener with TLS, or else by the first that serves.
    fn front_door(&self) -> (&'static str, String) {
        let current = self.listeners.current();
        let secure = current.iter().find(|listener| listener.tls.is_some());
        let scheme = if secure.is_some() { "https" } else { "http" };
        let usual = if secure.is_some() { 443 } else { 80 };
        let port = secure
            .or(current.first())
            .map_or(usual, |listener| listener.address.port());
        (scheme, if port == usual { String::new() } else { format!(":{port}") })
    }
}

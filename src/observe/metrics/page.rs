//! Every metric by name, with its help and its labels: the catalogue of what `/metrics` tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::fault::Outcome;
use crate::model::health::Verdict;
use crate::model::pool::Pool;
use crate::model::snapshot::Snapshot;
use crate::observe::metrics::Inner;
use crate::observe::metrics::exposition::Family;
use crate::observe::metrics::exposition::Label;
use crate::observe::metrics::label;
use crate::observe::metrics::lock;
use crate::observe::metrics::meters::ListenerCells;
use crate::observe::metrics::meters::PoolCells;
use crate::observe::metrics::tree::Tree;
use crate::observe::metrics::words::ClientError;
use crate::observe::metrics::words::ConnectionOutcome;
use crate::observe::metrics::words::HandshakeOutcome;
use crate::observe::metrics::words::Phase;
use crate::observe::metrics::words::PromotionOutcome;
use crate::observe::metrics::words::SkewOutcome;
use crate::observe::metrics::words::StreamEnd;
use crate::observe::metrics::words::UpstreamError;
use crate::observe::metrics::words::VerdictOutcome;

/// The statuses whose series exist before the first request that gets them.
const USUAL_STATUSES: [u16; 30] = [
    101, 200, 201, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410,
    413, 414, 421, 422, 429, 431, 500, 501, 502, 503, 504,
];

/// A pool of the snapshot, and whether new requests get it.
struct InService<'a> {
    pool: &'a Arc<Pool>,
    live: bool,
}

impl InService<'_> {
    fn labels(&self) -> [Label<'_>; 2] {
        [("upstream", &self.pool.upstream), ("colour", self.pool.colour_label())]
    }
}

impl Inner {
    /// The page, one family a metric.
    pub(super) fn families(&self, snapshot: &Snapshot) -> Vec<Family> {
        let mut families = self.of_the_process(snapshot);
        let pools: Vec<InService<'_>> = snapshot
            .upstreams
            .iter()
            .flat_map(|upstream| {
                let live = upstream.pick();
                let in_service = move |pool| InService { pool, live: Arc::ptr_eq(pool, live) };
                upstream.all_pools().map(in_service)
            })
            .collect();
        let mut tree = self.tree();
        tree.adopt(snapshot);
        families.extend(of_requests(&mut tree, &pools));
        families.extend(of_pools(&mut tree, &pools));
        families.extend(of_targets(&mut tree, &pools));
        families.extend(of_promotions(&mut tree, snapshot));
        families.push(of_maintenance(snapshot));
        families.push(of_canaries(snapshot));
        families.extend(of_pauses(&mut tree, snapshot));
        families.extend(of_listeners(&tree));
        drop(tree);
        families.extend(self.process.families());
        families
    }

    fn of_the_process(&self, snapshot: &Snapshot) -> Vec<Family> {
        let mut build = Family::gauge("proxy_build_info", "Always 1, labelled with the version.");
        build.add(&[("version", &self.version)], 1);
        let mut generation =
            Family::gauge("proxy_generation", "The number of the snapshot that requests see.");
        generation.add(&[], snapshot.generation);
        let mut outcomes = Family::counter(
            "proxy_requests_outcome_total",
            "Accepted requests by how they ended, each in exactly one way; lost must read 0.",
        );
        for outcome in Outcome::ALL {
            outcomes.add(&[("outcome", outcome.as_str())], self.outcomes.get(outcome as usize));
        }
        let mut accepted = Family::counter(
            "proxy_requests_accepted_total",
            "Requests taken in; those not yet among the outcomes are in flight.",
        );
        accepted.add(&[], self.requests.sum().accepted.get());
        let mut reloads = Family::counter(
            "proxy_config_reloads_total",
            "Times the configuration file was read again, by what came of it.",
        );
        reloads.add(&[("outcome", "applied")], self.reloads_applied.get());
        reloads.add(&[("outcome", "refused")], self.reloads_refused.get());
        let mut last = Family::gauge(
            "proxy_config_last_reload_successful",
            "Whether the configuration file was applied when it was last read.",
        );
        last.add(&[], u64::from(self.last_reload_ok.load(Ordering::Relaxed)));
        let mut certificates = Family::gauge(
            "proxy_certificate_expiry_timestamp_seconds",
            "When each certificate in service expires, in seconds since 1970.",
        );
        for (name, expiry) in &*lock(&self.certificates) {
            certificates.add(&[("name", name)], *expiry);
        }
        let mut dropped = Family::counter(
            "proxy_access_log_dropped_total",
            "Lines of the access log given up because it could not be written fast enough.",
        );
        dropped.add(&[], self.access_log_dropped.get());
        let mut lost = Family::counter(
            "proxy_history_lost_total",
            "Entries of the history given up because they could not be written.",
        );
        lost.add(&[], self.history_lost.get());
        vec![build, generation, outcomes, accepted, reloads, last, certificates, dropped, lost]
    }
}

fn of_requests(tree: &mut Tree, pools: &[InService<'_>]) -> Vec<Family> {
    let mut requests = Family::counter("proxy_requests_total", "Requests answered, by status.");
    let mut duration = Family::histogram(
        "proxy_request_duration_seconds",
        "From a request's head to the last byte of its answer.",
    );
    let mut retries = Family::counter(
        "proxy_retries_total",
        "Requests sent once more, to another target or on another connection.",
    );
    let mut over_budget = Family::counter(
        "proxy_retries_over_budget_total",
        "Requests that could have been sent once more, but too many others had been.",
    );
    let mut fail_open = Family::counter(
        "proxy_fail_open_total",
        "Requests sent to a target although no target of the pool was healthy.",
    );
    let mut stood_in = Family::counter(
        "proxy_canary_stand_ins_total",
        "Requests of a canary's users that got this colour, because no target of the other was usable.",
    );
    let mut rescued = Family::counter(
        "proxy_rescued_total",
        "Requests that this colour failed and the other one answered.",
    );
    let mut skewed = Family::counter(
        "proxy_skew_total",
        "Requests for what this colour does not have that the other one was asked, by what came of it.",
    );
    let in_service = pools
        .iter()
        .map(|in_service| (&*in_service.pool.upstream, in_service.pool.colour));
    for (name, colour) in std::iter::once(("", None)).chain(in_service) {
        let sum = tree.pool(name, colour).requests.sum();
        let labels = [("upstream", name), ("colour", label(colour))];
        let [upstream, colour] = labels;
        for status in PoolCells::statuses() {
            let count = sum.with_status(status);
            if count > 0 || USUAL_STATUSES.contains(&status) {
                requests.add(&[upstream, colour, ("code", &status.to_string())], count);
            }
        }
        duration.add_timings(&labels, &sum.took.read());
        retries.add(&labels, sum.retries.get());
        over_budget.add(&labels, sum.over_budget.get());
        fail_open.add(&labels, sum.fail_open.get());
        if !colour.1.is_empty() {
            stood_in.add(&labels, sum.stood_in.get());
            rescued.add(&labels, sum.rescued.get());
            for outcome in SkewOutcome::ALL {
                let labels = [upstream, colour, ("outcome", outcome.as_str())];
                skewed.add(&labels, sum.skewed.get(outcome.place()));
            }
        }
    }
    vec![requests, duration, retries, over_budget, fail_open, stood_in, rescued, skewed]
}

fn of_pauses(tree: &mut Tree, snapshot: &Snapshot) -> Vec<Family> {
    let mut paused =
        Family::gauge("proxy_paused", "Whether requests to this upstream are being held.");
    let mut now = Family::gauge("proxy_requests_held", "Requests that a pause holds now.");
    let mut all = Family::counter("proxy_requests_held_total", "Requests that a pause has held.");
    for upstream in &snapshot.upstreams {
        let labels = [("upstream", &*upstream.name)];
        let held = tree.upstream(&upstream.name).held.sum();
        paused.add(&labels, u64::from(upstream.orders.pause.is_some()));
        now.add(&labels, held.now());
        all.add(&labels, held.held.get());
    }
    vec![paused, now, all]
}

fn of_pools(tree: &mut Tree, pools: &[InService<'_>]) -> Vec<Family> {
    let mut in_flight = Family::gauge(
        "proxy_requests_in_flight",
        "Requests in flight on this colour, tunnels included.",
    );
    let mut live = Family::gauge("proxy_live", "Whether new requests get this colour.");
    let mut cut = Family::counter(
        "proxy_requests_cut_total",
        "Requests ended by force because a drain came to its deadline.",
    );
    let mut closed = Family::counter(
        "proxy_streams_closed_total",
        "WebSockets, event streams and HTTP/2 streams that a drain's deadline ended, by how.",
    );
    for in_service in pools {
        let labels = in_service.labels();
        let series = tree.pool(&in_service.pool.upstream, in_service.pool.colour);
        for end in StreamEnd::ALL {
            let [upstream, colour] = in_service.labels();
            let labels = [upstream, colour, ("outcome", end.as_str())];
            closed.add(&labels, series.closed.get(end.place()));
        }
        in_flight.add(&labels, series.in_flight() as u64);
        live.add(&labels, u64::from(in_service.live));
        cut.add(&labels, series.cut.get());
    }
    vec![in_flight, live, cut, closed]
}

fn of_targets(tree: &mut Tree, pools: &[InService<'_>]) -> Vec<Family> {
    let mut errors = Family::counter(
        "proxy_upstream_errors_total",
        "Requests that failed on this target, by how; those tried again elsewhere too.",
    );
    let mut healthy = Family::gauge(
        "proxy_target_healthy",
        "Whether this target's probes are good; 1 while it has never been probed.",
    );
    let mut draining = Family::gauge(
        "proxy_target_draining",
        "Whether this target gets no new requests, because somebody drains it.",
    );
    let mut ejected = Family::gauge(
        "proxy_target_ejected",
        "Whether this target rests, because requests failed on it one after the other.",
    );
    let mut ejections = Family::counter(
        "proxy_ejections_total",
        "Times this target was ejected: five requests in a row failed on it.",
    );
    let mut probes =
        Family::histogram("proxy_probe_duration_seconds", "How long health probes took.");
    for in_service in pools {
        let series = tree.pool(&in_service.pool.upstream, in_service.pool.colour);
        let [upstream, colour] = in_service.labels();
        let mut told = BTreeSet::new();
        for target in &in_service.pool.targets {
            // The same address twice in one pool is one target to whoever reads metrics.
            if !told.insert(&target.name) {
                continue;
            }
            let labels = [upstream, colour, ("target", &*target.name)];
            let cells = series.target(&target.name);
            for error in UpstreamError::ALL {
                let [upstream, colour, target] = labels;
                let labels = [upstream, colour, target, ("outcome", error.as_str())];
                errors.add(&labels, cells.errors.get(error.place()));
            }
            let usable = match target.health.verdict() {
                Verdict::Healthy | Verdict::Unknown => 1,
                Verdict::Unhealthy => 0,
            };
            healthy.add(&labels, usable);
            draining.add(&labels, u64::from(target.is_draining()));
            ejected.add(&labels, u64::from(target.health.is_ejected()));
            ejections.add(&labels, cells.ejections.get());
            probes.add_timings(&labels, &cells.probes.read());
        }
    }
    vec![errors, healthy, draining, ejected, ejections, probes]
}

/// Only upstreams with colours can be promoted.
fn of_promotions(tree: &mut Tree, snapshot: &Snapshot) -> Vec<Family> {
    let mut promotions = Family::counter(
        "proxy_promotions_total",
        "Promotions of this colour; one that switched and had to cut counts as both.",
    );
    let mut verdicts =
        Family::counter("proxy_verdicts_total", "What the bakes of this colour have come to.");
    let mut phases =
        Family::histogram("proxy_promotion_seconds", "How long each phase of a promotion took.");
    for upstream in &snapshot.upstreams {
        let mut promotable = false;
        for pool in upstream.all_pools() {
            let Some(colour) = pool.colour else { continue };
            promotable = true;
            let series = tree.pool(&upstream.name, Some(colour));
            for outcome in PromotionOutcome::ALL {
                let labels = [
                    ("upstream", &*upstream.name),
                    ("colour", colour.as_str()),
                    ("outcome", outcome.as_str()),
                ];
                promotions.add(&labels, series.promotions.get(outcome.place()));
            }
            for outcome in VerdictOutcome::ALL {
                let labels = [
                    ("upstream", &*upstream.name),
                    ("colour", colour.as_str()),
                    ("outcome", outcome.as_str()),
                ];
                verdicts.add(&labels, series.verdicts.get(outcome.place()));
            }
        }
        let timings = tree.upstream(&upstream.name).phases.iter();
        for (phase, timings) in Phase::ALL.into_iter().zip(timings) {
            if promotable {
                let labels = [("upstream", &*upstream.name), ("phase", phase.as_str())];
                phases.add_timings(&labels, &timings.read());
            }
        }
    }
    vec![promotions, verdicts, phases]
}

fn of_maintenance(snapshot: &Snapshot) -> Family {
    let mut maintenance = Family::gauge(
        "proxy_maintenance",
        "Whether clients are told that this upstream is being maintained.",
    );
    for upstream in &snapshot.upstreams {
        let stands = u64::from(upstream.orders.maintenance.is_some());
        maintenance.add(&[("upstream", &upstream.name)], stands);
    }
    maintenance
}

fn of_canaries(snapshot: &Snapshot) -> Family {
    let mut weight = Family::gauge(
        "proxy_canary_weight",
        "Percent of the users that get this colour because a canary of it runs.",
    );
    for upstream in &snapshot.upstreams {
        for colour in upstream.all_pools().filter_map(|pool| pool.colour) {
            let canary = upstream.canary_order();
            let canary = canary.filter(|canary| canary.colour == colour);
            let percent = canary.map_or(0.0, |canary| canary.weight.percent());
            let labels = [("upstream", &*upstream.name), ("colour", colour.as_str())];
            weight.add_fraction(&labels, percent);
        }
    }
    weight
}

fn of_listeners(tree: &Tree) -> Vec<Family> {
    let mut open = Family::gauge("proxy_connections", "Client connections open now.");
    let mut connections =
        Family::counter("proxy_connections_total", "Client connections, by what came of them.");
    let mut handshakes =
        Family::counter("proxy_tls_handshakes_total", "TLS handshakes, by how they ended.");
    let mut errors =
        Family::counter("proxy_client_errors_total", "What clients did wrong, by what it was.");
    let mut underscored = Family::counter(
        "proxy_underscored_fields_total",
        "Fields of requests that were dropped because their names hold an underscore.",
    );
    for (name, stripes) in &tree.listeners {
        let sum: ListenerCells = stripes.sum();
        open.add(&[("listener", name)], sum.open());
        for outcome in ConnectionOutcome::ALL {
            let labels = [("listener", &**name), ("outcome", outcome.as_str())];
            connections.add(&labels, sum.connections.get(outcome.place()));
        }
        for outcome in HandshakeOutcome::ALL {
            let labels = [("listener", &**name), ("outcome", outcome.as_str())];
            handshakes.add(&labels, sum.handshakes.get(outcome.place()));
        }
        for error in ClientError::ALL {
            let labels = [("listener", &**name), ("outcome", error.as_str())];
            errors.add(&labels, sum.client_errors.get(error.place()));
        }
        underscored.add(&[("listener", name)], sum.underscored.get());
    }
    vec![open, connections, handshakes, errors, underscored]
}

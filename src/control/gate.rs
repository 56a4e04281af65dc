//! One whole round of fresh probes: every target of a colour, at once. Nothing cached decides.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::Duration;

use crate::control::command::event::TargetReport;
use crate::control::probe::Ask;
use crate::control::probe::probe;
use crate::model::colour::Colour;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::pool::Pool;
use crate::model::target::Target;
use crate::model::upstream::Upstream;

#[cfg(test)]
mod tests;

/// One target, and what it answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The upstream it belongs to.
    pub upstream: Arc<str>,
    /// The target.
    pub target: Arc<Target>,
    /// What it answered.
    pub record: ProbeRecord,
}

/// Probes every target that these upstreams have in `colour`, concurrently; takes as long as the
/// slowest, at most the longest `health.timeout` and a moment. The answers are in the order of the
/// file, one for each target without exception. Each one also counts for the target's health, except
/// [`ProbeOutcome::WrongBuild`]: that is a promotion's question, and such a target serves well.
///
/// Cancel safe: dropping the future ends the probes.
pub async fn round(upstreams: &[Upstream], colour: Colour, build: Option<&str>) -> Vec<Asked> {
    let pools = upstreams
        .iter()
        .filter_map(|upstream| Some((upstream, upstream.pool(colour)?)));
    ask_all(pools, build).await
}

/// The answers as the gate's events and `POST /v1/probe` report them.
#[must_use]
pub fn reports(asked: &[Asked]) -> Vec<TargetReport> {
    asked.iter().map(report).collect()
}

/// Whether every target answered as expected. A round without targets proves nothing.
#[must_use]
pub fn passed(asked: &[Asked]) -> bool {
    !asked.is_empty() && asked.iter().all(|one| one.record.outcome.is_good())
}

/// Probes every target of these pools, concurrently, and records what they answered.
pub(super) async fn ask_all<'a>(
    pools: impl Iterator<Item = (&'a Upstream, &'a Arc<Pool>)>,
    build: Option<&str>,
) -> Vec<Asked> {
    let build: Option<Arc<str>> = build.map(Arc::from);
    let mut probes = JoinSet::new();
    let mut asked = Vec::new();
    for (upstream, pool) in pools {
        let upstream = Arc::new(upstream.clone());
        for target in &pool.targets {
            let at = asked.len();
            asked.push(Asked {
                upstream: Arc::clone(&upstream.name),
                target: Arc::clone(target),
                record: unanswered(),
            });
            let (upstream, target) = (Arc::clone(&upstream), Arc::clone(target));
            let build = build.clone();
            probes.spawn(async move { (at, ask(&upstream, &target, build.as_deref()).await) });
        }
    }
    while let Some(ended) = probes.join_next().await {
        if let Ok((at, record)) = ended
            && let Some(one) = asked.get_mut(at)
        {
            one.record = record;
        }
    }
    asked
}

/// Probes one target, and records what it answered.
pub(super) async fn ask_one(upstream: &Upstream, target: &Arc<Target>) -> Asked {
    let record = ask(upstream, target, None).await;
    Asked { upstream: Arc::clone(&upstream.name), target: Arc::clone(target), record }
}

async fn ask(upstream: &Upstream, target: &Target, build: Option<&str>) -> ProbeRecord {
    let health = &upstream.health;
    let public_host = upstream.public_host.as_deref();
    let ask = Ask { health, public_host, build, last_addresses: false };
    let kept = probe(target, &ask).await;
    let record = kept.record.clone();
    if !matches!(record.outcome, ProbeOutcome::WrongBuild { .. }) {
        // Who follows the target's health (`checks`) reports a change of verdict.
        target.health.keep(kept, health);
    }
    record
}

/// What stands until a probe has ended: a target can be missing from no round, even if its probe's
/// task broke off.
fn unanswered() -> ProbeRecord {
    ProbeRecord {
        at: SystemTime::now(),
        outcome: ProbeOutcome::Broken("the probe broke off".to_owned()),
        latency: Duration::ZERO,
    }
}

fn report(asked: &Asked) -> TargetReport {
    let ProbeRecord { outcome, latency, .. } = &asked.record;
    TargetReport {
        upstream: asked.upstream.to_string(),
        address: asked.target.name.to_string(),
        outcome: outcome.to_string(),
        passed: outcome.is_good(),
        latency_ms: (latency.as_secs_f64() * 1e6).round() / 1e3,
    }
}

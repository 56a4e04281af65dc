//! From what is wished for to the plan of a promotion: of what its upstreams say, the longest.

use std::time::Duration;

use tokio::time::Instant;

use crate::control::promotion::Plan;
use crate::control::promotion::Purpose;
use crate::control::supervisor::request::Wish;
use crate::control::supervisor::running::Member;

pub(super) fn plan(wish: &Wish, members: &[Member]) -> Plan {
    let purpose = if wish.dry_run {
        Purpose::DryRun
    } else if wish.canary.is_some() {
        Purpose::Canary
    } else if members.iter().all(|member| member.already) {
        Purpose::Already
    } else {
        Purpose::Change
    };
    let longest = |of: fn(&Member) -> Duration| members.iter().map(of).max().unwrap_or_default();
    let gate = || longest(|member| member.upstream.promotion.gate_timeout);
    let drain = || longest(|member| member.upstream.promotion.drain_timeout);
    let bake = || longest(|member| member.upstream.promotion.bake);
    let stays = members.iter().all(Member::ends_canary);
    let bake = if wish.is_back || stays { Duration::ZERO } else { wish.bake.unwrap_or_else(bake) };
    let mut changing = members.iter().filter(|member| !member.already);
    let own_on_fail = changing
        .next()
        .map(|member| member.upstream.promotion.on_fail);
    let switch = members.iter().filter(|member| member.switches()).count();
    let close_jitter = longest(|member| member.upstream.promotion.close_jitter);
    Plan {
        purpose,
        started: Instant::now(),
        rounds: wish.rounds,
        interval: longest(|member| member.upstream.health.interval),
        gate_timeout: wish.gate_timeout.unwrap_or_else(gate),
        drain_timeout: wish.drain_timeout.unwrap_or_else(drain),
        bake,
        on_fail: wish.on_fail.or(own_on_fail).unwrap_or_default(),
        close_jitter,
        members: if switch == 0 { members.len() } else { switch },
    }
}

//! What is told of a promotion: its refusal, its start and its end in the log.

use crate::control::command::Code;
use crate::control::command::event::Event;
use crate::control::command::event::Reason;
use crate::control::promotion::Ending;
use crate::control::promotion::Purpose;
use crate::control::supervisor::running::Member;
use crate::control::supervisor::running::Running;
use crate::model::colour::Colour;

pub(super) fn refused(running: &mut Running, code: Code) -> Event {
    let (code, reasons) = running.refusal.take().unwrap_or_else(|| match code {
        Code::TakenBack => {
            let what = "cancelled: the requester went away while the gate was open";
            (code, vec![reason_for_all(running, what)])
        }
        Code::Gate
        | Code::Config
        | Code::Unknown
        | Code::Busy
        | Code::ExpectLive
        | Code::NotDurable
        | Code::InUse => (code, running.machine.reasons()),
    });
    Event::Refused { code, reasons }
}

pub(super) fn reason_for_all(running: &Running, what: &str) -> Reason {
    let first = running.changing().next();
    Reason {
        upstream: first.map_or(String::new(), |member| member.upstream.name.to_string()),
        colour: first.map_or(Colour::Blue, |member| member.colour),
        target: None,
        what: what.to_owned(),
        hint: None,
    }
}

pub(super) fn shared(running: &Running) -> Event {
    Event::Canary {
        colour: running.colour().unwrap_or(Colour::Blue),
        weight: running.canary.unwrap_or_default(),
        generation: running.generation,
    }
}

pub(super) fn would_switch(running: &Running) -> Event {
    let retiring: Vec<_> = running
        .members
        .iter()
        .flat_map(|member| member.retired.iter())
        .collect();
    Event::WouldSwitch {
        targets: running.last_round.clone(),
        in_flight: retiring.iter().map(|pool| pool.leases().in_flight()).sum(),
        tunnels: retiring.iter().map(|pool| pool.leases().tunnels()).sum(),
    }
}

pub(super) fn log_start(running: &Running) {
    let plan = running.machine.plan();
    let (id, caller) = (&running.id, running.caller);
    let (upstreams, colour) = (running.names().join(","), running.colour());
    let colour = colour.map_or("previous", Colour::as_str);
    let (purpose, forced) = (plan.purpose, plan.rounds == 0);
    tracing::info!(id, upstreams, colour, %caller, ?purpose, "promotion started");
    let vouched = running.members.iter().all(Member::ends_canary);
    if forced && !vouched && matches!(purpose, Purpose::Change | Purpose::Canary) {
        tracing::warn!(id, upstreams, colour, %caller, "the gate is SKIPPED by force");
    }
}

pub(super) fn log_end(running: &Running, ending: Ending, event: &Event) {
    let (id, upstreams, caller) = (&running.id, running.names().join(","), running.caller);
    let generation = running.generation;
    if let Event::Refused { code, reasons } = event {
        let reasons: Vec<&str> = reasons.iter().map(|reason| &*reason.what).collect();
        let reasons = reasons.join("; ");
        tracing::warn!(id, upstreams, %caller, ?code, reasons, "promotion refused");
    } else {
        tracing::info!(id, upstreams, %caller, generation, ?ending, "promotion ended");
    }
}

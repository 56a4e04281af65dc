//! Every byte sequence of the hostile corpus, from clients and from targets: bytes that a target sees
//! are exactly one unambiguous request for each that the client made, or the client is refused and
//! the connection closed.

mod answers;
mod client;
mod corpus;
mod message;
mod target;

use serde_json::Value;
use serde_json::json;

use self::client::Client;
use self::corpus::Play;
use self::corpus::list;
use self::corpus::takes_its_time;
use self::corpus::word;
use self::message::Message;
use self::target::Seen;
use self::target::Target;
use crate::harness::Origin;
use crate::harness::Proxy;

/// Longer than any client needs that is only slowed down by the machine.
const PATIENT: &str = "30s";

/// What a client asks to see whether its connection is still open.
const STILL: &str = "GET /still HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// A proxy in front of `target` that gives its clients so long.
fn behind(target: &Target, patience: &str) -> (Origin, Proxy) {
    let green = Origin::start("green-1");
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({
            "upstreams": { "app": { "blue": [target.address.to_string()] } },
            "limits": { "request_body": "1MiB" },
            "timeouts": { "request_header": patience, "request_body": patience },
        }))
        .start();
    (green, proxy)
}

/// Every case that does not hold, with what is wrong.
#[track_caller]
fn none_fails(cases: &[Value], mut run: impl FnMut(&Value) -> Result<(), String>) {
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let wrong = run(case).err()?;
            Some(format!(
                "{}: {} ({}): {wrong}",
                word(case, "group"),
                word(case, "name"),
                case["rfc"]
            ))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

fn holds(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}

#[test]
fn a_target_sees_one_clear_request_for_each_of_the_clients_or_the_client_is_refused() {
    let (slow, quick): (Vec<_>, _) = corpus::requests().into_iter().partition(takes_its_time);
    requests_hold(&quick, PATIENT);
    requests_hold(&slow, "1s");
}

#[test]
fn a_request_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    requests_hold(&corpus::byte_by_byte(corpus::requests()), PATIENT);
}

fn requests_hold(cases: &[Value], patience: &str) {
    let target = Target::start();
    let (_green, proxy) = behind(&target, patience);
    none_fails(cases, |case| {
        let answered = request_case(case, &proxy);
        let seen = requests_are(list(case, "seen"), &target.take_seen());
        answered.and(seen)
    });
    assert_eq!(target.take_seen().len(), 0, "what comes late comes all the same");
    let refusals = cases.iter().flat_map(|case| list(case, "get"));
    let refused = refusals
        .filter(|status| status.as_u64() >= Some(400))
        .count();
    let counted = proxy.metrics().sum("proxy_client_errors_total", &[]);
    assert_eq!(counted, refused as f64, "each refusal is counted once");
}

fn request_case(case: &Value, proxy: &Proxy) -> Result<(), String> {
    let mut client = Client::over(proxy.http().wire);
    client.play(&Play::of(case, "send"));
    let methods = list(case, "methods");
    for (nth, status) in list(case, "get").iter().enumerate() {
        let method = methods.get(nth).and_then(Value::as_str).unwrap_or("GET");
        let came = client.answer(method)?.ok_or("no answer")?;
        let answer = &came.answer;
        holds(*status == answer.status() && !came.cut, || format!("answer {nth}: {came:?}"))?;
        is_silent_about_us(answer)?;
    }
    if word(case, "then") == "open" {
        client.ask(STILL);
        let still = client.answer("GET")?.ok_or("the connection is closed")?;
        return holds(still.answer.status() == 200, || format!("it is not open: {still:?}"));
    }
    let rest = client.rest()?;
    holds(rest.is_empty(), || format!("more: {:?}", corpus::text(rest)))
}

/// An answer of our own says nothing about addresses or versions.
fn is_silent_about_us(answer: &Message) -> Result<(), String> {
    let all = format!("{:?} {}", answer.fields, corpus::text(&answer.body)).to_lowercase();
    let told = ["127.", "proxyd", "server", env!("CARGO_PKG_VERSION"), "hyper", "panic"]
        .into_iter()
        .find(|word| all.contains(word));
    holds(told.is_none(), || format!("it tells {told:?}: {all}"))
}

/// Whether the target saw these requests, and no others.
fn requests_are(expected: &[Value], seen: &[Seen]) -> Result<(), String> {
    let mut came = Vec::new();
    for seen in seen {
        let message = seen
            .message
            .as_ref()
            .map_err(|why| format!("the target saw {why}"))?;
        if !message.line.starts_with("GET /still ") {
            came.push(message);
        }
    }
    let lines: Vec<&str> = came.iter().map(|message| message.line.as_str()).collect();
    let wanted: Vec<&str> = expected
        .iter()
        .map(|request| word(request, "line"))
        .collect();
    let upgraded: Vec<String> = wanted
        .iter()
        .map(|line| line.replace("HTTP/1.0", "HTTP/1.1"))
        .collect();
    holds(lines == upgraded, || format!("the target saw {lines:?}"))?;
    for (message, expected) in came.into_iter().zip(expected) {
        is_clear(message)?;
        let body = corpus::text(&message.body);
        holds(body == word(expected, "body"), || format!("the content was {body:?}"))?;
        let trailers: Vec<Value> = message.trailers.iter().map(|line| json!(line)).collect();
        holds(trailers == list(expected, "trailers"), || format!("trailers {trailers:?}"))?;
        for (name, value) in expected["fields"].as_object().into_iter().flatten() {
            let all = message.all(name);
            let wanted: Vec<&str> = value.as_str().into_iter().collect();
            holds(all == wanted, || format!("{name} was {all:?}"))?;
        }
    }
    Ok(())
}

/// What holds for every request that a target sees.
fn is_clear(message: &Message) -> Result<(), String> {
    let once = ["host", "x-forwarded-for", "x-real-ip", "x-forwarded-proto", "forwarded"];
    for name in once {
        let all = message.all(name);
        holds(all.len() == 1, || format!("{name} came as {all:?}"))?;
    }
    let odd = message.fields.iter().find(|(name, _)| name.contains('_'));
    holds(odd.is_none(), || format!("{odd:?} reached the target"))
}

//! Every byte sequence of the hostile corpus, from clients and from targets: bytes that a target sees
//! are exactly one unambiguous request for each that the client made, or the client is refused and
//! the connection closed.

mod client;
mod corpus;
mod message;
mod target;

use serde_json::Value;
use serde_json::json;

use self::client::Client;
use self::corpus::Play;
use self::corpus::list;
use self::corpus::word;
use self::message::Message;
use self::target::End;
use self::target::Part;
use self::target::Seen;
use self::target::Target;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::eventually;

/// What a client asks to see whether its connection is still open.
const STILL: &str = "GET /still HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// What another client asks behind a case.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn behind(target: &Target) -> (Origin, Proxy) {
    let green = Origin::start("green-1");
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({
            "upstreams": { "app": { "blue": [target.address.to_string()] } },
            "limits": { "request_body": "1MiB" },
            "timeouts": { "request_header": "1s", "request_body": "1s" },
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
    let target = Target::start();
    let (_green, proxy) = behind(&target);
    let cases = corpus::requests();
    none_fails(&cases, |case| {
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
    let mut client = Client::connect(proxy.plain_address());
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

#[test]
fn an_answer_passes_in_one_clear_form_or_is_refused_and_its_connection_closed() {
    let target = Target::start();
    let (_green, proxy) = behind(&target);
    let cases = corpus::answers();
    none_fails(&cases, |case| answer_case(case, &target, &proxy));
}

fn answer_case(case: &Value, target: &Target, proxy: &Proxy) -> Result<(), String> {
    let end = match word(case, "end") {
        "close" => End::Close,
        "reset" => End::Reset,
        _ => End::Open,
    };
    target.take_seen();
    target.answer(Part { play: Play::of(case, "say"), end });
    let method = case["ask"].as_str().unwrap_or("GET");
    let mut client = Client::connect(proxy.plain_address());
    let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
    client.ask(&format!("{method} /a HTTP/1.1\r\nHost: app.test\r\n{body}"));
    let came = client.answer(method)?.ok_or("no answer")?;
    eventually("the target has played its part", || target.has_played());
    let asked = target.take_seen();
    holds(asked.len() == 1, || format!("the target was asked {} times", asked.len()))?;
    let first = asked[0].connection;
    let mut other = Client::connect(proxy.plain_address());
    other.ask(NEXT);
    let next = other
        .answer("GET")?
        .ok_or("the next request is not answered")?;
    let is_own = next.answer.status() == 200 && next.answer.body == b"ok";
    holds(is_own, || format!("the next request got {next:?}"))?;
    let second = target.take_seen().first().map_or(0, |seen| seen.connection);
    if word(case, "target") == "kept" {
        holds(first == second, || "the connection was not used again".to_owned())?;
    } else {
        holds(first != second, || "the connection was used again".to_owned())?;
        eventually("the connection is closed", || target.is_closed(first));
    }
    answer_is(case, &came)?;
    if !came.cut {
        client.ask(STILL);
        let still = client.answer("GET")?;
        let is_own = still.is_none_or(|came| came.answer.body == b"ok");
        holds(is_own, || "something came behind the answer".to_owned())?;
    }
    Ok(())
}

fn answer_is(case: &Value, came: &client::Came) -> Result<(), String> {
    let answer = &came.answer;
    let cut = case["cut"] == true;
    holds(case["get"] == answer.status() && came.cut == cut, || format!("{came:?}"))?;
    if answer.status() == 502 {
        is_silent_about_us(answer)?;
    }
    if let Some(body) = case["body"].as_str() {
        let own = corpus::text(&answer.body);
        holds(own == body, || format!("the content was {own:?}"))?;
        let trailers: Vec<Value> = answer.trailers.iter().map(|line| json!(line)).collect();
        holds(trailers == list(case, "trailers"), || format!("trailers {trailers:?}"))?;
        let interim = case["interim"].as_u64().unwrap_or(0);
        holds(interim == came.interim as u64, || format!("{} interim answers", came.interim))?;
    }
    for name in list(case, "without").iter().filter_map(Value::as_str) {
        holds(answer.all(name).is_empty(), || format!("{name} came"))?;
    }
    let lengths = answer.all("content-length").len() as u64;
    let expected = case["lengths"].as_u64().unwrap_or(lengths);
    holds(lengths == expected, || format!("{lengths} lengths"))
}

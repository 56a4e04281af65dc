//! What targets answer, over each way to a client.

use serde_json::Value;
use serde_json::json;

use super::behind;
use super::client::Came;
use super::client::Client;
use super::corpus;
use super::corpus::Play;
use super::corpus::list;
use super::corpus::word;
use super::holds;
use super::is_silent_about_us;
use super::message::Message;
use super::none_fails;
use super::target::End;
use super::target::Part;
use super::target::Target;
use crate::harness::Proxy;
use crate::harness::eventually;
use crate::harness::h2::H2;

/// What another client asks behind a case.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// What came, and over HTTP/1 the connection.
type Outcome = Result<(Came, Option<Client>), String>;

/// Asks for `/a`, and returns what came.
type Ask<'a> = &'a dyn Fn(&str, &Proxy) -> Outcome;

#[test]
fn an_answer_passes_in_one_clear_form_or_is_refused_and_its_connection_closed() {
    let cases = corpus::answers();
    all_hold(&cases, &|method, proxy| ask(method, Client::over(proxy.http().wire)));
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    let cases = corpus::byte_by_byte(corpus::answers());
    all_hold(&cases, &|method, proxy| ask(method, Client::over(proxy.http().wire)));
}

#[test]
fn over_tls_an_answer_passes_in_the_same_form() {
    let cases = corpus::answers();
    all_hold(&cases, &|method, proxy| ask(method, Client::over(proxy.https().wire)));
}

#[test]
fn over_http_2_an_answer_passes_in_the_same_form() {
    all_hold(&corpus::answers(), &|method, proxy| ask_h2(method, &proxy.h2()));
}

fn all_hold(cases: &[Value], ask: Ask<'_>) {
    let target = Target::start();
    let (_green, proxy) = behind(&target, super::PATIENT);
    none_fails(cases, |case| answer_case(case, &target, &proxy, ask));
}

fn content_of(method: &str) -> &'static str {
    if method == "POST" { "hi" } else { "" }
}

fn ask(method: &str, mut client: Client) -> Outcome {
    let content = content_of(method);
    let length = if content.is_empty() { "" } else { "Content-Length: 2\r\n" };
    client.ask(&format!("{method} /a HTTP/1.1\r\nHost: app.test\r\n{length}\r\n{content}"));
    let Some(came) = client.answer(method)? else { return Ok((nothing_of("HTTP/1.1 200"), None)) };
    let cut = came.cut;
    Ok((came, (!cut).then_some(client)))
}

/// An answer that was cut before anything of it came: a reset overtakes what was sent before it.
fn nothing_of(line: &str) -> Came {
    let line = line.to_owned();
    let answer = Message { line, fields: Vec::new(), body: Vec::new(), trailers: Vec::new() };
    Came { interim: 0, answer, cut: true }
}

fn ask_h2(method: &str, client: &H2) -> Outcome {
    let fields = |fields: Vec<(String, String)>| fields.into_iter();
    let Ok(answer) = client.try_request(method, "/a", &[], content_of(method).as_bytes()) else {
        return Ok((nothing_of("HTTP/2 200"), None));
    };
    let trailers = fields(answer.trailers).map(|(name, value)| format!("{name}: {value}"));
    let answer = Message {
        line: format!("HTTP/2 {}", answer.status),
        fields: answer.fields,
        body: answer.body,
        trailers: trailers.collect(),
    };
    Ok((Came { interim: 0, answer, cut: false }, None))
}

fn answer_case(case: &Value, target: &Target, proxy: &Proxy, ask: Ask<'_>) -> Result<(), String> {
    let end = match word(case, "end") {
        "close" => End::Close,
        "reset" => End::Reset,
        _ => End::Open,
    };
    target.take_seen();
    target.answer(Part { play: Play::of(case, "say"), end });
    let (came, client) = ask(case["ask"].as_str().unwrap_or("GET"), proxy)?;
    eventually("the target has played its part", || target.has_played());
    let asked = target.take_asked();
    holds(asked.len() == 1, || format!("the target was asked {} times", asked.len()))?;
    let first = asked[0];
    let mut other = Client::over(proxy.http().wire);
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
    let Some(mut client) = client else { return Ok(()) };
    client.ask(super::STILL);
    let still = client.answer("GET")?;
    let is_own = still.is_none_or(|came| came.answer.body == b"ok");
    holds(is_own, || "something came behind the answer".to_owned())
}

fn answer_is(case: &Value, came: &Came) -> Result<(), String> {
    let answer = &came.answer;
    let cut = case["cut"] == true;
    holds(case["get"] == answer.status() && came.cut == cut, || format!("{came:?}"))?;
    if answer.status() == 502 {
        is_silent_about_us(answer)?;
    }
    let is_h2 = answer.line.starts_with("HTTP/2 ");
    if let Some(body) = case["body"].as_str() {
        let own = corpus::text(&answer.body);
        holds(own == body, || format!("the content was {own:?}"))?;
        let lower = |line: &str| if is_h2 { line.to_lowercase() } else { line.to_owned() };
        let wanted = list(case, "trailers").iter().filter_map(Value::as_str);
        let wanted: Vec<String> = wanted.map(lower).collect();
        holds(answer.trailers == wanted, || format!("trailers {:?}", answer.trailers))?;
        let interim = if is_h2 { json!(0) } else { case["interim"].clone() };
        let interim = interim.as_u64().unwrap_or(0);
        holds(interim == came.interim as u64, || format!("{} interim answers", came.interim))?;
    }
    for name in list(case, "without").iter().filter_map(Value::as_str) {
        holds(answer.all(name).is_empty(), || format!("{name} came"))?;
    }
    let lengths = answer.all("content-length").len() as u64;
    let expected = case["lengths"].as_u64().unwrap_or(lengths);
    holds(lengths == expected, || format!("{lengths} lengths"))
}

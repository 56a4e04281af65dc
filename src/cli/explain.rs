//! `explain`: what would become of a request.

use crate::cli::args::looks::Explain;
use crate::cli::run::DONE;
use crate::cli::run::Hand;
use crate::cli::run::Stopped;
use crate::cli::screen::Line;
use crate::cli::screen::Span;
use crate::cli::screen::Tone;
use crate::cli::screen::line;
use crate::cli::screen::span;
use crate::cli::screen::table;
use crate::control::command::explain as wire;
use crate::control::command::explain::Ends;
use crate::control::command::explain::Explained;
use crate::control::command::explain::How;

/// `explain`.
///
/// # Errors
/// No daemon, or a refusal.
pub async fn explain(hand: &mut Hand<'_>, args: Explain) -> Result<u8, Stopped> {
    let Explain { url, headers, method, from } = args;
    let request = wire::Explain { url, headers, method, from };
    let answer = hand.ask("/v1/explain", &request).await?;
    let body = hand.accepted(answer).await?.whole().await?;
    if hand.json {
        hand.out.pass_on(&body);
        return Ok(DONE);
    }
    let explained: Explained = hand.understand(&body)?;
    if !hand.quiet {
        hand.out.print_all(&told(&explained));
    }
    Ok(DONE)
}

fn told(explained: &Explained) -> Vec<Line> {
    let mut page = vec![headline(explained)];
    page.push(Line::new());
    page.extend(table(ways(explained)));
    page.extend(bounds(explained));
    if !explained.targets.is_empty() {
        page.push(Line::new());
        page.extend(table(targets(explained)));
    }
    if !explained.headers.is_empty() {
        page.push(Line::new());
        page.push(line(Tone::Faint, "  THE TARGET GETS"));
        page.extend(table(headers(explained)));
    }
    page
}

fn headline(explained: &Explained) -> Line {
    let why = &explained.why;
    let upstream = explained.route.as_ref().map_or("", |route| &route.upstream);
    match (explained.outcome, explained.colour) {
        (Ends::Forward, Some(colour)) => vec![
            span(Tone::Strong, format!("{upstream}: ")),
            span(Tone::Of(colour), colour.as_str()),
            span(Tone::Plain, format!(": {why}")),
        ],
        (Ends::Forward, None) => line(Tone::Strong, format!("{upstream}: {why}")),
        (Ends::Redirect, _) => {
            let to = explained.location.as_deref().unwrap_or_default();
            line(Tone::Good, format!("{}redirected to {to}: {why}", status(explained)))
        }
        (Ends::Hold, _) => line(Tone::Warn, format!("held for {upstream}: {why}")),
        (Ends::Maintain, _) => line(Tone::Warn, format!("{}{upstream}: {why}", status(explained))),
        (Ends::Refuse, _) => line(Tone::Bad, format!("{}{why}", status(explained))),
        (Ends::Unreachable, _) => line(Tone::Bad, format!("nobody takes it: {why}")),
    }
}

/// `404, `, or nothing.
fn status(explained: &Explained) -> String {
    explained
        .status
        .map(|status| format!("{status}, "))
        .unwrap_or_default()
}

fn ways(explained: &Explained) -> Vec<Vec<Span>> {
    let mut rows = Vec::new();
    let mut row = |head: &str, what: String, why: &str| {
        let head = span(Tone::Faint, format!("  {head}"));
        rows.push(vec![head, span(Tone::Plain, what), span(Tone::Faint, why)]);
    };
    if let Some(listener) = &explained.listener {
        row("listener", listener.address.clone(), &listener.why);
    }
    row("client", explained.client.clone(), "");
    if let Some(route) = &explained.route {
        row("route", format!("{}{} to {}", route.host, route.path, route.upstream), &route.why);
    }
    for route in &explained.nearly {
        row("not", format!("{}{} to {}", route.host, route.path, route.upstream), &route.why);
    }
    row("generation", explained.generation.to_string(), "");
    rows
}

/// The timeouts and limits that hold.
fn bounds(explained: &Explained) -> Vec<Line> {
    let bound = |head: &str, what: String| {
        vec![span(Tone::Faint, format!("  {head}  ")), span(Tone::Plain, what)]
    };
    let timeouts = explained.timeouts.map(|timeouts| {
        let wire::ExplainedTimeouts { connect, response, request_body, send, tunnel } = timeouts;
        let told = format!(
            "connect {connect} s, response {response} s, request_body {request_body} s, send {send} s, tunnel {tunnel} s"
        );
        bound("timeouts  ", told)
    });
    let limits = &explained.limits;
    let body = match limits.request_body {
        Some(bytes) => format!("{bytes} bytes"),
        None => "unlimited".to_owned(),
    };
    let limits = format!(
        "head {} bytes and {} fields, body {body}, {} requests of one address at once",
        limits.request_header, limits.request_headers, limits.requests_per_address
    );
    let limits = bound("limits    ", limits);
    timeouts.into_iter().chain([limits]).collect()
}

fn targets(explained: &Explained) -> Vec<Vec<Span>> {
    let heads = ["  TARGET", "STATE", "IN FLIGHT", "WEIGHT"];
    let mut rows = vec![heads.map(|head| span(Tone::Faint, head)).to_vec()];
    for target in &explained.targets {
        let (tone, mark) = if target.candidate { (Tone::Good, "* ") } else { (Tone::Plain, "  ") };
        rows.push(vec![
            span(tone, format!("{mark}{}", target.address)),
            span(Tone::Plain, &target.state),
            span(Tone::Plain, target.in_flight.to_string()),
            span(Tone::Plain, target.weight.to_string()),
        ]);
    }
    rows
}

fn headers(explained: &Explained) -> Vec<Vec<Span>> {
    let sent = explained.headers.iter().map(|field| {
        let (tone, how) = match field.how {
            How::Sent => (Tone::Plain, ""),
            How::Added => (Tone::Good, "added"),
            How::Replaced => (Tone::Warn, "in place of the client's"),
            How::Extended => (Tone::Warn, "extended"),
            How::Joined => (Tone::Plain, "several lines as one"),
        };
        let text = format!("  {}: {}", field.name, field.value);
        vec![span(tone, text), span(Tone::Faint, how)]
    });
    let dropped = explained.dropped.iter().map(|field| {
        let name = span(Tone::Bad, format!("  not {}", field.name));
        vec![name, span(Tone::Faint, &field.why)]
    });
    let answer = explained.answer.iter().map(|field| {
        let text = format!("  {}: {}", field.name, field.value);
        vec![span(Tone::Good, text), span(Tone::Faint, "added to the answer")]
    });
    sent.chain(dropped).chain(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Vec<String> {
        let json = format!(
            r#"{{"generation":7,"client":"127.0.0.1","limits":{{"request_header":1,"request_headers":1,"requests_per_address":1}},{json}}}"#
        );
        let explained: Explained = serde_json::from_str(&json).unwrap();
        let text = |line: &Line| line.iter().map(|span| span.text.as_str()).collect();
        told(&explained).iter().map(text).collect()
    }

    #[test]
    fn the_first_line_says_what_happens_and_why() {
        let first = |json: &str| text(json).first().cloned().unwrap_or_default();
        assert_eq!(
            first(
                r#""outcome":"forward","why":"green is live","colour":"green","route":{"host":"*","path":"/","upstream":"app","why":""}"#
            ),
            "app: green: green is live"
        );
        assert_eq!(
            first(r#""outcome":"redirect","status":308,"location":"https://a/","why":"w""#),
            "308, redirected to https://a/: w"
        );
        assert_eq!(first(r#""outcome":"refuse","status":404,"why":"no route""#), "404, no route");
        assert_eq!(first(r#""outcome":"unreachable","why":"w""#), "nobody takes it: w");
    }

    #[test]
    fn what_the_target_gets_and_does_not_get_is_told_field_by_field() {
        let told = text(
            r#""outcome":"forward","why":"blue is live","colour":"blue",
            "targets":[{"address":"10.0.0.1:80","state":"usable","weight":1,"in_flight":2,"candidate":true}],
            "headers":[{"name":"Host","value":"a","how":"sent"},{"name":"X-Real-IP","value":"127.0.0.1","how":"added"}],
            "dropped":[{"name":"Keep-Alive","why":"it ends at this hop"}]"#,
        );
        assert!(told.contains(&"* 10.0.0.1:80  usable  2          1".to_owned()), "{told:#?}");
        assert!(told.contains(&"  X-Real-IP: 127.0.0.1  added".to_owned()), "{told:#?}");
        assert!(
            told.contains(&"  not Keep-Alive        it ends at this hop".to_owned()),
            "{told:#?}"
        );
    }
}

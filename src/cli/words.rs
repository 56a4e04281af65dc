//! Numbers, times and outcomes as people read them.

use std::time::Duration;
use std::time::SystemTime;

use crate::control::command::event::Warmth;
use crate::model::colour::Colour;
use crate::model::split::Share;

/// `1 target`, `2 targets`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// What a probe's outcome says about the target that it is said of: `answered 503`.
#[must_use]
pub fn outcome(word: &str) -> String {
    let (first, rest) = word.split_once(' ').unwrap_or((word, ""));
    match (first, rest) {
        ("refused", "") => "refused the connection".to_owned(),
        ("timeout", "") => "did not answer in time".to_owned(),
        ("unresolved", "") => "has a name that does not resolve".to_owned(),
        ("not", "http") => "does not speak HTTP".to_owned(),
        ("no", "build header") => "presents no build".to_owned(),
        ("build", build) => format!("presents build {build}"),
        ("redirect", status) => format!("answered {status}, a redirect"),
        (status, "") if status.parse::<u16>().is_ok() => format!("answered {status}"),
        _ => format!("failed: {word}"),
    }
}

/// `1.2 ms`, `3.40 s`.
#[must_use]
pub fn latency(milliseconds: f64) -> String {
    if milliseconds < 1000.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.2} s", milliseconds / 1000.0)
    }
}

/// How long before `now` the RFC 3339 time `at` was: `4 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.
/// `None` if `at` is no such time.
#[must_use]
pub fn age(at: &str, now: SystemTime) -> Option<String> {
    let then = humantime::parse_rfc3339_weak(at).ok()?;
    // Clocks may be set back: what lies ahead happened just now.
    let passed = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    let (minutes, hours, days) = (passed / 60, passed / 3600, passed / 86_400);
    Some(match passed {
        0..60 => format!("{passed} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    })
}

/// What a canary has come to.
#[must_use]
pub fn canary(colour: Colour, weight: Share, generation: u64) -> String {
    if weight == Share::NONE {
        format!("the canary of {colour} is over, generation {generation}")
    } else {
        format!("{colour} gets {weight} % of the users, generation {generation}")
    }
}

/// [`warmth`] of several, in one line.
#[must_use]
pub fn warmths(all: &[Warmth]) -> String {
    all.iter().map(warmth).collect::<Vec<_>>().join("; ")
}

/// `warming up: 120 requests, p95 12.5 ms, live 10 ms, 25 a second`.
#[must_use]
pub fn warmth(warmth: &Warmth) -> String {
    let what = if warmth.warm { "warm" } else { "warming up" };
    let millis = |ms: Option<f64>| ms.map_or("none".to_owned(), |ms| format!("{ms} ms"));
    let (p95, live) = (millis(warmth.p95_ms), millis(warmth.live_p95_ms));
    let failed = match warmth.failed {
        0 => String::new(),
        failed => format!(" ({failed} failed)"),
    };
    let requests = count(warmth.requests, "request");
    let rate = warmth.rate;
    format!("{what}: {requests}{failed}, p95 {p95}, live {live}, {rate} a second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_of_a_probe_becomes_a_verb() {
        for (word, verb) in [
            ("503", "answered 503"),
            ("refused", "refused the connection"),
            ("timeout", "did not answer in time"),
            ("unresolved", "has a name that does not resolve"),
            ("not http", "does not speak HTTP"),
            ("redirect 302", "answered 302, a redirect"),
            ("build 41 b", "presents build 41 b"),
            ("no build header", "presents no build"),
            ("reset by peer", "failed: reset by peer"),
        ] {
            assert_eq!(outcome(word), verb);
        }
    }

    #[test]
    fn ages_and_latencies_are_short() {
        let now = humantime::parse_rfc3339_weak("2026-11-23T20:00:00Z").unwrap();
        for (at, text) in [
            ("2026-11-23T19:59:56Z", "4 s"),
            ("2026-11-23T19:57:00.5Z", "2 min"),
            ("2026-11-23T17:55:00Z", "2 h 5 min"),
            ("2026-11-20T16:00:00Z", "3 d 4 h"),
            ("2026-11-23T20:00:09Z", "0 s"),
        ] {
            assert_eq!(age(at, now).as_deref(), Some(text));
        }
        assert_eq!(age("yesterday", now), None);
        assert_eq!(latency(1.23), "1.2 ms");
        assert_eq!(latency(3400.0), "3.40 s");
        assert_eq!(count(1, "tunnel"), "1 tunnel");
        assert_eq!(count(0, "tunnel"), "0 tunnels");
    }
}

//! Any text is a file that means something, or has problems that each stand where the text is; where
//! it begins and how its lines end changes neither.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proxyd::config;
use proxyd::model::problem::Problem;
use proxyd::model::settings::Settings;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = parse(text);
    assert_eq!(parse(text), read, "the same text means the same");
    match &read {
        Ok(settings) => is_whole(settings),
        Err(problems) => are_in(text, problems),
    }
    // A comment more above it moves every place by a line, and nothing else.
    if !text.starts_with(['\u{feff}', '%']) {
        let moved = parse(&format!("# a comment\n{text}"));
        let moved = moved.map_err(|problems| problems.into_iter().map(unnumbered).collect());
        assert_eq!(moved, read.clone().map_err(below));
    }
    // A byte order mark in front is nothing, but moves the first line's columns.
    if read.is_ok() && !text.starts_with('\u{feff}') {
        assert_eq!(parse(&format!("\u{feff}{text}")), read);
    }
});

fn parse(text: &str) -> Result<Settings, Vec<Problem>> {
    config::parse(text, Path::new("/etc/proxyd/proxy.yaml")).map(|loaded| loaded.settings)
}

/// What the rest of the program relies on without looking again.
fn is_whole(settings: &Settings) {
    assert!(!settings.listeners.is_empty() && !settings.routes.is_empty());
    for route in &settings.routes {
        assert!(settings.upstreams.contains_key(&route.upstream));
    }
    assert!(settings.state_dir.is_absolute());
    assert!(settings.control.socket.is_absolute());
    for files in settings
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref())
        .flatten()
    {
        assert!(files.cert.is_absolute() && files.key.is_absolute());
    }
}

fn are_in(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty(), "refused for nothing");
    for problem in problems {
        let whole = problem.to_string();
        assert!(!problem.what.is_empty(), "{whole}");
        let words = problem
            .what
            .chars()
            .chain(problem.hint.iter().flat_map(|hint| hint.chars()));
        assert!(!words.into_iter().any(char::is_control), "{whole:?}");
        if problem.line == 0 {
            assert_eq!(problem.column, 0, "{whole}");
            continue;
        }
        // A carriage return alone ends a line of YAML too (1.2, section 5.4); and the end of the text
        // may be the place of what is missing.
        let lines = text.split(['\n', '\r']).count() as u64 + 1;
        assert!(problem.line <= lines && problem.column >= 1, "{whole} of {lines} lines");
    }
}

/// The same problems a line further down. Some words name a line themselves, so numbers in them do
/// not count.
fn below(problems: Vec<Problem>) -> Vec<Problem> {
    let lower =
        |problem: Problem| Problem { line: problem.line + u64::from(problem.line > 0), ..problem };
    problems.into_iter().map(lower).map(unnumbered).collect()
}

fn unnumbered(problem: Problem) -> Problem {
    let without = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
    Problem { what: without(problem.what), hint: problem.hint.map(without), ..problem }
}

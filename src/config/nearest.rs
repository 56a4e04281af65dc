//! The known word nearest to a misspelt one, for hints.

use crate::config::read::Known;
use crate::config::written;

/// What nginx, HAProxy or the plural calls it, and its name here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("listen", "bind"),
    ("address", "bind"),
    ("hosts", "host"),
    ("server_name", "host"),
    ("location", "path"),
    ("prefix", "path"),
    ("proxy_pass", "upstream"),
    ("backend", "upstream"),
    ("backends", "upstreams"),
    ("servers", "targets"),
    ("target", "targets"),
    ("ssl", "tls"),
    ("ssl_certificate", "cert"),
    ("ssl_certificate_key", "key"),
    ("certificate", "cert"),
    ("healthcheck", "health"),
    ("health_check", "health"),
    ("retries", "fall"),
];

/// The hint for a key that a section does not know: the nearest one that it does, or the section
/// that it belongs under.
pub(crate) fn key(misspelt: &str, known: &[Known]) -> Option<String> {
    let names = || known.iter().map(|key| key.name);
    let other = OTHER_NAMES.iter().find(|(theirs, ours)| {
        *theirs == misspelt.to_ascii_lowercase() && names().any(|name| name == *ours)
    });
    if let Some((_, ours)) = other {
        return Some(format!("did you mean \"{ours}\"?"));
    }
    // A key that exists elsewhere is misplaced, not misspelt.
    let homes: Vec<&str> = written::SECTIONS
        .iter()
        .filter(|(_, keys)| keys.iter().any(|key| key.name == misspelt))
        .map(|(home, _)| *home)
        .collect();
    if !homes.is_empty() {
        return Some(format!("\"{misspelt}\" belongs {}", homes.join(", or ")));
    }
    if let Some(name) = word(misspelt, names()) {
        return Some(format!("did you mean \"{name}\"?"));
    }
    Some(format!("known here: {}", names().collect::<Vec<_>>().join(", ")))
}

/// The word nearest to `misspelt`, if one is near.
pub(crate) fn word<'a>(misspelt: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let misspelt = misspelt.to_ascii_lowercase().replace('-', "_");
    known
        .map(|name| (distance(&misspelt, name), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
    let mut previous = None;
    for (row, have) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut wanted_before = None;
        for (column, want) in to.iter().enumerate() {
            let replaced = at(&last, column) + usize::from(have != want);
            let dropped = at(&last, column + 1) + 1;
            let added = at(&current, column) + 1;
            let mut best = replaced.min(dropped).min(added);
            if previous == Some(want) && wanted_before == Some(have) && column > 0 {
                best = best.min(at(&before_last, column - 1).saturating_add(1));
            }
            current.push(best);
            wanted_before = Some(want);
        }
        previous = Some(have);
        before_last = std::mem::replace(&mut last, current);
    }
    at(&last, to.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips_of_the_pen() {
        assert_eq!(distance("bind", "bind"), 0);
        assert_eq!(distance("bnid", "bind"), 1);
        assert_eq!(distance("bid", "bind"), 1);
        assert_eq!(distance("biind", "bind"), 1);
        assert_eq!(distance("", "bind"), 4);
        assert_eq!(distance("upstraems", "upstreams"), 1);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["bind", "tls", "redirect_to_https"];
        let near = |text| word(text, known.into_iter());
        assert_eq!(near("bnd"), Some("bind"));
        assert_eq!(near("redirect-to-http"), Some("redirect_to_https"));
        assert_eq!(near("colour"), None);
        assert_eq!(near("x"), None);
    }
}

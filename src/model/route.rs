//! Which upstream serves a request: by host, then by the longest path prefix.
//!
//! Most specific first: an exact host, then `*.wildcard` (the longest), then any host; within a host
//! the longest prefix that ends at a segment boundary. A host whose routes all miss the path falls
//! through to the less specific ones.

mod hash;
mod host;
mod path;
mod rules;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::model::route::hash::ByHost;
use crate::model::route::path::normalised;
use crate::model::route::rules::Rules;
use crate::model::settings::Timeouts;

pub use crate::model::route::host::host_of;

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostRule {
    /// Every host.
    Any,
    /// This host, in lower case.
    Exact(String),
    /// Every host below this domain (`*.example.com` holds `example.com`), at any depth.
    Wildcard(String),
}

/// The host of a route cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a host name, nor a wildcard like *.example.com")]
pub struct BadHostRule(pub String);

impl FromStr for HostRule {
    type Err = BadHostRule;

    fn from_str(text: &str) -> Result<Self, BadHostRule> {
        let bad = || BadHostRule(text.to_owned());
        if text == "*" {
            return Ok(Self::Any);
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let literal = name.starts_with('[') && name.ends_with(']');
        if literal && !wildcard {
            let inner = name.get(1..name.len() - 1).unwrap_or_default();
            inner.parse::<Ipv6Addr>().map_err(|_not_an_address| bad())?;
        } else if name.len() > 253 || !name.split('.').all(label) {
            return Err(bad());
        }
        Ok(if wildcard { Self::Wildcard(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// One rule in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which hosts.
    pub host: HostRule,
    /// The path prefix.
    pub path: String,
    /// Its place among the routes of the file, from 0.
    pub number: usize,
    /// Index into the snapshot's upstreams.
    pub upstream: usize,
    /// What applies to requests on this route: the route's own, the upstream's, the process's.
    pub timeouts: Timeouts,
}

/// All rules, ready for lookup.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Rules, ByHost>,
    wildcard: HashMap<String, Rules, ByHost>,
    any: Rules,
}

/// The path asked for; normalised only once a rule wants to know it.
struct Asked<'a> {
    raw: &'a str,
    clean: Option<Cow<'a, str>>,
}

/// Why no route takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No route is for this host.
    Host,
    /// The host is known, the path is not.
    Path,
}

impl Routes {
    /// Sorts `routes` for lookup. Of two equal rules the first wins.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let list = match &route.host {
                HostRule::Any => &mut table.any,
                HostRule::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostRule::Wildcard(domain) => table.wildcard.entry(domain.clone()).or_default(),
            };
            list.push(route);
        }
        table.exact.values_mut().for_each(Rules::sort);
        table.wildcard.values_mut().for_each(Rules::sort);
        table.any.sort();
        table
    }

    /// The route for a host (from [`host_of`]) and a raw path without its query.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] when nothing matches.
    pub fn find(&self, host: &str, path: &str) -> Result<&Route, NoRoute> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let first = match exact {
            Some(rules) => rules.for_every_path(),
            None if self.wildcard.is_empty() => self.any.for_every_path(),
            None => None,
        };
        match first {
            // The usual table: one rule for each host, or one for all.
            Some(route) => Ok(route),
            None => self.find_by_path(exact, host, path),
        }
    }

    #[inline(never)]
    fn find_by_path<'t>(
        &'t self,
        exact: Option<&'t Rules>,
        host: &str,
        path: &str,
    ) -> Result<&'t Route, NoRoute> {
        let mut asked = Asked { raw: path, clean: None };
        let mut known = exact.is_some();
        if let Some(route) = exact.and_then(|rules| rules.longest(&mut asked)) {
            return Ok(route);
        }
        for rules in self.wildcards(host) {
            known = true;
            if let Some(route) = rules.longest(&mut asked) {
                return Ok(route);
            }
        }
        known |= !self.any.is_empty();
        self.any
            .longest(&mut asked)
            .ok_or(if known { NoRoute::Path } else { NoRoute::Host })
    }

    /// The rules for the domains that `host` lies below, the longest domain first.
    fn wildcards<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t Rules> + use<'t, 'h> {
        let below = |name: &'h str| name.split_once('.').map(|(_, domain)| domain);
        let first = if self.wildcard.is_empty() { None } else { below(host) };
        std::iter::successors(first, move |domain| below(domain))
            .filter_map(|domain| self.wildcard.get(domain))
    }
}

impl Asked<'_> {
    fn path(&mut self) -> &str {
        self.clean.get_or_insert_with(|| normalised(self.raw))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(host: &str, path: &str, upstream: usize) -> Route {
        let host = host.parse().unwrap();
        Route { host, path: path.to_owned(), number: 0, upstream, timeouts: Timeouts::default() }
    }

    fn table() -> Routes {
        Routes::new(vec![
            route("*", "/", 0),
            route("app.example.com", "/", 1),
            route("app.example.com", "/api", 2),
            route("*.example.com", "/", 3),
            route("*.eu.example.com", "/", 4),
            route("only.test", "/in", 5),
        ])
    }

    fn found(host: &str, path: &str) -> usize {
        table().find(host, path).unwrap().upstream
    }

    #[test]
    fn the_most_specific_host_wins_then_the_longest_prefix() {
        assert_eq!(found("app.example.com", "/"), 1);
        assert_eq!(found("app.example.com", "/api/v1"), 2);
        assert_eq!(found("app.example.com", "/api"), 2);
        assert_eq!(found("app.example.com", "/apix"), 1);
        assert_eq!(found("www.example.com", "/"), 3);
        assert_eq!(found("a.b.example.com", "/"), 3);
        assert_eq!(found("a.eu.example.com", "/"), 4);
        assert_eq!(found("example.com", "/"), 0);
        assert_eq!(found("only.test", "/out"), 0);
    }

    #[test]
    fn another_spelling_of_a_path_reaches_the_same_route() {
        assert_eq!(found("app.example.com", "/x/../api/y"), 2);
        assert_eq!(found("app.example.com", "//api//y"), 2);
        assert_eq!(found("app.example.com", "/%61pi/y"), 2);
        assert_eq!(found("app.example.com", "/x/..%2fapi"), 2);
        assert_eq!(found("app.example.com", "*"), 1);
    }

    #[test]
    fn a_miss_says_whether_the_host_or_the_path_is_unknown() {
        let routes = Routes::new(vec![route("only.test", "/in", 0)]);
        assert_eq!(routes.find("other.test", "/in"), Err(NoRoute::Host));
        assert_eq!(routes.find("only.test", "/out"), Err(NoRoute::Path));
    }

    #[test]
    fn a_host_rule_is_a_name_or_a_wildcard() {
        assert_eq!("*.Example.com".parse(), Ok(HostRule::Wildcard("example.com".into())));
        for bad in ["", "*.", "a b", "http://x", "*.*.x", "x:80"] {
            assert!(bad.parse::<HostRule>().is_err(), "{bad}");
        }
    }

    /// Whether a rule covers a path, the long way.
    fn is_prefix(prefix: &str, path: &str) -> bool {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || (prefix.is_empty() && !path.starts_with('/'))
    }

    proptest! {
        /// The table answers as a naive walk over all rules in order of specificity would.
        #[test]
        fn lookup_equals_the_naive_model(
            rules in proptest::collection::vec(("(\\*|(\\*\\.)?[ab](\\.[ab]){0,2})", "(/[xy]{0,2}){1,3}"), 1..40),
            host in "[ab](\\.[ab]){0,3}",
            path in "(/[xyz]{0,1}){1,4}",
        ) {
            let routes: Vec<Route> =
                rules.iter().enumerate().map(|(at, (host, path))| route(host, path, at)).collect();
            let clean = normalised(&path).into_owned();
            let specificity = |route: &Route| match &route.host {
                HostRule::Exact(_) => usize::MAX,
                HostRule::Wildcard(domain) => domain.len() + 1,
                HostRule::Any => 0,
            };
            let takes = |route: &&Route| {
                let host_fits = match &route.host {
                    HostRule::Any => true,
                    HostRule::Exact(exact) => *exact == host,
                    HostRule::Wildcard(domain) => host.ends_with(&format!(".{domain}")),
                };
                host_fits && is_prefix(&route.path, &clean)
            };
            let naive = routes
                .iter()
                .filter(takes)
                .max_by_key(|r| (specificity(r), r.path.trim_end_matches('/').len(), std::cmp::Reverse(r.upstream)))
                .map(|r| r.upstream);
            let table = Routes::new(routes.clone());
            prop_assert_eq!(table.find(&host, &path).ok().map(|r| r.upstream), naive);
        }
    }
}

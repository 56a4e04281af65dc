//! The rules of one host, by path: the longest prefix that ends at a segment boundary.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::model::route::Asked;
use crate::model::route::Route;
use crate::model::route::hash::ByHost;

/// So few are looked through one after the other; more are found by their hash.
const FEW: usize = 8;

/// The rules of one host.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The longest prefix first; of two equal ones the one that was named first.
    list: Vec<Rule>,
    /// The place of each prefix, if there are many.
    by_prefix: HashMap<String, usize, ByHost>,
}

/// A route, with what a lookup need not work out again.
#[derive(Debug)]
struct Rule {
    /// The path's length without slashes at its end: what a request's path must begin with.
    prefix: usize,
    route: Route,
}

impl Rules {
    /// Adds one. They must be [sorted](Self::sort) before one is looked for.
    pub(super) fn push(&mut self, route: Route) {
        self.list
            .push(Rule { prefix: route.path.trim_end_matches('/').len(), route });
    }

    /// Puts them in order.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|rule| Reverse(rule.prefix));
        if self.list.len() <= FEW {
            return;
        }
        for (at, rule) in self.list.iter().enumerate() {
            self.by_prefix.entry(rule.own().to_owned()).or_insert(at);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The only rule, if it is for every path. Behind one for every path there is no more specific one.
    #[inline]
    pub(super) fn for_every_path(&self) -> Option<&Route> {
        let first = self.list.first().filter(|rule| rule.prefix == 0)?;
        Some(&first.route)
    }

    /// The route of the longest prefix that covers the path.
    pub(super) fn longest(&self, asked: &mut Asked<'_>) -> Option<&Route> {
        let first = self.list.first()?;
        if first.prefix == 0 {
            return Some(&first.route);
        }
        let path = asked.path();
        let rule = if self.by_prefix.is_empty() {
            self.list.iter().find(|rule| rule.covers(path))
        } else {
            self.among_many(path, first.prefix)
        };
        Some(&rule?.route)
    }

    /// Asks for the path and then for what each of its slashes ends, but for nothing longer than the
    /// longest prefix there is: a path of many slashes costs no more than one of the operator's own.
    fn among_many(&self, path: &str, most: usize) -> Option<&Rule> {
        let mut rest = match path.as_bytes().get(most) {
            None => Some(path),
            Some(b'/') => path.get(..most),
            Some(_) => before_slash(path, most),
        };
        while let Some(prefix) = rest.filter(|prefix| !prefix.is_empty()) {
            if let Some(at) = self.by_prefix.get(prefix) {
                return self.list.get(*at);
            }
            rest = before_slash(path, prefix.len());
        }
        self.list.get(*self.by_prefix.get("")?)
    }
}

/// What stands before the last slash among the first so many bytes, which may end within a character.
fn before_slash(path: &str, within: usize) -> Option<&str> {
    let bytes = path.as_bytes().get(..within)?;
    let at = bytes.iter().rposition(|byte| *byte == b'/')?;
    path.get(..at)
}

impl Rule {
    /// What a path must begin with.
    fn own(&self) -> &str {
        self.route.path.get(..self.prefix).unwrap_or_default()
    }

    /// Whether the path is the prefix, or goes on at a segment boundary. `/api` and `/api/` cover
    /// `/api` and `/api/x`, never `/apix`.
    fn covers(&self, path: &str) -> bool {
        // The boundary first: it rules out most without a look at the rest.
        let boundary = path.as_bytes().get(self.prefix);
        self.prefix == 0
            || (boundary.is_none_or(|byte| *byte == b'/')
                && path.get(..self.prefix) == self.route.path.get(..self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::route::HostRule;
    use crate::model::settings::Timeouts;
    use proptest::prelude::*;

    fn rules(paths: &[String]) -> Rules {
        let mut rules = Rules::default();
        for (number, path) in paths.iter().enumerate() {
            let (host, path, timeouts) = (HostRule::Any, path.clone(), Timeouts::default());
            rules.push(Route { host, path, number, upstream: 0, timeouts });
        }
        rules.sort();
        rules
    }

    fn found(rules: &Rules, path: &str) -> Option<usize> {
        let mut asked = Asked { raw: path, clean: None };
        rules.longest(&mut asked).map(|route| route.number)
    }

    #[test]
    fn of_many_rules_the_longest_that_ends_at_a_boundary_is_found() {
        let mut paths: Vec<String> = (0..20).map(|at| format!("/service/{at}")).collect();
        paths.extend(["/service/7/deep/".to_owned(), "/service/7".to_owned()]);
        let without = rules(&paths);
        for (path, number) in [
            ("/service/7", Some(7)),
            ("/service/7/", Some(7)),
            ("/service/7/deep", Some(20)),
            ("/service/7/deep/er", Some(20)),
            ("/service/7/deeper", Some(7)),
            ("/service/77", None),
            ("/service", None),
            ("/", None),
            ("*", None),
        ] {
            assert_eq!(found(&without, path), number, "{path}");
        }
        paths.push("/".to_owned());
        paths.push("/".to_owned());
        let with = rules(&paths);
        assert_eq!(found(&with, "/service/77"), Some(22));
        assert_eq!(found(&with, "*"), Some(22));
        assert_eq!(found(&with, "/service/7/deep"), Some(20));
    }

    proptest! {
        /// Found by the hash as by looking through all.
        #[test]
        fn many_are_found_as_few_are(
            paths in proptest::collection::vec("(/[xyé]{0,2}){1,3}", FEW + 1..60),
            path in "(\\*|(/[xyzé]{0,2}){1,5})",
        ) {
            let many = rules(&paths);
            let mut few = rules(&paths);
            few.by_prefix.clear();
            prop_assert_eq!(found(&many, &path), found(&few, &path));
        }
    }
}

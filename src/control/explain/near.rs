//! The route that takes a request, and those that nearly do, each with its reason.

use crate::control::command::explain::ExplainedRoute;
use crate::model::route::HostRule;
use crate::model::route::NoRoute;
use crate::model::route::Route;
use crate::model::route::Routes;
use crate::model::settings::RouteSettings;
use crate::model::settings::Timeouts;

/// More would hide the ones that matter.
const NEARLY_MAX: usize = 10;

/// Why this route takes the request.
pub(super) fn taken(route: &Route, upstream: &str) -> ExplainedRoute {
    let host = match &route.host {
        HostRule::Exact(_) => "this very host",
        HostRule::Wildcard(_) => "the longest wildcard for this host",
        HostRule::Any => "any host",
    };
    let path = if route.path == "/" { "every path" } else { "the longest prefix of this path" };
    ExplainedRoute {
        host: route.host.to_string(),
        path: route.path.clone(),
        upstream: upstream.to_owned(),
        why: format!("{host}, {path}"),
    }
}

/// The routes that take the request as well, but less specifically; that are for its host and not for
/// its path; and, where no route takes it, those for other hosts.
pub(super) fn nearly(
    routes: &[RouteSettings],
    host: &str,
    path: &str,
    taken: Option<&Route>,
) -> Vec<ExplainedRoute> {
    let is_taken = |route: &&RouteSettings| {
        taken.is_some_and(|taken| taken.host == route.host && taken.path == route.path)
    };
    // Of two equal rules the first is taken; the other one stands there for nothing.
    let first = routes.iter().position(|route| is_taken(&route));
    let others = routes
        .iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != first);
    let told = others.filter_map(|(_, route)| {
        let why = match (alone(route, host, path), taken) {
            (Ok(()), Some(taken)) => beside(route, taken),
            (Err(NoRoute::Path), _) => format!("the path is not below {}", route.path),
            (Err(NoRoute::Host), None) => "for another host".to_owned(),
            // Where any route takes it, one is taken.
            (Ok(()), None) | (Err(NoRoute::Host), Some(_)) => return None,
        };
        Some(ExplainedRoute {
            host: route.host.to_string(),
            path: route.path.clone(),
            upstream: route.upstream.to_string(),
            why,
        })
    });
    told.take(NEARLY_MAX).collect()
}

/// Whether the request would take this route if there were no other: asked of a table of its own.
fn alone(route: &RouteSettings, host: &str, path: &str) -> Result<(), NoRoute> {
    let only = Route {
        host: route.host.clone(),
        path: route.path.clone(),
        upstream: 0,
        number: 0,
        timeouts: Timeouts::default(),
    };
    Routes::new(vec![only]).find(host, path).map(|_only| ())
}

fn beside(route: &RouteSettings, taken: &Route) -> String {
    if route.host != taken.host {
        return format!("less specific: its host is {}", route.host);
    }
    let length = |path: &str| path.trim_end_matches('/').len();
    if length(&route.path) == length(&taken.path) {
        "never taken: the same rule stands before it".to_owned()
    } else {
        format!("less specific: a shorter prefix than {}", taken.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(host: &str, path: &str) -> RouteSettings {
        RouteSettings {
            host: host.parse().unwrap(),
            path: path.to_owned(),
            upstream: "app".into(),
            timeouts: crate::model::settings::TimeoutOverrides::default(),
        }
    }

    fn table(routes: &[RouteSettings]) -> Routes {
        let rule = |(at, route): (usize, &RouteSettings)| Route {
            host: route.host.clone(),
            path: route.path.clone(),
            upstream: at,
            number: at,
            timeouts: Timeouts::default(),
        };
        Routes::new(routes.iter().enumerate().map(rule).collect())
    }

    fn told(routes: &[RouteSettings], host: &str, path: &str) -> Vec<(String, String)> {
        let table = table(routes);
        let found = table.find(host, path).ok();
        let nearly = nearly(routes, host, path, found);
        nearly
            .into_iter()
            .map(|near| (near.host + &near.path, near.why))
            .collect()
    }

    #[test]
    fn what_nearly_took_it_says_why_it_did_not() {
        let routes = [
            route("*", "/"),
            route("app.test", "/"),
            route("app.test", "/api"),
            route("app.test", "/api/"),
            route("app.test", "/admin"),
            route("other.test", "/"),
        ];
        let near = |host: &str, path: &str, why: &str| (format!("{host}{path}"), why.to_owned());
        assert_eq!(
            told(&routes, "app.test", "/api/x"),
            [
                near("*", "/", "less specific: its host is *"),
                near("app.test", "/", "less specific: a shorter prefix than /api"),
                near("app.test", "/api/", "never taken: the same rule stands before it"),
                near("app.test", "/admin", "the path is not below /admin"),
            ]
        );
        assert_eq!(
            told(&routes[4..], "app.test", "/x"),
            [
                near("app.test", "/admin", "the path is not below /admin"),
                near("other.test", "/", "for another host"),
            ]
        );
    }

    proptest! {
        /// Whatever takes the request by itself is either the route that is taken, or is named.
        #[test]
        fn every_route_that_would_take_it_is_accounted_for(
            rules in proptest::collection::vec(("(\\*|(\\*\\.)?[ab](\\.[ab]){0,2})", "(/[xy]{0,1}){1,3}"), 1..9),
            host in "[ab](\\.[ab]){0,3}",
            path in "(/[xyz]{0,1}){1,4}",
        ) {
            let routes: Vec<_> = rules.iter().map(|(host, path)| route(host, path)).collect();
            let alone = routes.iter().filter(|route| alone(route, &host, &path).is_ok()).count();
            let table = table(&routes);
            let found = table.find(&host, &path).ok();
            let near = nearly(&routes, &host, &path, found);
            let also = |near: &&ExplainedRoute| near.why.contains("specific") || near.why.contains("never");
            prop_assert_eq!(alone, usize::from(found.is_some()) + near.iter().filter(also).count());
        }
    }
}

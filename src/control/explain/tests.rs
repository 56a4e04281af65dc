//! What is told is what `model::route` and `model::choice` decide.

use std::net::IpAddr;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::file;
use crate::control::journal::Memory;
use crate::control::reload;
use crate::control::reload::Ground;
use crate::model::orders::maintenance::Maintenance;
use crate::model::signed::SigningKey;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A request as the proxy would look at it.
struct Other {
    target: String,
    client: IpAddr,
}

impl Asked for Other {
    fn method(&self) -> &str {
        "GET"
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn field<'a>(&'a self, _name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }

    fn host(&self) -> &str {
        ""
    }

    fn client(&self) -> IpAddr {
        self.client
    }

    fn is_secure(&self) -> bool {
        false
    }

    fn draw(&self) -> u64 {
        0
    }

    fn now(&self) -> SystemTime {
        NOW
    }
}

fn snapshot(routes: &[(String, String, bool)], maintained: bool, generation: u64) -> Snapshot {
    let routes: Vec<_> = routes
        .iter()
        .map(|(host, path, plain)| {
            let upstream = if *plain { "files" } else { "app" };
            serde_json::json!({ "host": host, "path": path, "upstream": upstream })
        })
        .collect();
    let text = serde_json::json!({
        "listeners": [{ "bind": "127.0.0.1:80" }],
        "routes": routes,
        "upstreams": {
            "app": { "blue": ["10.0.0.1:80"], "green": ["10.0.0.2:80"], "live": "green" },
            "files": { "targets": ["10.0.0.3:80"] },
        },
    });
    let loaded = file::parse(&text.to_string(), Path::new("proxy.yaml")).unwrap();
    let mut memory = Memory::default();
    let order = Maintenance {
        since: NOW,
        until: NOW + Duration::from_secs(60),
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        retry_after: Duration::from_secs(1),
        page: None,
    };
    if maintained {
        memory
            .orders
            .entry("app".to_owned())
            .or_default()
            .maintenance = Some(order);
    }
    let key = &Arc::new(SigningKey::new(&[0; 32]));
    let ground = Ground { generation, memory: &memory, old: None, workers: 1, key, now: NOW };
    reload::snapshot(Arc::new(loaded.settings), ground)
}

proptest! {
    #[test]
    fn the_route_and_the_choice_are_the_proxys_own(
        rules in proptest::collection::btree_map(
            ("(\\*|(\\*\\.)?[ab](\\.[ab]){0,2})", "(/[xy]{1}){1,3}"), any::<bool>(), 1..8),
        host in "[ab](\\.[ab]){0,3}",
        path in "(/[xyz]{0,1}){1,4}",
        maintained in any::<bool>(),
        inside in any::<bool>(),
    ) {
        let rules: Vec<_> =
            rules.into_iter().map(|((host, path), plain)| (host, path, plain)).collect();
        let snapshot = snapshot(&rules, maintained, 7);
        let from = if inside { "10.1.2.3" } else { "192.0.2.1" };
        let explain = Explain {
            url: format!("http://{host}{path}"),
            from: Some(from.to_owned()),
            ..Explain::default()
        };
        let asking = Asking::read(&explain, &[], NOW).unwrap();
        let mut told = nothing(&snapshot, String::new());
        let found = snapshot.routes.find(&host, &path);
        let decided = routed(&mut told, &asking, &host, &snapshot);
        let Ok(route) = found else {
            prop_assert_eq!(decided.map_err(|(status, _)| status).err(), Some(404));
            return Ok(());
        };
        prop_assert!(decided.is_ok());
        let upstream = &snapshot.upstreams[route.upstream];
        let of = told.route.clone().unwrap();
        prop_assert_eq!((of.host, of.path), (route.host.to_string(), route.path.clone()));
        prop_assert_eq!(&of.upstream, &*upstream.name);
        let other = Other { target: path, client: from.parse().unwrap() };
        match choice::choose(upstream, &other) {
            Choice::Send { colour, .. } => {
                prop_assert_eq!((told.outcome, told.colour), (Ends::Forward, colour));
            }
            Choice::Maintain => prop_assert_eq!(told.outcome, Ends::Maintain),
            Choice::Hold => prop_assert_eq!(told.outcome, Ends::Hold),
            Choice::Lead { .. } | Choice::Hide => prop_assert!(false, "nobody has ordered a preview"),
        }
    }
}

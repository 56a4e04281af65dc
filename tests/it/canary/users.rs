//! Who is a user, and that each keeps its colour.

use serde_json::json;

use super::canary;
use super::given;
use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::http::Answer;

fn by_cookie() -> (Origin, Origin, Proxy) {
    app_with(&json!({ "upstreams": { "app": { "canary": { "sticky": "cookie" } } } }))
}

fn page(client: &mut Client, cookie: &str) -> Answer {
    let cookie: &[_] = if cookie.is_empty() { &[] } else { &[("Cookie", cookie)] };
    client.request("GET", "/", cookie, b"").expect(200)
}

#[test]
fn a_user_keeps_its_colour_on_every_connection_in_every_protocol() {
    let (_blue, _green, proxy) = by_cookie();
    assert_eq!(given(&proxy.http().get("/")), None, "no canary, no cookie");
    canary(&proxy, "50");
    let (mut plain, mut tls, h2) = (proxy.http(), proxy.https(), proxy.h2());
    let mut colours = Vec::new();
    for nth in 0..40 {
        let first = match nth % 3 {
            0 => page(&mut plain, ""),
            1 => page(&mut tls, ""),
            _ => h2.get("/").expect(200),
        };
        let (colour, cookie) = (first.colour(), given(&first).unwrap());
        assert_eq!(first.header("set-cookie").unwrap().ends_with("; Secure"), nth % 3 != 0);
        let again = [
            page(&mut plain, &cookie),
            page(&mut tls, &format!("a=b; {cookie}; c=d")),
            h2.try_request("GET", "/", &[("cookie", "a=b"), ("cookie", &cookie)], b"")
                .unwrap(),
        ];
        for answer in again {
            assert_eq!((answer.colour(), given(&answer)), (colour.clone(), None));
        }
        colours.push(colour);
    }
    for colour in ["blue", "green"] {
        assert!(colours.iter().any(|other| other == colour), "{colours:?}");
    }
}

#[test]
fn the_cookie_is_for_tls_alone_where_a_trusted_proxy_has_ended_it() {
    for (trusted, secure) in [(json!([]), false), (json!(["127.0.0.0/8"]), true)] {
        let (_blue, _green, proxy) = app_with(&json!({
            "trusted_proxies": trusted,
            "upstreams": { "app": { "canary": { "sticky": "cookie", "cookie": "who" } } },
        }));
        canary(&proxy, "50");
        let with = [("X-Forwarded-Proto", "https")];
        let answer = proxy.http().request("GET", "/", &with, b"").expect(200);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("who="), "{cookie}");
        assert_eq!(cookie.ends_with("; Secure"), secure, "{cookie}");
    }
}

#[test]
fn the_cookie_reaches_the_target_and_stands_beside_its_own() {
    let (blue, green, proxy) = by_cookie();
    canary(&proxy, "50");
    let with = [("X-With", "Set-Cookie: theirs=1|Cache-Control: max-age=5")];
    let answer = proxy.http().request("GET", "/with", &with, b"").expect(200);
    let cookies = answer.headers("set-cookie");
    assert_eq!(cookies[0], "theirs=1");
    assert!(cookies[1].starts_with("proxyd_user="), "{cookies:?}");
    assert_eq!(answer.header("cache-control"), Some("max-age=5"));
    let cookie = cookies[1].split(';').next().unwrap();
    let target = if page(&mut proxy.http(), cookie).colour() == "blue" { blue } else { green };
    assert_eq!(target.last().header("cookie"), Some(cookie));
}

#[test]
fn a_forged_cookie_and_one_of_another_proxyd_count_as_none() {
    let (_blue, _green, proxy) = by_cookie();
    let (_other_blue, _other_green, other) = by_cookie();
    canary(&proxy, "50");
    canary(&other, "50");
    let own = given(&proxy.http().get("/")).unwrap();
    let foreign = given(&other.http().get("/")).unwrap();
    let flip = |at: usize| {
        let other = if &own[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &own[..at], &own[at + 1..])
    };
    let value = "proxyd_user=".len();
    let forged = [
        foreign,
        flip(value),
        flip(value + 12),
        flip(own.len() - 2),
        own[..own.len() - 1].to_owned(),
        format!("{own}A"),
        "proxyd_user=".to_owned(),
        format!("proxyd_user={}", "A".repeat(32)),
        format!("proxyd_user={}", "A".repeat(8000)),
    ];
    let mut client = proxy.http();
    for forged in forged {
        let answer = page(&mut client, &forged);
        assert!(given(&answer).is_some_and(|new| new != forged), "{forged}");
    }
    assert_eq!(given(&page(&mut client, &own)), None);
}

#[test]
fn a_program_without_cookies_has_one_colour_and_keeps_it_with_them() {
    let (_blue, _green, proxy) = app_with(&json!({
        "trusted_proxies": ["127.0.0.0/8"],
        "upstreams": { "app": { "canary": { "sticky": "cookie" } } },
    }));
    canary(&proxy, "50");
    let mut client = proxy.http();
    let mut both = [0, 0];
    for nth in 0..60 {
        let address = format!("198.51.100.{nth}");
        let bare = [("Accept", "application/json"), ("X-Forwarded-For", address.as_str())];
        let first = client.request("GET", "/", &bare, b"").expect(200);
        let cookie = given(&first).unwrap();
        let with = [bare[0], bare[1], ("Cookie", cookie.as_str())];
        assert_eq!(client.request("GET", "/", &bare, b"").colour(), first.colour());
        assert_eq!(client.request("GET", "/", &with, b"").colour(), first.colour());
        both[usize::from(first.colour() == "green")] += 1;
    }
    assert!(both[0] > 10 && both[1] > 10, "{both:?}");
}

#[test]
fn it_outlives_a_restart_and_a_reload_with_the_same_users_and_their_cookies() {
    let (_blue, _green, mut proxy) = by_cookie();
    canary(&proxy, "50");
    let mut client = proxy.http();
    let users: Vec<(String, String)> = (0..40)
        .map(|_| {
            let first = page(&mut client, "");
            (given(&first).unwrap(), first.colour())
        })
        .collect();
    let keep = |proxy: &Proxy, when: &str| {
        let mut client = proxy.http();
        for (cookie, colour) in &users {
            let answer = page(&mut client, cookie);
            assert_eq!((&answer.colour(), given(&answer)), (colour, None), "{when}");
        }
    };
    let shown = proxy.app()["canary"].clone();
    proxy.rewrite_config(&json!({ "timeouts": { "idle": "70s" } }));
    proxy.ctl(["reload"]).expect(0);
    keep(&proxy, "after a reload");
    // Green's pool is another one, and takes the place of the old one open.
    let third = Origin::start("green-2");
    let green = proxy.config["upstreams"]["app"]["green"][0].clone();
    let targets = json!([green, third.address.to_string()]);
    proxy.rewrite_config(&json!({ "upstreams": { "app": { "green": targets } } }));
    proxy.ctl(["reload"]).expect(0);
    keep(&proxy, "after a reload that changed its targets");
    proxy.restart();
    assert_eq!(proxy.app()["canary"], shown);
    keep(&proxy, "after a restart");
    proxy.kill9();
    proxy.start_again();
    assert_eq!(proxy.app()["canary"], shown);
    keep(&proxy, "after kill -9");
    let receipt = proxy.ctl(["canary", "green", "--weight", "0", "--json"]);
    assert_eq!(receipt.expect(0).receipt()["safe_to_kill"], "green");
}

#[test]
fn pins_send_testers_whatever_the_weight() {
    let (_blue, _green, proxy) = app_with(&json!({
        "upstreams": { "app": { "canary": { "pins": [
            { "header": "X-Tester", "value": "1" },
            { "cookie": "tester", "value": "yes" },
            { "cookie": "tester", "value": "no", "colour": "blue" },
        ] } } },
    }));
    let mut client = proxy.http();
    let mut colour = |field: (&str, &str)| {
        client
            .request("GET", "/", &[field], b"")
            .expect(200)
            .colour()
    };
    assert_eq!(colour(("X-Tester", "1")), "blue", "no canary runs");
    canary(&proxy, "0.1");
    assert_eq!(colour(("X-Tester", "1")), "green");
    assert_eq!(colour(("Cookie", "a=b; tester=yes")), "green");
    canary(&proxy, "100");
    assert_eq!(colour(("Cookie", "tester=no")), "blue");
    assert_eq!(colour(("Cookie", "tester=not")), "green");
    let h2 = proxy.h2();
    let pinned = h2.try_request("GET", "/", &[("cookie", "tester=no")], b"");
    assert_eq!(pinned.unwrap().colour(), "blue");
}

#[test]
fn the_key_is_made_once_and_where_it_cannot_be_kept_the_canary_runs_all_the_same() {
    let (_blue, _green, mut proxy) = by_cookie();
    let key = std::fs::read(proxy.file("state/signing.key")).unwrap();
    assert_eq!(key.len(), 32);
    proxy.restart();
    assert_eq!(std::fs::read(proxy.file("state/signing.key")).unwrap(), key);
    proxy.stop();
    std::fs::remove_file(proxy.file("state/signing.key")).unwrap();
    std::fs::create_dir(proxy.file("state/signing.key")).unwrap();
    proxy.start_again();
    assert!(proxy.stderr().contains("kept in memory alone"), "{}", proxy.stderr());
    canary(&proxy, "50");
    let first = proxy.http().get("/").expect(200);
    let cookie = given(&first).unwrap();
    let again = page(&mut proxy.http(), &cookie);
    assert_eq!((again.colour(), given(&again)), (first.colour(), None));
}

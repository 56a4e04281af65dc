//! Ten thousand users while the weight grows to the promote: how many get the colour, and that nobody
//! changes back.

use std::thread;
use std::time::Instant;

use serde_json::json;

use super::canary;
use super::given;
use crate::harness::Load;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app_with;
use crate::harness::eventually;
use crate::harness::http::Answer;

const USERS: usize = 10_000;

/// How many clients at once ask for them.
const THREADS: usize = 4;

/// One user: what it sends to be known, and whether it has green.
#[derive(Clone)]
struct User {
    fields: Vec<(&'static str, String)>,
    green: bool,
}

/// What takes in an answer that came for a user.
type TakeIn = fn(&mut User, &Answer);

/// Asks once for each user, a quarter of them by each of four clients.
fn ask_all(proxy: &Proxy, users: &mut [User], take_in: TakeIn) {
    let share = users.len().div_ceil(THREADS);
    thread::scope(|scope| {
        for users in users.chunks_mut(share) {
            scope.spawn(move || ask_each(proxy, users, take_in));
        }
    });
}

/// By HTTP/1.1, TLS and HTTP/2 in turn.
fn ask_each(proxy: &Proxy, users: &mut [User], take_in: TakeIn) {
    let (mut plain, mut tls, h2) = (proxy.http(), proxy.https(), proxy.h2());
    for (nth, user) in users.iter_mut().enumerate() {
        let fields = user.fields.iter();
        let fields: Vec<_> = fields.map(|(name, value)| (*name, &**value)).collect();
        let answer = match nth % 3 {
            0 => plain.request("GET", "/", &fields, b""),
            1 => tls.request("GET", "/", &fields, b""),
            _ => h2.try_request("GET", "/", &fields, b"").unwrap(),
        };
        take_in(user, &answer.expect(200));
    }
}

fn green(users: &[User]) -> usize {
    users.iter().filter(|user| user.green).count()
}

/// Nobody goes back; returns how many of the users have green.
fn grow(proxy: &Proxy, users: &mut [User]) -> usize {
    ask_all(proxy, users, |user, answer| {
        let green = answer.colour() == "green";
        assert!(green || !user.green, "moved back: {:?}", user.fields);
        user.green = green;
    });
    green(users)
}

/// The canary begins at 10 % before this and is promoted at the end; nobody ever changes back, nor at
/// all while the weight stays.
fn story(proxy: &Proxy, users: &mut [User], begun: Instant) {
    let load = Load::mixed(proxy, 40);
    eventually("other traffic flows", || load.requests() > 5);
    let before = green(users);
    assert_eq!(grow(proxy, users), before, "at the same weight everybody keeps the colour");
    let mut counts = vec![before];
    for weight in ["25", "50"] {
        canary(proxy, weight);
        counts.push(grow(proxy, users));
    }
    proxy.promote("green");
    assert_eq!(grow(proxy, users), USERS);
    load.stop().expect_flawless();
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("green at 10, 25, 50 %: {counts:?} of {USERS} users; {seconds:.1} s");
    // One crowd in a thousand is more than 1 % off by chance alone: five standard deviations are asserted.
    for (count, share) in counts.into_iter().zip([0.1_f64, 0.25, 0.5]) {
        let deviation = (USERS as f64 * share * (1.0 - share)).sqrt();
        let off = (count as f64 - USERS as f64 * share).abs();
        assert!(off <= 5.0 * deviation, "{count} of {USERS} at {share}");
    }
}

fn proxy(sticky: &str) -> (Origin, Origin, Proxy) {
    app_with(&json!({
        "trusted_proxies": ["127.0.0.0/8"],
        "access_log": "off",
        "upstreams": { "app": {
            "canary": { "sticky": sticky },
            "promotion": { "gate_timeout": "10s" },
        } },
    }))
}

#[test]
fn ten_thousand_cookies_keep_their_colour_while_the_weight_grows() {
    let begun = Instant::now();
    let (_blue, _green, proxy) = proxy("cookie");
    canary(&proxy, "10");
    let mut users = vec![User { fields: Vec::new(), green: false }; USERS];
    ask_all(&proxy, &mut users, |user, answer| {
        user.fields.push(("cookie", given(answer).unwrap()));
        user.green = answer.colour() == "green";
    });
    story(&proxy, &mut users, begun);
}

#[test]
fn ten_thousand_addresses_keep_their_colour_while_the_weight_grows() {
    let begun = Instant::now();
    let (_blue, _green, proxy) = proxy("address");
    canary(&proxy, "10");
    let address = |at: usize| format!("198.{}.{}.{}", 18 + at / 65536, at / 256 % 256, at % 256);
    let of = |at| User { fields: vec![("x-forwarded-for", address(at))], green: false };
    let mut users: Vec<User> = (0..USERS).map(of).collect();
    grow(&proxy, &mut users);
    story(&proxy, &mut users, begun);
}

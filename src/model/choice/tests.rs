//! What is chosen, and what is given with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::health::ProbeOutcome;
use crate::model::health::ProbeRecord;
use crate::model::orders::Orders;
use crate::model::orders::preview::Preview;
use crate::model::pool::Pool;
use crate::model::settings::CanarySettings;
use crate::model::settings::HealthSettings;
use crate::model::settings::Pin;
use crate::model::settings::PinnedBy;
use crate::model::settings::PromotionSettings;
use crate::model::settings::Sticky;
use crate::model::settings::TargetSettings;
use crate::model::signed::Purpose;
use crate::model::signed::SigningKey;
use crate::model::target::Target;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const SALT: u64 = 99;

/// A request that says what it is told to.
#[derive(Clone)]
struct Request {
    target: &'static str,
    host: &'static str,
    client: IpAddr,
    fields: Vec<(&'static str, String)>,
    draw: u64,
}

impl Asked for Request {
    fn method(&self) -> &'static str {
        "GET"
    }
    fn target(&self) -> &str {
        self.target
    }
    fn host(&self) -> &str {
        self.host
    }
    fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = self.fields.iter().filter(move |(own, _)| *own == name);
        of_name.map(|(_, value)| value.as_bytes())
    }
    fn client(&self) -> IpAddr {
        self.client
    }
    fn is_secure(&self) -> bool {
        true
    }
    fn now(&self) -> SystemTime {
        NOW
    }
    fn draw(&self) -> u64 {
        self.draw
    }
}

fn request(fields: &[(&'static str, &str)]) -> Request {
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Request {
        target: "/",
        host: "a.test",
        client: "192.0.2.7".parse().unwrap(),
        fields: fields.collect(),
        draw: 1,
    }
}

fn pool(colour: Colour, port: u16) -> Arc<Pool> {
    let address = format!("10.0.0.1:{port}").parse().unwrap();
    let target = Target::new(&TargetSettings { address, weight: 1, backup: false }, 1);
    Arc::new(Pool::new("app".into(), Some(colour), vec![Arc::new(target)], 1))
}

/// Blue is live; green gets `percent`.
fn upstream(percent: &str, canary: CanarySettings) -> Upstream {
    let share = percent.parse().unwrap();
    Upstream {
        skew: None,
        warmup: None,
        name: "app".into(),
        pools: Pools::Coloured {
            blue: pool(Colour::Blue, 1),
            green: pool(Colour::Green, 2),
            split: Split::Weighted { live: Colour::Blue, share, salt: SALT },
            since: NOW,
            previous: None,
        },
        health: HealthSettings::default(),
        public_host: None,
        promotion: PromotionSettings::default(),
        canary: Arc::new(canary),
        preview_host: None,
        key: Arc::new(SigningKey::new(&[1; 32])),
        orders: Arc::default(),
    }
}

fn by_cookie() -> CanarySettings {
    CanarySettings { sticky: Sticky::Cookie, ..CanarySettings::default() }
}

/// The colour, and the cookie that is given.
fn chosen(upstream: &Upstream, request: &Request) -> (Colour, Option<String>) {
    match choose(upstream, request) {
        Choice::Send { colour, extras, .. } => {
            let given = |extras: Box<Extras>| {
                let (name, cookie) = extras.added().next().unwrap();
                assert_eq!(name, "Set-Cookie");
                cookie.to_owned()
            };
            (colour.unwrap(), extras.map(given))
        }
        other @ (Choice::Maintain | Choice::Hold | Choice::Lead { .. } | Choice::Hide) => {
            panic!("{other:?}")
        }
    }
}

fn why(upstream: &Upstream, request: &Request) -> (Colour, Why) {
    let Choice::Send { colour, why, .. } = choose(upstream, request) else { panic!("not sent") };
    (colour.unwrap(), why)
}

/// What a browser sends back.
fn back(cookie: &str) -> String {
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn by_address_nobody_is_given_anything_and_everybody_keeps_a_colour() {
    let ten = upstream("10", CanarySettings::default());
    let mut counts = BTreeMap::new();
    for host in 0..=255 {
        let mut request = request(&[]);
        request.client = format!("198.51.100.{host}").parse().unwrap();
        let (colour, given) = chosen(&ten, &request);
        assert_eq!(given, None);
        request.draw = 2;
        assert_eq!(chosen(&ten, &request).0, colour);
        *counts.entry(colour).or_insert(0) += 1;
    }
    assert!((10..=45).contains(&counts[&Colour::Green]), "{counts:?}");
}

#[test]
fn a_browser_gets_a_name_and_its_colour_by_it_and_keeps_both() {
    let half = upstream("50", by_cookie());
    let mut seen = BTreeMap::new();
    for draw in 0..100 {
        let mut first = request(&[("accept", "text/HTML,*/*;q=0.8")]);
        first.draw = draw;
        let (colour, given) = chosen(&half, &first);
        let given = given.unwrap();
        let (_, attributes) = given.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure");
        let again = request(&[("cookie", &format!("a=b; {}; c", back(&given)))]);
        assert_eq!(chosen(&half, &again), (colour, None));
        // Over HTTP/2, in a line of its own; another client address changes nothing.
        let mut moved = request(&[("cookie", "a=b"), ("cookie", &back(&given))]);
        moved.client = "2001:db8::1".parse().unwrap();
        assert_eq!(chosen(&half, &moved), (colour, None));
        *seen.entry(colour).or_insert(0) += 1;
    }
    assert!(seen.values().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn a_program_has_one_colour_whether_it_keeps_its_cookie_or_not_at_every_weight() {
    for host in 0..=255 {
        let mut bare = request(&[("accept", "application/json")]);
        bare.client = format!("198.51.100.{host}").parse().unwrap();
        let (_, given) = chosen(&upstream("50", by_cookie()), &bare);
        let with = Request {
            fields: request(&[("cookie", &back(&given.unwrap()))]).fields,
            ..bare.clone()
        };
        for percent in ["0.1", "1", "10", "49.9", "50", "75", "99.9", "100"] {
            let at = upstream(percent, by_cookie());
            assert_eq!(chosen(&at, &bare).0, chosen(&at, &with).0, "{host} at {percent}");
        }
    }
}

#[test]
fn a_cookie_that_is_forged_or_anothers_counts_as_none() {
    let half = upstream("50", by_cookie());
    let foreign = SigningKey::new(&[2; 32]).sign(Purpose::User, 5);
    let own = half.key.sign(Purpose::User, 5);
    let of_preview = half
        .key
        .sign(Purpose::Preview { upstream: "app", salt: SALT }, 5);
    for bad in [&foreign, &of_preview, &own[1..], "", "x", &format!("{own}x")] {
        let request = request(&[("cookie", &format!("proxyd_user={bad}"))]);
        assert!(chosen(&half, &request).1.is_some(), "{bad}");
    }
    // The first that is valid counts, whatever stands around it.
    let twice = request(&[("cookie", &format!("proxyd_user=x;proxyd_user={own}"))]);
    assert_eq!(chosen(&half, &twice).1, None);
    let longer = request(&[("cookie", &format!("proxyd_user2={own}"))]);
    assert!(chosen(&half, &longer).1.is_some());
}

#[test]
fn a_pin_wins_over_the_user_and_the_first_that_fits_over_the_others() {
    let pin = |by, value: &str, colour| Pin { by, value: value.to_owned(), colour };
    let pins = vec![
        pin(PinnedBy::Header("x-tester".to_owned()), "1", None),
        pin(PinnedBy::Cookie("tester".to_owned()), "no", Some(Colour::Blue)),
    ];
    let least = upstream("0.1", CanarySettings { pins, ..by_cookie() });
    assert_eq!(why(&least, &request(&[("x-tester", "1")])), (Colour::Green, Why::Pinned));
    let both = request(&[("cookie", "tester=no"), ("x-tester", "1")]);
    assert_eq!(why(&least, &both), (Colour::Green, Why::Pinned));
    let kept = request(&[("cookie", "a=b; tester=no")]);
    assert_eq!(why(&least, &kept), (Colour::Blue, Why::Pinned));
    assert_eq!(chosen(&least, &kept).1, None);
    assert_eq!(why(&least, &request(&[("x-tester", "2")])).1, Why::Live);
}

#[test]
fn the_live_colour_stands_in_while_no_target_of_the_standby_is_usable() {
    let all = upstream("100", CanarySettings::default());
    assert_eq!(why(&all, &request(&[])), (Colour::Green, Why::Canary));
    let target = &all.pool(Colour::Green).unwrap().targets[0];
    let record = |outcome| {
        let probe = ProbeRecord { at: NOW, outcome, latency: Duration::ZERO };
        target.health.record(probe, &HealthSettings::default());
    };
    record(ProbeOutcome::Refused);
    assert_eq!(why(&all, &request(&[])), (Colour::Blue, Why::StandIn));
    record(ProbeOutcome::Good(200));
    assert_eq!(why(&all, &request(&[])), (Colour::Green, Why::Canary));
}

/// Green is previewed until second 100.
fn previewed() -> (Upstream, String) {
    let mut app = upstream("50", CanarySettings::default());
    if let Pools::Coloured { split, .. } = &mut app.pools {
        *split = Split::AllTo(Colour::Blue);
    }
    let until = NOW + Duration::from_secs(100);
    let preview = Preview { colour: Colour::Green, salt: SALT, since: NOW, until };
    app.orders = Arc::new(Orders { preview: Some(preview), ..Orders::default() });
    let token = token(&app, "app", SALT, 100);
    (app, token)
}

fn token(app: &Upstream, upstream: &str, salt: u64, until: u64) -> String {
    app.key.sign(Purpose::Preview { upstream, salt }, until)
}

#[test]
fn who_has_a_token_sees_the_standby_colour_and_no_cache_keeps_it() {
    let (app, token) = previewed();
    let cookie = format!("proxyd_preview={token}");
    for with in [("x-preview", ""), ("x-proxy-preview", token.as_str()), ("cookie", &cookie)] {
        let Choice::Send { colour, why, extras } = choose(&app, &request(&[with])) else {
            panic!("{with:?}");
        };
        if with.1.is_empty() {
            assert_eq!((colour, why, extras), (Some(Colour::Blue), Why::Live, None));
            continue;
        }
        assert_eq!((colour, why), (Some(Colour::Green), Why::Preview), "{with:?}");
        let extras = extras.unwrap();
        let said: BTreeMap<_, _> = extras.added().collect();
        assert_eq!(said["X-Proxy-Colour"], "green");
        assert_eq!(said["Cache-Control"], "no-store");
        assert_eq!(said["X-Robots-Tag"], "noindex, nofollow");
        assert!(extras.drops(b"cache-control") && extras.drops(b"cdn-cache-control"));
    }
}

#[test]
fn a_token_that_is_over_or_for_something_else_shows_nothing() {
    let (app, good) = previewed();
    let bad = [
        token(&app, "app", SALT, 0),
        token(&app, "app", SALT + 1, 100),
        token(&app, "other", SALT, 100),
        app.key.sign(Purpose::User, 100),
        good.replace(&good[5..6], if &good[5..6] == "A" { "B" } else { "A" }),
        String::new(),
    ];
    for bad in bad {
        // Whoever names one means to see that colour, and must not take another for it.
        assert_eq!(choose(&app, &request(&[("x-proxy-preview", &bad)])), Choice::Hide, "{bad}");
        // A cookie comes by itself.
        let cookie = format!("proxyd_preview={bad}");
        assert_eq!(why(&app, &request(&[("cookie", &cookie)])), (Colour::Blue, Why::Live));
    }
    let mut over = app.clone();
    over.orders = Arc::default();
    let token = request(&[("x-proxy-preview", &good)]);
    assert_eq!(why(&over, &token), (Colour::Blue, Why::Live), "nothing is ordered");
}

#[test]
fn a_host_of_previews_shows_the_standby_colour_while_it_is_ordered_and_nothing_else_ever() {
    let (mut app, _) = previewed();
    app.preview_host = Some("preview.test".into());
    assert!(!app.is_plain());
    let request = Request { host: "preview.test", ..request(&[]) };
    assert_eq!(why(&app, &request), (Colour::Green, Why::Preview));
    assert_eq!(
        why(&app, &Request { host: "a.test", ..request.clone() }),
        (Colour::Blue, Why::Live)
    );
    app.orders = Arc::default();
    assert_eq!(choose(&app, &request), Choice::Hide);
    assert_eq!(why(&app, &Request { host: "a.test", ..request }), (Colour::Blue, Why::Live));
}

#[test]
fn the_link_leaves_a_cookie_and_leads_to_a_path_of_this_host_whatever_it_says() {
    let (app, token) = previewed();
    let led = |query: &str| {
        let target = format!("{}?{query}", preview::LINK);
        let request = Request { target: target.leak(), ..request(&[]) };
        choose(&app, &request)
    };
    for (to, leads) in [
        ("", "/"),
        ("&to=/a/b", "/a/b"),
        ("&to=/a%3Fb=c%26d", "/a?b=c&d"),
        ("&to=https://evil.test/", "/"),
        ("&to=//evil.test", "/"),
        ("&to=/%2Fevil.test", "/"),
        ("&to=/%5Cevil.test", "/"),
        ("&to=/%09/evil.test", "/"),
        ("&to=/a%0D%0ASet-Cookie:x=y", "/"),
        ("&to=/a%00", "/"),
        ("&to=/a%C3%A9", "/"),
        ("&to=/a%2", "/"),
        ("&to=/a%+1", "/"),
        ("&to=evil.test", "/"),
        ("&to=", "/"),
    ] {
        let Choice::Lead { to, extras } = led(&format!("token={token}{to}")) else {
            panic!("{to}")
        };
        assert_eq!(to, leads);
        let said: BTreeMap<_, _> = extras.added().collect();
        assert_eq!(said["Cache-Control"], "no-store");
        assert_eq!(
            said["Set-Cookie"],
            format!("proxyd_preview={token}; Path=/; Max-Age=100; HttpOnly; SameSite=Lax; Secure")
        );
    }
    for bad in ["", "token=", "token=x", "toke=1", &format!("token={}", &token[1..])] {
        assert_eq!(led(bad), Choice::Hide, "{bad}");
    }
    assert_eq!(led(&format!("a=b&token={token}")), led(&format!("token={token}")));
}

#[test]
fn the_name_of_a_user_is_one_for_all_upstreams() {
    let (first, mut second) = (upstream("50", by_cookie()), upstream("50", by_cookie()));
    second.name = "other".into();
    let (_, given) = chosen(&first, &request(&[]));
    assert_eq!(chosen(&second, &request(&[("cookie", &back(&given.unwrap()))])).1, None);
}

#[test]
fn of_many_cookies_of_one_name_only_the_first_few_are_read() {
    // Each costs a signature, and a head has room for hundreds.
    let (app, token) = previewed();
    let half = upstream("50", by_cookie());
    let user = half.key.sign(Purpose::User, 5);
    for before in [0, 3, 4, 200] {
        let behind = |name: &str, value: &str| {
            let many = format!("{name}=x; ").repeat(before);
            request(&[("cookie", &format!("{many}{name}={value}"))])
        };
        let is_read = before < 4;
        let shown = why(&app, &behind("proxyd_preview", &token)).1 == Why::Preview;
        let known = chosen(&half, &behind("proxyd_user", &user)).1.is_none();
        assert_eq!((shown, known), (is_read, is_read), "behind {before}");
    }
}

//! `proxyctl explain`: what it says of a request is what the proxy then does with it.

use serde_json::Value;
use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::certs;
use crate::harness::http::Answer;

const REDIRECT_PORT: u16 = 8081;

/// Where a request comes in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Tls,
    Redirecting,
}

/// A request made up at random, the same in every run.
#[derive(Debug)]
struct Made {
    way: Way,
    method: &'static str,
    /// The URL's host; over TLS the name that is asked for.
    name: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

/// xorshift64: enough to choose with. And the token of a preview, once there is one.
struct Dice {
    state: u64,
    token: &'static str,
}

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % u64::try_from(sides).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.throw(all.len())]
    }

    fn request(&mut self) -> Made {
        let headers = [
            ("Host", "app.test"),
            ("Host", "WWW.shop.test:8443"),
            ("Host", "other.test"),
            ("Host", "not a host"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("Accept", "text/html"),
            ("User-Agent", "a tester"),
            ("X-Request-ID", "id-1"),
            ("X-Request-ID", "not\"sane"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-For", "6.6.6.6, 198.51.100.7"),
            // Users enough that a canary at 50 % has some and leaves some.
            ("X-Forwarded-For", "198.51.100.20"),
            ("X-Forwarded-For", "198.51.100.21"),
            ("X-Forwarded-For", "198.51.100.22"),
            ("X-Forwarded-For", "198.51.100.23"),
            ("X-Forwarded-For", "198.51.100.24"),
            ("X-Forwarded-For", "198.51.100.25"),
            ("X-Forwarded-For", "198.51.100.26"),
            ("X-Forwarded-For", "198.51.100.27"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "spoofed.test"),
            ("X-Forwarded-Prefix", "/x"),
            ("X-Real-IP", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.9"),
            ("Connection", "keep-alive, X-Secret"),
            ("Connection", "x-forwarded-for, cookie"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Proxy-Authorization", "Basic x"),
            ("X_Odd", "1"),
            ("If-None-Match", "\"e\""),
            ("X-Tester", "1"),
            ("X-Tester", "1"),
            ("X-Tester", "1"),
            ("X-Tester", "1"),
            ("X-Tester", "1"),
            ("X-Tester", "2"),
            ("X-Proxy-Preview", self.token),
            ("X-Proxy-Preview", self.token),
        ];
        let count = self.throw(7);
        Made {
            way: self.of(&[Way::Plain, Way::Tls, Way::Tls, Way::Redirecting]),
            method: self.of(&["GET", "GET", "GET", "DELETE", "OPTIONS", "TRACE"]),
            name: self.of(&["app.test", "www.shop.test", "x.shop.test", "other.test"]),
            target: self.of(&[
                "/",
                "/api",
                "/api/v1?x=1",
                "/apix",
                "/files/a",
                "/%61pi/x",
                "/x/../api",
                "//api//y",
                "/.well-known/acme-challenge/t",
                "/only",
                "/deep/er",
            ]),
            headers: (0..count).map(|_| self.of(&headers)).collect(),
        }
    }
}

impl Way {
    fn port(self) -> u16 {
        match self {
            Self::Plain => 8080,
            Self::Tls => 8443,
            Self::Redirecting => REDIRECT_PORT,
        }
    }
}

impl Made {
    fn explained(&self, proxy: &Proxy) -> Value {
        let scheme = if self.way == Way::Tls { "https" } else { "http" };
        let (name, port, target) = (self.name, self.way.port(), self.target);
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let ask = json!({
            "url": format!("{scheme}://{name}:{port}{target}"), "method": self.method,
            "headers": headers, "from": "127.0.0.1",
        });
        proxy.control_post("/v1/explain", &ask).expect(200).json()
    }

    fn sent(&self, proxy: &Proxy) -> Answer {
        let address = format!("{}:{}", proxy.own_address(), self.way.port())
            .parse()
            .unwrap();
        let host = format!("{}:{}", self.name, self.way.port());
        let mut client = if self.way == Way::Tls {
            let mut client = Client::tls(address, self.name).unwrap();
            client.name_host(&host);
            client
        } else {
            Client::plain(address, &host).unwrap()
        };
        let fields: Vec<(&str, &str)> = self.headers.clone();
        client.request(self.method, self.target, &fields, b"")
    }
}

/// Everything that answers, by name.
struct Stage {
    origins: Vec<Origin>,
    proxy: Proxy,
}

fn stage() -> Stage {
    let names = ["blue-1", "blue-2", "green-1", "blue-api", "green-api", "files-1"];
    let origins: Vec<Origin> = names.into_iter().map(Origin::start).collect();
    let [blue, second, green, api_blue, api_green, files] = origins.as_slice() else {
        panic!("six origins")
    };
    let setup = Proxy::setup()
        .blue(&[blue, second])
        .green(&[green])
        .upstream("api", &[api_blue], &[api_green]);
    let app = certs::issue(setup.folder(), "first", &["app.test", "*.shop.test"]);
    let other = certs::issue(setup.folder(), "second", &["other.test"]);
    let pair = |files: &certs::Files| json!({ "cert": files.cert, "key": files.key });
    let bind = |port: u16| format!("{}:{port}", setup.address());
    let change = json!({
        "listeners": [
            { "bind": bind(8080) },
            { "bind": bind(8443), "tls": { "certificates": [pair(&app), pair(&other)] } },
            { "bind": bind(REDIRECT_PORT), "redirect_to_https": true },
        ],
        "routes": [
            { "host": "app.test", "upstream": "app" },
            { "host": "app.test", "path": "/api", "upstream": "api" },
            { "host": "*.shop.test", "path": "/api/", "upstream": "api" },
            { "host": "*.shop.test", "path": "/files", "upstream": "files" },
            { "host": "other.test", "path": "/only", "upstream": "files" },
            { "path": "/deep", "upstream": "app" },
        ],
        "upstreams": { "app": { "canary": { "pins": [{ "header": "X-Tester", "value": "1" }] } }, "files": {
            "targets": [files.address.to_string()],
            "health": { "path": "/health", "interval": "50ms" },
        } },
        "limits": { "request_headers": 6 },
    });
    let proxy = setup.with(&change).start();
    Stage { origins, proxy }
}

impl Stage {
    /// Asks about a request, sends it, and compares.
    #[track_caller]
    fn agree(&self, made: &Made) -> Value {
        let explained = made.explained(&self.proxy);
        let answer = made.sent(&self.proxy);
        let context = format!("{made:?}\n{explained:#}\n{:?}", answer.fields);
        let outcome = explained["outcome"].as_str().unwrap();
        if outcome != "forward" {
            assert_eq!(explained["status"], answer.status, "{context}");
            assert_eq!(explained["location"].as_str(), answer.header("location"), "{context}");
            assert_eq!(answer.header("x-origin"), None, "{context}");
            return explained;
        }
        let origin = self
            .origins
            .iter()
            .find(|origin| origin.name == answer.origin());
        let origin = origin.unwrap_or_else(|| panic!("no target answered: {context}"));
        let colour = explained["colour"].as_str().unwrap_or("files");
        assert_eq!(answer.colour(), colour, "{context}");
        let candidate = |target: &&Value| target["candidate"] == true;
        let mut candidates = explained["targets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(candidate);
        let address = origin.address.to_string();
        assert!(candidates.any(|target| target["address"] == address), "{context}");
        assert_eq!(told(&explained), came(origin, &explained), "{context}");
        for field in explained["answer"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap();
            assert!(
                answer
                    .headers(name)
                    .contains(&field["value"].as_str().unwrap()),
                "{context}"
            );
        }
        explained
    }
}

/// The fields that were foretold.
fn told(explained: &Value) -> Vec<(String, String)> {
    let fields = explained["headers"].as_array().unwrap().iter();
    let text = |field: &Value, key: &str| field[key].as_str().unwrap().to_owned();
    sorted(
        fields
            .map(|field| (text(field, "name"), text(field, "value")))
            .collect(),
    )
}

/// The fields that came.
fn came(origin: &Origin, explained: &Value) -> Vec<(String, String)> {
    let made = explained["headers"].as_array().unwrap().iter();
    let mut made = made.filter(|field| field["name"] == "X-Request-ID" && field["how"] != "sent");
    let made = made
        .next()
        .map(|field| field["value"].as_str().unwrap().to_owned());
    let mut fields = origin.last().fields;
    for (name, value) in &mut fields {
        if let (true, Some(made)) = (name.eq_ignore_ascii_case("x-request-id"), &made)
            && value.len() == 32
        {
            value.clone_from(made);
        }
    }
    sorted(fields)
}

fn sorted(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    for (name, _) in &mut fields {
        name.make_ascii_lowercase();
    }
    fields.sort();
    fields
}

/// What changes between the requests.
fn act(number: usize, stage: &mut Stage, dice: &mut Dice) {
    let proxy = &mut stage.proxy;
    let ctl = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        proxy.ctl(words).expect(0)
    };
    match number {
        1 => drop(ctl("canary green --weight 50 --upstream app")),
        2 => drop(ctl("promote green --upstream app")),
        3 => drop(ctl("maintenance on --upstream app --allow 203.0.113.0/24")),
        4 => {
            proxy.rewrite_config(&json!({ "trusted_proxies": ["127.0.0.1"] }));
            drop(proxy.ctl(["reload"]).expect(0));
        }
        5 => drop(ctl("canary green --weight 50 --upstream api")),
        6 => drop(ctl("maintenance off --upstream app")),
        7 => {
            let output = ctl("preview blue --upstream app --json");
            let said: Value = serde_json::from_str(&output.stdout).unwrap();
            let token = said["previews"][0]["token"].as_str().unwrap().to_owned();
            dice.token = Box::leak(token.into_boxed_str());
        }
        8 => drop(ctl("promote green --upstream api")),
        9 => drop(ctl("rollback --upstream app")),
        _ => {}
    }
}

/// Property: for requests made up at random, over every listener and under changing orders, the
/// answer of `explain` is what the proxy then does, down to the fields that the target sees.
#[test]
fn what_explain_says_is_what_the_proxy_then_does() {
    let mut stage = stage();
    let mut dice = Dice { state: 0x5eed_e124_ba3c, token: "none" };
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..10 {
        act(number, &mut stage, &mut dice);
        for _ in 0..100 {
            let made = dice.request();
            let explained = stage.agree(&made);
            let (outcome, status) = (&explained["outcome"], &explained["status"]);
            *seen.entry(format!("{outcome}{status}")).or_insert(0) += 1;
            let why = explained["why"].as_str().unwrap();
            for word in ["one of the canary's", "none of the canary's", "pins", "valid preview"] {
                *seen.entry(word.to_owned()).or_insert(0) += usize::from(why.contains(word));
            }
        }
    }
    println!("{seen:?}");
    for wanted in [
        "\"forward\"null",
        "\"redirect\"308",
        "\"maintain\"503",
        "\"refuse\"404",
        "\"refuse\"405",
        "\"refuse\"421",
        "\"refuse\"400",
        "\"refuse\"431",
        "one of the canary's",
        "none of the canary's",
        "pins",
        "valid preview",
    ] {
        assert!(seen.get(wanted).is_some_and(|times| *times > 0), "{wanted} never came: {seen:?}");
    }
}

#[test]
fn an_upgrade_is_foretold() {
    let (blue, _green, proxy) = app();
    let ask = json!({
        "url": "http://app.test:8080/ws",
        "headers": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    });
    let explained = proxy.control_post("/v1/explain", &ask).expect(200).json();
    let field = |name: &str| {
        let mut fields = explained["headers"].as_array().unwrap().iter();
        fields
            .find(|field| field["name"] == name)
            .map(|field| field["value"].clone())
    };
    assert_eq!(field("Upgrade"), Some(json!("websocket")));
    assert_eq!(field("Connection"), Some(json!("upgrade")));
    assert_eq!(explained["targets"][0]["address"], blue.address.to_string());
}

#[test]
fn it_is_told_in_words_and_as_json_and_is_no_change() {
    let (_blue, _green, proxy) = app();
    let generation = proxy.generation();
    let url = "https://app.test/cart?x=1";
    let told = proxy
        .ctl(["explain", url, "-H", "Cookie: a=b", "--method", "HEAD", "--from", "192.0.2.7"])
        .expect(0)
        .stdout;
    assert!(told.starts_with("app: blue: blue is live\n"), "{told}");
    for word in ["Cookie: a=b", "X-Forwarded-For: 192.0.2.7", "usable", "connect 3 s"] {
        assert!(told.contains(word), "{word} in {told}");
    }
    let output = proxy.ctl(["explain", url, "--json"]).expect(0);
    let explained: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&explained["outcome"], &explained["colour"]), (&json!("forward"), &json!("blue")));
    assert_eq!(explained["listener"]["tls"], true);
    assert_eq!(proxy.generation(), generation);
    let entries = proxy.ctl(["history", "--json"]).expect(0).stdout;
    assert!(!entries.contains("explain"), "{entries}");
    for bad in ["app.test/", "gopher://app.test/"] {
        let output = proxy.ctl(["explain", bad]).expect(2);
        assert!(output.stderr.contains("hint:"), "{}", output.stderr);
    }
    proxy.ctl(["explain", url, "-H", "no colon"]).expect(2);
    proxy.ctl(["explain", url, "--from", "somewhere"]).expect(2);
}

//! Who is told what: a target nothing that the client made up about itself, a client nothing about
//! addresses and versions, and nobody gets to the control plane by a route.

use std::net::TcpListener;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::ctl::proxyd;
use crate::harness::http::Answer;
use crate::harness::script::Script;

/// What clients make up about themselves, as some framework or other reads it.
const CLAIMS: [(&str, &str); 22] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-port", "666"),
    ("x-forwarded-server", "evil.test"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-scheme", "gopher"),
    ("x-forwarded-ssl", "evil"),
    ("x-forwarded-by", "evil"),
    ("x-forwarded-client-cert", "evil"),
    ("x-forwarded-anything", "evil"),
    ("x-real-ip", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6;proto=gopher"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x-forwarded_for", "6.6.6.6"),
    ("x_forwarded-for", "6.6.6.6"),
    ("x_forwarded_proto", "gopher"),
    ("x_forwarded_host", "evil.test"),
    ("x_real_ip", "6.6.6.6"),
    ("x-real_ip", "6.6.6.6"),
    ("_forwarded", "evil"),
    ("content_length", "666"),
];

/// Every third letter in capitals.
fn odd_case(name: &str) -> String {
    let letters = name.chars().enumerate();
    let odd = |(at, c): (usize, char)| if at % 3 == 0 { c.to_ascii_uppercase() } else { c };
    letters.map(odd).collect()
}

#[test]
fn no_claim_of_a_client_reaches_a_target_in_any_spelling_over_any_protocol() {
    let (blue, _green, proxy) = app();
    let odd = CLAIMS.map(|(name, value)| (odd_case(name), value));
    let odd: Vec<(&str, &str)> = odd
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let upper = CLAIMS.map(|(name, value)| (name.to_uppercase(), value));
    let upper: Vec<(&str, &str)> = upper
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let h2 = proxy.h2();
    for claims in [&CLAIMS[..], &odd, &upper] {
        for mut client in [proxy.http(), proxy.https()] {
            client.request("GET", "/", claims, b"").expect(200);
            tells_the_truth(&blue);
        }
        h2.try_request("GET", "/", claims, b"").unwrap().expect(200);
        tells_the_truth(&blue);
    }
    let dropped = proxy.metrics().sum("proxy_underscored_fields_total", &[]);
    let underscored = CLAIMS.iter().filter(|(name, _)| name.contains('_')).count();
    assert_eq!(dropped, (underscored * 9) as f64, "each of them is counted");
}

fn tells_the_truth(blue: &Origin) {
    let seen = blue.last();
    // The proxy's own id is drawn at random, and may hold any digits.
    let is_drawn = |name: &str| name.eq_ignore_ascii_case("x-request-id");
    for (name, value) in seen.fields.iter().filter(|(name, _)| !is_drawn(name)) {
        let lies = ["6.6.6.6", "evil", "gopher", "666"]
            .iter()
            .any(|lie| value.contains(lie));
        assert!(!lies && !name.contains('_'), "{name}: {value}");
    }
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["app.test"]);
    assert_eq!(seen.headers("forwarded").len(), 1);
    assert_eq!(seen.headers("content-length").len(), 0);
}

#[test]
fn a_file_whose_route_leads_to_the_control_plane_is_refused() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let setup = Proxy::setup().blue(&[&blue]).green(&[&green]);
    let socket = setup.folder().join("control.sock");
    let mut proxy = setup.prepare();
    let admin = proxy.admin_address().to_string();
    for (target, door) in
        [(admin, "admin.bind"), (format!("unix:{}", socket.display()), "control.socket")]
    {
        proxy.rewrite_config(&json!({ "upstreams": { "app": { "blue": [target] } } }));
        let path = proxy.config_path();
        let said = proxyd(&["check", "--config", path.to_str().unwrap()])
            .expect(1)
            .stderr;
        assert!(said.contains(&format!("{target} is {door}: ")), "{said}");
        assert!(said.contains("hint: name the application's own address"), "{said}");
    }
}

#[test]
fn a_link_to_the_control_socket_promotes_nothing() {
    let green = Origin::start("green-1");
    let setup = Proxy::setup().green(&[&green]);
    let link = setup.folder().join("app.sock");
    symlink(setup.folder().join("control.sock"), &link).unwrap();
    let blue = json!([format!("unix:{}", link.display())]);
    let proxy = setup
        .with(&json!({ "upstreams": { "app": { "blue": blue } } }))
        .start();
    for (method, target, body) in [
        ("POST", "/v1/promote", r#"{"colour":"green"}"#),
        ("POST", "/v1/reload", "{}"),
        ("GET", "/v1/status", ""),
        ("GET", "/v1/events", ""),
    ] {
        let answer = proxy
            .http()
            .request(method, target, &[], body.as_bytes())
            .expect(403);
        assert!(answer.text().contains("came by a proxy"), "{}", answer.text());
    }
    assert_eq!(proxy.live(), "blue");
    proxy.promote("green");
}

/// Addresses, versions, paths, and who we are.
#[track_caller]
fn is_silent(answer: &Answer, places: &[String]) {
    let all = format!("{:?}\n{}", answer.fields, answer.text()).to_lowercase();
    let version = env!("CARGO_PKG_VERSION");
    for word in ["127.", "proxyd", version, "rust", "hyper", "blue", "green", "upstream"] {
        assert!(!all.contains(word), "{} tells {word}: {all}", answer.status);
    }
    for place in places {
        assert!(!all.contains(place), "{} tells {place}: {all}", answer.status);
    }
    for name in ["server", "via", "x-powered-by", "alt-svc"] {
        assert_eq!(answer.header(name), None, "{}", answer.status);
    }
}

#[test]
fn answers_of_our_own_tell_no_address_and_no_version() {
    let script = Script::start();
    let refusing = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let green = Origin::start("green-1");
    let proxy = Proxy::setup()
        .green(&[&green])
        .with(&json!({
            "upstreams": {
                "app": { "blue": [script.address.to_string()] },
                "gone": { "targets": [refusing.to_string()] },
            },
            "routes": [
                { "host": "app.test", "path": "/app", "upstream": "app" },
                { "host": "app.test", "path": "/gone", "upstream": "gone" },
            ],
            "timeouts": { "response": "200ms" },
            "limits": { "request_body": "1KiB" },
        }))
        .start();
    let folder = proxy.folder().display().to_string().to_lowercase();
    let places = [script.address.to_string(), refusing.to_string(), folder];
    let large = vec![b'x'; 2000];
    for accept in ["text/html", "application/json"] {
        let fields = [("Accept", accept)];
        for (method, target, body, status) in [
            ("GET", "/nowhere", &b""[..], 404),
            ("TRACE", "/app", b"", 405),
            ("POST", "/app", &large, 413),
            ("GET", "/gone", b"", 503),
            ("GET", "/app", b"", 504),
        ] {
            let answer = proxy
                .https()
                .request(method, target, &fields, body)
                .expect(status);
            is_silent(&answer, &places);
            let answer = proxy
                .h2()
                .try_request(method, target, &fields, body)
                .unwrap();
            is_silent(&answer.expect(status), &places);
        }
        let mut client = proxy.http();
        client.send("POST", "/app", &fields, b"");
        // Those of the 504s have been asked before.
        let bad = std::iter::repeat_with(|| script.asked())
            .find(|asked| String::from_utf8_lossy(&asked.bytes).starts_with("POST "));
        bad.unwrap().say("this is not HTTP\r\n\r\n");
        is_silent(&client.answer().expect(502), &places);
    }
    let mut client = Client::plain(proxy.plain_address(), "other.test").unwrap();
    is_silent(&client.get("/").expect(404), &places);
}

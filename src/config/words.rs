//! Single values that are written as one word: addresses, hosts, paths, names. What counts is in `numbers`.

mod canary;

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;

use crate::config::nearest;
use crate::config::read::Read;
use crate::config::read::Reader;
use crate::config::read::inline_schema;
use crate::config::tree::Node;
use crate::config::tree::Value;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::route::HostRule;
use crate::model::settings::LogDestination;
use crate::model::settings::LogFormat;
use crate::model::target::Address;
use crate::model::target::BadAddress;

pub(crate) use crate::config::words::canary::CookieName;
pub(crate) use crate::config::words::canary::PinValue;

/// Why a word cannot be used, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// What and why; quotes the word.
    pub(crate) what: String,
    /// The way out.
    pub(crate) hint: Option<String>,
}

/// A value that is written as one word.
pub(crate) trait Word: Sized {
    /// What the word is, as in "expected a duration such as 30s, found a list".
    const EXPECTED: &'static str;
    /// Whether a plain number is one of its spellings.
    const NUMBERS: bool = false;
    /// A regular expression for the schema, if one says more than it hides.
    const PATTERN: Option<&'static str> = None;
    /// Every possible spelling, if they can be listed.
    const CHOICES: &'static [&'static str] = &[];

    /// Understands the word.
    fn parse(text: &str) -> Result<Self, Wrong>;
}

/// A [`Word`] as a value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<T: Word> Read for Parsed<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let (text, number): (Cow<'_, str>, _) = match &node.value {
            Value::Text(text) => (text.as_str().into(), false),
            Value::Int(number) => (number.to_string().into(), true),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                reader.unexpected(T::EXPECTED, node);
                return None;
            }
        };
        match T::parse(&text) {
            Ok(_) if number && !T::NUMBERS => {
                let hint = format!("write it in quotes: \"{text}\"");
                reader.here(format!("expected text, found the number {text}"), Some(hint));
                None
            }
            Ok(value) => Some(Self(value)),
            Err(wrong) => {
                reader.here(wrong.what, wrong.hint);
                None
            }
        }
    }
}

inline_schema!([T: Word] Parsed<T>, _generator => {
    let mut schema = json_schema!({ "type": "string" });
    if T::NUMBERS {
        schema.insert("type".to_owned(), serde_json::json!(["string", "integer"]));
    }
    if let Some(pattern) = T::PATTERN {
        schema.insert("pattern".to_owned(), pattern.into());
    }
    if !T::CHOICES.is_empty() {
        schema.insert("enum".to_owned(), T::CHOICES.into());
    }
    schema
});

/// A refusal; an empty hint is none.
pub(crate) fn wrong<T>(what: impl Into<String>, hint: &str) -> Result<T, Wrong> {
    let hint = (!hint.is_empty()).then(|| hint.to_owned());
    Err(Wrong { what: what.into(), hint })
}

/// One of a few words.
pub(crate) fn choice<T: Word + Clone>(text: &str, values: &[T]) -> Result<T, Wrong> {
    let found = T::CHOICES
        .iter()
        .zip(values)
        .find(|(name, _)| **name == text);
    if let Some((_, value)) = found {
        return Ok(value.clone());
    }
    let near = nearest::word(text, T::CHOICES.iter().copied());
    let hint = near.map_or(String::new(), |name| format!("did you mean \"{name}\"?"));
    wrong(format!("\"{text}\" is not {}", T::EXPECTED), &hint)
}

impl Word for OnFail {
    const EXPECTED: &'static str = "revert, freeze or notify";
    const CHOICES: &'static [&'static str] = &["revert", "freeze", "notify"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        choice(text, &Self::ALL)
    }
}

impl Word for Colour {
    const EXPECTED: &'static str = "blue or green";
    const CHOICES: &'static [&'static str] = &["blue", "green"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        choice(text, &Self::BOTH)
    }
}

impl Word for LogFormat {
    const EXPECTED: &'static str = "json or combined";
    const CHOICES: &'static [&'static str] = &["json", "combined"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        choice(text, &[Self::Json, Self::Combined])
    }
}

/// Where a listener binds.
impl Word for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as 0.0.0.0:443";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let bare = text.trim_start_matches(['*', ':']);
        if let Ok(port) = bare.parse::<u16>() {
            let hint = format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\" for IPv4 and IPv6");
            return wrong(format!("\"{text}\" has no address"), &hint);
        }
        if text.parse::<IpAddr>().is_ok() {
            return wrong(format!("\"{text}\" has no port"), "");
        }
        let hint = "write an IP address and a port: \"127.0.0.1:8080\", \"[::1]:8080\"";
        wrong(format!("\"{text}\" is not an address to bind"), hint)
    }
}

/// Where a target listens.
impl Word for Address {
    const EXPECTED: &'static str = "an address such as 10.0.0.11:8080 or unix:/run/app.sock";

    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|bad: BadAddress| {
            let hint = match &bad {
                BadAddress::NoPort(host) => Some(format!("write \"{host}:8080\" with its port")),
                BadAddress::BadHost(whole) if whole.contains("://") => {
                    Some("leave out the scheme and the path: \"10.0.0.11:8080\"".to_owned())
                }
                BadAddress::BadHost(_) | BadAddress::BadPort(_) | BadAddress::NoPath(_) => None,
            };
            Wrong { what: bad.to_string(), hint }
        })
    }
}

impl Word for HostRule {
    const EXPECTED: &'static str = "a host name such as www.example.com or *.example.com";

    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse()
            .map_err(|bad: crate::model::route::BadHostRule| {
                let hint = if text.contains("://") {
                    Some("leave out the scheme: a route is for any".to_owned())
                } else {
                    let port = text
                        .contains(':')
                        .then_some("leave out the port: a route is for any");
                    port.map(str::to_owned)
                };
                Wrong { what: bad.to_string(), hint }
            })
    }
}

impl Word for IpNet {
    const EXPECTED: &'static str = "a network such as 10.0.0.0/8";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let Ok(network) = text.parse::<Self>() else {
            let hint = "write a network as 10.0.0.0/8 or fd00::/8, or a single address";
            return wrong(format!("\"{text}\" is not a network"), hint);
        };
        if network.trunc() != network {
            let hint = format!("write \"{}\", or the address alone", network.trunc());
            return wrong(format!("\"{text}\" has host bits set"), &hint);
        }
        Ok(network)
    }
}

/// A file or folder, as written: `check` puts it below the file's folder.
impl Word for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() || text.contains('\0') {
            return wrong("is not a path", "");
        }
        Ok(Self::from(text))
    }
}

impl Word for LogDestination {
    const EXPECTED: &'static str = "stdout, off or a path";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "off" => Ok(Self::Off),
            _ => PathBuf::parse(text).map(Self::File),
        }
    }
}

/// The prefix of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) String);

impl Word for Prefix {
    const EXPECTED: &'static str = "a path such as /api";
    const PATTERN: Option<&'static str> = Some("^/");

    fn parse(text: &str) -> Result<Self, Wrong> {
        if !text.starts_with('/') {
            return wrong(
                format!("\"{text}\" does not begin with /"),
                &format!("write \"/{text}\""),
            );
        }
        if text.contains(['?', '#', '*']) {
            let hint = "a path is a prefix; it matches whole segments, and never the query";
            return wrong(format!("\"{text}\" is not a plain path"), hint);
        }
        // Requests are matched decoded and without these: such a route would never be taken.
        if text.contains('%') {
            return wrong(
                format!("\"{text}\" is percent-encoded"),
                "write it decoded, as in /café",
            );
        }
        let segments = text.trim_end_matches('/').split('/').skip(1);
        let hollow = |segment: &str| matches!(segment, "" | "." | "..");
        if text.chars().any(char::is_control)
            || segments.into_iter().any(hollow)
            || text.ends_with("//")
        {
            return wrong(format!("\"{text}\" is no path a request can have"), "");
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a probe asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbePath(pub(crate) String);

impl Word for ProbePath {
    const EXPECTED: &'static str = "a path such as /health";
    const PATTERN: Option<&'static str> = Some("^/");

    fn parse(text: &str) -> Result<Self, Wrong> {
        if !text.starts_with('/') {
            let hint = "a path on the target, such as \"/health\"";
            return wrong(format!("\"{text}\" does not begin with /"), hint);
        }
        if text.contains('#') || text.parse::<http::uri::PathAndQuery>().is_err() {
            return wrong(format!("\"{text}\" cannot be asked for"), "percent-encode it");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The Host of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeHost(pub(crate) String);

impl Word for ProbeHost {
    const EXPECTED: &'static str = "a host such as www.example.com";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let authority = text.parse::<http::uri::Authority>();
        if authority.is_err() || text.contains(['@', '*']) {
            return wrong(format!("\"{text}\" is not a host, nor host:port"), "");
        }
        Ok(Self(text.to_owned()))
    }
}

impl Word for HeaderName {
    const EXPECTED: &'static str = "a header's name such as X-Build";

    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse()
            .or_else(|_| wrong(format!("\"{text}\" is not the name of a header"), ""))
    }
}

/// The account to drop to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) String);

impl Word for Account {
    const EXPECTED: &'static str = "the name of an account";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let strange = |c: char| c.is_control() || c.is_whitespace() || c == ':';
        if text.is_empty() || text.contains(strange) {
            return wrong(format!("\"{text}\" is not the name of an account"), "");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of an upstream, where a route refers to it: whether it exists is for `check` to say.
impl Word for String {
    const EXPECTED: &'static str = "the name of an upstream";
    const NUMBERS: bool = true;

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }
}

//! The configuration of a proxy under test: quick defaults, and what a test sets in their place.
//! Written as JSON, which is YAML.

use std::path::Path;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::certs;
use super::origin::Origin;

/// The host that the test certificate is for, and that clients ask for.
pub const HOST: &str = "app.test";

pub const PLAIN_PORT: u16 = 8080;
pub const TLS_PORT: u16 = 8443;
pub const ADMIN_PORT: u16 = 9090;

/// Quick defaults: a plain and a TLS listener, one upstream `app`, probes every 50 ms. A gate has time
/// enough for good news on a machine under load; a test that awaits a refusal gives it less.
pub fn defaults(folder: &Path, address: &str) -> Value {
    let files = certs::issue(folder, "app", &[HOST, "localhost"]);
    json!({
        "listeners": [
            { "bind": format!("{address}:{PLAIN_PORT}") },
            {
                "bind": format!("{address}:{TLS_PORT}"),
                "tls": { "certificates": [{ "cert": files.cert, "key": files.key }] },
            },
        ],
        "routes": [{ "upstream": "app" }],
        "upstreams": {
            "app": {
                "health": {
                    "path": "/health", "interval": "50ms", "timeout": "2s", "rise": 1, "fall": 3,
                },
                "promotion": { "gate_timeout": "10s", "drain_timeout": "10s", "close_jitter": "1ms" },
            },
        },
        "timeouts": { "shutdown": "3s" },
        "workers": 1,
        "control": { "socket": folder.join("control.sock") },
        "admin": { "bind": format!("{address}:{ADMIN_PORT}") },
        "access_log": folder.join("access.log"),
        "state_dir": folder.join("state"),
    })
}

pub fn targets(origins: &[&Origin]) -> Value {
    origins
        .iter()
        .map(|origin| json!(origin.address.to_string()))
        .collect()
}

/// Puts `change` over `config`: objects key by key, null removes, all else replaces.
pub fn merge(config: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *config = change.clone();
        return;
    };
    if !config.is_object() {
        *config = Value::Object(Map::new());
    }
    let Value::Object(config) = config else { return };
    for (key, value) in change {
        if value.is_null() {
            config.remove(key);
        } else {
            merge(config.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

//! What the tests are written with: targets that misbehave on command, a `proxyd` that is cleaned
//! up and audited at the end of each test, and clients that show the bytes.

pub mod address;
pub mod certs;
pub mod client;
pub mod config;
pub mod ctl;
pub mod deaf;
pub mod h2;
pub mod hello;
pub mod hpack;
pub mod http;
pub mod kernel;
pub mod link;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod origin;
pub mod pages;
pub mod proxy;
pub mod script;
pub mod serve;
pub mod sick;
pub mod wait;
pub mod wire;
pub mod ws;

pub use client::Client;
pub use ctl::Output;
pub use load::Load;
pub use origin::Health;
pub use origin::Origin;
pub use proxy::Proxy;
pub use wait::eventually;
pub use wait::eventually_some;

/// One blue and one green target, and a proxy between them and the world; blue is live.
#[track_caller]
pub fn app() -> (Origin, Origin, Proxy) {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::between(&[&blue], &[&green]);
    (blue, green, proxy)
}

/// As [`app`], with `change` put over the configuration.
#[track_caller]
pub fn app_with(change: &serde_json::Value) -> (Origin, Origin, Proxy) {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let proxy = Proxy::setup()
        .blue(&[&blue])
        .green(&[&green])
        .with(change)
        .start();
    (blue, green, proxy)
}

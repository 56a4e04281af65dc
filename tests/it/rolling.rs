//! Rolling: one target after the other drains and comes back, and targets change at run time.

mod drain;
mod pools;
mod ready;
mod roll;

use crate::harness::Client;
use crate::harness::Origin;
use crate::harness::Proxy;
use serde_json::Value;

/// Two targets of each colour, blue live.
#[track_caller]
fn fleet() -> ([Origin; 2], [Origin; 2], Proxy) {
    let blue = [Origin::start("blue-1"), Origin::start("blue-2")];
    let green = [Origin::start("green-1"), Origin::start("green-2")];
    let proxy = Proxy::setup()
        .blue(&[&blue[0], &blue[1]])
        .green(&[&green[0], &green[1]])
        .start();
    (blue, green, proxy)
}

/// `count` clients that wait for an answer of `origin`, which alone gets requests.
#[track_caller]
fn waiting(proxy: &Proxy, origin: &Origin, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| proxy.http()).collect();
    for client in &mut clients {
        client.send("GET", "/hold", &[], b"");
    }
    origin.wait_until_held(count);
    clients
}

/// What `status` says of a target of `app`.
#[track_caller]
fn target(proxy: &Proxy, origin: &Origin) -> Value {
    let address = origin.address.to_string();
    let app = proxy.app();
    let pools = app["pools"].as_object().unwrap().values();
    let mut targets = pools.flat_map(|pool| pool["targets"].as_array().unwrap());
    let found = targets.find(|target| target["address"] == address);
    found
        .unwrap_or_else(|| panic!("{address} is not in {app}"))
        .clone()
}

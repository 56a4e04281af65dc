//! What the control plane promises, at the edges: after a refusal, after an end, in between.

use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::certs;
use crate::harness::config::HOST;
use crate::harness::eventually;
use crate::harness::wire::Wire;
use serde_json::json;

fn presented(proxy: &Proxy) -> Vec<u8> {
    Wire::tls(proxy.tls_address(), HOST, &[])
        .unwrap()
        .certificate()
        .unwrap()
}

#[test]
fn after_a_refused_file_the_certificates_in_service_are_watched_again() {
    let (_blue, _green, mut proxy) = app();
    let before = presented(&proxy);
    let good = proxy.config["listeners"].clone();
    let pair = good[1]["tls"]["certificates"][0].clone();
    let path = |key: &str| pair[key].as_str().unwrap().into();
    let files = certs::Files { cert: path("cert"), key: path("key") };
    let stranger = certs::issue(proxy.folder(), "stranger", &[HOST]);
    let other = certs::issue(proxy.folder(), "other", &[HOST]);
    let mut bad = good.clone();
    bad[1]["tls"]["certificates"][0] = json!({ "cert": stranger.cert, "key": other.key });
    let is_ok = |proxy: &Proxy| proxy.status()["config"]["last_reload"]["ok"] == true;
    proxy.rewrite_config(&json!({ "listeners": bad }));
    eventually("the pair that does not fit is refused", || !is_ok(&proxy));
    proxy.rewrite_config(&json!({ "listeners": good }));
    eventually("the old text is no bad news", || is_ok(&proxy));
    certs::write(&files, &[HOST]);
    eventually("the renewed one is presented", || presented(&proxy) != before);
}
